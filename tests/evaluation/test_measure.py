"""Stored maps to numbers, on maps whose boxes are known."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import calibrate_on
from keras_mscam.evaluation.evaluate_run import choose_cases, choose_sheet, find_chosen
from keras_mscam.evaluation.localize import localize, map_fused
from keras_mscam.evaluation.measure import describe_limits, locate_all, measure
from keras_mscam.evaluation.split_outputs import Predictions
from keras_mscam.inference.run_calibration import (
    Calibration,
    OperatingPoint,
    RunCalibration,
    read_calibration,
    write_calibration,
)
from keras_mscam.localization.fusion import Fusion
from keras_mscam.localization.protocol import describe_protocol

NAMES = ("Mass", "Nodule")


class StoredMaps(Predictions):
    """Predictions whose maps are in memory, in two parts."""

    maps = ()

    def read_maps(self):
        yield 0, [cams[:3] for cams in self.maps]
        yield 3, [cams[3:] for cams in self.maps]


@pytest.fixture
def predictions():
    """Five images of 8 by 16, seen at that size, originally twice as large.

    Mass has a box on images 0, 1 and 4 at x 4..8, y 2..6 of the map. The map of image 0
    is high exactly there, that of image 1 elsewhere, that of image 4 is NaN; image 2 is
    labelled without Mass, image 3 with it, but without a box.
    """
    maps = np.zeros((5, 8, 16, 2), "float32")
    maps[:, 0, 0] = -1
    maps[0, 2:6, 4:8, 0] = 3
    maps[1, 2:6, 10:14, 0] = 3
    maps[2, 0:2, 0:2, 0] = 3
    maps[4, 0, 0, 0] = np.nan
    labels = np.array([[1, 0], [1, 0], [0, 0], [1, 0], [1, 0]], "float32")
    logits = np.array([[2, -1], [1, -1], [-2, -1], [1, -1], [-1, -1]], "float32")
    stored = StoredMaps(
        folder=None, pathologies=NAMES, blocks=(4,), image_size=(8, 16),
        relevance_weights=np.ones((1, 2), "float32"),
        names=np.array([f"{n}.png" for n in range(5)]),
        patients=np.array(["a", "b", "c", "d", "e"]), labels=labels, logits=logits,
        block_logits=logits[:, None], original_sizes=np.full((5, 2), (16, 32)),
        box_rows=np.array([0, 1, 4]), box_columns=np.array([0, 0, 0]),
        box_xyxy=np.array([[8.0, 4, 16, 12]] * 3),
    )  # fmt: skip
    object.__setattr__(stored, "maps", [maps])
    return stored


def identity():
    return Calibration(slope=1.0, intercept=0.0, images=9, positives=4, reason=None)


def point(threshold):
    return OperatingPoint(**EMPTY_POINT | {"probability_threshold": threshold})


EMPTY_POINT = {
    "probability_threshold": None, "sensitivity": None, "specificity": None,
    "ppv": None, "f1": None, "criterion": "youden", "images": 9, "positives": 4,
    "reason": "of the test",
}  # fmt: skip


@pytest.fixture
def calibration():
    return RunCalibration(
        "x", dict.fromkeys(NAMES, identity()),
        {"Mass": point(0.5), "Nodule": point(None)}, np.ones((1, 2)),
    )  # fmt: skip


WANG = LocalizationConfig()
FUSION = Fusion(np.ones((1, 2), "float32"), np.ones(2))


class TestLocalize:
    def test_looks_where_it_is_known_what_is_there(self, predictions):
        probabilities = np.full((5, 2), 0.25)
        items = localize(predictions, FUSION, WANG, probabilities)
        # Those with a box first, then the image without Mass. Nodule has no box.
        assert [(i.name, i.pathology, len(i.truth)) for i in items] == [
            ("0.png", "Mass", 1), ("1.png", "Mass", 1), ("4.png", "Mass", 1),
            ("2.png", "Mass", 0),
        ]  # fmt: skip

    def test_boxes_peak_and_scores_in_the_original_frame(self, predictions):
        item = localize(predictions, FUSION, WANG, np.full((5, 2), 0.25))[0]
        # x 4..8, y 2..6 of the map, times two. Scaled from -1..3, the background is at
        # 64 of 255: above 60, so a second box is nearly the whole image.
        assert [8, 4, 16, 12] in item.predicted.tolist()
        assert len(item.predicted) == 2
        assert item.peak == (9.0, 5.0)  # the first of the equal pixels, its centre
        assert item.scores[0] == pytest.approx(0.25)  # probability times a heat of 1

    def test_a_map_that_is_not_finite_proposes_nothing(self, predictions):
        item = localize(predictions, FUSION, WANG, np.full((5, 2), 0.25))[2]
        assert item.predicted.shape == (0, 4)
        assert item.peak is None

    def test_without_negatives(self, predictions):
        items = localize(
            predictions, FUSION, WANG, np.full((5, 2), 0.25), negatives=False
        )
        assert [len(item.truth) for item in items] == [1, 1, 1]

    def test_tuned_thresholds_are_best_for_other_patients(self, predictions):
        # The others' maps are wrong: only a box of the whole map meets theirs at all,
        # which takes a threshold below that of the background, 0.25.
        protocol = LocalizationConfig(threshold="tuned")
        item = localize(predictions, FUSION, protocol, np.full((5, 2), 0.25))[0]
        assert item.predicted.tolist() == [[0, 0, 32, 16]]

    @pytest.mark.parametrize("threshold", ["otsu", "oracle"])
    def test_every_threshold_finds_the_clear_one(self, predictions, threshold):
        protocol = LocalizationConfig(threshold=threshold)
        item = localize(predictions, FUSION, protocol, np.full((5, 2), 0.25))[0]
        assert item.predicted.tolist() == [[8, 4, 16, 12]]

    def test_thresholds_are_tuned_on_the_boxes_that_are_kept(self, predictions):
        # The brightest region lies beside the ground-truth box. So the one box that is
        # kept meets that only below the background, where it is the whole map.
        predictions.maps[0][0, 2:6, 4:8, 0] = 2.9
        predictions.maps[0][0, 2:6, 10:14, 0] = 3
        protocol = LocalizationConfig(threshold="oracle", max_boxes=1)
        item = localize(predictions, FUSION, protocol, np.full((5, 2), 0.25))[0]
        assert item.predicted.tolist() == [[0, 0, 32, 16]]


class TestMeasure:
    @pytest.fixture
    def metrics(self, predictions, calibration):
        systems, fusion = locate_all(predictions, calibration, WANG)
        return measure(predictions, calibration, WANG, systems, fusion)

    def test_numbers_by_hand(self, metrics):
        assert metrics["boxed"] == ["Mass"]
        assert (metrics["images"], metrics["patients"]) == (5, 5)
        row = metrics["localization"]["attention"]["iou"]["0.5"]["Mass"]
        # One of three is found. False: the large box of image 0, both boxes of image 1.
        assert row["accuracy"]["value"] == pytest.approx(1 / 3)
        assert row["afp"] == pytest.approx(3 / 3)
        assert (row["boxes"], row["images"]) == (3, 3)
        # Positives 2, 1, 1, -1 against the one negative -2: always above.
        assert metrics["classification"]["Mass"]["auroc"]["value"] == 1
        assert metrics["classification"]["Nodule"]["auroc"]["value"] is None

    def test_what_says_nothing_is_said_once_with_the_names(
        self, predictions, metrics, calibration
    ):
        uncertain = "is measured with much uncertainty."
        said = [
            "The test split has no image with Nodule: their classification can't be "
            "measured.",
            "The test split has fewer than 10 images with, or without, Mass (1): "
            f"their classification {uncertain}",
            "The test split has no ground-truth box of Nodule: their localization "
            "can't be measured.",
            f"The test split has fewer than 10 ground-truth boxes of Mass (3): their "
            f"localization {uncertain}",
            "The mean AUROC is that of 1 pathologies of 2.",
            "The validation split has fewer than 10 images with, or without, Mass (4), "
            "Nodule (4): thresholds and calibration of them are uncertain.",
            "No operating point of Mass, Nodule: of the test.",
        ]
        assert metrics["warnings"] == said
        # Boxes of patients a, b and e, who fall into more parts than one.
        tuned = LocalizationConfig(threshold="tuned")
        assert describe_limits(predictions, calibration, tuned, "test") == said
        one = dataclasses.replace(predictions, box_rows=np.array([0, 0, 0]))
        assert describe_limits(one, calibration, tuned, "train")[-1] == (
            "The threshold of maps of Mass is 0.5 and not tuned, for want of boxes of "
            "other patients."
        )

    def test_intervals_hold_the_value(self, metrics):
        accuracy = metrics["localization"]["attention"]["iou"]["0.5"]["Mass"][
            "accuracy"
        ]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]

    def test_by_operating_point(self, metrics):
        sides = metrics["localization"]["attention"]["by_operating_point"]
        # Sigmoid of 2 and 1 is above 0.5, of -1 below: images 0 and 1 against 4.
        assert sides["above"]["Mass"]["boxes"] == 2
        assert sides["above"]["Mass"]["accuracy"] == 0.5
        assert sides["below"]["Mass"]["accuracy"] == 0

    def test_by_size(self, metrics):
        sizes = metrics["localization"]["attention"]["by_size"]
        # 8 by 8 in 16 by 32: sqrt(64 / 512) = 0.35 of the side.
        assert sizes["large"]["Mass"]["boxes"] == 3
        assert sizes["small"]["Mass"]["accuracy"] is None

    def test_baselines_stand_beside(self, metrics):
        assert list(metrics["localization"]) == ["attention", "mean_box", "random_map"]
        mean_box = metrics["localization"]["mean_box"]["iou"]["0.5"]["Mass"]
        assert mean_box["accuracy"]["value"] == 1  # all three boxes are the same

    def test_is_json_without_nan(self, metrics):
        json.dumps(metrics, allow_nan=False)

    def test_blocks_alone_and_fused(self, predictions, calibration):
        """A block that says nothing drops out of the fusion, not of the table."""
        blank = np.zeros_like(predictions.maps[0][:, ::2, ::2])
        object.__setattr__(predictions, "maps", [blank, predictions.maps[0]])
        object.__setattr__(predictions, "blocks", (3, 4))
        object.__setattr__(predictions, "relevance_weights", np.full((2, 2), 0.5))
        calibration = RunCalibration(
            "x", calibration.calibrations, calibration.operating_points,
            np.array([[0.0, 0], [1, 1]]),
        )  # fmt: skip
        systems, fusion = locate_all(predictions, calibration, WANG)
        metrics = measure(predictions, calibration, WANG, systems, fusion)
        accuracy = {
            name: tables["iou"]["0.5"]["Mass"]["accuracy"]["value"]
            for name, tables in metrics["localization"].items()
        }
        assert accuracy["block3"] == 0
        assert accuracy["block4"] == accuracy["attention"] == pytest.approx(1 / 3)

    def test_one_box_alone(self, predictions, calibration):
        """No other patient has one to take the mean of: that baseline misses it."""
        for key in ("rows", "columns", "xyxy"):
            boxes = getattr(predictions, f"box_{key}")
            object.__setattr__(predictions, f"box_{key}", boxes[:1])
        systems, fusion = locate_all(predictions, calibration, WANG)
        metrics = measure(predictions, calibration, WANG, systems, fusion)
        tables = metrics["localization"]
        assert tables["attention"]["iou"]["0.5"]["Mass"]["accuracy"]["value"] == 1
        accuracy = tables["mean_box"]["iou"]["0.5"]["Mass"]["accuracy"]
        assert (accuracy["value"], accuracy["low"]) == (0, None)
        assert accuracy["reason"] == "only one patient has anything to count"
        assert tables["mean_box"]["mean_accuracy"]["iou"]["0.5"]["value"] == 0
        json.dumps(metrics, allow_nan=False)

    def test_the_denominator_of_false_positives_is_one_everywhere(
        self, predictions, calibration
    ):
        # A second box, of the same size, on image 0: four boxes on three images.
        for key, more in (("rows", [0]), ("columns", [0]), ("xyxy", [[0, 0, 8, 8]])):
            boxes = np.concatenate([getattr(predictions, f"box_{key}"), more])
            object.__setattr__(predictions, f"box_{key}", boxes)
        false_boxes = set()
        for denominator, count in (("all", 4), ("images", 3)):
            protocol = LocalizationConfig(afp_denominator=denominator)
            systems, fusion = locate_all(predictions, calibration, protocol)
            metrics = measure(predictions, calibration, protocol, systems, fusion)
            tables = metrics["localization"]["attention"]
            false_boxes |= {
                count * table["Mass"]["afp"]
                for table in (tables["iou"]["0.3"], tables["by_size"]["large"])
            }
        (count,) = false_boxes
        assert count > 0

    def test_thresholds_of_published_weights_are_no_gap(self, predictions, calibration):
        names = predictions.pathologies
        point = OperatingPoint(probability_threshold=0.5, criterion="published")
        published = dataclasses.replace(
            calibration,
            calibrations={name: Calibration(reason="none") for name in names},
            operating_points=dict.fromkeys(names, point),
        )
        assert calibration.is_fitted and not published.is_fitted
        said = describe_limits(predictions, published, WANG, "test")
        assert f"Calibration of {', '.join(names)}: none." in said
        assert not any("validation" in sentence for sentence in said)

    def test_no_box_at_all(self, predictions, calibration):
        for name, empty in [("rows", 0), ("columns", 0)]:
            object.__setattr__(predictions, f"box_{name}", np.zeros(empty, int))
        object.__setattr__(predictions, "box_xyxy", np.zeros((0, 4)))
        systems, fusion = locate_all(predictions, calibration, WANG)
        metrics = measure(predictions, calibration, WANG, systems, fusion)
        assert metrics["boxed"] == []
        means = metrics["localization"]["attention"]["mean_accuracy"]["iou"]
        assert means["0.3"]["value"] is None
        json.dumps(metrics, allow_nan=False)


class TestCases:
    @pytest.fixture
    def items(self, predictions):
        return localize(predictions, FUSION, WANG, np.full((5, 2), 0.25))

    def test_a_median_hit_and_the_most_confident_miss(self, predictions):
        probabilities = np.array([[0.9, 0], [0.3, 0], [0, 0], [0, 0], [0.6, 0]])
        items = localize(predictions, FUSION, WANG, probabilities)
        chosen = choose_cases(items, ("Mass",))
        assert [(item.name, kind) for item, kind in chosen] == [
            ("0.png", "typical hit"), ("4.png", "most confident miss"),
        ]  # fmt: skip

    def test_a_sheet_goes_from_best_to_worst(self, items):
        sheet = choose_sheet(items, "Mass")
        assert [(item.name, kind) for item, kind in sheet] == [
            ("0.png", "hit"), ("1.png", "miss"), ("4.png", "miss"),
        ]  # fmt: skip
        assert [i.name for i, _ in choose_sheet(items, "Mass", 2)] == ["0.png", "4.png"]
        assert choose_sheet(items, "Nodule") == []

    def test_images_named_by_a_user(self, items):
        assert [i.name for i, _ in find_chosen(items, ["1.png"])] == ["1.png"]
        with pytest.raises(UserError, match=r"no image 2\.png with a ground-truth box"):
            find_chosen(items, ["2.png"])


def test_a_block_alone_is_not_spoilt_by_another():
    good, bad = np.zeros((1, 2, 3, 1), "float32"), np.full((1, 2, 3, 1), np.nan)
    good[0, 1, 2] = 1
    predictions = SimpleNamespace(
        image_size=(2, 3), read_maps=lambda: iter([(0, [good, bad])])
    )
    for weights, highest in (([[1], [0]], 1), ([[1], [1]], 0), ([[0], [0]], 0)):
        fusion = Fusion(np.array(weights, "float32"), np.ones(1))
        (fused,) = map_fused(lambda f: f, predictions, fusion, WANG, [(0, 0)])
        assert fused.heatmap.shape == (2, 3)
        assert fused.heatmap.max() == highest


class TestCalibration:
    def test_it_is_read_as_it_was_written(self, predictions, tmp_path):
        calibration = calibrate_on([predictions], "checksum")
        write_calibration(tmp_path / "calibration.json", calibration)
        again = read_calibration(tmp_path / "calibration.json")
        assert again.model == "checksum"
        assert again.calibrations == calibration.calibrations
        assert again.operating_points == calibration.operating_points
        np.testing.assert_array_equal(again.deviations, calibration.deviations)

    @pytest.mark.parametrize("text", ["", "{}", "[1]"])
    def test_a_damaged_file_is_named(self, tmp_path, text):
        path = tmp_path / "calibration.json"
        path.write_text(text)
        with pytest.raises(UserError, match=r"calibration\.json can't be read"):
            read_calibration(path)

    @pytest.mark.parametrize(
        "changes",
        [{"map_deviations": [1, 2]}, {"map_deviations": [[1]]},
         {"map_deviations": [["a", "b"]]}, {"map_deviations": "none"},
         {"operating_points": {"Mass": {}}}],
    )  # fmt: skip
    def test_parts_that_do_not_fit_are_one_sentence(
        self, calibration, tmp_path, changes
    ):
        path = tmp_path / "calibration.json"
        write_calibration(path, calibration)
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with pytest.raises(UserError, match=r"calibration\.json can't be read"):
            read_calibration(path)

    def test_another_models_is_one_sentence(self, predictions, calibration):
        fewer = dataclasses.replace(calibration, deviations=calibration.deviations[:0])
        with pytest.raises(UserError, match=r"calibration\.json is of 0 blocks and of"):
            locate_all(predictions, fewer, WANG)

    @pytest.mark.parametrize(
        ("kind", "content"),
        [("calibrations", {"slope": 0}), ("calibrations", {"intercept": np.nan}),
         ("calibrations", {"slope": None}), ("calibrations", [1, 0]),
         ("operating_points", {"ppv": -1}), ("operating_points", {"threshold": 0.5})],
    )  # fmt: skip
    def test_a_damaged_entry_is_one_sentence(
        self, calibration, tmp_path, kind, content
    ):
        path = tmp_path / "calibration.json"
        write_calibration(path, calibration)
        changed = json.loads(path.read_text())
        changed[kind]["Mass"] = content
        path.write_text(json.dumps(changed))
        reason = (
            "it has the number NaN" if "NaN" in path.read_text() else f"{kind}.Mass"
        )
        sentence = rf"^.*calibration\.json can't be read \({reason}.*$"
        with pytest.raises(UserError, match=sentence):
            read_calibration(path)


class TestDescribeProtocol:
    def test_wangs(self):
        text = describe_protocol(WANG)
        assert "at 60 and 180, all thresholds together, chosen without any" in text
        assert "over all ground-truth boxes" in text

    def test_nobody_knows_how_others_were_chosen(self):
        text = describe_protocol(LocalizationConfig(cam_thresholds=(0.5,)))
        assert "at 127.5; a box" in text and "chosen" not in text

    def test_an_oracle_is_called_so(self):
        text = describe_protocol(LocalizationConfig(threshold="oracle"))
        assert "ORACLE" in text
        assert "not a result" in text

    def test_every_deviation_is_said(self):
        said = {
            describe_protocol(LocalizationConfig(**change))
            for change in [
                {}, {"fusion": "standardized"}, {"normalization": "exponential"},
                {"threshold": "otsu"}, {"threshold": "tuned"}, {"min_area": 0.01},
                {"max_boxes": 3}, {"afp_denominator": "images"},
                {"cam_thresholds": (0.5,)},
            ]
        }  # fmt: skip
        assert len(said) == 9
