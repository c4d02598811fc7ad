import cv2
import numpy as np
import pytest

from keras_mscam.localization.accuracy import Localization, compute_localization
from keras_mscam.localization.baselines import (
    localize_at_random,
    localize_by_mean_box,
)
from keras_mscam.localization.boxes import PredictedBoxes, extract_boxes, find_peak
from keras_mscam.localization.detection import compute_froc, compute_pointing_game


def item(pathology, patient, truth, size=(100, 100), **fields):
    predicted = [[0, 0, 1, 1]]  # by a system, to be replaced
    return Localization(
        pathology, patient, truth, predicted, original_size=size, peak=(0, 0),
        probability=0.25, name=f"{patient}.png", excused=[True], **fields,
    )  # fmt: skip


class TestMeanBox:
    items = (
        item("Mass", "1", [[0, 0, 10, 20]]),
        item("Mass", "1", [[90, 90, 99, 99]]),  # the same patient: not for patient 1
        item("Mass", "2", [[20, 40, 30, 60]], (200, 100)),  # twice the height
        item("Mass", "3", [[30, 0, 50, 20]]),
        item("Nodule", "4", [[1, 1, 2, 2]]),  # another pathology, one patient
        item("Mass", "5", [], (50, 200)),  # labelled negative
    )

    def test_by_hand(self):
        result = localize_by_mean_box(self.items)
        assert [it.pathology for it in result] == [it.pathology for it in self.items]
        # Patients 2 and 3, relative: (.2, .2, .3, .3) and (.3, 0, .5, .2); their mean.
        np.testing.assert_allclose(result[0].predicted, [[25, 10, 40, 25]])
        np.testing.assert_allclose(result[1].predicted, [[25, 10, 40, 25]])
        assert result[0].peak == pytest.approx((32.5, 17.5))
        # For patient 2, of (0, 0, .1, .2), (.9, .9, .99, .99), (.3, 0, .5, .2), the
        # mean (.4, .3, .53, .4633), in a frame of 200 by 100.
        np.testing.assert_allclose(
            result[2].predicted, [[40, 60, 53, 92.6667]], rtol=1e-5
        )
        assert result[2].peak == pytest.approx((46.5, 76.3333), rel=1e-5)
        # No other patient has a nodule.
        assert len(result[4].predicted) == 0 and result[4].peak is None
        # For the negative of all four, (.35, .275, .4725, .4225), in 50 by 200.
        np.testing.assert_allclose(result[5].predicted, [[70, 13.75, 94.5, 21.125]])

    def test_the_rest_stays(self):
        for before, after in zip(
            self.items, localize_by_mean_box(self.items), strict=True
        ):
            np.testing.assert_array_equal(after.truth, before.truth)
            boxes = before.pathology == "Mass"
            assert after.scores.tolist() == [1] * boxes
            assert after.excused.tolist() == [False] * boxes
            for key in ("patient", "name", "probability", "original_size"):
                assert getattr(after, key) == getattr(before, key)

    def test_a_single_patient_has_no_mean_box_which_is_a_miss(self):
        result = localize_by_mean_box([item("Mass", "1", [[0, 0, 1, 1]])] * 2)
        row = compute_localization(result, ("Mass",), 0.3)["Mass"]
        assert (row["accuracy"], row["boxes"], row["afp"]) == (0, 2, 0)
        assert localize_by_mean_box([]) == []
        (nothing,) = localize_by_mean_box([item("Mass", "1", [])])
        assert len(nothing.predicted) == 0

    def test_equals_another_implementation(self, random_items):
        items = random_items(0, 150)
        expected = []
        for it in items:
            others = [
                box / [40, 24, 40, 24]
                for other in items
                if other.pathology == it.pathology and other.patient != it.patient
                for box in other.truth
            ]
            expected.append(np.mean(others, axis=0) * [40, 24, 40, 24])
        result = localize_by_mean_box(items)
        assert len(result) == len(items)
        for it, box in zip(result, expected, strict=True):
            np.testing.assert_allclose(it.predicted, [box], rtol=1e-9)
            assert it.peak == pytest.approx(tuple((box[:2] + box[2:]) / 2))

    def test_a_pathology_always_in_one_place_is_found_and_pointed_at(self):
        items = [item("Mass", str(i), [[20, 30, 60, 50]]) for i in range(3)]
        result = localize_by_mean_box(items)
        assert compute_localization(result, ("Mass",), 0.9)["Mass"]["accuracy"] == 1
        assert compute_pointing_game(result, ("Mass",))["Mass"]["hit_rate"] == 1
        assert compute_froc(result, ("Mass",))["Mass"]["mean_sensitivity"] == 1


class TestRandomMaps:
    items = tuple(item("Mass", str(i), [[0, 0, 10, 20]], (64, 96)) for i in range(5))

    def test_they_repeat_with_their_seed(self):
        one, same, other = (
            localize_at_random(self.items, (64, 96), extract_boxes, seed=seed)
            for seed in (1, 1, 2)
        )
        for a, b in zip(one, same, strict=True):
            np.testing.assert_array_equal(a.predicted, b.predicted)
            np.testing.assert_array_equal(a.scores, b.scores)
            assert a.peak == b.peak
        assert [it.peak for it in one] != [it.peak for it in other]

    def test_boxes_and_peak_are_in_the_frame_of_the_original(self):
        items = [item("Mass", str(i), [], (128, 48)) for i in range(20)]
        peaks = []
        for it in localize_at_random(items, (64, 96), extract_boxes):
            assert len(it.predicted) == len(it.scores) == len(it.excused)
            assert len(it.predicted)
            assert not it.excused.any()
            assert (it.predicted >= 0).all()
            assert (it.predicted <= [48, 128, 48, 128]).all()
            peaks.append(it.peak)
        assert (np.array(peaks) < [48, 128]).all()
        assert (np.array(peaks).max(0) > [24, 64]).all()  # not of swapped axes

    def test_they_go_through_the_given_procedure(self):
        seen = []

        def extract(cam, original_size):
            seen.append((cam, original_size))
            return PredictedBoxes(np.array([[1.0, 2, 3, 4]]), np.array([0.5]))

        result = localize_at_random(self.items, (16, 32), extract, seed=3)
        rng = np.random.default_rng(3)
        for (cam, size), it in zip(seen, result, strict=True):
            noise = cv2.resize(rng.random((8, 8)), (32, 16))
            np.testing.assert_array_equal(cam, noise)
            assert size == (64, 96)
            assert it.predicted.tolist() == [[1, 2, 3, 4]]
            assert it.scores.tolist() == [0.5]
            assert it.peak == find_peak(cam, size)

    def test_a_procedure_that_proposes_nothing(self):
        def extract(cam, original_size):
            return PredictedBoxes()

        result = localize_at_random(self.items, (16, 32), extract)
        row = compute_localization(result, ("Mass",), 0.3)["Mass"]
        assert row == {"accuracy": 0, "afp": 0, "boxes": 5, "images": 5}

    def test_a_random_peak_hits_by_the_area_of_the_box(self):
        # A box over the left half of the image. 2,000 maps, deviation .011.
        items = [item("Mass", str(i), [[0, 0, 32, 64]], (64, 64)) for i in range(2000)]
        result = localize_at_random(items, (32, 32), extract_boxes)
        rate = compute_pointing_game(result, ("Mass",))["Mass"]["hit_rate"]
        assert rate == pytest.approx(0.5, abs=0.05)
