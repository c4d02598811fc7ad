import math

import numpy as np
import pytest

from keras_mscam.data.manifest import Manifest, Split
from keras_mscam.evaluate import choose_cases, compute_metrics
from keras_mscam.localization.metrics import Localization
from keras_mscam.modeling import build_classifier
from keras_mscam.predictions import Predictions, resize_map

NAMES = ("Mass", "Nodule")


def make_predictions():
    """Three images: a hit and a miss of Mass, and one without any box."""
    truth = np.array([[0.0, 0.0, 10.0, 10.0]])
    items = [
        Localization("Mass", "1", truth, np.array([[0.0, 0.0, 10.0, 9.0]])),
        Localization("Mass", "2", truth, np.array([[20.0, 20.0, 30.0, 30.0]])),
    ]
    return Predictions(
        names=["a.png", "b.png", "c.png"],
        labels=[np.array([1.0, 0]), np.array([1.0, 0]), np.array([0.0, 0])],
        probabilities=[np.array([0.9, 0.1]), np.array([0.4, 0.2]), np.array([0.5, 0])],
        boxed=[("a.png", (40, 40)), ("b.png", (40, 40))],
        localizations={"attention": items, "cam_block4": items},
    )


MANIFEST = Manifest(
    pathologies=NAMES, image_size=(32, 32), split_rule="", seed=0,
    splits={"test": Split((), 3, 3, {}, {})}, beta={}, checksums={}, sources={},
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    return build_classifier(2, (32, 32), "small_densenet", blocks=(4,))


def test_metrics_by_hand(classifier):
    with pytest.warns(UserWarning, match="Nodule is undefined"):
        metrics = compute_metrics(make_predictions(), MANIFEST, classifier)
    # Positives .9 and .4 against the negative .5: one of two pairs in order.
    assert metrics["auroc"] == {"Mass": 0.5, "Nodule": None}
    assert metrics["auroc_mean"] == 0.5
    assert any("Nodule" in note for note in metrics["notes"])
    row = metrics["localization"]["iou"]["0.5"]["Mass"]
    assert row == {"accuracy": 0.5, "afp": 0.5, "boxes": 2, "images": 2}
    assert metrics["localization"]["mean_accuracy"]["0.3"] == 0.5
    assert metrics["localization"]["iou"]["0.3"]["Nodule"]["accuracy"] is None
    # Each patient's box is the other's mean box: both are found.
    assert metrics["floors"]["mean_box"]["iou"]["0.5"]["Mass"]["accuracy"] == 1
    assert metrics["relevance_weights"] == {"Mass": [1.0], "Nodule": [1.0]}


def test_cases_are_a_median_hit_and_the_most_confident_miss():
    assert choose_cases(make_predictions(), NAMES) == [
        ("a.png", "Mass", "typical hit"),
        ("b.png", "Mass", "most confident miss"),
    ]


@pytest.mark.filterwarnings("ignore:The AUROC")
def test_a_split_without_boxes(classifier):
    predictions = make_predictions()
    predictions.boxed, predictions.localizations = [], {}
    metrics = compute_metrics(predictions, MANIFEST, classifier)
    assert metrics["localization"]["mean_accuracy"] == {"0.3": None, "0.5": None}
    assert choose_cases(predictions, NAMES) == []


def test_no_number_is_nan(classifier):
    with pytest.warns(UserWarning, match="undefined"):
        metrics = compute_metrics(make_predictions(), MANIFEST, classifier)

    def walk(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return all(map(walk, value))
        return not (isinstance(value, float) and math.isnan(value))

    assert walk(metrics)


def test_maps_are_enlarged_with_half_pixel_centres():
    # 2 to 4: centres at 0.25 and 0.75 of the way between, borders repeated.
    enlarged = resize_map(np.array([[0.0, 1.0]], "float32"), (1, 4))
    np.testing.assert_allclose(enlarged, [[0, 0.25, 0.75, 1]], atol=1e-6)
    same = np.ones((3, 5), "float32")
    assert resize_map(same, (3, 5)) is same
