"""Which reader a source is for."""

from pathlib import Path

from keras_mscam.data.chestxray14 import LABEL_FILES, read_chestxray14
from keras_mscam.data.labels_csv import read_labels_csv
from keras_mscam.data.records import Dataset
from keras_mscam.errors import UserError

_LABELS, _BOXES = "labels.csv", "boxes.csv"


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
    if source.is_dir() and not any(source.glob(LABEL_FILES)):
        table = source / _LABELS
        if table.is_file():
            beside = source / _BOXES
            return read_labels_csv(
                table, boxes or (beside if beside.is_file() else None)
            )
    if source.is_file():
        return read_labels_csv(source, boxes)
    if boxes is not None:
        raise UserError(
            f"Boxes of {source} are read from its own BBox_List_2017.csv; --boxes is "
            f"for a data set in a {_LABELS}."
        )
    return read_chestxray14(source, workers, progress)
