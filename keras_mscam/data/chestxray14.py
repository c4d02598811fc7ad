"""The layout of ChestX-ray14: label file, box file, folders of images."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from keras_mscam.data.chestxray14_tables import BoxRow, read_boxes, read_labels
from keras_mscam.data.images import ImageError, read_size
from keras_mscam.data.records import Box, Dataset, Record
from keras_mscam.errors import UserError
from keras_mscam.pathologies import PATHOLOGIES

_LABEL_FILES = "Data_Entry_2017*.csv*"
_BOX_FILES = "BBox_List_2017*.csv*"
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


def read_chestxray14(directory: Path) -> Dataset:
    """Read a folder in the layout of ChestX-ray14.

    Images lie in `images/`, in the archives' `images_001/images/` and so on, or beside
    the label file. No pixel is read, only the size of the images that have boxes, to
    cut off what of a box sticks out.

    Args:
        directory: a folder with the files that `read_tables` takes, and images.

    Returns:
        One record for each image that has a label row. A label row without image, an
        image without label row, a box out of its frame: counted in `problems`. The
        pathologies are those of the label file, whichever images are there.

    Raises:
        UserError: as `read_tables`, or no label row has an image.

    Example:
        >>> dataset = read_chestxray14(Path("ChestX-ray14"))
        >>> dataset.records[0].labels

    Reference:
        Wang et al. 2017, ChestX-ray8, in its later release with 14 pathologies.
    """
    directory = Path(directory)
    tables = read_tables(directory)
    paths, repeated = _find_images(directory)
    found = [
        replace(record, path=paths[record.name])
        for record in tables.records
        if record.name in paths
    ]
    if not found:
        raise UserError(
            f"{directory}: none of the {len(tables.records)} images of the label file "
            "is there; put them into the folder 'images' beside it."
        )
    named = {record.name for record in tables.records}
    missing = [record.name for record in tables.records if record.name not in paths]
    strangers = sorted(set(paths) - named)
    clipped, dropped = [], []
    records = tuple(_clip_boxes(record, clipped, dropped) for record in found)
    problems = summarize(
        ("label rows without an image file", missing),
        ("image files without a label row", strangers),
        ("image files of a name that another has already", repeated),
        ("boxes that stick out of their image, cut off at its edge", clipped),
        ("boxes that lie outside of their image, left out", dropped),
    )
    return Dataset(tables.pathologies, records, tables.problems + problems)


def read_tables(directory: Path) -> Dataset:
    """Read the label and box files of ChestX-ray14 without looking for images.

    Args:
        directory: a folder with `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`
            and perhaps `BBox_List_2017.csv`, plain or `.gz`.

    Returns:
        One record for each label row, in their order, with the path that its image
        would have in `images/`. Repeated rows and boxes that belong to no row or
        pathology are left out and counted in `problems`.

    Raises:
        UserError: no label file, or several; it is empty or can't be read; a column is
            missing; a row has no patient or a label that isn't known.
    """
    directory = Path(directory)
    label_file = _find_table(directory, _LABEL_FILES)
    if label_file is None:
        raise UserError(
            f"{directory} has no Data_Entry_2017.csv; give a folder with the label "
            "file and the images of ChestX-ray14, or in its layout."
        )
    rows, repeated = read_labels(label_file)
    if not rows:
        raise UserError(f"{label_file} has no rows; the label file must be complete.")
    present = frozenset().union(*(row.findings for row in rows))
    pathologies = tuple(name for name in PATHOLOGIES if name in present)
    box_file = _find_table(directory, _BOX_FILES)
    box_rows, box_problems = read_boxes(box_file) if box_file else ([], ())
    boxes, strangers, unlabeled = _match(
        box_rows, {row.name for row in rows}, pathologies
    )
    records = tuple(
        Record(
            name=row.name,
            path=directory / "images" / row.name,
            patient=row.patient,
            view=row.view,
            age=row.age,
            sex=row.sex,
            labels=tuple(float(name in row.findings) for name in pathologies),
            boxes=tuple(boxes.get(row.name, ())),
        )
        for row in rows
    )
    problems = summarize(
        ("repeated label rows, the first of each name kept", repeated),
        ("boxes on images without a label row, left out", strangers),
        ("boxes of a pathology that no image is labelled with, left out", unlabeled),
    )
    return Dataset(pathologies, records, problems + box_problems)


def summarize(*found: tuple[str, list[str]]) -> tuple[str, ...]:
    """Return one sentence for each kind of problem that has examples.

    Example:
        >>> summarize(("boxes left out", ["a.png", "b.png"]), ("cats", []))
        ('2 boxes left out, such as a.png',)
    """
    return tuple(
        f"{len(examples)} {kind}, such as {examples[0]}"
        for kind, examples in found
        if examples
    )


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


def _find_images(directory: Path) -> tuple[dict[str, Path], list[str]]:
    """Return paths by file name, and the names that occur in a second folder."""
    paths, repeated = {}, []
    for path in _iterate_images(directory):
        if path.name in paths:
            repeated.append(path.name)
        else:
            paths[path.name] = path
    return paths, sorted(repeated)


def _iterate_images(directory: Path) -> Iterator[Path]:
    """Give the image files of every folder that may hold some, in a fixed order."""
    archives = sorted(directory.glob("images_*"))
    folders = [directory / "images", directory]
    folders += [place for part in archives for place in (part / "images", part)]
    for folder in folders:
        if folder.is_dir():
            yield from (
                path
                for path in folder.iterdir()
                if path.suffix.lower() in _IMAGE_SUFFIXES
                and not path.name.startswith(".")
            )


def _match(
    rows: Iterable[BoxRow], names: set[str], pathologies: tuple[str, ...]
) -> tuple[dict[str, list[Box]], list[str], list[str]]:
    """Return boxes by image, and the images of boxes without row or pathology."""
    boxes, strangers, unlabeled = {}, [], []
    for row in rows:
        if row.name not in names:
            strangers.append(row.name)
        elif row.box.pathology not in pathologies:
            unlabeled.append(f"{row.box.pathology} of {row.name}")
        else:
            boxes.setdefault(row.name, []).append(row.box)
    return boxes, strangers, unlabeled


def _clip_boxes(record: Record, clipped: list[str], dropped: list[str]) -> Record:
    """Cut boxes off at the edge of their image, noting the names of those images."""
    if not record.boxes:
        return record
    try:
        size = read_size(record.path)
    except ImageError:
        return record  # whoever reads its pixels will say what is wrong with it
    boxes = [(box, box.clip(size)) for box in record.boxes]
    clipped += [record.name for box, inside in boxes if inside and inside != box]
    dropped += [record.name for _, inside in boxes if inside is None]
    return replace(record, boxes=tuple(inside for _, inside in boxes if inside))
