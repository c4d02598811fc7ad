"""Any data set: in two plain CSV files of labels and boxes, or ChestX-ray14."""

from pathlib import Path

import numpy as np
import pandas as pd

from keras_mscam.data.chestxray14 import (
    LABEL_FILES,
    list_images,
    parse_age,
    read_chestxray14,
    read_table,
)
from keras_mscam.data.records import Box, Dataset, Record, sort_boxes, summarize
from keras_mscam.data.splits import SPLITS
from keras_mscam.errors import UserError
from keras_mscam.pathologies import NO_FINDING

_DESCRIBING = ("path", "patient", "view", "age", "sex", "split")
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]
#: 1 and 0 are known; nothing, or -1 as CheXpert has it for "uncertain", are not.
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0}
_VALUES |= dict.fromkeys(["", "-1", "-1.0"], float("nan"))


def read_labels_csv(path: Path, boxes: Path | None = None) -> Dataset:
    """Read a data set of any origin.

    The labels: a row an image, with the columns

    - `path`: of the image file, from the folder of the table or absolute;
    - `patient`: whatever tells persons apart;
    - perhaps `view`, `age` (years), `sex`, and `split` (`train`, `validation`, `test`,
      or nothing for an image to be left out under the rule `csv`);
    - every other one a pathology: `1` shown, `0` not shown, nothing or `-1` unknown.
      A column `No Finding` is passed over.

    The boxes: a row a box, with the columns `path` (as in the labels), `pathology`,
    `x_min`, `y_min`, `x_max`, `y_max` in half-open pixels of the original image.
    Upper and lower case make no difference in the names of describing columns.

    Args:
        path: CSV file of labels, UTF-8 with or without byte-order mark, or `.gz`.
        boxes: CSV file of boxes.

    Returns:
        One record for each row whose image file is there. Rows without a file, repeated
        rows, files beside them that have no row, and boxes that can't be used are
        counted in `problems`.

    Raises:
        UserError: a file can't be read, a column is missing or isn't labels, a row has
            no path or patient, or no row has an image.
    """
    path = Path(path)
    table = _read(path, required=("path", "patient"))
    pathologies = tuple(
        name for name in table if name not in _DESCRIBING and name != NO_FINDING
    )
    labels = _parse_labels(table, pathologies, path)
    first = ~table["path"].duplicated()
    repeated = table["path"][~first].to_list()
    table, labels = table[first], labels[first.to_numpy()]
    boxes_of, box_problems = _read_boxes(boxes, set(table["path"]), pathologies)
    records, missing = [], []
    for row, values in zip(table.to_dict("records"), labels, strict=True):
        file = path.parent / row["path"]
        if not file.is_file():
            missing.append(row["path"])
            continue
        records.append(
            Record(
                name=row["path"],
                path=file,
                patient=row["patient"],
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
    lists = _read_splits(table, path)
    return Dataset(pathologies, tuple(records), problems + box_problems, lists, tables)


def _read(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read all fields as text; every row has the required ones."""
    table = read_table(path)
    names = {name: name.strip() for name in table.columns}
    known = {*_DESCRIBING, "pathology", *_CORNERS}
    lower = {name: n.lower() for name, n in names.items() if n.lower() in known}
    table = table.rename(columns=names | lower).apply(lambda column: column.str.strip())
    for name in required:
        if name not in table:
            raise UserError(
                f"{path} has no column {name!r}, only {', '.join(table.columns)}."
            )
        empty = np.flatnonzero(table[name] == "")
        if len(empty):
            raise UserError(f"{path}, row {empty[0] + 1}: no {name}; complete it.")
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise UserError(f"{path} has two columns {twice!r}; keep one.")
    if table.empty:
        raise UserError(f"{path} has no rows.")
    return table


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
        strange = np.flatnonzero(~table[name].isin(list(_VALUES)))
        if len(strange):
            raise UserError(
                f"{path}, row {strange[0] + 1}, column {name!r}: "
                f"{table[name].iloc[strange[0]]!r} is no label; labels are 1, 0, -1 or "
                "nothing, and a column that holds none must be removed."
            )
        labels[:, column] = table[name].map(_VALUES)
    return labels


def _read_splits(table: pd.DataFrame, path: Path) -> dict[str, str]:
    if "split" not in table:
        return {}
    strange = table[~table["split"].isin([*SPLITS, ""])]
    if len(strange):
        raise UserError(
            f"{path}: the split {strange['split'].iloc[0]!r} of "
            f"{strange['path'].iloc[0]} isn't one of {', '.join(SPLITS)}."
        )
    given = table[table["split"] != ""]
    return dict(zip(given["path"], given["split"], strict=True))


def _read_boxes(
    path: Path | None, images: set[str], pathologies: tuple[str, ...]
) -> tuple[dict[str, list[Box]], tuple[str, ...]]:
    """Return boxes by image, and a sentence for each kind of box left out."""
    if path is None:
        return {}, ()
    table = _read(Path(path), required=("path", "pathology"))
    missing = [name for name in _CORNERS if name not in table]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}.")
    corners = table[_CORNERS].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    boxes = map(Box, table["pathology"], map(tuple, corners.tolist()))
    return sort_boxes(
        zip(table["path"], boxes, strict=True),
        images,
        pathologies,
        "boxes of a pathology without a column of labels, left out",
    )


def read_dataset(
    source: Path,
    boxes: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Read whatever data set a folder or file is.

    Args:
        source: a folder in the layout of ChestX-ray14; or a CSV file for
            `read_labels_csv`, or a folder with such a `labels.csv` and perhaps
            `boxes.csv`.
        boxes: CSV file of boxes for `read_labels_csv`.
        workers: processes that look into archives.
        progress: whether to show bars.

    Raises:
        UserError: as the readers, or boxes are given for ChestX-ray14, which has its
            own.
    """
    source = Path(source)
    table, beside = source, None
    if source.is_dir() and not any(source.glob(LABEL_FILES)):
        table, beside = source / "labels.csv", source / "boxes.csv"
    if table.is_file():
        if boxes is None and beside is not None and beside.is_file():
            boxes = beside
        return read_labels_csv(table, boxes)
    if boxes is not None:
        raise UserError(
            f"Boxes of {source} are read from its own BBox_List_2017.csv; --boxes is "
            "for a data set in a labels.csv."
        )
    return read_chestxray14(source, workers, progress)
