"""The two tables of ChestX-ray14 as they were published, quirks included."""

import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from keras_mscam.data.records import Box, summarize
from keras_mscam.errors import UserError
from keras_mscam.pathologies import NO_FINDING, canonical_name

#: More than either table has fields in a row. Rows of any length up to this are read.
_MOST_FIELDS = 32
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 120


@dataclass(frozen=True)
class LabelRow:
    """A row of the label file; the fields as in `keras_mscam.data.records.Record`."""

    name: str
    patient: str
    findings: frozenset[str]
    view: str
    age: float | None
    sex: str


@dataclass(frozen=True)
class BoxRow:
    """A row of the box file: a box and the name of its image."""

    name: str
    box: Box


def read_labels(path: Path) -> tuple[list[LabelRow], list[str]]:
    """Read `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`.

    Columns are found by name. The two whose names have a comma in brackets, and so
    fall into two, are not needed. The edition of 2017 ends lines with a comma and
    writes ages as `058Y`; an age above 120 years, a slip of the pen there, is unknown.

    Args:
        path: the file, plain or `.gz`; with or without byte-order mark, any line ends.

    Returns:
        Rows in the order of the file, the first of each name, and the names of the
        rows left out because theirs came before.

    Raises:
        UserError: the file can't be read, a column is missing, or a row has no name, no
            patient or unknown labels.
    """
    table = _read_table(path)
    names, patients, findings = (
        _column(table, path, name)
        for name in ("Image Index", "Patient ID", "Finding Labels")
    )
    ages, sexes, views = (
        _column(table, path, name, required=False)
        for name in ("Patient Age", "Patient Gender", "View Position")
    )
    rows, repeated = {}, []
    for number, name in enumerate(names):
        where = f"{path}, row {number + 1} ({name or 'no name'})"
        if not name or not patients[number]:
            raise UserError(f"{where}: image name or patient is missing; complete it.")
        if name in rows:
            repeated.append(name)
            continue
        rows[name] = LabelRow(
            name=name,
            patient=patients[number],
            findings=_parse_findings(findings[number], where),
            view=views[number],
            age=parse_age(ages[number]),
            sex=sexes[number],
        )
    return list(rows.values()), repeated


def read_boxes(path: Path) -> tuple[list[BoxRow], tuple[str, ...]]:
    """Read `BBox_List_2017.csv`.

    Its header, `Image Index,Finding Label,Bbox [x,y,w,h],,,`, has more fields than its
    rows, and other copies of it end differently, so columns are found by place: name,
    pathology, x, y, width, height. `Infiltrate` is Infiltration.

    Args:
        path: the file, plain or `.gz`.

    Returns:
        Rows in the order of the file, in half-open pixels of the original frame, and a
        sentence for each kind of row that was left out: a pathology that isn't known,
        no four finite numbers, no area, an exact repetition.

    Raises:
        UserError: the file can't be read, or isn't a box file.
    """
    table = _read_table(path)
    if tuple(table.columns[:2]) != ("Image Index", "Finding Label"):
        raise UserError(
            f"{path} doesn't begin with the columns Image Index, Finding Label; "
            "it must be a file like NIH's BBox_List_2017.csv."
        )
    numbers = table.iloc[:, 2:6].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    rows, unknown, wrong, repeated = {}, [], [], []
    labels = zip(table.iloc[:, 0], table.iloc[:, 1], numbers, strict=True)
    for name, label, (x, y, width, height) in labels:
        try:
            pathology = canonical_name(label)
        except UserError:
            unknown.append(f"{label!r} of {name}")
            continue
        row = BoxRow(name, Box(pathology, _to_xyxy(x, y, width, height)))
        if not np.isfinite(row.box.xyxy).all() or width <= 0 or height <= 0:
            wrong.append(name)
        elif row in rows:
            repeated.append(name)
        else:
            rows[row] = None
    problems = summarize(
        ("boxes of an unknown pathology, left out", unknown),
        ("boxes without four numbers or without area, left out", wrong),
        ("repeated boxes, left out", repeated),
    )
    return list(rows), problems


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


def _column(
    table: pd.DataFrame, path: Path, name: str, required: bool = True
) -> list[str]:
    if name in table:
        return table.loc[:, table.columns == name].iloc[:, 0].to_list()
    if required:
        columns = ", ".join(column for column in table.columns if column)
        raise UserError(
            f"{path} has no column {name!r}, only {columns}; it must be a file like "
            "NIH's Data_Entry_2017.csv."
        )
    return [""] * len(table)


def _to_xyxy(
    x: float, y: float, width: float, height: float
) -> tuple[float, float, float, float]:
    return float(x), float(y), float(x + width), float(y + height)


def _parse_findings(text: str, where: str) -> frozenset[str]:
    try:
        findings = _split_findings(text)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if findings is None:
        raise UserError(
            f"{where}: the labels {text!r} are neither {NO_FINDING!r} nor pathologies."
        )
    return findings


@cache
def _split_findings(text: str) -> frozenset[str] | None:
    """Return the pathologies named; `None` for nothing, or for a contradiction."""
    parts = [part.strip() for part in text.split("|")]
    if parts == [NO_FINDING]:
        return frozenset()
    if NO_FINDING in parts or not all(parts):
        return None
    return frozenset(canonical_name(part) for part in parts)


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
