"""Fit a classifier to batches of images and labels, on any Keras backend."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.errors import UserError
from keras_mscam.modeling.backbones import find_block
from keras_mscam.modeling.losses import build_loss
from keras_mscam.modeling.optimizer import ConstrainedAdam
from keras_mscam.training.batch_norm import fuse_batch_norm
from keras_mscam.training.callbacks import FiniteLoss, ScaledValidation
from keras_mscam.training.gradient_checkpointing import checkpoint_gradients


def compile_trainer(
    classifier: keras.Model,
    beta: tuple[float, ...],
    config: TrainingConfig,
    steps: int | None = None,
) -> keras.Model:
    """Return a compiled model over a classifier's weights.

    Every output has the loss of the configuration: the combined logits with weight 1,
    each block's own with weight `auxiliary_loss`, 0 by default. So the history holds
    the loss of every block in any case.

    Args:
        classifier: a model made by `build_classifier`. It stays uncompiled, so that
            saving it saves no optimizer.
        beta: C floats, see `ClassBalancedCrossEntropy`.
        config: loss, optimizer and precision.
        steps: steps per epoch; only a cosine schedule needs them.

    Returns:
        A functional model of the same input and outputs.

    Raises:
        UserError: more gradients are to be accumulated than there will be.
    """
    if keras.backend.backend() == "tensorflow":
        fuse_batch_norm(classifier)
    if config.gradient_checkpointing:
        checkpoint_gradients(classifier)
    trainer = Trainer(classifier.input, classifier.output, name="trainer")
    trainer.skips_nonfinite = config.skip_batches > 0
    loss = build_loss(config.loss, beta, config.label_smoothing)
    weights = dict.fromkeys(trainer.output, config.auxiliary_loss)
    weights["logits"] = 1.0
    multipliers = [
        _choose_multiplier(trainer, variable, config)
        for variable in trainer.trainable_variables
    ]
    accumulated = config.gradient_accumulation_steps
    if steps and 0 < config.epochs * steps < accumulated:
        raise UserError(
            f"--gradient-accumulation-steps is {accumulated}, but the training has "
            f"{config.epochs * steps} steps: the weights would never change."
        )
    optimizer = ConstrainedAdam(
        _make_schedule(config, steps),
        multipliers,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
    )
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(
        optimizer,
        loss=dict.fromkeys(trainer.output, loss),
        loss_weights=weights,
    )
    optimizer.build(trainer.trainable_variables)
    zeros = {n: keras.ops.zeros((1, o.shape[-1])) for n, o in trainer.output.items()}
    trainer.compute_loss(None, zeros["logits"], zeros)
    return trainer


@keras.saving.register_keras_serializable(package="keras_mscam")
class Trainer(keras.Model):
    """A network in training: labels are those of all its outputs.

    It can undo a step whose loss is not finite.

    Attributes:
        skips_nonfinite: whether such a step of training or validation leaves everything
            as it was: weights, statistics of batch normalization, optimizer, means of
            the losses. What the step returns still is the loss that isn't finite.
    """

    skips_nonfinite = False

    def compute_loss(
        self, x=None, y: Any = None, y_pred: Any = None, sample_weight=None,
        training=True,
    ):  # fmt: skip
        if not isinstance(y, dict):
            y = dict.fromkeys(y_pred, y)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def train_step(self, *arguments):
        return self._skip_nonfinite(super().train_step, *arguments)

    def test_step(self, *arguments):
        return self._skip_nonfinite(super().test_step, *arguments)

    def _skip_nonfinite(self, step, *arguments):
        if not self.skips_nonfinite:
            return step(*arguments)
        if keras.backend.backend() == "jax":
            before = arguments[0]
            logs, after = step(*arguments)
            return logs, _choose(keras.ops.isfinite(logs["loss"]), after, before)
        variables = [
            *self.variables, *self.optimizer.variables, *self.metrics_variables,
        ]  # fmt: skip
        before = [keras.ops.copy(variable) for variable in variables]
        logs = step(*arguments)
        finite = keras.ops.isfinite(logs["loss"])
        for variable, value in zip(
            variables, _choose(finite, variables, before), strict=True
        ):
            variable.assign(value)
        return logs


def _choose(condition, one, other):
    """Return the one or the other of two nested lists of arrays."""
    if isinstance(one, (list, tuple)):
        pairs = zip(one, other, strict=True)
        return type(one)(_choose(condition, *pair) for pair in pairs)
    return keras.ops.where(condition, one, other)


def _choose_multiplier(trainer, variable, config: TrainingConfig) -> float:
    if variable is trainer.get_layer("block_combination").variable:
        return config.relevance_learning_rate
    block = find_block(variable.path)
    return 1.0 if block is None else config.layer_decay ** (5 - block)


def _make_schedule(config: TrainingConfig, steps: int | None):
    """Return the learning rate of Adam: a number, or a function of its updates."""
    if config.schedule == "plateau":
        return config.learning_rate
    if steps is None:
        raise ValueError("A cosine schedule needs the steps of an epoch.")
    accumulated = config.gradient_accumulation_steps
    warmup = round(config.warmup_epochs * steps / accumulated)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(config.epochs * steps // accumulated - warmup, 1),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def counting_callbacks(
    config: TrainingConfig,
    name_batch: Callable[[str, int, int], list[str]] | None = None,
    first_step: int = 0,
    validates: bool = True,
    validation_scale: float = 1.0,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that count: losses that aren't finite, epochs of a plateau.

    Args:
        config: how many of which.
        name_batch, first_step: see `FiniteLoss`.
        validates: whether the validation loss says anything; if not, it becomes NaN and
            nothing waits for it.
        validation_scale: factor of the validation losses, see `ScaledValidation`.

    Reference:
        Sedai et al. 2018, section 3: the learning rate falls to a tenth on a plateau.
    """
    callbacks = [
        ScaledValidation(validation_scale if validates else math.nan),
        FiniteLoss(config.skip_batches, name_batch, first_step),
    ]
    if not validates:
        return callbacks
    if config.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss", factor=0.1, patience=config.plateau_patience
            )
        )
    if config.early_stopping is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=config.early_stopping
            )
        )
    return callbacks


def fit(
    trainer: keras.Model,
    batches,
    validation,
    *,
    steps: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Fit a compiled trainer.

    Args:
        trainer: a model made by `compile_trainer`.
        batches: images `(batch, height, width, 1)` and labels
            `(batch, pathologies)` for all steps that are left, one epoch behind the
            other: a `tf.data` dataset, or a generator of such pairs.
        validation: the same, one pass: a dataset, of `tf.data` or of Keras.
        steps: steps per epoch.
        epochs: number of the last epoch.
        first_epoch: epochs done before.
        first_step: steps done before of the epoch behind them, up to all of them:
            then only its validation is left. The losses of these steps are for a
            callback to restore in `on_epoch_begin`, as `Checkpoint` does.
        callbacks: Keras callbacks, called in the order given. Without `FiniteLoss` of
            `counting_callbacks`, training goes on whatever the loss.

    Returns:
        Keras's history.

    Raises:
        UserError: an epoch has fewer steps than `first_step`.
    """
    if first_step > steps:
        raise UserError(
            f"The run was stopped after {first_step} steps of an epoch, which now has "
            f"{steps}: its records aren't those that it was begun with."
        )
    if first_step == steps:
        _end_epoch(trainer, validation, first_epoch, callbacks)
        first_epoch, first_step = first_epoch + 1, 0
        if trainer.stop_training:
            first_epoch = epochs
    if first_epoch >= epochs:
        return keras.callbacks.History()
    return trainer.fit(
        batches,
        validation_data=validation,
        steps_per_epoch=steps,
        epochs=epochs,
        initial_epoch=first_epoch,
        callbacks=[
            *([_FirstEpoch(steps - first_step)] if first_step else []),
            *callbacks,
        ],
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


class _FirstEpoch(keras.callbacks.Callback):
    """End the first epoch after the steps that are left of it.

    Keras has one number of steps for all epochs, and a second call of its `fit` would
    read a dataset from its beginning. So the epoch ends as if training did.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        # First of all callbacks: those behind it may want to stop for good.
        if self.left == 0:
            self.model.stop_training = False


def _end_epoch(trainer, validation, epoch: int, callbacks) -> None:
    """Do what is left of an epoch behind its last step, in the order of Keras's `fit`.

    `fit` itself takes at least one step.
    """
    callbacks = keras.callbacks.CallbackList(callbacks, model=trainer)
    trainer.stop_training = False
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(epoch)
    logs = trainer.get_metrics_result()
    found = trainer.evaluate(
        validation, callbacks=callbacks, return_dict=True, verbose=0
    )
    logs.update({f"val_{name}": value for name, value in found.items()})
    callbacks.on_epoch_end(epoch, logs)
    callbacks.on_train_end(logs)
