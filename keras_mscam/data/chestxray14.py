"""The files of ChestX-ray14: labels, boxes, images, with their quirks."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_mscam.data.records import Box, Record
from keras_mscam.errors import UserError
from keras_mscam.pathologies import NO_FINDING, PATHOLOGIES, canonical_name

_LABEL_FILES = "Data_Entry_2017*.csv*"
_BOX_FILES = "BBox_List_2017*.csv*"
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_NEEDED = ("Image Index", "Finding Labels", "Patient ID")


@dataclass(frozen=True)
class Dataset:
    """Records of one source, and what was odd about its files.

    Args:
        pathologies: those of the fourteen that occur, in canonical order; the order of
            every record's labels.
        records: one for each image that has a label row.
        problems: a sentence for each kind of oddity, with its count and an example.
    """

    pathologies: tuple[str, ...]
    records: tuple[Record, ...]
    problems: tuple[str, ...]


def read_chestxray14(directory: Path) -> Dataset:
    """Read a folder in the layout of ChestX-ray14.

    It holds `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` (also `.gz`), images
    in `images/`, in the archives' `images_001/images/` and so on, or beside the label
    file, and usually `BBox_List_2017.csv`. The phantom writes the same layout.

    Args:
        directory: the folder.

    Returns:
        The data set. A label row without an image, an image without a label row, a
        second row of one image, a box that belongs to nothing: each is counted in
        `problems` and otherwise passed over.

    Raises:
        UserError: no label file, or more than one; columns are missing; a label is
            none of the fourteen; no image has a label.
    """
    directory = Path(directory)
    labels, problems = read_labels(_find_one(directory, _LABEL_FILES))
    paths = _find_images(directory)
    problems += _compare(labels.index, paths)
    labels = labels[labels.index.isin(paths)]
    if labels.empty:
        raise UserError(
            f"None of the images that {directory} has labels for is there; images "
            "belong into its folder 'images', or 'images_001/images' and so on."
        )
    pathologies = _occurring(labels["findings"])
    if not pathologies:
        raise UserError(
            f"The labels in {directory} name no pathology but {NO_FINDING!r}; there "
            "is nothing to learn from them."
        )
    boxes, box_problems = _read_boxes_beside(directory, labels, pathologies)
    records = tuple(
        Record(
            name=name,
            path=paths[name],
            patient=row.patient,
            view=row.view,
            age=row.age,
            sex=row.sex,
            labels=tuple(float(p in row.findings) for p in pathologies),
            boxes=boxes.get(name, ()),
        )
        for name, row in zip(labels.index, labels.itertuples(), strict=True)
    )
    return Dataset(pathologies, records, tuple(problems + box_problems))


def read_labels(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read `Data_Entry_2017.csv` in any of its editions.

    Args:
        path: the file. Its bracketed column names hold commas, the older edition ends
            every line with one and writes ages as `058Y`: columns are found by the
            names that have none of this.

    Returns:
        A pair: a table, indexed by image name, with columns `findings` (a frozenset of
        canonical names), `patient`, `view`, `age` (years or `None`), `sex`; and a list
        of problems.

    Raises:
        UserError: the file can't be read, a column is missing, or a label is unknown.
    """
    raw = _read_csv(path)
    missing = [column for column in _NEEDED if column not in raw]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; is it a label file?")
    problems = []
    repeated = raw["Image Index"].duplicated()
    if repeated.any():
        problems.append(
            f"{repeated.sum()} repeated label rows were passed over, such as that of "
            f"{raw['Image Index'][repeated].iloc[0]}."
        )
    raw = raw[~repeated]
    findings = {
        text: _parse_findings(text, path) for text in raw["Finding Labels"].unique()
    }
    empty = pd.Series("", index=raw.index)
    table = pd.DataFrame(
        {
            "findings": raw["Finding Labels"].map(findings),
            "patient": raw["Patient ID"].str.strip(),
            "view": raw.get("View Position", empty),
            "age": raw.get("Patient Age", empty).map(_parse_age).astype(object),
            "sex": raw.get("Patient Gender", raw.get("Patient Sex", empty)),
        }
    )
    return table.set_index(raw["Image Index"].str.strip()), problems


def read_boxes(path: Path) -> pd.DataFrame:
    """Read `BBox_List_2017.csv`.

    Its header, `Image Index,Finding Label,Bbox [x,y,w,h],,,`, spreads one name over
    four columns; some copies lack the commas at the end. Columns are taken by place.

    Args:
        path: the file.

    Returns:
        A table with the columns `name`, `pathology` (canonical: `Infiltrate` is
        Infiltration) and `xyxy`, a tuple of half-open pixels of the original image.

    Raises:
        UserError: the file can't be read, or a row isn't a box.
    """
    raw = _read_csv(path, header=None, names=range(9))
    if raw.shape[1] < 6 or raw.iloc[0, 0].strip() != "Image Index":
        raise UserError(f"{path} isn't a box file: name, label, x, y, w, h expected.")
    rows = raw.iloc[1:]
    numbers = rows.iloc[:, 2:6].apply(pd.to_numeric, errors="coerce")
    wrong = numbers.isna().any(axis=1) | (numbers.iloc[:, 2:] <= 0).any(axis=1)
    if wrong.any():
        raise UserError(
            f"{path}, line {wrong.idxmax() + 1}: x, y and a positive width and height "
            "are expected."
        )
    x, y, width, height = numbers.to_numpy().T
    return pd.DataFrame(
        {
            "name": rows[0].str.strip(),
            "pathology": rows[1].map(canonical_name),
            "xyxy": list(zip(x, y, x + width, y + height, strict=True)),
        }
    )


def _read_boxes_beside(directory: Path, labels: pd.DataFrame, pathologies):
    """Return boxes by image name, and problems; none where there is no box file."""
    if not list(directory.glob(_BOX_FILES)):
        return {}, []
    table = read_boxes(_find_one(directory, _BOX_FILES))
    known = table["name"].isin(labels.index) & table["pathology"].isin(pathologies)
    problems = []
    if not known.all():
        example = table[~known].iloc[0]
        problems.append(
            f"{(~known).sum()} boxes belong to no image here, such as that of "
            f"{example['pathology']} on {example['name']}."
        )
    boxes = {
        name: tuple(
            Box(p, xyxy) for p, xyxy in zip(g["pathology"], g["xyxy"], strict=True)
        )
        for name, g in table[known].groupby("name")
    }
    return boxes, problems


def _find_one(directory: Path, pattern: str) -> Path:
    if not directory.is_dir():
        raise UserError(f"There is no folder {directory}.")
    found = sorted(directory.glob(pattern))
    if not found:
        raise UserError(
            f"{directory} has no {pattern.replace('*', '')}; a folder in ChestX-ray14's "
            "layout, or one that keras_mscam-prepare made, is expected."
        )
    if len(found) > 1:
        raise UserError(
            f"{directory} has both {found[0].name} and {found[1].name}; keep one."
        )
    return found[0]


def _find_images(directory: Path) -> dict[str, Path]:
    folders = [directory, directory / "images", *directory.glob("images_*/images")]
    return {
        path.name: path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix.lower() in _IMAGE_SUFFIXES
    }


def _compare(names: pd.Index, paths: dict[str, Path]) -> list[str]:
    problems = []
    absent = names[~names.isin(paths)]
    if len(absent):
        problems.append(
            f"{len(absent)} label rows have no image, such as {absent[0]}."
        )
    unknown = sorted(set(paths) - set(names))
    if unknown:
        problems.append(f"{len(unknown)} images have no label row, such as {unknown[0]}.")
    return problems


def _read_csv(path: Path, **kwargs) -> pd.DataFrame:
    try:
        # The header of the newer edition names fewer columns than its rows have, so
        # none may become an index; utf-8-sig also reads files without the mark.
        return pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
            **kwargs,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {error}") from error


def _parse_findings(text: str, path: Path) -> frozenset[str]:
    try:
        return frozenset(
            canonical_name(name) for name in text.split("|") if name != NO_FINDING
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _parse_age(text: str) -> float | None:
    """Years from `58` or `058Y`; months and days, `011M` and `020D`, too."""
    text = text.strip()
    units = {"Y": 1.0, "M": 1 / 12, "D": 1 / 365.25}
    factor = units.get(text[-1:].upper(), 1.0)
    digits = text.rstrip("YMDymd")
    return float(digits) * factor if digits.isdigit() else None


def _occurring(findings: pd.Series) -> tuple[str, ...]:
    present = frozenset().union(*findings)
    return tuple(name for name in PATHOLOGIES if name in present)
