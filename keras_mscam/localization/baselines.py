"""What localization scores without looking: the baselines beside every table."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import PredictedBoxes, find_peak, scale_boxes


def localize_at_random(
    localizations: Sequence[Localization],
    image_size: tuple[int, int],
    extract: Callable[[np.ndarray, tuple[int, int]], PredictedBoxes],
    seed: int = 0,
) -> list[Localization]:
    """Predict boxes from random maps by the procedure that the real ones go through.

    Args:
        localizations: what a system found, with `original_size`; all but the
            predicted boxes is taken from it.
        image_size: `(height, width)` of the maps.
        extract: turns a map and the `(height, width)` of the original image into boxes.
        seed: of the maps.

    Returns:
        The same with other predicted boxes, scores and peak; nothing excused: select
        sizes afterwards.
    """
    rng = np.random.default_rng(seed)
    result = []
    for item in localizations:
        # As smooth as a map of the last block.
        cam = cv2.resize(rng.random((8, 8)), image_size[::-1])
        predicted = extract(cam, item.image_size)
        peak = find_peak(cam, item.image_size)
        result.append(_replace(item, predicted, peak))
    return result


def localize_by_mean_box(localizations: Sequence[Localization]) -> list[Localization]:
    """Predict, for every image, the mean box of the pathology in *other* patients.

    Boxes are averaged in relative coordinates; images without a ground-truth box add
    nothing to the mean, but get it too.

    Returns:
        What a system found, as of `localize_at_random`, with one predicted box each, of
        score 1, its centre as the peak; with none, where no other patient has a box of
        the pathology.
    """
    own = _sum_boxes(localizations)
    result = []
    for item in localizations:
        sums = own[item.pathology]
        *others, count = sums[None] - sums.get(item.patient, 0)
        predicted, peak = PredictedBoxes(), None
        if count:
            mean = np.reshape(others, (1, 4)) / count
            box = scale_boxes(mean, (1, 1), item.image_size)
            predicted = PredictedBoxes(box, np.ones(1))
            peak = tuple(((box[0, :2] + box[0, 2:]) / 2).tolist())
        result.append(_replace(item, predicted, peak))
    return result


def _sum_boxes(localizations: Sequence[Localization]) -> dict[str, dict]:
    """Sum relative boxes up by pathology and patient; all patients under None.

    Returns:
        `(5,)` for each: sums of x, y, x, y, and the number of boxes.
    """
    sums = defaultdict(lambda: {None: np.zeros(5)})
    for item in localizations:
        rows = sums[item.pathology]
        if len(item.truth):
            relative = scale_boxes(item.truth, item.image_size, (1, 1)).sum(axis=0)
            own = np.append(relative, len(item.truth))
            for key in (item.patient, None):
                rows[key] = rows.get(key, 0) + own
    return sums


def _replace(item: Localization, predicted: PredictedBoxes, peak) -> Localization:
    return dataclasses.replace(
        item,
        predicted=predicted.xyxy,
        scores=predicted.scores,
        peak=peak,
        excused=None,
    )
