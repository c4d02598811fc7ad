"""Every signature of an exported model, against the Keras model, NumPy and OpenCV."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_mscam.exporting.agreement import compare_outputs, run_reference
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.grey_values import DARK, INVERTED
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.runtimes.tensorflow_keras import (
    load_signatures,
    run_signature,
)
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.localization.fusion import fuse_maps

SIZE = (64, 96)
NAMES = ["Effusion", "Mass", "Nodule"]
EXAMPLES = draw_examples(SIZE)
# Those whose pixels every resampler makes alike.
FILES = [example.data for example in EXAMPLES if example.whole]


@pytest.fixture(scope="module")
def signatures(exported):
    return load_signatures(exported)


@pytest.fixture(scope="module")
def expected(calibrated_model):
    return run_reference(calibrated_model.localizer, calibrated_model.contract, FILES)


def decode(outputs, name="error"):
    return np.char.decode(outputs[name].astype("S")).tolist()


def test_the_contract_lies_beside_the_model(exported, calibrated_model):
    assert read_contract(exported) == calibrated_model.contract


def test_serving_default_gives_what_the_reference_gives(signatures, expected):
    outputs = run_signature(signatures["serving_default"], image_bytes=FILES)
    assert set(outputs) == {*expected, "warnings"}
    for name, values in expected.items():
        if values.dtype.kind == "U":
            assert decode(outputs, name) == values.tolist()
        else:
            np.testing.assert_allclose(outputs[name], values, atol=1e-4, err_msg=name)


def test_other_sizes_differ_by_rounding_alone(signatures, calibrated_model):
    """One grey level in some pixels: measured, 3e-5 in probabilities, 0.4% of maps."""
    files = [example.data for example in EXAMPLES if not example.whole]
    outputs = run_signature(signatures["serving_default"], image_bytes=files)
    expected = run_reference(
        calibrated_model.localizer, calibrated_model.contract, files
    )
    agreement = compare_outputs(outputs, expected, calibrated_model.contract)
    assert agreement.probabilities < 2e-4 and agreement.maps < 0.01
    assert agreement.positives == 1 and agreement.boxes > 0.99


def test_the_reference_found_boxes(expected):
    # Else the comparison above would say nothing of them.
    assert (expected["box_scores"][:, 0, 0] > 0).all()  # Effusion: always positive
    assert (expected["box_scores"][:, 2] == 0).all()  # Nodule: never called


@pytest.mark.parametrize("name", ["boxes", "probabilities"])
def test_smaller_signatures_give_the_same(signatures, expected, name):
    outputs = run_signature(signatures[name], image_bytes=FILES)
    np.testing.assert_allclose(
        outputs["probabilities"], expected["probabilities"], atol=1e-6
    )
    assert ("boxes" in outputs) == (name == "boxes")
    assert decode(outputs, "pathologies") == [NAMES] * len(FILES)
    np.testing.assert_array_equal(outputs["positives"], expected["positives"])
    assert not any(name.startswith("cam_") for name in outputs)


@pytest.mark.parametrize("name", ["serving_default", "boxes", "overlay", "heatmaps"])
def test_odd_grey_values_are_said(signatures, name):
    pixels = cv2.imdecode(np.frombuffer(FILES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    files = [FILES[0], encode(pixels // 16), b"junk", encode(255 - pixels)]
    chosen = {"chosen": [""] * 4} if name == "overlay" else {}
    outputs = run_signature(signatures[name], image_bytes=files, **chosen)
    assert decode(outputs, "warnings") == ["", DARK, "", INVERTED]


def test_heatmaps_are_the_normalized_fused_maps(signatures, expected, calibrated_model):
    outputs = run_signature(signatures["heatmaps"], image_bytes=FILES)
    weights = np.array(calibrated_model.contract.fusion_weights, "float32")
    for row in range(len(FILES)):
        cams = [expected[f"cam_block{block}"][row] for block in (2, 3, 4)]
        for column, cam in enumerate(fuse_maps(cams, weights, SIZE)):
            np.testing.assert_allclose(
                outputs["heatmaps"][row, ..., column], 255 * normalize_map(cam),
                atol=0.51,
            )  # fmt: skip


def test_one_unreadable_image_fails_no_other(signatures, expected):
    files = [b"", FILES[0], b"no image", FILES[1][:100]]
    outputs = run_signature(signatures["serving_default"], image_bytes=files)
    errors = decode(outputs)
    assert errors[0] == "is empty"
    assert errors[1] == ""
    assert errors[2] == "is not a PNG or JPEG image"
    assert errors[3].startswith("is damaged")
    np.testing.assert_allclose(
        outputs["probabilities"][1], expected["probabilities"][0], atol=1e-6
    )
    for row in (0, 2, 3):
        assert (outputs["probabilities"][row] == -1).all()
        assert not outputs["positives"][row].any()
        assert (outputs["box_scores"][row] == 0).all()
        assert (outputs["attention"][row] == 0).all()
        assert (outputs["original_size"][row] == 0).all()


@pytest.mark.parametrize("files", [[], [b""], [b"", b"x"]])
def test_batches_without_a_readable_image(signatures, files):
    for name in ("serving_default", "boxes", "heatmaps"):
        outputs = run_signature(
            signatures[name], image_bytes=np.array(files, object).astype("S")
        )
        assert outputs["probabilities"].shape == (len(files), 3)
        assert (outputs["probabilities"] == -1).all()


def test_boxes_are_in_pixels_of_the_image_sent(signatures):
    # Twice as high and three times as wide: the network sees the same.
    small = np.random.default_rng(0).integers(0, 256, SIZE).astype("uint8")
    large = small.repeat(2, axis=0).repeat(3, axis=1)
    files = [encode(small), encode(large)]
    outputs = run_signature(signatures["boxes"], image_bytes=files)
    first, second = outputs["boxes"]
    np.testing.assert_allclose(first * [3, 2, 3, 2], second, atol=1e-3)
    assert outputs["original_size"].tolist() == [[64, 96], [128, 288]]


def test_tensors_give_what_files_give(signatures):
    image = np.random.default_rng(1).integers(0, 256, (50, 70)).astype("uint8")
    wanted = run_signature(signatures["serving_default"], image_bytes=[encode(image)])
    pixels = image[None, ..., None]
    found = run_signature(signatures["tensor_uint8"], image=pixels)
    for name, values in wanted.items():
        if values.dtype != object:
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
    floats = run_signature(signatures["tensor"], image=pixels.astype("float32"))
    dark = run_signature(signatures["tensor"], image=pixels.astype("float32") / 255)
    assert decode(dark, "warnings") == [DARK]
    # Not rounded to grey levels after resizing, so nearly the same.
    np.testing.assert_allclose(
        floats["probabilities"], wanted["probabilities"], atol=0.02
    )


def test_a_tensor_of_the_networks_size_is_taken_as_it_is(signatures, calibrated_model):
    image = np.random.default_rng(1).uniform(0, 255, (2, *SIZE, 1)).astype("float32")
    found = run_signature(signatures["tensor"], image=image)
    wanted = calibrated_model.localizer.predict_on_batch(image)
    np.testing.assert_allclose(found["attention"], wanted["attention"], atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_with_a_value_that_is_none_is_marked(signatures, value):
    image = np.full((2, *SIZE, 1), 100, "float32")
    image[0, 3, 3, 0] = value
    outputs = run_signature(signatures["tensor"], image=image)
    assert decode(outputs) == ["has a value that isn't finite", ""]
    assert (outputs["probabilities"][0] == -1).all()
    assert (outputs["probabilities"][1] >= 0).all()


class TestOverlay:
    def call(self, signatures, chosen, files=FILES[:1]):
        outputs = run_signature(
            signatures["overlay"], image_bytes=files, chosen=[chosen] * len(files)
        )
        return outputs, outputs["overlays_bytes"]

    def test_of_all_positive_ones(self, signatures):
        outputs, pictures = self.call(signatures, "", FILES)
        positive = outputs["probabilities"] >= [0.0, 0.5, np.inf]
        assert ((pictures != b"") == positive).all()

    def test_of_those_chosen(self, signatures):
        _, pictures = self.call(signatures, " Nodule, Mass ")
        assert (pictures[0] != b"").tolist() == [False, True, True]
        image = Image.open(io.BytesIO(pictures[0, 1]))
        assert image.format == "PNG" and image.mode == "RGB"
        assert image.size == (96, 64)

    def test_of_an_unknown_one_is_an_error(self, signatures):
        outputs, pictures = self.call(signatures, "Mass,Flu,Cold")
        assert decode(outputs) == ["was to show Flu, which the model lacks"]
        assert (pictures == b"").all()

    def test_of_too_many_is_an_error(self, signatures):
        outputs, pictures = self.call(signatures, "Mass," * 10**6)
        assert decode(outputs) == ["was to show more than the model has"]
        assert (pictures == b"").all()

    def test_of_an_unreadable_image_is_none(self, signatures):
        outputs, pictures = self.call(signatures, "Mass", [b"x", FILES[0]])
        assert decode(outputs)[0] == "is not a PNG or JPEG image"
        assert (pictures[0] == b"").all() and pictures[1, 1] != b""


def encode(image):
    return cv2.imencode(".png", image)[1].tobytes()
