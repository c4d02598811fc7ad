"""ChestX-ray14 as it was published: label file, box file, split lists and images."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from tqdm import tqdm

from keras_mscam.data.archives import Member, find_archives, list_members
from keras_mscam.data.csv_table import (
    clean_name,
    find_table,
    name_columns,
    name_key,
    parse_numbers,
    path_key,
    read_rows,
    read_table,
)
from keras_mscam.data.records import (
    Box,
    Dataset,
    Record,
    find_contradictions,
    sort_boxes,
    summarize,
)
from keras_mscam.errors import UserError
from keras_mscam.files import walk_once
from keras_mscam.parallel.cluster import Cluster
from keras_mscam.parallel.in_order import map_in_order
from keras_mscam.pathologies import NO_FINDING, PATHOLOGIES, canonical_name

LABEL_FILES = r"Data_Entry_2017.*\.csv.*"
_BOX_FILES = r"BBox_List_2017.*\.csv.*"
_LIST_FILES = {"train_val": r"train_val_list.*\.txt.*", "test": r"test_list.*\.txt.*"}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm", ".dicom"}
_REQUIRED = ("Image Index", "Patient ID", "Finding Labels")
_OPTIONAL = ("View Position", "Patient Age", "Patient Gender")
_BOX_COLUMNS = ("Image Index", "Finding Label", "x", "y", "width", "height")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 120


def read_chestxray14(
    directory: Path, workers: int | Cluster | None = 1, progress: bool = False
) -> Dataset:
    """Read a folder in the layout of ChestX-ray14, but no pixel.

    Images lie in folders that begin with `images`, as the archives' `images_001`, at
    any depth; beside the label file; or still inside archives in these places, which
    are only opened when some image lies nowhere else. The name of an image counts, with
    `.png` for `.PNG`, and not its folder.

    Returns:
        One record for each label row with an image. Rows without, and images without a
        row, are counted in `problems`. The pathologies are those of the label file,
        whichever images are there.

    Raises:
        UserError: as `read_tables`, no label row has an image, or an archive is
            damaged.

    Reference:
        Wang et al. 2017, ChestX-ray8, in its later release with 14 pathologies.
    """
    directory = Path(directory)
    tables = read_tables(directory)
    known = {path_key(record.name): record for record in tables.records}
    folders = [*_find_image_folders(directory), directory]
    paths, repeated = _index_by_name(p for f in folders for p in list_images(f))
    if not paths.keys() >= known.keys():
        packed, again = _find_in_archives(folders, workers, progress)
        repeated += again
        paths = packed | paths
    found = tuple(replace(known[k], path=paths[k]) for k in known if k in paths)
    missing = [record.name for key, record in known.items() if key not in paths]
    if not found:
        raise UserError(
            f"{directory}: none of the {len(missing)} images of the label file is "
            f"there, such as {missing[0]}; put them, or their archives, into the "
            "folder 'images' beside it."
        )
    strangers = [paths[key].name for key in paths.keys() - known.keys()]
    problems = summarize(
        ("label rows without an image file", missing),
        ("image files without a label row", sorted(strangers)),
        ("image files of a name that another has already", repeated),
    )
    return replace(tables, records=found, problems=tables.problems + problems)


def read_tables(directory: Path) -> Dataset:
    """Read the label and box files of ChestX-ray14 without looking for images.

    They are `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` and perhaps
    `BBox_List_2017.csv`, `train_val_list.txt` and `test_list.txt`, plain or `.gz`.

    Returns:
        One record for each label row, in their order, with the path that its image
        would have in `images/`. Repeated rows and boxes that can't be used are left out
        and counted in `problems`.

    Raises:
        UserError: there is no label file, or several; a table is none, see
            `read_table`; a row has an unknown label, a box a number that is none; a
            list has more than one name on a line, or one that the other list has.
    """
    directory = Path(directory)
    label_file = find_table(directory, LABEL_FILES)
    if label_file is None:
        raise UserError(
            f"{directory} has no Data_Entry_2017.csv or Data_Entry_2017_v2020.csv; "
            "give a folder with the label file and the images of ChestX-ray14, or in "
            "its layout."
        )
    rows, repeated = _read_labels(label_file)
    findings = {name: found for name, found, *_ in rows}
    present = frozenset().union(*findings.values())
    pathologies = tuple(name for name in PATHOLOGIES if name in present)
    names = {path_key(name): name for name in findings}
    box_file = find_table(directory, _BOX_FILES)
    box_rows, unknown = _read_boxes(box_file, names) if box_file else ([], [])
    boxes, box_problems = sort_boxes(
        box_rows,
        findings.keys(),
        pathologies,
        "boxes of a pathology that no image is labelled with, left out",
        unknown,
    )
    records = tuple(
        Record(
            name=name,
            path=directory / "images" / name,
            patient=patient,
            view=view,
            age=age,
            sex=sex,
            labels=tuple(float(pathology in found) for pathology in pathologies),
            boxes=tuple(boxes.get(name, ())),
        )
        for name, found, patient, view, age, sex in rows
    )
    problems = summarize(("repeated label rows, the first of each name kept", repeated))
    problems += box_problems + find_contradictions(records, pathologies)
    lists, list_files, strangers = _read_lists(directory, names)
    problems += summarize(("names in the lists without a label row", strangers))
    tables = tuple(path for path in (label_file, box_file, *list_files) if path)
    return Dataset(pathologies, records, problems, lists, tables)


def _read_lists(
    directory: Path, names: dict[str, str]
) -> tuple[dict[str, str], list[Path], list[str]]:
    """Return which published list names an image, the files of the lists, and names
    that the label file hasn't."""
    lists, files, strangers = {}, [], []
    for split, pattern in _LIST_FILES.items():
        path = find_table(directory, pattern)
        if path is None:
            continue
        files.append(path)
        rows, before = read_rows(path), len(strangers)
        for line, fields in rows:
            written, *more = filter(None, fields)
            if more:
                raise UserError(
                    f"{path}, line {line}: {more[0]!r} stands behind {written!r}; a "
                    "list has one file name on each line."
                )
            name = _find_name(written, names)
            if lists.setdefault(name, split) != split:
                raise UserError(f"{name} is in both lists, {files[0]} and {path}.")
            if path_key(name) not in names:
                strangers.append(name)
        if len(strangers) - before == len(rows):
            raise UserError(
                f"{path}: none of its names has a label row, such as "
                f"{strangers[-1]!r}; it must be a list of file names."
            )
    return lists, files, strangers


def _find_name(written: str, names: dict[str, str]) -> str:
    """Return an image's name in the label file, which others may write as a path."""
    name = _file_name(written)
    return names.get(path_key(name), name)


def _file_name(written: str) -> str:
    return written.replace("\\", "/").rpartition("/")[-1]


def _find_image_folders(directory: Path) -> Iterator[Path]:
    """Give `images`, `images_001` and so on, and the folders in them."""
    tops = (p for p in directory.iterdir() if p.name.lower().startswith("images"))
    for place, names, _ in walk_once(sorted(tops)):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield Path(place)


def list_images(folder: Path) -> list[Path]:
    """Return the files in a folder that are images by their names."""
    return [path for path in folder.iterdir() if _is_image(path)]


def _is_image(file: Path | Member) -> bool:
    hidden = file.name.startswith(".")
    return file.suffix.lower() in _IMAGE_SUFFIXES and not hidden


def _index_by_name(files: Iterable) -> tuple[dict[str, Path | Member], list[str]]:
    """Return files by the `path_key` of their names, and names that occur again."""
    found, repeated = {}, []
    for file in files:
        if found.setdefault(path_key(file.name), file) is not file:
            repeated.append(file.name)
    return found, sorted(repeated)


def _find_in_archives(
    folders: Iterable[Path], workers: int | Cluster | None, progress: bool
) -> tuple[dict[str, Path | Member], list[str]]:
    """Return members of archives as `_index_by_name` does."""
    jobs = [(archive,) for folder in folders for archive in find_archives(folder)]
    # One archive takes minutes: worth a process, however few there are.
    lists = map_in_order(list_members, jobs, workers, apart=workers != 1, chunk=1)
    bar = tqdm(
        lists, "Looking into archives", len(jobs), unit="archive",
        disable=not (progress and jobs),
    )  # fmt: skip
    return _index_by_name(m for members in bar for m in members if _is_image(m))


def _read_labels(path: Path) -> tuple[list[tuple], list[str]]:
    """Read `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`, columns by name.

    The two whose names have a comma in brackets, and so fall into two, are not needed.
    The edition of 2017 ends lines with a comma and writes ages as `058Y`; an age above
    120 years, a slip of the pen there, is unknown. The first row of each name is
    returned, and the names of the others.
    """
    table = read_table(path, known=(*_REQUIRED, *_OPTIONAL), required=_REQUIRED)
    if table.empty:
        raise UserError(f"{path} has no rows below its header.")
    table = table.reindex(columns=[*_REQUIRED, *_OPTIONAL], fill_value="")
    rows, repeated = {}, []
    for line, written, patient, findings, view, age, sex in table.itertuples(name=None):
        name = _file_name(written)
        key = path_key(name)
        if key in rows:
            repeated.append(name)
            continue
        try:
            found = _parse_findings(findings)
        except UserError as error:
            raise UserError(f"{path}, line {line} ({name}): {error}") from error
        rows[key] = name, found, clean_name(patient), view, parse_age(age), sex
    return list(rows.values()), repeated


def _read_boxes(
    path: Path, names: dict[str, str]
) -> tuple[list[tuple[str, Box]], list[str]]:
    """Read `BBox_List_2017.csv`: image and box of each row, and unknown pathologies.

    Its header, `Image Index,Finding Label,Bbox [x,y,w,h],,,`, has more fields than its
    rows, and other copies of it end differently, so columns are found by place: name,
    pathology, x, y, width, height. `Infiltrate` is Infiltration. `names` are those of
    the images with labels, by `path_key`.
    """
    (line, header), *rows = read_rows(path)
    if [*map(name_key, header[:2])] != [*map(name_key, _BOX_COLUMNS[:2])]:
        raise UserError(
            f"{path} doesn't begin with the columns Image Index, Finding Label; "
            "it must be a file like NIH's BBox_List_2017.csv."
        )
    rows = [(line, [*_BOX_COLUMNS]), *rows]
    table = name_columns(path, rows, required=_BOX_COLUMNS[:2])
    images = [_find_name(written, names) for written in table["Image Index"]]
    sides = [parse_numbers(table, name, path) for name in _BOX_COLUMNS[2:]]
    boxes, unknown = [], []
    for name, label, x, y, width, height in zip(
        images, table["Finding Label"], *sides, strict=True
    ):
        try:
            box = Box(canonical_name(label), (x, y, x + width, y + height))
        except UserError:
            unknown.append(f"{label!r} of {name}")
        else:
            boxes.append((name, box))
    return boxes, unknown


@cache
def parse_age(text: str) -> float | None:
    """Return the years of `58`, `058Y`, `011M`, `003W` or `020D`, if any."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    age = float(match[1]) * _YEARS[match[2].upper()]
    return age if age <= _OLDEST else None


@cache
def _parse_findings(text: str) -> frozenset[str]:
    parts = [part.strip() for part in text.split("|")]
    if parts == [NO_FINDING]:
        return frozenset()
    if NO_FINDING in parts or not all(parts):
        raise UserError(
            f"the labels {text!r} are neither {NO_FINDING!r} nor pathologies."
        )
    return frozenset(map(canonical_name, parts))
