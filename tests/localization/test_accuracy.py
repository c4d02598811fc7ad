import dataclasses

import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.localization.accuracy import (
    Localization,
    compute_localization,
    count_localizations,
    summarize_counts,
)
from keras_mscam.localization.boxes import extract_boxes, find_peak

PATHOLOGIES = ("Mass", "Nodule", "Hernia")


def item(pathology, truth, predicted, patient="1", **fields):
    return Localization(pathology, patient, truth, predicted, **fields)


def iou_by_loop(a, b, over_proposed=False):
    """Another implementation: intervals, one pair of boxes at a time."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    whole = areas[0] if over_proposed else sum(areas) - width * height
    return width * height / whole


def localization_by_loop(items, pathology, threshold, overlap):
    """Another implementation: accuracy, and false boxes, from the definition."""
    boxes = found = false = images = 0
    for it in items:
        if it.pathology != pathology or len(it.truth) == 0:
            continue
        images += 1
        hit = [False] * len(it.truth)
        for box, excused in zip(it.predicted, it.excused, strict=True):
            wrong = not excused
            for k, other in enumerate([*it.truth, *it.ignored]):
                if iou_by_loop(box, other, overlap == "iobb") > threshold:
                    wrong = False
                    if k < len(it.truth):
                        hit[k] = True
            false += wrong
        boxes += len(hit)
        found += sum(hit)
    return boxes, found, false, images


class TestItem:
    def test_present_callers_need_no_more_than_four_fields(self):
        it = Localization("Mass", "1", [[0, 0, 2, 2]], np.zeros((3, 4)))
        assert it.truth.shape == (1, 4)
        assert it.scores.tolist() == [0, 0, 0]
        assert it.excused.tolist() == [False] * 3
        assert it.ignored.shape == (0, 4)
        assert it.peak is None
        assert np.isnan(it.probability)

    def test_numbers_are_of_double_precision(self):
        boxes = np.array([[0, 0, 2, 2]], "int16")
        it = Localization("Mass", "1", boxes, boxes, np.array([1], "float32"))
        for values in (it.truth, it.predicted, it.ignored, it.scores):
            assert values.dtype == "float64"
        assert it.excused.dtype == bool
        with pytest.raises(ValueError, match=r"^a\.png Mass has no original_size\.$"):
            _ = dataclasses.replace(it, name="a.png").image_size

    def test_no_boxes(self):
        it = Localization("Mass", "1", [], [], [])
        assert it.truth.shape == it.predicted.shape == (0, 4)
        assert it.scores.shape == (0,)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"scores": [1.0]}, "2 boxes, but scores"),
            ({"excused": [True]}, "2 boxes, but scores"),
            ({"scores": [1.0, np.nan]}, "scores isn't finite: a.png Mass"),
            ({"truth": [[0, 0, np.inf, 1]]}, "truth isn't finite"),
            ({"ignored": [[0, 0, np.nan, 1]]}, "ignored isn't finite"),
        ],
    )
    def test_what_cannot_be(self, fields, message):
        it = Localization("Mass", "1", [], [[0, 0, 1, 1], [0, 0, 2, 2]], name="a.png")
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(it, **fields)


class TestCounts:
    def test_are_whole_and_names_are_text(self):
        for items in ((), TestLocalization.items):
            counts = count_localizations(items, (0.1, 0.9))
            assert counts.found.shape == counts.false.shape == (len(items), 2)
            for values in (counts.found, counts.false, counts.boxes):
                assert values.dtype == "int64"
            assert counts.pathology.dtype.kind == counts.patient.dtype.kind == "U"

    def test_tables_are_in_the_order_of_thresholds(self):
        # IoU 0.8 and 0.25: both are above 0.1, one above 0.3, none above 0.8.
        counts = count_localizations(TestLocalization.items[:2], (0.8, 0.1, 0.3))
        rows = summarize_counts(counts, ("Mass",))
        assert [row["Mass"]["accuracy"] for row in rows] == [0, 1, 0.5]
        # Of three predicted boxes, as many are not false.
        assert [row["Mass"]["afp"] for row in rows] == [1.5, 0.5, 1]
        for row in rows:
            assert {type(row["Mass"][key]) for key in ("accuracy", "afp")} == {float}
            assert {type(row["Mass"][key]) for key in ("boxes", "images")} == {int}


class TestLocalization:
    items = (
        # Found by the first box; the second is a false positive.
        item("Mass", [[0, 0, 10, 10]], [[0, 0, 10, 8], [20, 20, 30, 30]]),
        # Missed: IoU 0.25. The box is false at IoU, but lies inside: IoBB 1.
        item("Mass", [[0, 0, 10, 10]], [[0, 0, 5, 5]]),
        # Nothing predicted.
        item("Nodule", [[0, 0, 2, 2]], []),
    )

    def test_by_hand(self):
        rows = compute_localization(self.items, ("Mass", "Nodule", "Hernia"), 0.3)
        # Mass: 1 of 2 found; 2 false boxes over the 3 ground-truth boxes of all
        # pathologies.
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

    def test_accuracy_falls_with_the_threshold(self, random_items):
        items = random_items(0, 200)
        rows = [
            compute_localization(items, ("Mass",), t / 10)["Mass"] for t in range(1, 8)
        ]
        accuracies = [row["accuracy"] for row in rows]
        assert accuracies == sorted(accuracies, reverse=True)
        assert [r["afp"] for r in rows] == sorted(r["afp"] for r in rows)

    def test_nothing_at_all(self):
        row = compute_localization([], ("Mass",), 0.3)["Mass"]
        assert row == {"accuracy": None, "afp": None, "boxes": 0, "images": 0}

    def test_denominators_by_hand(self):
        items = [
            item("Mass", [[0, 0, 9, 9], [20, 0, 29, 9]], [[50, 0, 59, 9]] * 3),
            item("Nodule", [[0, 0, 9, 9]], []),
        ]
        afp = {
            name: compute_localization(items, ("Mass",), 0.3, afp_denominator=name)[
                "Mass"
            ]["afp"]
            for name in ("all", "pathology", "images")
        }
        # 3 false boxes over 3 drawn ones, 2 of Mass, 1 image of Mass.
        assert afp == {"all": 1, "pathology": 1.5, "images": 3}

    @pytest.mark.parametrize("items", [[], items])
    def test_names_that_do_not_exist(self, items):
        with pytest.raises(UserError, match="no AFP denominator 'patients'"):
            compute_localization(items, ("Mass",), 0.3, afp_denominator="patients")

    def test_images_without_a_drawn_box_do_not_count(self):
        negative = item("Mass", [], [[0, 0, 9, 9], [1, 1, 3, 3]])
        assert compute_localization(
            [*self.items, negative], PATHOLOGIES, 0.3
        ) == compute_localization(self.items, PATHOLOGIES, 0.3)
        row = compute_localization([negative], ("Mass",), 0.3)["Mass"]
        assert row == {"accuracy": None, "afp": None, "boxes": 0, "images": 0}

    def test_ignored_and_excused_boxes_by_hand(self):
        it = item(
            "Mass",
            [[0, 0, 10, 10]],
            # On the ground-truth box; on the ignored one; nowhere; nowhere, but
            # excused.
            [[0, 0, 10, 9], [20, 0, 30, 9], [50, 0, 59, 9], [70, 0, 79, 9]],
            ignored=[[20, 0, 30, 10]],
            excused=[True, False, False, True],
        )
        row = compute_localization([it], ("Mass",), 0.5)["Mass"]
        assert row == {"accuracy": 1, "afp": 1, "boxes": 1, "images": 1}
        # At 0.9 neither is hit any more, IoU 0.9 is not above it: two false boxes.
        row = compute_localization([it], ("Mass",), 0.9)["Mass"]
        assert row == {"accuracy": 0, "afp": 2, "boxes": 1, "images": 1}

    @pytest.mark.parametrize("overlap", ["iou", "iobb"])
    def test_equals_another_implementation(self, random_items, overlap):
        items = random_items(1, 300)
        thresholds = [0.1, 0.25, 0.3, 0.5, 0.7]
        counts = count_localizations(items, thresholds, overlap)
        total = sum(len(it.truth) for it in items)
        tables = summarize_counts(counts, PATHOLOGIES)
        for threshold, table in zip(thresholds, tables, strict=True):
            assert table == compute_localization(items, PATHOLOGIES, threshold, overlap)
            for name in ("Mass", "Nodule"):
                boxes, found, false, images = localization_by_loop(
                    items, name, threshold, overlap
                )
                assert 0 < found < boxes
                assert table[name] == {
                    "accuracy": pytest.approx(found / boxes),
                    "afp": pytest.approx(false / total),
                    "boxes": boxes,
                    "images": images,
                }

    def test_counts_of_every_image_add_up_to_the_table(self, random_items):
        items = random_items(2, 100)
        counts = count_localizations(items, (0.3, 0.5))
        table = summarize_counts(counts, PATHOLOGIES)[1]
        for row, it in enumerate(items):
            assert (counts.pathology[row], counts.patient[row]) == (
                it.pathology, it.patient,
            )  # fmt: skip
            alone = localization_by_loop([it], it.pathology, 0.5, "iou")
            assert counts.boxes[row] == alone[0]
            assert (counts.found[row, 1], counts.false[row, 1]) == alone[1:3]
        mine = counts.pathology == "Mass"
        accuracy = counts.found[mine, 1].sum() / counts.boxes[mine].sum()
        assert table["Mass"]["accuracy"] == pytest.approx(accuracy)

    def test_no_thresholds_and_no_items(self):
        assert count_localizations([], (0.1, 0.2)).found.shape == (0, 2)
        assert summarize_counts(count_localizations(self.items, ()), ("Mass",)) == []

    def test_a_map_that_is_not_finite_proposes_nothing(self):
        cam = np.full((4, 8), np.nan)
        predicted = extract_boxes(cam, (40, 80))
        it = item(
            "Mass", [[0, 0, 9, 9]], predicted.xyxy,
            scores=predicted.scores, peak=find_peak(cam, (40, 80)),
        )  # fmt: skip
        row = compute_localization([it], ("Mass",), 0.1)["Mass"]
        assert row == {"accuracy": 0, "afp": 0, "boxes": 1, "images": 1}
