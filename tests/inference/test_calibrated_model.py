import json
import zipfile

import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import LocalizationConfig, MapConfig, ShownConfig
from keras_mscam.errors import UserError
from keras_mscam.inference.calibrated_model import (
    convert_to_float32,
    load_calibrated_model,
    load_classifier,
)
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.keras_file import load_network
from keras_mscam.localization.protocol import SHOWN_THRESHOLDS
from keras_mscam.modeling import build_classifier

from ..conftest import write_run

SIZE = (64, 96)


def test_the_contract_says_what_the_run_says(run, calibrated_model):
    contract = calibrated_model.contract
    assert contract.pathologies == ("Effusion", "Mass", "Nodule")
    assert contract.blocks == (2, 3, 4)
    assert contract.image_size == SIZE
    assert contract.attention_size == (16, 24)  # a quarter
    assert contract.slopes == (0.5, 0.5, 0.5)
    assert contract.intercepts == (0.0, 0.1, 0.2)
    assert contract.probability_thresholds == (0.0, 0.5, None)
    # 1/3 for each of three blocks that weren't trained.
    np.testing.assert_allclose(contract.fusion_weights, np.full((3, 3), 1 / 3))
    assert contract.shown_threshold == SHOWN_THRESHOLDS["min_max"]
    assert contract.shown_max_boxes == 3


def test_the_threshold_of_shown_boxes_fits_the_maps(run):
    maps = MapConfig(normalization="exponential")
    contract = load_calibrated_model(run, maps).contract
    assert contract.shown_threshold == SHOWN_THRESHOLDS["exponential"]
    given = load_calibrated_model(run, maps, ShownConfig(shown_threshold=0.0))
    assert given.contract.shown_threshold == 0


def test_the_network_is_the_calibrated_classifier(run, calibrated_model):
    image = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 1)).astype("uint8")
    logits = load_classifier(run).predict_on_batch(image)["logits"]
    found = calibrated_model.localizer.predict_on_batch(image)["probabilities"]
    expected = 1 / (1 + np.exp(-(0.5 * logits + [0, 0.1, 0.2])))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_standardized_maps_are_weighted_by_their_deviations(make_run):
    run = make_run(localization=LocalizationConfig(fusion="standardized"))
    calibrated_model = load_calibrated_model(run)
    deviations = calibrated_model.calibration.deviations
    np.testing.assert_allclose(
        calibrated_model.contract.fusion_weights, 1 / (3 * deviations), rtol=1e-6
    )
    np.testing.assert_allclose(
        calibrated_model.contract.map_scales, np.ones(3), rtol=1e-6
    )


def test_one_block_is_enough(make_run):
    calibrated_model = load_calibrated_model(
        make_run(blocks=(4,)), attention_size=(10, 20)
    )
    assert calibrated_model.contract.blocks == (4,)
    assert calibrated_model.localizer.output["attention"].shape == (None, 10, 20, 3)


def test_half_precision_becomes_float32(make_run):
    run = make_run(precision="mixed_float16")
    half, localizer = load_classifier(run), load_calibrated_model(run).localizer
    assert "float16" in {layer.compute_dtype for layer in half._flatten_layers()}
    assert {layer.compute_dtype for layer in localizer._flatten_layers()} == {"float32"}
    image = np.full((1, *SIZE, 1), 100)
    expected = half.predict_on_batch(image)["logits"]
    found = convert_to_float32(half).predict_on_batch(image)["logits"]
    # Half precision has 11 bits.
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("threshold", ["otsu", "tuned", "oracle"])
def test_shown_boxes_follow_no_protocol(run, threshold):
    protocol = LocalizationConfig(threshold=threshold, min_area=0.5, max_boxes=1)
    contract = load_calibrated_model(run, protocol).contract
    assert contract == load_calibrated_model(run).contract


def test_a_contract_comes_back(calibrated_model, tmp_path):
    (tmp_path / "assets.extra").mkdir()
    path = tmp_path / "assets.extra" / "contract.json"
    path.write_text(calibrated_model.contract.dump())
    assert read_contract(tmp_path) == calibrated_model.contract


def test_the_global_policy_is_left_alone(run):
    keras.config.set_dtype_policy("float32")
    convert_to_float32(load_classifier(run))
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_run_that_diverged_is_a_sentence(make_run, value):
    run = make_run(blocks=(4,))
    classifier = load_classifier(run)
    *_, kernel = (item for item in classifier.weights if "kernel" in item.path)
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 1, value, kernel))
    classifier.save(run.model_path)
    with pytest.raises(
        UserError, match=r"aren't finite \(.*kernel\): its training has"
    ):
        load_calibrated_model(run)


@pytest.mark.parametrize(
    "backbone",
    [
        "small_densenet",
        "small_resnet",
        "efficientnet_lite0",
        pytest.param("densenet121", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("resnet50_v1_5", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_backbone_is_read_again(tmp_path, backbone):
    """What a file may hold is a list, which each layer of them must be on."""
    built = build_classifier(2, (32, 32), backbone, (3, 4))
    built.save(tmp_path / "model.keras")
    read = load_network(tmp_path / "model.keras")
    for one, other in zip(built.get_weights(), read.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_code_in_a_model_file_is_not_run(tmp_path):
    """As of a hub: a layer that is a function, and a class that is a command."""
    run = write_run(tmp_path / "run")
    touched = tmp_path / "touched"
    name = str(touched)
    inputs = keras.Input((2,))
    function = keras.layers.Lambda(lambda x: open(name, "w") and x)  # noqa: SIM115
    keras.Model(inputs, function(inputs)).save(run.model_path)
    touched.unlink()  # building the model has called it
    with pytest.raises(UserError, match=r"model\.keras is refused: it holds "):
        load_classifier(run)
    command = {
        "module": "os", "class_name": "system", "registered_name": "system",
        "config": {"command": f"touch {touched}"},
    }  # fmt: skip
    with zipfile.ZipFile(run.model_path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = json.dumps(command).encode()
    with zipfile.ZipFile(run.model_path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"model\.keras is refused: it holds "):
        load_classifier(run)
    assert not touched.exists()
