"""Any data set: in two plain files of labels and boxes, or ChestX-ray14."""

import os.path
import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from keras_mscam.data.chestxray14 import (
    LABEL_FILES,
    list_images,
    parse_age,
    read_chestxray14,
)
from keras_mscam.data.coco import read_coco
from keras_mscam.data.csv_table import (
    clean_name,
    find_table,
    name_key,
    parse_number,
    parse_numbers,
    path_key,
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
from keras_mscam.data.splits import SPLITS
from keras_mscam.errors import UserError
from keras_mscam.parallel.cluster import Cluster
from keras_mscam.pathologies import NO_FINDING

_DESCRIBING = ("path", "patient", "view", "age", "sex", "split", NO_FINDING)
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
#: 1 and 0 are known; nothing, or -1 as CheXpert has it for "uncertain", are not.
_NUMBERS = {1.0: 1.0, 0.0: 0.0, -1.0: float("nan")}
_WORDS = {"true": 1.0, "false": 0.0, "": float("nan")}
_LABEL_FILE, _BOX_FILE = r"labels\.csv(\.gz)?", r"boxes\.(csv|json)(\.gz)?"
_JSON_FILE = r".*\.json(\.gz)?"


def read_labels_csv(path: Path, boxes: Path | None = None) -> Dataset:
    """Read a data set of any origin.

    The labels: a row per image, with the columns

    - `path`: of the image file, from the folder of the table or absolute;
    - `patient`: whatever tells persons apart;
    - perhaps `view`, `age` (years), `sex`, and `split` (`train`, `validation`, `test`,
      or nothing for an image to be left out under the rule `csv`);
    - every other one a pathology: `1` shown, `0` not shown, nothing or `-1` unknown.
      `TRUE` and `FALSE` are 1 and 0. A column `No Finding` is passed over.

    The boxes: a row per box, with the columns `path` (as in the labels), `pathology`,
    `x_min`, `y_min`, `x_max`, `y_max` in half-open pixels of the original image. Or a
    file in COCO's JSON, see `read_coco`.

    A path in the JSON may be the end of one in the labels, or the other way round, if
    there is one such image: tools write `1.png` or `/data/ann/1.png` for `ann/1.png`.
    Names of columns and pathologies are compared by `name_key`, paths by `path_key`.

    Returns:
        One record for each row whose image file is there. Rows without a file, repeated
        rows, files beside them without a row, and boxes that can't be used are counted
        in `problems`.

    Raises:
        UserError: as `read_table`; a column isn't labels, or none is; a split is
            unknown; a number is none; or no row has an image.
    """
    path = Path(path)
    table = read_table(path, known=_DESCRIBING, required=("path", "patient"))
    if table.empty:
        raise UserError(f"{path} has no rows below its header.")
    pathologies = tuple(name for name in table if name not in _DESCRIBING)
    labels = _parse_labels(table, pathologies, path)
    keys = table["path"].map(path_key)
    first = ~keys.duplicated()
    repeated = table["path"][~first].to_list()
    table, labels = table[first], labels[first.to_numpy()]
    lists = _read_splits(table, path)
    boxes_of, box_problems = _read_boxes(boxes, table["path"].to_list(), pathologies)
    records, missing = [], []
    for row, values in zip(table.to_dict("records"), labels, strict=True):
        file = _find_image(path.parent, row["path"])
        if file is None:
            missing.append(row["path"])
            continue
        records.append(
            Record(
                name=row["path"],
                path=file,
                patient=clean_name(row["patient"]),
                view=row.get("view", ""),
                age=parse_age(row.get("age", "")),
                sex=row.get("sex", ""),
                labels=tuple(values.tolist()),
                boxes=tuple(boxes_of.get(row["path"], ())),
            )
        )
    if not records:
        raise UserError(
            f"{path}: none of its {len(table)} images is there, such as "
            f"{path.parent / missing[0]}; paths start from the folder of the table."
        )
    known = {record.path for record in records}
    folders = {path.parent for path in known}
    beside = {path for folder in folders for path in list_images(folder)}
    problems = summarize(
        ("label rows without an image file", missing),
        ("image files without a label row", sorted(map(str, beside - known))),
        ("repeated label rows, the first of each path kept", repeated),
    )
    tables = (path,) if boxes is None else (path, Path(boxes))
    problems += box_problems + find_contradictions(records, pathologies)
    return Dataset(pathologies, tuple(records), problems, lists, tables)


def _find_image(folder: Path, path: str) -> Path | None:
    """Find an image whose path may be written otherwise, see `path_key`."""
    slashes = path.replace("\\", "/")
    forms = (unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))
    for written in dict.fromkeys((path, slashes, *forms)):
        stem, suffix = os.path.splitext(folder / written)
        for end in dict.fromkeys((suffix, suffix.lower(), suffix.upper())):
            if os.path.isfile(stem + end):
                return Path(stem + end)
    return None


def _parse_labels(
    table: pd.DataFrame, pathologies: tuple[str, ...], path: Path
) -> np.ndarray:
    if not pathologies:
        raise UserError(
            f"{path} has no column of labels beside {', '.join(table.columns)}; add "
            "one named after each pathology."
        )
    labels = np.empty((len(table), len(pathologies)))
    for column, name in enumerate(pathologies):
        values = {text: _parse_label(text) for text in set(table[name])}
        strange = [text for text, value in values.items() if value is None]
        for line, text in table[name][table[name].isin(strange)].items():
            raise UserError(
                f"{path}, line {line}, column {name!r}: {text!r} is no label; labels "
                "are 1 or 0 (TRUE or FALSE), and -1 or nothing for unknown. Remove the "
                "column if it isn't a pathology."
            )
        labels[:, column] = table[name].map(values)
    return labels


def _parse_label(text: str) -> float | None:
    """Return 1, 0 or NaN (unknown), and `None` for what is no label."""
    try:
        return _NUMBERS.get(parse_number(text))
    except ValueError:
        return _WORDS.get(text.lower())


def _read_splits(table: pd.DataFrame, path: Path) -> dict[str, str]:
    if "split" not in table:
        return {}
    splits = {}
    for line, name, written in table[["path", "split"]].itertuples(name=None):
        split = written.lower()
        if split not in (*SPLITS, ""):
            raise UserError(
                f"{path}, line {line}: the split {written!r} isn't one of "
                f"{', '.join(SPLITS)}."
            )
        if split:
            splits[name] = split
    return splits


def _read_boxes(
    path: Path | None, names: Collection[str], pathologies: tuple[str, ...]
) -> tuple[dict[str, list[Box]], tuple[str, ...]]:
    """Return boxes by image, and a sentence for each kind of box left out."""
    if path is None:
        return {}, ()
    if re.fullmatch(_JSON_FILE, Path(path).name, re.IGNORECASE):
        listed, rows = read_coco(Path(path))
        images = _match_paths(listed, names, by_end=True)
    else:
        rows = _read_box_table(Path(path))
        images = _match_paths({image for image, _ in rows}, names)
    spelling = {name_key(name): name for name in pathologies}

    def spell(box: Box) -> Box:
        key = name_key(box.pathology)
        return replace(box, pathology=spelling.get(key, box.pathology))

    return sort_boxes(
        ((images.get(image, image), spell(box)) for image, box in rows),
        set(names),
        pathologies,
        "boxes of a pathology without a column of labels, left out",
    )


def _read_box_table(path: Path) -> list[tuple[str, Box]]:
    columns = ("path", "pathology", *_CORNERS)
    table = read_table(path, known=columns, required=columns[:2])
    for name in _CORNERS:
        if name not in table:
            raise UserError(f"{path} has no column {name!r}.")
    corners = zip(*(parse_numbers(table, name, path) for name in _CORNERS), strict=True)
    boxes = map(Box, table["pathology"], corners)
    return list(zip(table["path"], boxes, strict=True))


def _match_paths(
    written: Collection[str], names: Collection[str], by_end: bool = False
) -> dict[str, str]:
    """Find the images that paths mean: by `path_key`, or else by where both end.

    The latter only for one path and one image: `1.png` isn't `a/1.png` where there is
    a `b/1.png`, nor is `/data/a/1.png` the image `1.png` beside `/data/b/1.png`.
    """
    known = {path_key(name): name for name in names}
    found = {p: known[path_key(p)] for p in written if path_key(p) in known}
    if not by_end:
        return found
    ending: dict[str, list[str]] = {}
    for key, name in known.items():
        for end in _list_ends(key):
            ending.setdefault(end, []).append(name)
    guesses = {}
    for path in set(written).difference(found):
        key = path_key(path)
        longest = [known[end] for end in _list_ends(key) if end in known][:1]
        meant = longest or ending.get(key, [])
        if len(meant) == 1:
            guesses[path] = meant[0]
    times = Counter([*found.values(), *guesses.values()])
    return found | {path: n for path, n in guesses.items() if times[n] == 1}


def _list_ends(key: str) -> list[str]:
    """Return what is left of a path without its first folder, the first two, ..."""
    parts = PurePosixPath(key).parts
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def read_dataset(
    source: Path,
    boxes: Path | None = None,
    workers: int | Cluster | None = None,
    progress: bool = True,
) -> Dataset:
    """Read whatever data set a folder or file is.

    A folder has the layout of ChestX-ray14, or a `labels.csv` for `read_labels_csv`,
    with a `boxes.csv` or `boxes.json` beside it or without. A file is such a table of
    labels, and read with the `boxes` given.

    Raises:
        UserError: as the readers; there is no table; or boxes are given for
            ChestX-ray14, which has its own.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source} is not a folder and not a table; check its name.")
    if not source.is_dir():
        table = source
    elif find_table(source, LABEL_FILES) is None:
        table = find_table(source, _LABEL_FILE)
    elif boxes is None:
        return read_chestxray14(source, workers, progress)
    else:
        raise UserError(
            f"Boxes of {source} are read from its own BBox_List_2017.csv; --boxes is "
            "for a data set in a labels.csv."
        )
    if table is None:
        raise UserError(
            f"{source} has no table of labels: neither labels.csv, for any data set, "
            "nor Data_Entry_2017.csv or Data_Entry_2017_v2020.csv, for ChestX-ray14, "
            "as they are or as .gz."
        )
    if boxes is None and re.fullmatch(_LABEL_FILE, table.name, re.IGNORECASE):
        boxes = find_table(table.parent, _BOX_FILE)
    return read_labels_csv(table, boxes)
