"""The protocol in words: what every table says under its numbers."""

from keras_mscam.configs.schema import LocalizationConfig

_FUSION = {
    "relevance": "Maps are fused by the learned relevance weights",
    "standardized": (
        "Maps are fused with equal weights, each divided by its standard deviation on "
        "the validation images"
    ),
}
_NORMALIZATION = {
    "min_max": "scaled to 0..255 by their own minimum and maximum",
    "exponential": (
        "scaled to 0..255 by exp((map - maximum) / scale), the scale being the "
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
        f"{describe_boxes(protocol)} A ground-truth box is found if a predicted box "
        "overlaps it by more than T. AFP: predicted boxes that find nothing, on images "
        "with a ground-truth box of that pathology, over "
        f"{_AFP[protocol.afp_denominator]}. Intervals: 95%, bootstrap over patients."
    )


def describe_boxes(protocol: LocalizationConfig) -> str:
    """Say in one sentence how maps become boxes."""
    limits = ""
    if protocol.min_area:
        limits += f" of at least {protocol.min_area:g} of the map"
    if protocol.max_boxes:
        limits += f", the {protocol.max_boxes} of the highest score"
    return (
        f"{_FUSION[protocol.fusion]}, {_NORMALIZATION[protocol.normalization]} and "
        f"{_describe_threshold(protocol)}; a box around every 8-connected region"
        f"{limits}."
    )


def _describe_threshold(protocol: LocalizationConfig) -> str:
    if protocol.threshold != "fixed":
        return _THRESHOLD[protocol.threshold]
    values = [f"{round(255 * value, 1):g}" for value in protocol.cam_thresholds]
    together = ", all thresholds together" if len(values) > 1 else ""
    return f"thresholded at {' and '.join(values)}{together}, chosen without any box"
