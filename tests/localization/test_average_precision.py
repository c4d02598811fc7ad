import contextlib
import io

import numpy as np
import pytest

from keras_mscam.localization.accuracy import Localization, select_size
from keras_mscam.localization.detection import compute_average_precision, match_greedily

HERE, THERE, NOWHERE = [0, 0, 10, 10], [50, 0, 60, 10], [80, 80, 90, 90]
PATHOLOGIES = ("Mass", "Nodule")


def item(truth, predicted, scores, **fields):
    return Localization("Mass", "1", truth, predicted, scores, **fields)


def average(*items, threshold=0.5):
    row = compute_average_precision(items, ("Mass",), threshold)["Mass"]
    return row["average_precision"]


def evaluate_by_coco(items, threshold, size=(0, 1e10), sizes_by_area=False):
    """Average precision of every pathology by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    as_xywh = lambda box: [*box[:2], *(box[2:] - box[:2])]  # noqa: E731
    boxes, predicted = [], []
    for number, it in enumerate(items):
        common = {
            "image_id": number, "category_id": 1 + PATHOLOGIES.index(it.pathology),
        }  # fmt: skip
        for box, ignore in [(b, 0) for b in it.truth] + [(b, 1) for b in it.ignored]:
            area = np.prod(box[2:] - box[:2])
            boxes.append(
                {**common, "id": len(boxes) + 1, "bbox": as_xywh(box), "iscrowd": 0,
                 # COCO ignores by area: an ignored box is given one out of range.
                 "area": area if sizes_by_area or not ignore else 1e12}
            )  # fmt: skip
        for box, score in zip(it.predicted, it.scores, strict=True):
            predicted.append({**common, "bbox": as_xywh(box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(items))],
            "categories": [{"id": 1}, {"id": 2}],
            "annotations": boxes,
        }
        truth.createIndex()
        evaluator = cocoeval.COCOeval(truth, truth.loadRes(predicted), "bbox")
        evaluator.params.iouThrs = np.array([threshold])
        evaluator.params.areaRng = [list(size)]
        evaluator.params.areaRngLbl = ["all"]
        evaluator.params.maxDets = [1000]
        evaluator.evaluate()
        evaluator.accumulate()
    # Thresholds, recalls, categories, areas, limits of boxes.
    return evaluator.eval["precision"][0, :, :, 0, 0].mean(axis=0)


def test_by_hand():
    items = (
        item([HERE, THERE], [HERE, NOWHERE, THERE], [0.9, 0.8, 0.7]),
        item([HERE], [], []),
        item([], [HERE], [0.1]),
    )
    # Right, false, right, false. Recall 1/3 with precision 1; 2/3 with 2/3. So p is 1
    # at r = 0 to .33, 34 values; 2/3 at .34 to .66, 33 values; 0 at the other 34.
    assert average(*items) == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_the_envelope_by_hand():
    # False, right, right: precision 0, 1/2, 2/3; the best at any recall is 2/3.
    it = item([HERE, THERE], [NOWHERE, HERE, THERE], [3, 2, 1])
    assert average(it) == pytest.approx(2 / 3)


def test_a_second_box_on_the_same_drawn_one_is_false():
    it = item([HERE, THERE], [HERE, [0, 0, 10, 9], THERE], [3, 2, 1])
    assert match_greedily(it, 0.5).tolist() == [1, -1, 1]
    # Precision 1 at recall .5, and 2/3 at 1: 51 values of 1, 50 of 2/3.
    assert average(it) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_each_box_takes_the_best_that_is_still_free():
    # Both ground-truth boxes are near the first; it takes the nearer. The second,
    # nearer to that one too (90 of 100), takes the other (80 of 100), where VOC would
    # fail it.
    boxes = [[0, 0, 10, 8], [0, 0, 10, 9]]
    it = item(boxes, [[0, 0, 10, 9], [0, 0, 10, 10]], [2, 1])
    assert match_greedily(it, 0.5).tolist() == [1, 1]
    assert match_greedily(it, 0.81).tolist() == [1, -1]


def test_the_threshold_must_be_reached():
    it = item([HERE], [[0, 0, 10, 8]], [1])  # IoU .8 exactly
    assert average(it, threshold=0.8) == 1
    assert average(it, threshold=0.81) == 0
    assert average(item([HERE], [HERE], [1]), threshold=1) == 1


def test_by_default_an_iou_of_a_half_must_be_reached():
    # 50 and 45 of 100 pixels.
    for box, found in (([0, 0, 5, 10], 1), ([0, 0, 5, 9], 0)):
        it = Localization("Mass", "1", [[0, 0, 10, 10]], [box])
        row = compute_average_precision([it], ("Mass",))["Mass"]
        assert row["average_precision"] == found


def test_ignored_and_excused_boxes_by_hand():
    it = item(
        [HERE],
        # An ignored one, the same again: false; excused; right though excused.
        [THERE, THERE, NOWHERE, HERE], [4, 3, 2, 1],
        ignored=[THERE], excused=[False, False, True, True],
    )  # fmt: skip
    assert match_greedily(it, 0.5).tolist() == [0, -1, 0, 1]
    assert average(it) == pytest.approx(1 / 2)


def test_a_drawn_box_comes_before_a_better_ignored_one():
    it = item([[0, 0, 10, 6]], [HERE], [1], ignored=[HERE])
    assert match_greedily(it, 0.5).tolist() == [1]


def test_boxes_of_one_score_come_in_together():
    items = [item([HERE], [HERE], [1]), item([HERE], [NOWHERE], [1])]
    # Two boxes, one right: precision 1/2 at recalls to 1/2, whatever the order.
    assert average(*items) == average(*items[::-1]) == pytest.approx(51 / 2 / 101)


@pytest.mark.parametrize("seed", [8, 9])
def test_boxes_of_one_score_by_another_implementation(random_items, seed):
    items = [it for it in random_items(seed, 100) if it.pathology == "Mass"]
    boxes = sum(len(it.truth) for it in items)
    points = []  # recall and precision from every cut
    for cut in {score for it in items for score in it.scores}:
        used = [match_greedily(it, 0.4)[it.scores >= cut] for it in items]
        right, false = (sum((o == kind).sum() for o in used) for kind in (1, -1))
        points.append((right / boxes, right / (right + false)))
    best = [
        max((p for recall, p in points if recall >= r / 100 - 1e-9), default=0)
        for r in range(101)
    ]
    assert average(*items, threshold=0.4) == pytest.approx(np.mean(best))


def test_undefined_and_zero():
    rows = compute_average_precision(
        [item([HERE], [], []), Localization("Nodule", "1", [], [HERE])], PATHOLOGIES
    )
    assert rows["Mass"] == {"average_precision": 0, "boxes": 1, "images": 1}
    assert rows["Nodule"] == {"average_precision": None, "boxes": 0, "images": 1}
    rows = compute_average_precision([], ("Mass",))
    assert rows["Mass"] == {"average_precision": None, "boxes": 0, "images": 0}


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.75])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_pycocotools(random_items, seed, threshold):
    items = random_items(seed, 80, ignored=False, ties=False)
    rows = compute_average_precision(items, PATHOLOGIES, threshold)
    expected = evaluate_by_coco(items, threshold)
    for name, value in zip(PATHOLOGIES, expected, strict=True):
        assert 0 < rows[name]["average_precision"] == pytest.approx(value)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_equals_pycocotools_with_ignored_boxes(random_items, seed):
    items = [
        Localization(
            it.pathology, it.patient, it.truth, it.predicted, it.scores,
            ignored=it.ignored,
        )
        for it in random_items(seed, 80, ties=False)
    ]  # fmt: skip
    rows = compute_average_precision(items, PATHOLOGIES, 0.4)
    expected = evaluate_by_coco(items, 0.4)
    for name, value in zip(PATHOLOGIES, expected, strict=True):
        assert rows[name]["average_precision"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "areas"),
    # Of 24 by 40: .1**2 * 960 = 9.6, .25**2 * 960 = 60. There COCO's limits belong to
    # both sides, ours to the upper one; areas here are integers.
    [("small", (0, 9.6)), ("medium", (9.6, 59)), ("large", (60, 1e10))],
)
@pytest.mark.parametrize("threshold", [0.1, 0.3])
def test_sizes_equal_pycocotools(random_items, name, areas, threshold):
    items = random_items(7, 500, ignored=False, ties=False)
    rows = compute_average_precision(select_size(items, name), PATHOLOGIES, threshold)
    expected = evaluate_by_coco(items, threshold, areas, sizes_by_area=True)
    for pathology, value in zip(PATHOLOGIES, expected, strict=True):
        assert 0 < rows[pathology]["average_precision"] == pytest.approx(value)


def test_a_box_as_near_to_one_as_to_another_takes_that_of_coco():
    # IoU 50 / 150 with both; what it takes decides whether the second finds any.
    boxes, predicted = [HERE, [10, 0, 20, 10]], [[5, 0, 15, 10], [10, 0, 20, 10]]
    for order in (boxes, boxes[::-1]):
        it = item(order, predicted, [2, 1])
        expected = evaluate_by_coco([it], 0.3)[0]
        assert average(it, threshold=0.3) == pytest.approx(expected)
