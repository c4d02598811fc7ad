import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import compute_overlap
from keras_mscam.localization.detection import LUNA16_RATES, compute_froc

HERE, THERE, NOWHERE = [0, 0, 10, 10], [50, 0, 60, 10], [80, 80, 90, 90]


def item(truth, predicted, scores, **fields):
    return Localization("Mass", "1", truth, predicted, scores, **fields)


def froc(*items, **options):
    return compute_froc(items, ("Mass",), **options)["Mass"]


def froc_by_loop(items, threshold, overlap):
    """Another implementation: every threshold anew, all points, no shortcut."""
    values = sorted({s for it in items for s in it.scores}, reverse=True)
    points = [(0.0, 0.0)]
    for least in values:
        found = false = 0
        for it in items:
            used = it.scores >= least
            hits = compute_overlap(it.predicted, it.truth, overlap) > threshold
            near = compute_overlap(it.predicted, it.ignored, overlap) > threshold
            found += hits[used].any(0).sum()
            for k in np.flatnonzero(used):
                false += not (hits[k].any() or near[k].any() or it.excused[k])
        boxes = sum(len(it.truth) for it in items)
        points.append((false / len(items), found / boxes))
    return points


def read_by_loop(points, rate):
    """Sensitivity at a rate: the last point not beyond it, and part of the next leg."""
    last = max(k for k, (x, _) in enumerate(points) if x <= rate)
    (x0, y0) = points[last]
    if last + 1 == len(points):
        return y0
    (x1, y1) = points[last + 1]
    return y0 + (y1 - y0) * (rate - x0) / (x1 - x0)


def test_by_hand():
    row = froc(
        item([HERE, THERE], [HERE, NOWHERE, THERE], [0.9, 0.8, 0.3]),
        item([], [HERE, THERE, NOWHERE], [0.8, 0.5, 0.4]),  # labelled negative
    )
    # 2 boxes, 2 images. From .9: 1 found. From .8: two false at once. From .5 three,
    # from .4 four false, on one straight run to the right. From .3 the second found.
    assert row["score_thresholds"] == [None, 0.9, 0.4, 0.3]
    assert row["false_positives"] == [0, 0, 2, 2]
    assert row["sensitivity"] == [0, 0.5, 0.5, 1]
    # At 2 and more it ends, at 1; before, .5.
    assert row["sensitivity_at"] == [0.5] * 4 + [1, 1, 1]
    assert row["mean_sensitivity"] == pytest.approx(5 / 7)
    assert (row["boxes"], row["images"]) == (2, 2)


def test_equal_scores_move_together():
    row = froc(item([HERE], [NOWHERE, HERE], [1, 1]), item([], [HERE], [1]))
    # Three boxes of one score: from (0, 0) at once to 2 false in 2 images and 1 found.
    assert row["false_positives"] == [0, 1]
    assert row["sensitivity"] == [0, 1]
    # Between, linear: half of the boxes, whichever, find half on average.
    assert row["sensitivity_at"] == [1 / 8, 1 / 4, 1 / 2, 1, 1, 1, 1]


def test_a_second_box_on_the_same_drawn_one_is_not_false():
    row = froc(item([HERE], [HERE, [0, 0, 10, 9]], [2, 1]))
    assert row["false_positives"] == [0, 0]
    assert row["sensitivity"] == [0, 1]


def test_the_overlap_must_exceed_the_threshold():
    it = item([HERE], [[0, 0, 10, 8]], [1])  # IoU .8 exactly
    assert froc(it, threshold=0.8)["sensitivity"][-1] == 0
    assert froc(it, threshold=0.79)["sensitivity"][-1] == 1
    inside = item([HERE], [[1, 1, 3, 3]], [1])
    assert froc(inside, threshold=0.5)["sensitivity"][-1] == 0
    assert froc(inside, threshold=0.5, overlap="iobb")["sensitivity"][-1] == 1


def test_by_default_an_iou_of_3_tenths_must_be_exceeded():
    # 35 and 25 of 100 pixels, inside: the IoBB is 1.
    for box, found in (([0, 0, 5, 7], 1), ([0, 0, 5, 5], 0)):
        it = Localization("Mass", "1", [[0, 0, 10, 10]], [box])
        assert compute_froc([it], ("Mass",))["Mass"]["sensitivity"][-1] == found


def test_ignored_and_excused_boxes_by_hand():
    row = froc(
        item(
            [HERE], [THERE, NOWHERE, HERE, NOWHERE], [4, 3, 2, 1],
            ignored=[THERE], excused=[False, True, True, False],
        ),
        item([], [THERE], [5], ignored=[THERE]),
    )  # fmt: skip
    # Only the last box is false. The excused one on the ground-truth box is right.
    assert row["false_positives"] == [0, 0, 0.5]
    assert row["sensitivity"] == [0, 1, 1]
    assert row["score_thresholds"] == [None, 2, 1]
    assert (row["boxes"], row["images"]) == (1, 2)


def test_nothing_proposed():
    row = froc(item([HERE], [], []), item([], [], []))
    assert (row["score_thresholds"], row["false_positives"], row["sensitivity"]) == (
        [None],
        [0],
        [0],
    )
    assert row["mean_sensitivity"] == 0


@pytest.mark.parametrize("items", [[], [item([], [HERE], [1])]])
def test_undefined_without_a_drawn_box(items):
    row = froc(*items)
    assert row["boxes"] == 0
    assert row["images"] == len(items)
    assert {row[key] for key in set(row) - {"boxes", "images"}} == {None}


def test_other_pathologies_do_not_count():
    other = Localization("Nodule", "1", [HERE], [NOWHERE], [9])
    mine = item([HERE], [HERE], [1])
    assert froc(mine, other) == froc(mine)


def test_a_name_that_does_not_exist():
    with pytest.raises(UserError, match="giou"):
        froc(item([HERE], [HERE], [1]), overlap="giou")


@pytest.mark.parametrize("overlap", ["iou", "iobb"])
@pytest.mark.parametrize("ties", [True, False])
def test_equals_another_implementation(random_items, overlap, ties):
    items = [it for it in random_items(5, 120, ties=ties) if it.pathology == "Mass"]
    row = froc(*items, threshold=0.4, overlap=overlap)
    points = froc_by_loop(items, 0.4, overlap)
    for rate, value in zip(LUNA16_RATES, row["sensitivity_at"], strict=True):
        assert value == pytest.approx(read_by_loop(points, rate))
    # The corners that are kept are points, and the other points lie between them.
    corners = list(zip(row["false_positives"], row["sensitivity"], strict=True))
    assert corners[-1] == pytest.approx(points[-1])
    assert 2 < len(corners) <= len(points)
    x, y = np.array(points).T
    for corner in corners:
        assert np.isclose(x, corner[0])[np.isclose(y, corner[1])].any()
    for rate in np.linspace(0, 3, 50):
        assert np.interp(rate, *np.array(corners).T) == pytest.approx(
            read_by_loop(points, rate)
        )


def test_the_order_of_images_and_the_scale_of_scores_are_nothing(random_items):
    items = random_items(6, 100)
    scaled = [
        Localization(
            it.pathology, it.patient, it.truth, it.predicted, it.scores * 3 - 50,
            ignored=it.ignored, excused=it.excused,
        )
        for it in items
    ]  # fmt: skip
    one, other = froc(*items), froc(*scaled[::-1])
    one.pop("score_thresholds"), other.pop("score_thresholds")
    assert one == other


def test_the_curve_rises(random_items):
    row = froc(*random_items(7, 300, ties=False))
    for key in ("false_positives", "sensitivity"):
        assert row[key] == sorted(row[key])
    assert row["score_thresholds"][1:] == sorted(
        row["score_thresholds"][1:], reverse=True
    )
