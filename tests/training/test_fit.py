import keras
import numpy as np
import pandas as pd
import pytest

from keras_mscam.configs.schema import Config, TrainingConfig
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import create_run
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.classifier import split_at_features
from keras_mscam.training import fit as fit_module
from keras_mscam.training.checkpoint import Checkpoint
from keras_mscam.training.fit import compile_trainer, counting_callbacks

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (16, 32, 32, 1)).astype("uint8")
LABELS = RNG.integers(0, 2, (16, 3)).astype("float32")
BATCHES = [(IMAGES[i : i + 8], LABELS[i : i + 8]) for i in (0, 8)]


class Batches(keras.utils.PyDataset):
    """Batches of a list."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def fit(trainer, batches, validation, **options):
    batches = (batch for batch in batches)
    return fit_module.fit(trainer, batches, Batches(validation), **options)


def build(**kwargs):
    keras.utils.set_random_seed(0)
    classifier = build_classifier(
        3, (32, 32), "small_densenet", (1, 2), batch_norm_momentum=0.5
    )
    return classifier, compile_trainer(classifier, (0.5,) * 3, TrainingConfig(**kwargs))


def train(run, epochs, **kwargs):
    config = TrainingConfig(plateau_patience=1, **kwargs)
    classifier, trainer = build(**kwargs)
    counting = counting_callbacks(config)
    callbacks = [*counting, Checkpoint(run, classifier, counting)]
    fit(trainer, BATCHES * epochs, BATCHES, steps=2, epochs=epochs, callbacks=callbacks)


def test_learns_what_it_is_shown(tmp_path):
    run = create_run(tmp_path / "run", Config())
    train(run, 12, learning_rate=3e-3)
    history = pd.read_csv(run.history_path)
    assert list(history["epoch"]) == list(range(1, 13))
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    for block in (1, 2):  # every block's own loss is recorded
        assert f"logits_block{block}_loss" in history


def test_auxiliary_losses_add_up(tmp_path):
    _, trainer = build(auxiliary_loss=0.5)
    logs = trainer.test_on_batch(IMAGES[:8], LABELS[:8], return_dict=True)
    blocks = sum(logs[f"logits_block{block}_loss"] for block in (1, 2))
    assert logs["loss"] == pytest.approx(logs["logits_loss"] + 0.5 * blocks, rel=1e-5)


def test_no_auxiliary_loss_by_default():
    _, trainer = build()
    logs = trainer.test_on_batch(IMAGES[:8], LABELS[:8], return_dict=True)
    assert logs["loss"] == pytest.approx(logs["logits_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "backbone", ["densenet121", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_every_weight_of_the_papers_networks_learns(backbone):
    keras.utils.set_random_seed(0)
    classifier = build_classifier(3, (64, 64), backbone)
    trainer = compile_trainer(classifier, (0.5,) * 3, TrainingConfig())
    trainer.run_eagerly = True  # one step takes less than to trace it
    before = [np.array(weight) for weight in trainer.trainable_weights]
    images = RNG.integers(0, 256, (4, 64, 64, 1)).astype("uint8")
    loss, *_ = trainer.train_on_batch(images, LABELS[:4])
    assert np.isfinite(loss)
    for weight, old in zip(trainer.trainable_weights, before, strict=True):
        assert np.isfinite(weight).all() and not np.array_equal(weight, old), (
            weight.path
        )


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        # 0.1 (1 + cos(pi step / 8)) / 2 before each of 8 steps
        (0, [0.1 * (1 + np.cos(np.pi * step / 8)) / 2 for step in range(8)]),
        # 2 steps upwards from 0, then a cosine over 6
        (
            1,
            [0, 0.05] + [0.1 * (1 + np.cos(np.pi * step / 6)) / 2 for step in range(6)],
        ),
    ],
)
def test_a_cosine_ends_at_0_behind_the_last_step(warmup, expected):
    config = TrainingConfig(
        schedule="cosine", warmup_epochs=warmup, learning_rate=0.1, epochs=4
    )
    classifier, _ = build()
    trainer = compile_trainer(classifier, (0.5,) * 3, config, steps=2)
    rate = trainer.optimizer._learning_rate
    np.testing.assert_allclose([float(rate(s)) for s in range(8)], expected, atol=1e-7)
    assert float(rate(8)) == pytest.approx(0, abs=1e-7)
    waiting = keras.callbacks.ReduceLROnPlateau
    assert not any(isinstance(c, waiting) for c in counting_callbacks(config))


def test_records_with_fewer_steps_are_refused():
    with pytest.raises(UserError, match="after 3 steps of an epoch, which now has 2"):
        fit(build()[1], BATCHES, BATCHES, steps=2, epochs=1, first_step=3)


#: Labels can't spoil a loss, NaN being unknown; an infinite one does.
BAD = (IMAGES[:8], np.where(np.arange(3) == 1, np.inf, LABELS[:8]))


def name_batch(split, epoch, step):
    return [f"{split}-{epoch}-{step}.png"]


def fit_skipping(batches, validation, allowed, epochs=1, **kwargs):
    """Fit step by step: one takes less than to trace it."""
    _, trainer = build(skip_batches=allowed)
    trainer.run_eagerly = True
    steps = len(batches) // epochs
    callbacks = counting_callbacks(TrainingConfig(skip_batches=allowed), name_batch)
    fit(
        trainer, batches, validation, steps=steps, epochs=epochs, callbacks=callbacks
    )  # fmt: skip


@pytest.mark.parametrize(
    ("batches", "validation", "expected"),
    [
        ([*BATCHES, BATCHES[0], BAD], BATCHES, "2 of the split train in epoch 2, of "
         r"the images train-1-1\.png\. Begin"),
        (BATCHES * 2, [*BATCHES, BAD], "3 of the split validation in epoch 1, of the "
         r"images validation-0-2\.png\."),
    ],
)  # fmt: skip
def test_a_loss_that_is_not_finite_stops(batches, validation, expected):
    with pytest.raises(UserError, match=r"The loss is (nan|inf) in batch " + expected):
        fit_skipping(batches, validation, 0, epochs=2)


def test_a_network_that_is_not_finite_stops():
    _, trainer = build()
    trainer.run_eagerly = True
    trainer.get_layer("head_block2").bias.assign([np.nan] * 3)
    with pytest.raises(UserError, match="The loss is nan in batch 1 of the split tr"):
        fit(trainer, BATCHES, BATCHES, steps=2, epochs=1,
            callbacks=counting_callbacks(TrainingConfig()))  # fmt: skip


class Snapshots(keras.callbacks.Callback):
    """What a network holds after each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        variables = model.variables + model.optimizer.variables
        variables += model.metrics_variables
        self.values.append([np.array(v) for v in variables])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_skipped_batch_leaves_no_trace(precision, capsys):
    config = TrainingConfig(skip_batches=2, precision=precision)
    keras.config.set_dtype_policy(precision)
    try:
        _, trainer = build(skip_batches=2, precision=precision)
        trainer.run_eagerly = precision != "float32"
        snapshots = Snapshots()
        history = fit(
            trainer, [BATCHES[0], BAD], [BAD, *BATCHES], steps=2, epochs=1,
            callbacks=[snapshots, *counting_callbacks(config, name_batch)],
        ).history  # fmt: skip
        expected = trainer.evaluate(Batches(BATCHES), verbose=0, return_dict=True)
    finally:
        keras.config.set_dtype_policy("float32")
    for a, b in zip(*snapshots.values, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history["skipped"] == [2]
    assert history["val_loss"] == [pytest.approx(expected["loss"], rel=1e-6)]
    output = capsys.readouterr().err
    assert "batch 2 of the split train in epoch 1, of the images train-0-1" in output
    assert "batch 1 of the split validation in epoch 1, of the images vali" in output


def test_more_than_may_be_skipped_stops():
    with pytest.raises(UserError, match="batch 3 of the split train"):
        fit_skipping([BATCHES[0], BAD, BAD], BATCHES, 1)


@pytest.mark.parametrize(
    ("batches", "validation", "split"),
    [([BAD, BAD], BATCHES, "train"), (BATCHES, [BAD, BAD], "validation")],
)
def test_a_mean_over_no_batch_is_no_loss(batches, validation, split):
    with pytest.raises(UserError, match=f"No batch of the split {split} has"):
        fit_skipping(batches, validation, 9)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="already exists"):
        create_run(tmp_path, Config())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(precision):
    keras.config.set_dtype_policy(precision)
    try:
        classifier, trainer = build(precision=precision)
        history = fit(trainer, BATCHES * 4, BATCHES, steps=2, epochs=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
    weights = classifier.get_layer("block_combination").relevance_weights
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    w = keras.ops.convert_to_numpy(weights)
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_accumulated_gradients_are_those_of_a_larger_batch(precision):
    """2 steps of 4 images are one of 8, for a network without batch normalization."""
    weights = []
    for size, accumulated in [(8, 1), (4, 2)]:
        config = TrainingConfig(
            gradient_accumulation_steps=accumulated, precision=precision, epochs=3,
            schedule="cosine", warmup_epochs=1, relevance_learning_rate=5,
        )  # fmt: skip
        _, heads = split_at_features(build()[0])
        trainer = compile_trainer(heads, (0.5,) * 3, config, 16 // size)
        rng = np.random.default_rng(1)
        features = {
            n: rng.normal(size=(16, *v.shape[1:])) for n, v in heads.input.items()
        }
        for first in [*range(0, 16, size)] * 3:
            rows = slice(first, first + size)
            images = {name: values[rows] for name, values in features.items()}
            trainer.train_on_batch(images, LABELS[rows])
        assert trainer.optimizer.iterations == 6  # updates, of which the rate is made
        weights.append(heads.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    relevance = weights[1][-1]
    assert np.abs(relevance - 0.5).max() > 1e-3
    np.testing.assert_allclose(relevance.sum(axis=0), 1, atol=1e-6)


def test_more_steps_to_accumulate_than_there_are_is_refused():
    config = TrainingConfig(gradient_accumulation_steps=5, epochs=2)
    classifier, _ = build()
    compile_trainer(classifier, (0.5,) * 3, config, steps=3)
    with pytest.raises(UserError, match="the training has 4 steps: the weights would"):
        compile_trainer(classifier, (0.5,) * 3, config, steps=2)
