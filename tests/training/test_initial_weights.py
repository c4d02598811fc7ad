import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import Config, ModelConfig
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import create_run, write_relevance_weights
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.classifier import (
    average_classifiers,
    read_relevance_weights,
)
from keras_mscam.training.initial_weights import copy_run, open_weights

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 1)).astype("uint8")


def build(pathologies, blocks=(2, 3), seed=1, **kwargs):
    keras.utils.set_random_seed(seed)
    return build_classifier(pathologies, (32, 64), "small_densenet", blocks, **kwargs)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run with three pathologies whose weights are all at random."""
    run = create_run(tmp_path_factory.mktemp("runs") / "first", Config())
    classifier = build(3, seed=0)
    for weight in classifier.weights:
        if "relevance" not in weight.path:
            weight.assign(np.random.default_rng(1).uniform(0.5, 1.5, weight.shape))
    relevance = classifier.get_layer("block_combination").variable
    relevance.assign([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    classifier.save(run.model_path)
    names = ["Mass", "Nodule", "Hernia"]
    write_relevance_weights(run, names, *read_relevance_weights(classifier))
    return run, classifier


def test_the_same_pathologies_in_another_order(source):
    run, classifier = source
    new = build(3)
    said = copy_run(new, ["Hernia", "Mass", "Nodule"], run)
    assert "for 3 of 3 pathologies" in said and "new" not in said
    expected = classifier(IMAGE)
    for name, logits in new(IMAGE).items():
        np.testing.assert_allclose(
            logits, np.array(expected[name])[:, [2, 0, 1]], rtol=1e-5
        )


def test_new_pathologies_and_blocks_begin_anew(source):
    run, classifier = source
    new = build(2, blocks=(1, 2, 3))
    begun = [np.array(w) for w in new.get_layer("head_block2").weights]
    said = copy_run(new, ["Edema", "Mass"], run)
    assert "for 1 of 2 pathologies, head_block2, head_block3; new: Edema." in said
    kernel = np.array(new.get_layer("head_block2").kernel)
    old = np.array(classifier.get_layer("head_block2").kernel)
    np.testing.assert_array_equal(kernel[:, 1], old[:, 0])
    np.testing.assert_array_equal(kernel[:, 0], begun[0][:, 0])
    # Three blocks have no weights to take from two.
    np.testing.assert_allclose(new.get_layer("block_combination").variable, 1 / 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"combination": "uniform"}, 1 / 2),
        ({"combination": "softmax"}, 0),  # logits
        ({"blocks": (1, 2)}, 1 / 2),
    ],
)
def test_relevance_weights_of_another_kind_are_left(source, options, expected):
    new = build(3, **options)
    said = copy_run(new, ["Mass", "Nodule", "Hernia"], source[0])
    assert "block_combination" not in said
    np.testing.assert_allclose(
        new.get_layer("block_combination").variable, expected, atol=1e-6
    )


def test_another_size_of_image(source):
    run, classifier = source
    keras.utils.set_random_seed(1)
    new = build_classifier(3, (64, 64), "small_densenet", (2, 3))
    copy_run(new, ["Mass", "Nodule", "Hernia"], run)
    for a, b in zip(new.get_weights(), classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "layer"),
    [({"transition": 8}, "transition_block2_conv"), ({"blocks": (2, 4)}, "pool4_conv")],
)
def test_layers_that_the_run_does_not_have_are_refused(source, change, layer):
    new = build(3, **change)
    before = new.get_weights()
    with pytest.raises(UserError, match=f"layer {layer} and [0-9]+ others are missing"):
        copy_run(new, ["Mass", "Nodule", "Hernia"], source[0])
    for a, b in zip(before, new.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_head_behind_a_transition_fits_no_other(tmp_path):
    run = create_run(tmp_path / "run", Config())
    names = ["Mass", "Nodule", "Hernia"]
    classifier = build(3, transition=8)
    classifier.save(run.model_path)
    write_relevance_weights(run, names, *read_relevance_weights(classifier))
    with pytest.raises(
        UserError, match=r"layer head_block2 and 1 others.*--transition"
    ):
        copy_run(build(3), names, run)


def test_an_average_is_refused(source, tmp_path):
    _, classifier = source
    average = create_run(tmp_path / "average", Config())
    average_classifiers([classifier, build(3)]).save(average.model_path)
    write_relevance_weights(average, "abc", *read_relevance_weights(classifier))
    with pytest.raises(UserError, match="average of several networks: start from one"):
        copy_run(build(3), ["a", "b", "c"], average)


def test_another_backbone_is_refused(source):
    keras.utils.set_random_seed(0)
    new = build_classifier(3, (32, 64), "small_resnet", (2, 3))
    with pytest.raises(UserError, match="do not fit this backbone"):
        copy_run(new, ["Mass", "Nodule", "Hernia"], source[0])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        open_weights(ModelConfig(weights=str(tmp_path)))
