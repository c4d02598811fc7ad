import numpy as np
import pytest

from keras_mscam.localization.metrics import (
    Localization,
    compute_iobb,
    compute_iou,
    compute_localization,
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


class TestOverlap:
    def test_by_hand(self):
        # 2x2 boxes, moved by 1: intersection 2, union 6.
        assert compute_iou([[0, 0, 2, 2]], [[1, 0, 3, 2]]) == pytest.approx(2 / 6)
        assert compute_iobb([[0, 0, 2, 2]], [[1, 0, 3, 2]]) == pytest.approx(2 / 4)

    def test_inside(self):
        # 1 inside 4x4: IoU 1/16; the proposed box is wholly inside: IoBB 1.
        assert compute_iou([[1, 1, 2, 2]], [[0, 0, 4, 4]]) == pytest.approx(1 / 16)
        assert compute_iobb([[1, 1, 2, 2]], [[0, 0, 4, 4]]) == 1
        assert compute_iobb([[0, 0, 4, 4]], [[1, 1, 2, 2]]) == pytest.approx(1 / 16)

    @pytest.mark.parametrize(
        "other", [[2, 0, 4, 2], [0, 2, 2, 4], [5, 5, 6, 6], [1, 1, 1, 2]]
    )
    def test_touching_apart_or_empty_boxes_share_nothing(self, other):
        assert compute_iou([[0, 0, 2, 2]], [other]) == 0
        assert compute_iobb([[0, 0, 2, 2]], [other]) == 0

    def test_equals_counting_pixels(self):
        rng = np.random.default_rng(0)
        a, b = random_boxes(rng, 40), random_boxes(rng, 30)
        iou, iobb = compute_iou(a, b), compute_iobb(a, b)
        for i, p in enumerate(a):
            for j, t in enumerate(b):
                both = (paint(p) & paint(t)).sum()
                assert iou[i, j] == pytest.approx(both / (paint(p) | paint(t)).sum())
                assert iobb[i, j] == pytest.approx(both / paint(p).sum())

    def test_properties(self):
        rng = np.random.default_rng(1)
        a, b = random_boxes(rng, 50), random_boxes(rng, 60)
        iou = compute_iou(a, b)
        np.testing.assert_allclose(iou, compute_iou(b, a).T)
        assert (compute_iobb(a, b) >= iou - 1e-12).all()
        np.testing.assert_allclose(np.diag(compute_iou(a, a)), 1)
        np.testing.assert_allclose(compute_iou(a * 3.7, b * 3.7), iou)

    def test_no_boxes(self):
        assert compute_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
        assert compute_iobb([[0, 0, 1, 1]], []).shape == (1, 0)


def item(pathology, truth, proposed, patient="1"):
    return Localization(
        pathology, patient, np.array(truth, float).reshape(-1, 4),
        np.array(proposed, float).reshape(-1, 4),
    )  # fmt: skip


class TestLocalization:
    items = (
        # Found by the first box; the second is a false positive.
        item("Mass", [[0, 0, 10, 10]], [[0, 0, 10, 8], [20, 20, 30, 30]]),
        # Missed: IoU 0.25. The box is false at IoU, but lies inside: IoBB 1.
        item("Mass", [[0, 0, 10, 10]], [[0, 0, 5, 5]]),
        # Nothing proposed.
        item("Nodule", [[0, 0, 2, 2]], []),
    )

    def test_by_hand(self):
        rows = compute_localization(self.items, ("Mass", "Nodule", "Hernia"), 0.3)
        # Mass: 1 of 2 found; 2 false boxes over the 3 drawn boxes of all pathologies.
        assert rows["Mass"] == {
            "accuracy": 0.5, "afp": pytest.approx(2 / 3), "boxes": 2, "images": 2,
        }  # fmt: skip
        assert rows["Nodule"] == {"accuracy": 0, "afp": 0, "boxes": 1, "images": 1}
        assert rows["Hernia"] == {
            "accuracy": None, "afp": None, "boxes": 0, "images": 0,
        }  # fmt: skip

    def test_by_iobb(self):
        rows = compute_localization(self.items, ("Mass",), 0.3, overlap="iobb")
        assert rows["Mass"]["accuracy"] == 1
        assert rows["Mass"]["afp"] == pytest.approx(1 / 3)

    def test_the_threshold_must_be_exceeded(self):
        # IoU is 8/10 exactly: 0.8 doesn't do.
        items = [item("Mass", [[0, 0, 10, 10]], [[0, 0, 10, 8]])]
        assert compute_localization(items, ("Mass",), 0.8)["Mass"]["accuracy"] == 0
        assert compute_localization(items, ("Mass",), 0.79)["Mass"]["accuracy"] == 1

    def test_one_box_can_find_several_and_several_one(self):
        items = [
            item("Mass", [[0, 0, 10, 10], [0, 0, 10, 9]], [[0, 0, 10, 10]]),
            item("Mass", [[0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0, 9, 10]]),
        ]
        row = compute_localization(items, ("Mass",), 0.5)["Mass"]
        assert row == {"accuracy": 1, "afp": 0, "boxes": 3, "images": 2}

    def test_accuracy_falls_with_the_threshold(self):
        rng = np.random.default_rng(0)
        items = [
            item("Mass", random_boxes(rng, 1), random_boxes(rng, rng.integers(1, 9)))
            for _ in range(200)
        ]
        rows = [
            compute_localization(items, ("Mass",), t / 10)["Mass"] for t in range(1, 8)
        ]
        accuracies = [row["accuracy"] for row in rows]
        assert accuracies == sorted(accuracies, reverse=True)
        assert [r["afp"] for r in rows] == sorted(r["afp"] for r in rows)

    def test_nothing_at_all(self):
        row = compute_localization([], ("Mass",), 0.3)["Mass"]
        assert row["accuracy"] is None
