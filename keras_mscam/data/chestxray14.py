"""ChestX-ray14 as it was published: label file, box file, split lists and images."""

import gzip
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from keras_mscam.data.archives import Member, find_archives, list_members
from keras_mscam.data.records import Box, Dataset, Record, sort_boxes, summarize
from keras_mscam.errors import UserError
from keras_mscam.parallel import map_in_order
from keras_mscam.pathologies import NO_FINDING, PATHOLOGIES, canonical_name

LABEL_FILES = "Data_Entry_2017*.csv*"
_BOX_FILES = "BBox_List_2017*.csv*"
_LIST_FILES = {"train_val": "train_val_list*.txt*", "test": "test_list*.txt*"}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}
#: More than either table has fields in a row. Rows of any length up to this are read.
_MOST_FIELDS = 32
_REQUIRED = ["Image Index", "Patient ID", "Finding Labels"]
_OPTIONAL = ["View Position", "Patient Age", "Patient Gender"]
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 120


def read_chestxray14(
    directory: Path, workers: int | None = 1, progress: bool = False
) -> Dataset:
    """Read a folder in the layout of ChestX-ray14.

    Images lie in `images/`, in the archives' `images_001/images/` and so on, beside
    the label file, or still inside archives there, which are only opened when some
    image lies nowhere else. No pixel is read.

    Args:
        directory: a folder with the files that `read_tables` takes, and images.
        workers: processes that look into archives; `None` takes one a processor.
        progress: whether to show a bar over the archives.

    Returns:
        One record for each image that has a label row. A label row without image, an
        image without label row: counted in `problems`. The pathologies are those of
        the label file, whichever images are there.

    Raises:
        UserError: as `read_tables`, no label row has an image, or an archive is
            damaged.

    Reference:
        Wang et al. 2017, ChestX-ray8, in its later release with 14 pathologies.
    """
    directory = Path(directory)
    tables = read_tables(directory)
    named = {record.name for record in tables.records}
    parts = sorted(directory.glob("images_*"))
    folders = [directory / "images", directory]
    folders += [place for part in parts for place in (part / "images", part)]
    folders = [folder for folder in folders if folder.is_dir()]
    paths, repeated = _index_by_name(p for f in folders for p in list_images(f))
    if not named <= set(paths):
        packed, again = _find_in_archives(directory, workers, progress)
        repeated += again
        paths = packed | paths
    found = tuple(
        replace(record, path=paths[record.name])
        for record in tables.records
        if record.name in paths
    )
    if not found:
        raise UserError(
            f"{directory}: none of the {len(tables.records)} images of the label file "
            "is there; put them, or their archives, into the folder 'images' beside it."
        )
    missing = [record.name for record in tables.records if record.name not in paths]
    problems = summarize(
        ("label rows without an image file", missing),
        ("image files without a label row", sorted(set(paths) - named)),
        ("image files of a name that another has already", repeated),
    )
    return replace(tables, records=found, problems=tables.problems + problems)


def read_tables(directory: Path) -> Dataset:
    """Read the label and box files of ChestX-ray14 without looking for images.

    Args:
        directory: a folder with `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`
            and perhaps `BBox_List_2017.csv`, `train_val_list.txt` and `test_list.txt`,
            plain or `.gz`.

    Returns:
        One record for each label row, in their order, with the path that its image
        would have in `images/`. Repeated rows and boxes that can't be used are left
        out and counted in `problems`.

    Raises:
        UserError: no label file, or several; it is empty or can't be read; a column is
            missing; a row has no patient or a label that isn't known.
    """
    directory = Path(directory)
    label_file = _find_table(directory, LABEL_FILES)
    if label_file is None:
        raise UserError(
            f"{directory} has no Data_Entry_2017.csv; give a folder with the label "
            "file and the images of ChestX-ray14, or in its layout."
        )
    rows, repeated = _read_labels(label_file)
    findings = {name: found for name, found, *_ in rows}
    present = frozenset().union(*findings.values())
    pathologies = tuple(name for name in PATHOLOGIES if name in present)
    box_file = _find_table(directory, _BOX_FILES)
    box_rows, unknown = _read_boxes(box_file) if box_file else ([], [])
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
    problems += box_problems
    lists, list_files = _read_lists(directory)
    tables = tuple(path for path in (label_file, box_file, *list_files) if path)
    return Dataset(pathologies, records, problems, lists, tables)


def _find_table(directory: Path, pattern: str) -> Path | None:
    if not directory.is_dir():
        raise UserError(
            f"{directory} is not a folder; give one with ChestX-ray14 files."
        )
    found = sorted(directory.glob(pattern))
    if len(found) > 1:
        raise UserError(
            f"{directory} has both {found[0].name} and {found[1].name}; keep the one "
            "to be read."
        )
    return found[0] if found else None


def _read_lists(directory: Path) -> tuple[dict[str, str], list[Path]]:
    """Return which published list names an image, and the files of the lists."""
    lists, files = {}, []
    for name, pattern in _LIST_FILES.items():
        path = _find_table(directory, pattern)
        if path is None:
            continue
        files.append(path)
        try:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8-sig") as file:
                images = [line.strip() for line in file if line.strip()]
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path} can't be read as a list: {error}") from error
        twice = next((image for image in images if lists.get(image, name) != name), "")
        if twice:
            raise UserError(f"{twice} is in both lists, {files[0]} and {path}.")
        lists |= dict.fromkeys(images, name)
    return lists, files


def list_images(folder: Path) -> list[Path]:
    """Return the files in a folder that are images by their names."""
    return [path for path in folder.iterdir() if _is_image(path)]


def _is_image(file: Path | Member) -> bool:
    hidden = file.name.startswith(".")
    return file.suffix.lower() in _IMAGE_SUFFIXES and not hidden


def _index_by_name(files: Iterable) -> tuple[dict[str, Path | Member], list[str]]:
    """Return files by name, and the names that occur again."""
    found, repeated = {}, []
    for file in files:
        if found.setdefault(file.name, file) is not file:
            repeated.append(file.name)
    return found, sorted(repeated)


def _find_in_archives(
    directory: Path, workers: int | None, progress: bool
) -> tuple[dict[str, Member], list[str]]:
    """Return members by file name, and the names that occur a second time."""
    folders = [path for path in (directory / "images", directory) if path.is_dir()]
    jobs = [(archive,) for folder in folders for archive in find_archives(folder)]
    # One archive takes minutes: worth a process, however few there are.
    lists = map_in_order(list_members, jobs, workers, apart=workers != 1)
    bar = tqdm(
        lists,
        total=len(jobs),
        desc="Looking into archives",
        unit="archive",
        disable=not (progress and jobs),
    )
    return _index_by_name(m for members in bar for m in members if _is_image(m))


def _read_labels(path: Path) -> tuple[list[tuple], list[str]]:
    """Read `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`.

    Columns are found by name. The two whose names have a comma in brackets, and so
    fall into two, are not needed. The edition of 2017 ends lines with a comma and
    writes ages as `058Y`; an age above 120 years, a slip of the pen there, is unknown.

    Returns:
        Name, findings, patient, view, age and sex of the first row of each name, and
        the names of the rows left out because theirs came before.
    """
    table = _read_table(path)
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        columns = ", ".join(column for column in table.columns if column)
        raise UserError(
            f"{path} has no column {missing[0]!r}, only {columns}; it must be a file "
            "like NIH's Data_Entry_2017.csv."
        )
    if table.empty:
        raise UserError(f"{path} has no rows; the label file must be complete.")
    table = table.loc[:, ~table.columns.duplicated()]
    table = table.reindex(columns=_REQUIRED + _OPTIONAL, fill_value="")
    rows, repeated = {}, []
    for number, row in enumerate(table.itertuples(index=False, name=None), start=1):
        name, patient, findings, view, age, sex = row
        where = f"{path}, row {number} ({name or 'no name'})"
        if not name or not patient:
            raise UserError(f"{where}: image name or patient is missing; complete it.")
        if name in rows:
            repeated.append(name)
            continue
        try:
            found = _parse_findings(findings)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        rows[name] = name, found, patient, view, parse_age(age), sex
    return list(rows.values()), repeated


def _read_boxes(path: Path) -> tuple[list[tuple[str, Box]], list[str]]:
    """Read `BBox_List_2017.csv`.

    Its header, `Image Index,Finding Label,Bbox [x,y,w,h],,,`, has more fields than its
    rows, and other copies of it end differently, so columns are found by place: name,
    pathology, x, y, width, height. `Infiltrate` is Infiltration.

    Returns:
        Image and box of each row, and what was left out for its unknown pathology.
    """
    table = _read_table(path)
    if tuple(table.columns[:2]) != ("Image Index", "Finding Label"):
        raise UserError(
            f"{path} doesn't begin with the columns Image Index, Finding Label; "
            "it must be a file like NIH's BBox_List_2017.csv."
        )
    numbers = table.iloc[:, 2:6].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    rows, unknown = [], []
    labels = zip(table.iloc[:, 0], table.iloc[:, 1], numbers.tolist(), strict=True)
    for name, label, (x, y, width, height) in labels:
        try:
            box = Box(canonical_name(label), (x, y, x + width, y + height))
        except UserError:
            unknown.append(f"{label!r} of {name}")
        else:
            rows.append((name, box))
    return rows, unknown


@cache
def parse_age(text: str) -> float | None:
    """Return the years of `58`, `058Y`, `011M`, `003W` or `020D`, if any."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    age = float(match[1]) * _YEARS[match[2].upper()]
    return age if age <= _OLDEST else None


def _read_table(path: Path) -> pd.DataFrame:
    """Read all fields as text without outer blanks, the header as column names."""
    table = read_table(path, header=None, names=range(_MOST_FIELDS))
    if table.empty:
        raise UserError(f"{path} is empty; it must be one of NIH's tables.")
    table = table.fillna("").apply(lambda column: column.str.strip())
    table.columns = table.iloc[0]
    return table.iloc[1:]


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


def read_table(path: Path, **options) -> pd.DataFrame:
    """Read all fields of a CSV file as text, empty where nothing is in them.

    Args:
        path: the file, UTF-8 with or without byte-order mark, plain or `.gz`.
        options: further arguments of `pandas.read_csv`.

    Raises:
        UserError: the file can't be read, or isn't a table.
    """
    try:
        return pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        # Errors of pandas' parser and of decoding text are ValueErrors.
        raise UserError(f"{path} can't be read as a CSV table: {error}") from error
