"""How many ground-truth boxes are found, and at what price; small and large ones."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.localization.boxes import compute_areas, compute_overlap


@dataclass(frozen=True, eq=False)
class Localization:
    """Ground-truth and predicted boxes of one image and pathology.

    All positions are pixels of the original image. Arrays may be given as lists.

    Args:
        pathology, patient: name and identifier.
        truth: `(M, 4)` ground-truth boxes, half-open xyxy. M is 0 for an image labelled
            negative; where an image is labelled positive without a box, there is no
            `Localization`.
        predicted: `(N, 4)` boxes, half-open xyxy; N may be 0.
        scores: `(N,)` of the predicted boxes, on any scale, higher is surer; equal by
            default.
        peak: `(x, y)` where the map is highest; `None` for a map without contrast.
        original_size: `(height, width)`; only sizes and baselines need it.
        probability: of the pathology in that image; NaN if unknown.
        name: of the image.
        ignored: `(K, 4)` ground-truth boxes that are left out: finding one is neither
            right nor wrong, see `select_size`.
        excused: `(N,)` bool, predicted boxes that aren't false where they find nothing;
            none by default.

    Raises:
        ValueError: a box or score isn't finite, or there isn't one score for each box.
    """

    pathology: str
    patient: str
    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray = None  # ty: ignore[invalid-assignment] of None zeros are made
    peak: tuple[float, float] | None = None
    original_size: tuple[int, int] | None = None
    probability: float = math.nan
    name: str = ""
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    excused: np.ndarray = None  # ty: ignore[invalid-assignment]

    def __post_init__(self):
        values = {
            key: np.asarray(getattr(self, key), "float64").reshape(-1, 4)
            for key in ("truth", "predicted", "ignored")
        }
        count = len(values["predicted"])
        scores = np.zeros(count) if self.scores is None else self.scores
        excused = np.zeros(count) if self.excused is None else self.excused
        values["scores"] = np.asarray(scores, "float64")
        values["excused"] = np.asarray(excused, bool)
        for key, value in values.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{key} isn't finite: {self.name} {self.pathology}.")
            object.__setattr__(self, key, value)
        if self.scores.shape != (count,) or self.excused.shape != (count,):
            raise ValueError(
                f"{count} boxes, but scores of shape {self.scores.shape} and excused "
                f"of shape {self.excused.shape}: {self.name} {self.pathology}."
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """`original_size`; a `ValueError` where it is missing."""
        if self.original_size is None:
            raise ValueError(f"{self.name} {self.pathology} has no original_size.")
        return self.original_size


@dataclass(frozen=True, eq=False)
class LocalizationCounts:
    """What of each image and pathology was found: sums of these give every table."""

    # `(items,)` names and identifiers
    pathology: np.ndarray
    patient: np.ndarray
    boxes: np.ndarray  # `(items,)` number of ground-truth boxes
    found: np.ndarray  # `(items, thresholds)` how many of them a predicted box hits
    # `(items, thresholds)` predicted boxes that hit nothing; 0 where there is no
    # ground-truth box: these images don't count
    false: np.ndarray


def count_localizations(
    localizations: Sequence[Localization],
    thresholds: Sequence[float],
    overlap: str = "iou",
) -> LocalizationCounts:
    """Count found boxes and false positives, at all thresholds together.

    `found = ground-truth boxes with a predicted box of overlap > threshold`
    `false = predicted boxes with no true or ignored box of overlap > threshold`

    Excused boxes are never false. One predicted box can find several ground-truth
    boxes, and one ground-truth box can be found by several.

    Args:
        localizations: one for each image and pathology; counts are in their order.
        thresholds: overlaps that a hit must exceed, T(IoU) or T(IoBB).
        overlap: `"iou"` or `"iobb"`.

    Raises:
        UserError: there is no such overlap.
    """
    least = np.asarray(thresholds, "float64")
    found = np.zeros((len(localizations), len(least)), "int64")
    false = np.zeros_like(found)
    for row, item in enumerate(localizations):
        if not len(item.truth):
            continue
        hits = compute_overlap(item.predicted, item.truth, overlap)
        near = compute_overlap(item.predicted, item.ignored, overlap)
        best = np.maximum(hits.max(1, initial=0), near.max(1, initial=0))
        found[row] = (hits.max(0, initial=0)[:, None] > least).sum(0)
        false[row] = (best[~item.excused, None] <= least).sum(0)
    return LocalizationCounts(
        pathology=np.array([item.pathology for item in localizations], "str"),
        patient=np.array([item.patient for item in localizations], "str"),
        boxes=np.array([len(item.truth) for item in localizations], "int64"),
        found=found,
        false=false,
    )


def compute_localization(
    localizations: Sequence[Localization],
    pathologies: tuple[str, ...],
    threshold: float,
    overlap: str = "iou",
    afp_denominator: str = "all",
) -> dict[str, dict]:
    """Localization accuracy and average false positives of every pathology.

    `accuracy = truths with a predicted box of overlap > threshold / truths`
    `afp = predicted boxes without such a truth / truths of all pathologies`

    A truth is a ground-truth box. Only images with one of the pathology count. The
    denominator of the AFP is that of Wang et al., whose printed values are multiples of
    1/984, the number of boxes in the whole file. What exactly they count as a false
    positive isn't spelled out.

    Args:
        localizations: one for each image and pathology.
        pathologies: names of the rows.
        threshold: overlap that a hit must exceed, T(IoU) or T(IoBB).
        overlap: `"iou"` or `"iobb"`.
        afp_denominator: `"all"`, ground-truth boxes of all pathologies in
            `localizations`, or else a deviation from the paper: `"pathology"`,
            ground-truth boxes of this one, or `"images"`, images with one of it.

    Returns:
        For each pathology `accuracy`, `afp`, `boxes` (ground truth) and `images`. Both
        numbers are `None` for a pathology without a ground-truth box.

    Raises:
        UserError: there is no such overlap or denominator.

    Example:
        >>> truth, predicted = [[0, 0, 9, 9]], [[0, 0, 9, 8], [20, 0, 29, 9]]
        >>> item = Localization("Mass", "7", truth, predicted)
        >>> compute_localization([item], ("Mass",), threshold=0.5)
        {'Mass': {'accuracy': 1.0, 'afp': 1.0, 'boxes': 1, 'images': 1}}

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2 and Table 3; Sedai et al. 2018,
        Table 1.
    """
    counts = count_localizations(localizations, (threshold,), overlap)
    return summarize_counts(counts, pathologies, afp_denominator)[0]


def summarize_counts(
    counts: LocalizationCounts,
    pathologies: tuple[str, ...],
    afp_denominator: str = "all",
) -> list[dict[str, dict]]:
    """Sum counts up to the tables of `compute_localization`, in order of thresholds.

    Raises:
        UserError: there is no such denominator.
    """
    rows = {name: _sum_up(counts, name, afp_denominator) for name in pathologies}
    return [
        {name: row[column] for name, row in rows.items()}
        for column in range(counts.found.shape[1])
    ]


def _sum_up(counts: LocalizationCounts, pathology: str, denominator: str) -> list[dict]:
    mine = (counts.pathology == pathology) & (counts.boxes > 0)
    boxes, images = int(counts.boxes[mine].sum()), int(mine.sum())
    denominators = {
        "all": int(counts.boxes.sum()), "pathology": boxes, "images": images,
    }  # fmt: skip
    if denominator not in denominators:
        raise UserError(
            f"There is no AFP denominator {denominator!r}; use one of "
            f"{', '.join(denominators)}."
        )
    found, false = counts.found[mine].sum(0), counts.false[mine].sum(0)
    return [
        {
            "accuracy": float(hits / boxes) if boxes else None,
            "afp": float(wrong / denominators[denominator]) if boxes else None,
            "boxes": boxes,
            "images": images,
        }
        for hits, wrong in zip(found, false, strict=True)
    ]


#: From and below which size, `sqrt(area of the box / area of the image)`, a box is.
SIZES = {"small": (0.0, 0.1), "medium": (0.1, 0.25), "large": (0.25, math.inf)}


def select_size(localizations: Sequence[Localization], name: str) -> list[Localization]:
    """Leave only lesions of one size in the count, by COCO's rule.

    A box is small below 0.1 of the image's side, 102 of 1024 pixels, and large from
    0.25 on, 256. In ChestX-ray14 that makes 72 of 79 nodules small, 49 of 85 masses
    medium, and all 146 boxes of cardiomegaly large.

    Ground-truth boxes of another size become ignored: they needn't be found, and a box
    that finds one is neither right nor wrong. Predicted boxes of another size are
    excused: right where they find something, but not false where they don't. All
    metrics of this package respect both.

    Args:
        localizations: with `original_size`.
        name: `"small"`, `"medium"` or `"large"`.

    Returns:
        As many, in the same order. In an image whose ground-truth boxes are all of
        another size, FROC and average precision go on to count false boxes.

    Raises:
        UserError: there is no such size.
        ValueError: an image's `original_size` is missing.

    Reference:
        Lin et al. 2014 (COCO), `COCOeval` of pycocotools, whose sizes are in pixels,
        32 and 96, and whose limits belong to both sides.
    """
    if name not in SIZES:
        raise UserError(f"There is no size {name!r}; use one of {', '.join(SIZES)}.")
    return [_select(item, *SIZES[name]) for item in localizations]


def _select(item: Localization, low: float, high: float) -> Localization:
    def belongs(boxes: np.ndarray) -> np.ndarray:
        sizes = np.sqrt(compute_areas(boxes) / math.prod(item.image_size))
        return (low <= sizes) & (sizes < high)

    chosen = belongs(item.truth)
    return dataclasses.replace(
        item,
        truth=item.truth[chosen],
        ignored=np.concatenate([item.ignored, item.truth[~chosen]]),
        excused=item.excused | ~belongs(item.predicted),
    )
