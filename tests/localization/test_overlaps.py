import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.localization.boxes import (
    compute_areas,
    compute_iobb,
    compute_iou,
    compute_overlap,
)


def random_boxes(rng, count, size=30):
    low = rng.integers(0, size - 1, (count, 2))
    high = low + rng.integers(1, size - low.max() + 1, (count, 2))
    return np.concatenate([low, high], axis=1)


def paint(box, size=64):
    """A box as a mask, so that areas can be counted."""
    mask = np.zeros((size, size), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_by_hand():
    # 2x2 boxes, moved by 1: intersection 2, union 6.
    assert compute_iou([[0, 0, 2, 2]], [[1, 0, 3, 2]]) == pytest.approx(2 / 6)
    assert compute_iobb([[0, 0, 2, 2]], [[1, 0, 3, 2]]) == pytest.approx(2 / 4)


def test_inside():
    # 1 inside 4x4: IoU 1/16; the predicted box is wholly inside: IoBB 1.
    assert compute_iou([[1, 1, 2, 2]], [[0, 0, 4, 4]]) == pytest.approx(1 / 16)
    assert compute_iobb([[1, 1, 2, 2]], [[0, 0, 4, 4]]) == 1
    assert compute_iobb([[0, 0, 4, 4]], [[1, 1, 2, 2]]) == pytest.approx(1 / 16)


def test_the_whole_image():
    # 10 by 20 of 100 by 50.
    assert compute_iou([[0, 0, 100, 50]], [[5, 5, 15, 25]]) == pytest.approx(200 / 5000)


@pytest.mark.parametrize(
    "other", [[2, 0, 4, 2], [0, 2, 2, 4], [5, 5, 6, 6], [1, 1, 1, 2], [1, 1, 0, 0]]
)
def test_touching_apart_or_empty_boxes_share_nothing(other):
    assert compute_iou([[0, 0, 2, 2]], [other]) == 0
    assert compute_iobb([[0, 0, 2, 2]], [other]) == 0


def test_two_boxes_without_area():
    assert compute_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]) == 0
    assert compute_iobb([[1, 1, 1, 1]], [[0, 0, 2, 2]]) == 0


def test_equals_counting_pixels():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 40), random_boxes(rng, 30)
    iou, iobb = compute_iou(a, b), compute_iobb(a, b)
    for i, p in enumerate(a):
        for j, t in enumerate(b):
            both = (paint(p) & paint(t)).sum()
            assert iou[i, j] == pytest.approx(both / (paint(p) | paint(t)).sum())
            assert iobb[i, j] == pytest.approx(both / paint(p).sum())


def test_equals_pycocotools():
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(2)
    a, b = (np.sort(rng.random((n, 2, 2)) * 99, 1).reshape(-1, 4) for n in (70, 50))
    as_xywh = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], 1) for x in (a, b)]
    np.testing.assert_allclose(compute_iou(a, b), mask.iou(*as_xywh, [0] * 50))
    # What COCO computes with a crowd is the IoBB.
    np.testing.assert_allclose(compute_iobb(a, b), mask.iou(*as_xywh, [1] * 50))


def test_properties():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 50), random_boxes(rng, 60)
    iou = compute_iou(a, b)
    np.testing.assert_allclose(iou, compute_iou(b, a).T)
    assert (compute_iobb(a, b) >= iou - 1e-12).all()
    assert (np.diag(compute_iou(a, a)) == 1).all()
    np.testing.assert_allclose(compute_iou(a * 3.7, b * 3.7), iou)


def test_no_boxes():
    assert compute_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert compute_iobb([[0, 0, 1, 1]], []).shape == (1, 0)
    assert compute_iou([], []).shape == (0, 0)


def test_areas():
    assert compute_areas([[1, 2, 4, 4], [3, 3, 1, 1]]).tolist() == [6, 0]
    assert compute_areas([]).shape == (0,)


def test_overlaps_by_name():
    a, b = [[0, 0, 4, 4]], [[1, 1, 2, 2]]
    assert compute_overlap(a, b, "iou") == compute_iou(a, b)
    assert compute_overlap(b, a, "iobb") == compute_iobb(b, a) == 1
    with pytest.raises(UserError, match="no overlap 'giou'"):
        compute_overlap(a, b, "giou")


def test_boxes_of_small_integers():
    # 200 * 200 and 100 * 200 are more than uint8 holds: the second half of the first.
    boxes = np.array([[0, 0, 200, 200], [100, 0, 200, 200]], "uint8")
    assert compute_areas(boxes).tolist() == [40_000, 20_000]
    assert compute_iou(boxes, boxes).tolist() == [[1, 0.5], [0.5, 1]]
