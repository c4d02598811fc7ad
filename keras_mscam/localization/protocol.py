"""From maps to boxes in words, in tables by a protocol and for a person by a rule."""

import dataclasses
from typing import Any

from keras_mscam.configs.schema import (
    WANG_THRESHOLDS,
    LocalizationConfig,
    MapConfig,
    ShownConfig,
)
from keras_mscam.errors import UserError

#: By normalization, what `ShownConfig` stands for where it names no threshold: of the
#: highest mean IoU on synthetic radiographs, see `experiments/shown_boxes`.
SHOWN_THRESHOLDS = {"min_max": 0.85, "exponential": 0.35}

_FUSION = {
    "relevance": "Maps are fused by the learned relevance weights",
    "standardized": (
        "Maps are fused with equal weights, each divided by its standard deviation on "
        "the validation images"
    ),
}
_NORMALIZATION = {
    "min_max": "by their own minimum and maximum",
    "exponential": (
        "by exp((map - maximum) / scale), the scale being the "
        "maps' standard deviation on the validation images"
    ),
}
_THRESHOLD = {
    "otsu": "thresholded by Otsu's method",
    "tuned": (
        "thresholded at the value, one for each pathology, of the highest mean IoU "
        "over the ground-truth boxes of other patients (five-fold cross-fitting)"
    ),
    "oracle": (
        "thresholded at the ORACLE value, chosen on the very boxes that are evaluated: "
        "a bound, not a result"
    ),
}
_AFP = {
    "all": "all ground-truth boxes",
    "pathology": "the ground-truth boxes of that pathology",
    "images": "the images with a ground-truth box of that pathology",
}


def describe_protocol(protocol: LocalizationConfig) -> str:
    """Say in one paragraph how maps became boxes and boxes were judged.

    Reference:
        Wang et al. 2017 (ChestX-ray8), section 4.2, for what isn't said otherwise.
    """
    return (
        f"{_describe_boxes(protocol)} A ground-truth box is found if a predicted box "
        "overlaps it by more than T. AFP: predicted boxes that find nothing, on images "
        "with a ground-truth box of that pathology, over "
        f"{_AFP[protocol.afp_denominator]}. Intervals: 95%, bootstrap over patients."
    )


def _describe_boxes(protocol: LocalizationConfig) -> str:
    limits = ""
    if protocol.min_area:
        limits += f" of at least {protocol.min_area:g} of the map"
    if protocol.max_boxes:
        limits += f", the {protocol.max_boxes} of the highest score"
    return (
        f"{describe_maps(protocol, 255)} and "
        f"{_describe_threshold(protocol)}; a box around every 8-connected region"
        f"{limits}."
    )


def describe_maps(maps: MapConfig, highest: int = 1) -> str:
    """Begin a sentence on how maps become one from 0 to `highest`."""
    scaled = f"scaled to 0..{highest} {_NORMALIZATION[maps.normalization]}"
    return f"{_FUSION[maps.fusion]}, {scaled}"


def choose_shown(maps: MapConfig, shown: ShownConfig) -> ShownConfig:
    """Return a rule for shown boxes with a threshold, that of the maps by default."""
    if shown.shown_threshold is not None:
        return shown
    threshold = SHOWN_THRESHOLDS[maps.normalization]
    return dataclasses.replace(shown, shown_threshold=threshold)


def check_shown_threshold(value: float) -> None:
    """Refuse, with a `UserError`, what can't be the threshold of shown boxes."""
    if not 0 <= value < 1:
        raise UserError(
            f"The threshold of boxes must be from 0 to below 1, not {value}."
        )


def describe_shown(rule: Any) -> str:
    """Say in one sentence which boxes a person is shown.

    Args:
        rule: a `ShownConfig` with a threshold, or a contract, which has its fields.
    """
    return (
        "A box holds a region of the heat map above "
        f"{rule.shown_threshold:.3g} (its peak is 1) that covers "
        f"{100 * rule.shown_min_area:.3g}% of the map or more. A positive pathology "
        f"has {rule.shown_max_boxes} at most, none in another, and none at all where "
        f"one would cover more than {100 * rule.shown_max_area:.3g}% of the map."
    )


def _describe_threshold(protocol: LocalizationConfig) -> str:
    if protocol.threshold != "fixed":
        return _THRESHOLD[protocol.threshold]
    values = [f"{round(255 * value, 1):g}" for value in protocol.cam_thresholds]
    together = ", all thresholds together" if len(values) > 1 else ""
    # Of other values nobody knows how they were chosen.
    chosen = ", chosen without any box" * (protocol.cam_thresholds == WANG_THRESHOLDS)
    return f"thresholded at {' and '.join(values)}{together}{chosen}"
