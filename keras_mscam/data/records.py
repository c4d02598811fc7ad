"""What is known of one X-ray."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Box:
    """A rectangle that a radiologist drew around a finding.

    Args:
        pathology: a name of `keras_mscam.pathologies.PATHOLOGIES`.
        xyxy: left, top, right, bottom in pixels of the original image frame,
            half-open: the rectangle covers `left <= x < right`.
    """

    pathology: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One X-ray of a data set, its pixels not yet read.

    Args:
        name: file name, unique in the data set.
        path: where the image lies.
        patient: identifier of the person; splits keep a person's images together.
        view: projection, such as `PA` or `AP`; empty where unknown.
        age: in years; `None` where unknown.
        sex: `F` or `M`; empty where unknown.
        labels: 1, 0 or NaN (unknown) for each pathology, in the data set's order.
        boxes: boxes in the original image frame.
    """

    name: str
    path: Path
    patient: str
    view: str
    age: float | None
    sex: str
    labels: tuple[float, ...]
    boxes: tuple[Box, ...] = ()
