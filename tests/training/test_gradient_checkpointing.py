import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier
from keras_mscam.training.batch_norm import BatchNormStatistics
from keras_mscam.training.fit import compile_trainer

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 32, 64, 1)).astype("uint8")
LABELS = RNG.integers(0, 2, (4, 3)).astype("float32")


def train(gradient_checkpointing, precision="float32", **model):
    """Return the losses of two steps, the weights behind them, and the logits."""
    keras.config.set_dtype_policy(precision)
    try:
        keras.utils.set_random_seed(0)
        classifier = build_classifier(
            3, (32, 64), batch_norm_momentum=0.5, **{"blocks": (2, 4), **model}
        )
    finally:
        keras.config.set_dtype_policy("float32")
    config = TrainingConfig(
        auxiliary_loss=1.0,
        learning_rate=1e-4,
        gradient_checkpointing=gradient_checkpointing,
    )
    trainer = compile_trainer(classifier, (0.5,) * 3, config)
    trainer.run_eagerly = True
    losses = [
        trainer.train_on_batch(IMAGES, LABELS, return_dict=True)["loss"]
        for _ in range(2)
    ]
    return losses, classifier, trainer.predict_on_batch(IMAGES)["logits"]


@pytest.mark.parametrize(
    "model",
    [
        {"backbone": "small_densenet"},
        {"backbone": "small_densenet", "taps": "raw", "blocks": (1, 2, 3, 4)},
        {"backbone": "small_densenet", "blocks": (3,)},
        {"backbone": "small_resnet"},
        pytest.param({"backbone": "efficientnet_lite0"}, marks=pytest.mark.slow),
    ],
    ids=lambda model: "-".join(map(str, model.values())),
)
def test_training_ends_with_the_same_weights_and_statistics(model):
    losses, classifier, logits = train(False, **model)
    found, checkpointed, found_logits = train(True, **model)
    assert found == pytest.approx(losses, rel=1e-4)
    for one, other in zip(classifier.weights, checkpointed.weights, strict=True):
        # Two steps of Adam, of 1e-4 each at first, whatever the gradient's size: where
        # that is 0 but for rounding, they may go either way.
        np.testing.assert_allclose(one, other, atol=4.1e-4)
    np.testing.assert_allclose(found_logits, logits, atol=0.01, rtol=0.01)


def test_mixed_precision_trains_alike():
    losses, *_ = train(False, "mixed_bfloat16", backbone="small_densenet")
    found, *_ = train(True, "mixed_bfloat16", backbone="small_densenet")
    assert found == pytest.approx(losses, rel=0.02)


def test_every_gradient_is_there():
    _, checkpointed, _ = train(True, backbone="small_densenet", blocks=(2, 4))
    keras.utils.set_random_seed(0)
    start = build_classifier(3, (32, 64), backbone="small_densenet", blocks=(2, 4))
    moved = [
        np.any(np.asarray(one) != np.asarray(other))
        for one, other in zip(
            start.trainable_weights, checkpointed.trainable_weights, strict=True
        )
    ]
    assert all(moved)


@pytest.mark.slow
def test_statistics_are_estimated_as_without():
    found = []
    for on in (False, True):
        _, classifier, _ = train(on, backbone="small_resnet")
        BatchNormStatistics(classifier, [IMAGES]).on_test_begin()
        found.append([np.asarray(v) for v in classifier.non_trainable_weights])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2, rtol=1e-2)
