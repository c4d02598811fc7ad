import numpy as np
import pytest

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.detection import compute_mean_iou


def item(truth, predicted, **fields):
    return Localization("Mass", "1", truth, predicted, **fields)


def paint(box):
    """A box as a mask with a margin of 2, so that its pixels can be counted."""
    x1, y1, x2, y2 = (int(value) + 2 for value in box)
    mask = np.zeros((30, 50), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_by_hand():
    items = [
        # Best of 8/10 and 5/10 for the first, 0 for the second ground-truth box.
        item([[0, 0, 10, 10], [50, 0, 59, 9]], [[0, 0, 10, 8], [0, 0, 10, 5]]),
        item([[0, 0, 10, 10]], []),  # nothing predicted: 0
        item([], [[0, 0, 10, 10]]),  # nothing boxes: not counted
    ]
    rows = compute_mean_iou(items, ("Mass", "Hernia"))
    assert rows["Mass"] == {"mean_iou": pytest.approx(0.8 / 3), "boxes": 3}
    assert rows["Hernia"] == {"mean_iou": None, "boxes": 0}


def test_equals_counting_pixels(random_items):
    items = random_items(3, 200)
    best = []
    for it in items:
        if it.pathology == "Nodule":
            for boxes in map(paint, it.truth):
                ious = [0.0]
                for box in map(paint, it.predicted):
                    ious.append((boxes & box).sum() / (boxes | box).sum())
                best.append(max(ious))
    assert 0 in best
    assert 1 in best
    row = compute_mean_iou(items, ("Nodule",))["Nodule"]
    assert row == {"mean_iou": pytest.approx(np.mean(best)), "boxes": len(best)}


def test_ignored_boxes_do_not_count():
    it = item([[0, 0, 9, 9]], [[0, 0, 9, 9]], ignored=[[50, 0, 59, 9]])
    assert compute_mean_iou([it], ("Mass",))["Mass"] == {"mean_iou": 1, "boxes": 1}


def test_nothing_at_all():
    row = compute_mean_iou([], ("Mass",))["Mass"]
    assert row == {"mean_iou": None, "boxes": 0}
