"""Differences between outputs by hand, and that every confusion of them is refused."""

import dataclasses

import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.exporting.agreement import (
    LIMITS,
    PARITY_LIMITS,
    allow_grey_level,
    check_agreement,
    compare_outputs,
)
from keras_mscam.images.png_jpeg import encode_png


def make_outputs(contract, images=2):
    rng = np.random.default_rng(3)
    count = len(contract.pathologies)
    sides = {"cam_block2": 8, "cam_block3": 4, "cam_block4": 2, "attention": 16}
    maps = {
        name: rng.normal(size=(images, side, side + 1, count)).astype("float32")
        for name, side in sides.items()
    }
    return {"probabilities": rng.uniform(size=(images, count)), **maps}


def test_equal_outputs_agree(calibrated_model):
    outputs = make_outputs(calibrated_model.contract)
    agreement = compare_outputs(outputs, outputs, calibrated_model.contract)
    assert agreement.probabilities == agreement.maps == 0
    assert agreement.positives == agreement.boxes == 1
    check_agreement(agreement, LIMITS["float32"], "it")


def test_differences_are_worst_and_mean(calibrated_model):
    contract = calibrated_model.contract
    expected = make_outputs(contract)
    found = {name: values.copy() for name, values in expected.items()}
    found["probabilities"][0, 0] += 0.3
    span = np.ptp(expected["cam_block4"][1, ..., 2])
    found["cam_block4"][1, 0, 0, 2] += span / 2
    agreement = compare_outputs(found, expected, contract)
    # 0.3 in one of 2 * 3 probabilities; half of the range in one of 2 * 2 * 3 * 3
    # values of one of four maps.
    assert agreement.probabilities == pytest.approx(0.3)
    assert agreement.mean_probabilities == pytest.approx(0.05)
    assert agreement.pathology_probabilities == pytest.approx(0.15)  # of 2
    assert agreement.maps == pytest.approx(0.5, rel=1e-5)
    assert agreement.mean_maps == pytest.approx(0.5 / 36 / 4, rel=1e-5)
    assert agreement.pathology_maps == pytest.approx(0.5 / 12, rel=1e-5)
    with pytest.raises(UserError, match=r"litert int8 differs .* probability by 0\.3"):
        check_agreement(agreement, LIMITS["float32"], "litert int8")


def test_positives_that_differ_are_counted_and_limited(calibrated_model):
    contract = calibrated_model.contract  # Mass is positive from 0.5 on
    expected = make_outputs(contract)
    expected["probabilities"][:, 1] = 0.49
    found = {**expected, "probabilities": expected["probabilities"].copy()}
    found["probabilities"][0, 1] = 0.51
    agreement = compare_outputs(found, expected, contract)
    assert agreement.positives == pytest.approx(5 / 6)
    with pytest.raises(UserError, match=r"on 83\.3% of positives"):
        check_agreement(agreement, LIMITS["int8"], "onnx int8")


def draw_outputs(contract):
    """Maps with one broad peak each, anywhere, and probabilities anywhere."""
    rng = np.random.default_rng(8)
    shape = (32, len(contract.pathologies))
    outputs = {"probabilities": rng.uniform(size=shape)}
    top, left = rng.uniform(size=(2, *shape))
    for name, side in {"cam_block3": 8, "cam_block4": 4, "attention": 16}.items():
        at = (np.arange(side) + 0.5) / side
        down = at[:, None, None] - top[:, None, None]
        across = at[:, None] - left[:, None, None]
        outputs[name] = np.exp(-8 * (down**2 + across**2)).astype("float32")
    return outputs | {"cam_block2": outputs["attention"][:, ::-1] + 1}


def transpose(outputs):
    outputs["attention"] = outputs["attention"].transpose(0, 2, 1, 3)


def mirror(outputs):
    outputs["cam_block4"] = outputs["cam_block4"][:, :, ::-1]


def swap_outputs(outputs):
    first, second = outputs["attention"], outputs["cam_block2"]
    outputs.update(attention=second, cam_block2=first)


def swap_pathologies(outputs):
    outputs["attention"] = outputs["attention"][..., [1, 0, 2]]


def swap_probabilities(outputs):
    outputs["probabilities"] = outputs["probabilities"][:, [1, 0, 2]]


@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize(
    "plant", [transpose, mirror, swap_outputs, swap_pathologies, swap_probabilities]
)
def test_reduced_weights_excuse_no_confusion(calibrated_model, plant, weights):
    expected = draw_outputs(calibrated_model.contract)
    found = dict(expected)
    plant(found)
    agreement = compare_outputs(found, expected, calibrated_model.contract)
    agreement = dataclasses.replace(agreement, positives=1.0)  # not by that alone
    with pytest.raises(UserError, match=r"it differs from the Keras model in .* by \d"):
        check_agreement(agreement, LIMITS[weights], "it")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda outputs: outputs.pop("cam_block3"), "lost its output 'cam_block3'"),
        (
            lambda outputs: outputs.update(cam_block2=outputs["cam_block3"]),
            r"'cam_block2' of shape \(2, 4, 5, 3\) instead of \(2, 8, 9, 3\)",
        ),
        (
            lambda outputs: outputs.update(attention=outputs["attention"] * np.nan),
            "'attention' with values that aren't finite",
        ),
    ],
)
def test_lost_and_odd_outputs_are_refused(calibrated_model, change, sentence):
    expected = make_outputs(calibrated_model.contract)
    found = dict(expected)
    change(found)
    with pytest.raises(UserError, match=sentence):
        compare_outputs(found, expected, calibrated_model.contract)


def test_words_and_sizes_must_be_the_same(calibrated_model):
    contract = calibrated_model.contract
    expected = make_outputs(contract)
    expected["pathologies"] = np.array([contract.pathologies] * 2)
    expected["original_size"] = np.array([[200, 400], [100, 100]])
    # Strings are bytes in TensorFlow.
    found = expected | {"pathologies": expected["pathologies"].astype("S")}
    compare_outputs(found, expected, contract)
    for name in ("pathologies", "original_size"):
        changed = found | {name: found[name][:, ::-1]}
        with pytest.raises(UserError, match=f"another '{name}' than the Keras model"):
            compare_outputs(changed, expected, contract)


def test_own_boxes_are_compared(calibrated_model):
    contract = calibrated_model.contract  # Effusion is always positive, Nodule never
    expected = make_outputs(contract)
    expected["probabilities"][:, 1] = 0.0
    boxes, scores = np.zeros((2, 3, 2, 4)), np.zeros((2, 3, 2))
    boxes[:, 0, 0], scores[:, 0, 0] = [10, 20, 30, 40], 0.5
    expected |= {"boxes": boxes, "box_scores": scores}
    moved, fewer = boxes.copy(), scores.copy()
    moved[0, 0, 0] = [10, 20, 30, 60]  # 20 x 20 of 20 x 40: IoU 0.5, the other's 1
    fewer[0] = 0
    found = expected | {"boxes": moved}
    agreement = compare_outputs(found, expected, contract)
    assert agreement.boxes == pytest.approx(0.75)
    with pytest.raises(UserError, match=r"by 0\.750, less than 0\.99"):
        check_agreement(agreement, PARITY_LIMITS["whole"], "it")
    found = expected | {"boxes": boxes * (fewer > 0)[..., None], "box_scores": fewer}
    assert compare_outputs(found, expected, contract).boxes == 0.5


@pytest.mark.parametrize(("steepness", "expected"), [(1e-6, 5e-3), (0.1, 0.1)])
def test_limits_are_widened_for_networks_that_notice_a_grey_level(
    calibrated_model, steepness, expected
):
    # A pixel that moves by at most one moves all probabilities by the steepness.
    grey = np.full(calibrated_model.contract.image_size, 100, np.uint8)
    brightest = []

    class Steep:
        def predict_on_batch(self, images):
            outputs = make_outputs(calibrated_model.contract, len(images))
            brightest.append(images.max() - 100.0)
            probabilities = np.full((1, 3), steepness * brightest[-1])
            return outputs | {"probabilities": probabilities}

    model = dataclasses.replace(calibrated_model, localizer=Steep())
    limits = allow_grey_level(PARITY_LIMITS["odd"], model, [encode_png(grey)])
    assert sorted(brightest) == [0, 1]
    assert limits.probabilities == pytest.approx(expected)
    assert limits.maps == PARITY_LIMITS["odd"].maps
    # Its maps and boxes stay, so the boxes of an export have to as well.
    assert limits.boxes == PARITY_LIMITS["odd"].boxes > 0


@pytest.mark.parametrize(("columns", "expected"), [(4, 0.4), (0, 0.0)])
def test_boxes_that_a_grey_level_moves_may_move(calibrated_model, columns, expected):
    grey = np.full(calibrated_model.contract.image_size, 100, np.uint8)

    class Moved:
        def predict_on_batch(self, images):
            outputs = make_outputs(calibrated_model.contract, 1)
            for name in set(outputs) - {"probabilities"}:
                outputs[name] = np.zeros((1, 16, 16, 3), "float32")
                # Of 8 columns with a box, or with half of it, or without any.
                end = 8 if images.max() == 100 else columns
                outputs[name][:, 4:8, 4 : 4 + end] = float(columns > 0)
            return outputs | {"probabilities": np.ones((1, 3))}

    model = dataclasses.replace(calibrated_model, localizer=Moved())
    limits = allow_grey_level(PARITY_LIMITS["odd"], model, [encode_png(grey)])
    assert limits.boxes == pytest.approx(expected, abs=0.1)


def test_rows_and_columns_that_are_swapped_are_refused(calibrated_model):
    """Where the network is square, images of another shape alone show it."""
    contract = calibrated_model.contract
    shape = (2, len(contract.pathologies), 2)
    boxes = np.tile([100.0, 20, 180, 60], (*shape, 1))
    expected = make_outputs(contract) | {
        "boxes": boxes, "box_scores": np.ones(shape),
        "probabilities": np.ones(shape[:2]),
    }  # fmt: skip
    swapped = expected | {"boxes": boxes[..., [1, 0, 3, 2]]}
    with pytest.raises(UserError, match=r"overlap .* by 0\.000, less than 0\.8"):
        check_agreement(
            compare_outputs(swapped, expected, contract), PARITY_LIMITS["odd"], "it"
        )


def test_nan_is_refused(calibrated_model):
    outputs = make_outputs(calibrated_model.contract)
    agreement = compare_outputs(outputs, outputs, calibrated_model.contract)
    agreement = dataclasses.replace(agreement, maps=np.nan)
    with pytest.raises(UserError, match="it was not exported"):
        check_agreement(agreement, LIMITS["float32"], "it")
