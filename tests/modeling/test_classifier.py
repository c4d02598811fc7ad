import warnings

import keras
import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.backbones import (
    _DENSENETS,
    _RESNETS,
    BACKBONES,
    build_backbone,
)
from keras_mscam.modeling.classifier import read_relevance_weights
from keras_mscam.modeling.networks import NETWORKS

to_numpy = keras.ops.convert_to_numpy
SMALL = {"backbone": "small_densenet"}


def grey(*shape, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize(
    "name",
    [
        # Those of 100 layers and more take seconds each.
        pytest.param(name, marks=pytest.mark.slow)
        if name in ("densenet169", "densenet201", "resnet101", "resnet152")
        else name
        for name in BACKBONES
    ],
)
def test_taps_have_the_strides_and_the_papers_widths(name):
    # At 64 by 96, strides 8, 16, 32 give 8x12, 4x6, 2x3: height and width not swapped.
    backbone = build_backbone(name, (64, 96), (2, 3, 4))
    sizes = [tuple(output.shape[1:3]) for output in backbone.outputs]
    assert sizes == [(8, 12), (4, 6), (2, 3)]
    if name == "densenet121":  # the design's F1, F2, F3
        assert [output.shape[-1] for output in backbone.outputs] == [512, 1024, 1024]


def test_paper_shapes_at_256():
    backbone = build_backbone("densenet121", (256, 256), (1, 2, 3, 4))
    assert [tuple(output.shape[1:]) for output in backbone.outputs] == [
        (64, 64, 256),
        (32, 32, 512),
        (16, 16, 1024),
        (8, 8, 1024),
    ]


def test_rn_cam_has_wangs_layers():
    """Features, transition of 2048, pooling of features, one prediction layer."""
    model = build_classifier(
        14, (64, 64), "resnet50", blocks=(4,), pooling="lse", transition=2048
    )
    convolution = model.get_layer("transition_block4_conv")
    assert convolution.kernel.shape == (1, 1, 2048, 2048)
    head = model.get_layer("head_block4")
    assert (head.pooling, head.sharpness) == ("lse", 10.0)
    assert head.kernel.shape == (2048, 14)
    weights = read_relevance_weights(model)[1]
    np.testing.assert_array_equal(weights, 1)  # one block: nothing to merge


def test_a_transition_takes_the_momentum_of_the_backbone():
    model = build_classifier(
        2, (64, 64), **SMALL, transition=8, batch_norm_momentum=0.8
    )
    assert model.get_layer("transition_block2_bn").momentum == 0.8


@pytest.mark.parametrize("combination", ["softmax", "uniform"])
def test_read_weights_of_every_parametrization(combination, tmp_path):
    model = build_classifier(2, (64, 64), **SMALL, combination=combination)
    np.testing.assert_allclose(read_relevance_weights(model)[1], 1 / 3)
    model.save(tmp_path / "model.keras")
    image = grey(1, 64, 64, 1)
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        to_numpy(again(image)["logits"]), to_numpy(model(image)["logits"])
    )


@pytest.mark.parametrize(
    "name",
    [
        "small_densenet",
        pytest.param("densenet121", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_activated_taps_are_not_negative_and_raw_ones_are(name):
    image = grey(2, 64, 64, 1)
    for taps, expected in [("activated", True), ("raw", False)]:
        # A concatenation of convolutions, or a sum: some of it is below zero.
        features = build_backbone(name, (64, 64), (2, 4), taps)(image)
        for tensor in features:
            assert (to_numpy(tensor).min() >= 0) == expected


def test_activated_tap_is_what_the_next_layer_sees():
    # Block 2's tap must come from the transition's own BN and ReLU, not from copies.
    backbone = build_backbone("densenet121", (64, 64), (2, 3, 4))
    network = backbone.get_layer("densenet121")
    assert network.outputs[0] is network.get_layer("pool3_relu").output
    conv = network.get_layer("pool3_conv")
    assert conv.input is network.outputs[0]


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_preprocessing_equals_keras_applications(name):
    module = {"densenet121": keras.applications.densenet,
              "resnet50": keras.applications.resnet}[name]  # fmt: skip
    backbone = build_backbone(name, (64, 64))
    image = grey(1, 64, 64, 1)
    until = keras.Model(backbone.input, backbone.get_layer("normalization").output)
    expected = module.preprocess_input(np.repeat(image, 3, -1).astype("float32"))
    np.testing.assert_allclose(to_numpy(until(image)), expected, atol=1e-4)


def test_batch_norm_momentum_reaches_every_layer():
    backbone = build_backbone("densenet121", (64, 64), batch_norm_momentum=0.9)
    layers = [
        layer
        for layer in backbone.get_layer("densenet121").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    # One behind the stem, two in each of 6 + 12 + 24 + 16 = 58 layers, one in each of
    # three transitions, one at the end: 1 + 116 + 3 + 1 = 121.
    assert len(layers) == 121
    assert {layer.momentum for layer in layers} == {0.9}


def test_blocks_beyond_the_last_tap_are_not_built():
    shallow = build_backbone("densenet121", (64, 64), (2,)).count_params()
    assert shallow < build_backbone("densenet121", (64, 64), (2, 3)).count_params() / 2


@pytest.mark.parametrize("blocks", [(2, 3, 4), (4,), (1, 2, 3, 4), (2, 3)])
def test_outputs_are_named_by_block(blocks):
    classifier = build_classifier(5, (64, 96), blocks=blocks, **SMALL)
    outputs = classifier(grey(2, 64, 96, 1))
    assert list(outputs) == ["logits", *(f"logits_block{block}" for block in blocks)]
    assert {tuple(output.shape) for output in outputs.values()} == {(2, 5)}


def test_merged_logits_are_the_convex_combination():
    classifier = build_classifier(3, (64, 64), **SMALL)
    w = np.array([[0.2, 1.0, 0.0], [0.3, 0.0, 0.5], [0.5, 0.0, 0.5]], "float32")
    classifier.get_layer("block_combination").relevance_weights.assign(w)
    outputs = {k: to_numpy(v) for k, v in classifier(grey(4, 64, 64, 1)).items()}
    stacked = np.stack([outputs[f"logits_block{block}"] for block in (2, 3, 4)])
    expected = (w[:, None] * stacked).sum(0)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-6)


def test_reads_its_relevance_weights():
    classifier = build_classifier(3, (64, 64), blocks=(1, 3), **SMALL)
    blocks, weights = read_relevance_weights(classifier)
    assert blocks == (1, 3)
    np.testing.assert_array_equal(weights, np.full((2, 3), 0.5))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float64"])
def test_any_number_type_gives_the_same(dtype):
    classifier = build_classifier(3, (64, 64), **SMALL)
    image = grey(1, 64, 64, 1)
    expected = to_numpy(classifier(image.astype("float32"))["logits"])
    logits = to_numpy(classifier(image.astype(dtype))["logits"])
    np.testing.assert_array_equal(logits, expected)
    predicted = classifier.predict(image.astype(dtype), verbose=0)["logits"]
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_heads_stay_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        classifier = build_classifier(3, (64, 64), **SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = classifier(grey(1, 64, 64, 1))
    assert {keras.backend.standardize_dtype(v.dtype) for v in outputs.values()} == {
        "float32"
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vgg16"}, "Unknown backbone 'vgg16'"),
        ({"taps": "soft"}, "Unknown taps"),
        ({"blocks": ()}, "blocks must be"),
        ({"blocks": (3, 2)}, "blocks must be"),
        ({"blocks": (0, 2)}, "blocks must be"),
        ({"blocks": (2, 2)}, "blocks must be"),
        ({"image_size": (31, 64)}, "too small"),
        ({"weights": "imagenet", **SMALL}, "has no ImageNet weights"),
        ({"weights": "/nowhere/a.weights.h5"}, "no weights file"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(UserError, match=message):
        build_classifier(3, **{"image_size": (64, 64), **arguments})


def test_a_densenet_has_cells_for_whole_strides_alone():
    small = {"backbone": "small_densenet", "blocks": (2, 4)}
    with pytest.warns(UserWarning, match="70x96 is no multiple of 32"):
        classifier = build_classifier(1, (70, 96), **small)
    assert classifier.get_layer("head_block4").output[1].shape[1:3] == (2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_classifier(1, (64, 96), **small)
        build_classifier(1, (72, 96), backbone="small_densenet", blocks=(2,))


@pytest.mark.slow
def test_weights_from_a_file(tmp_path):
    path = tmp_path / "densenet.weights.h5"
    network = keras.applications.DenseNet121(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    network.save_weights(path)
    backbone = build_backbone("densenet121", (64, 64), (4,), weights=path)
    image = grey(1, 64, 64, 1)
    scaled = keras.applications.densenet.preprocess_input(
        np.repeat(image, 3, -1).astype("float32")
    )
    features = backbone(image)
    np.testing.assert_allclose(to_numpy(features), to_numpy(network(scaled)), atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(UserError, match="does not fit"):
        build_classifier(3, (64, 64), weights=str(path))


def test_imagenet_weights_without_a_network(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure: Name or service not known")  # as Keras does

    monkeypatch.setitem(_DENSENETS, "densenet121", fail)
    monkeypatch.setenv("KERAS_HOME", "/home/ann/keras")
    with pytest.raises(
        UserError, match=r"put densenet121_weights_.*_notop\.h5 .* into"
    ) as e:
        build_backbone("densenet121", (64, 64), weights="imagenet")
    assert "/home/ann/keras/models" in str(e.value)


def test_every_name_is_built():
    assert {*NETWORKS, *_DENSENETS, *_RESNETS} == set(BACKBONES)


def test_resnet_v1_5_pads_alike_on_all_sides():
    """An image that is mirrored has mirrored features, whatever its size."""
    network = build_backbone("resnet50_v1_5", (65, 97), (1, 4))
    for layer in network.get_layer("resnet50_v1_5").layers:
        if layer.name.endswith("_conv"):  # kernels that don't tell left from right
            kernel = to_numpy(layer.kernel)
            layer.kernel.assign((kernel + kernel[::-1, ::-1]) / 2)
    image = grey(1, 65, 97, 1)
    for one, other in zip(network(image), network(image[:, ::-1, ::-1]), strict=True):
        one, other = to_numpy(one), to_numpy(other)[:, ::-1, ::-1]
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())
