"""What is known of one image, and of a data set, before any pixel is read."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_mscam.data.archives import Member


@dataclass(frozen=True)
class Box:
    """A rectangle that a radiologist drew around a finding."""

    pathology: str  # one of the data set's
    # left, top, right, bottom in pixels of the original image frame, half-open: it
    # covers `left <= x < right`
    xyxy: tuple[float, float, float, float]
    # (height, width) that the image had when the box was drawn; `None` for its own
    size: tuple[int, int] | None = None

    def scale(self, size: tuple[int, int]) -> "Box":
        """Return the box as it lies on the image at its own `(height, width)`.

        Example:
            >>> Box("Mass", (1.0, 2.0, 3.0, 4.0), size=(10, 10)).scale((20, 30)).xyxy
            (3.0, 4.0, 9.0, 8.0)
        """
        if self.size is None:
            return self
        down, across = (a / b for a, b in zip(size, self.size, strict=True))
        left, top, right, bottom = self.xyxy
        xyxy = (left * across, top * down, right * across, bottom * down)
        return Box(self.pathology, xyxy)

    def clip(self, size: tuple[int, int]) -> "Box | None":
        """Return the part of the box inside an image of that size, `None` without any.

        Example:
            >>> Box("Mass", (-5.0, 10.0, 20.0, 30.0)).clip((64, 48)).xyxy
            (0.0, 10.0, 20.0, 30.0)
        """
        height, width = map(float, size)
        x1, y1, x2, y2 = self.xyxy
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            return None
        return self if inside == self.xyxy else replace(self, xyxy=inside)


@dataclass(frozen=True)
class Record:
    """One image of a data set with everything its tables say of it."""

    name: str  # file name, or path in the data set; unique in it
    path: Path | Member  # the file that the image is, or the member of an archive
    patient: str  # identifier of the person; splits keep a person's images together
    view: str  # projection, such as `PA` or `AP`; empty where unknown
    age: float | None  # in years; `None` where unknown
    sex: str  # `F` or `M`; empty where unknown
    # 1, 0 or NaN (unknown) for each pathology, in the data set's order
    labels: tuple[float, ...]
    boxes: tuple[Box, ...] = ()  # boxes in the original image frame


@dataclass(frozen=True)
class Dataset:
    """A data set as its reader found it."""

    pathologies: tuple[str, ...]  # names of the labels, in the order of `Record.labels`
    # one for each usable image, in the order of the label file
    records: tuple[Record, ...]
    # what was left out or mended, one sentence a kind, with its count and an example
    problems: tuple[str, ...]
    # what the data set itself says of its split: a split, or `train_val`, by the name
    # of the image
    lists: dict[str, str] = field(default_factory=dict)
    tables: tuple[Path, ...] = ()  # files that it was read from


def summarize(*found: tuple[str, Sequence[str]]) -> tuple[str, ...]:
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


def sort_boxes(
    rows: Iterable[tuple[str, Box]],
    images: Collection[str],
    pathologies: Collection[str],
    unlabeled_kind: str,
    unknown: Sequence[str] = (),
) -> tuple[dict[str, list[Box]], tuple[str, ...]]:
    """Return usable boxes by image, and a sentence for each kind of box left out.

    Args:
        rows: names of images and boxes.
        images, pathologies: those that have labels.
        unlabeled_kind: how the problem of a box of another pathology is called.
        unknown: boxes of pathologies with an unknown name, left out before.
    """
    boxes, strangers, unlabeled, wrong, repeated = {}, [], [], [], []
    for image, box in rows:
        left, top, right, bottom = box.xyxy
        if image not in images:
            strangers.append(image)
        elif box.pathology not in pathologies:
            unlabeled.append(f"{box.pathology} of {image}")
        elif not (all(map(math.isfinite, box.xyxy)) and left < right and top < bottom):
            wrong.append(image)
        elif box in boxes.setdefault(image, []):
            repeated.append(image)
        else:
            boxes[image].append(box)
    return boxes, summarize(
        ("boxes on images without a label row, left out", strangers),
        (unlabeled_kind, unlabeled),
        ("boxes of an unknown pathology, left out", unknown),
        ("boxes without four numbers or without area, left out", wrong),
        ("repeated boxes, left out", repeated),
    )


def find_contradictions(
    records: Sequence[Record], pathologies: Sequence[str]
) -> tuple[str, ...]:
    """Return a sentence on boxes of what their image is labelled without."""
    found = [
        f"{box.pathology} of {record.name}"
        for record in records
        for box in record.boxes
        if record.labels[pathologies.index(box.pathology)] == 0
    ]
    return summarize(
        ("boxes of a pathology that their image is labelled without, kept", found)
    )
