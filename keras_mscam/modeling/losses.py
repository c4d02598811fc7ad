"""Losses on logits, for labels of which few are positive and some unknown."""

from typing import get_args

import keras
from keras import ops

from keras_mscam.configs.choices import Loss


class _MaskedCrossEntropy(keras.losses.Loss):
    """Cross entropy of each label from its logit, unknown (NaN) labels left out.

    `-log p` and `-log(1 - p)` are taken as `softplus(-logit)` and `softplus(logit)` in
    float32, whatever type the logits come in: exact in the tails, where a sigmoid
    has long been 0 or 1.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str | None = None, **kwargs):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1), but got {label_smoothing}."
            )
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        logits = ops.cast(y_pred, "float32")
        labels = ops.cast(y_true, "float32")
        known = ops.logical_not(ops.isnan(labels))
        labels = ops.where(known, labels, 0.0)
        positive_weight, negative_weight = self.weigh(labels, known)
        smoothed = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        terms = positive_weight * smoothed * ops.softplus(-logits)
        terms += negative_weight * (1 - smoothed) * ops.softplus(logits)
        return ops.sum(ops.where(known, terms, 0.0), axis=-1)

    def weigh(self, labels, known):
        """Return the factors of the positive and of the negative terms."""
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_mscam")
class ClassBalancedCrossEntropy(_MaskedCrossEntropy):
    """Cross entropy weighted by each pathology's own balance in the training split.

    `loss = sum_c -beta[c] y[c] log p[c] - (1 - beta[c]) (1 - y[c]) log(1 - p[c])`,
    the mean over the batch.

    Args:
        beta: C floats in [0, 1], the fraction of zeros of each pathology among the
            known labels of the training split.
        label_smoothing: float in [0, 1); labels become
            `y (1 - label_smoothing) + label_smoothing / 2`.

    Input shape:
        Labels (1, 0, or NaN for unknown) and logits, both `(batch, pathologies)`.

    Raises:
        ValueError: a beta or the smoothing is out of its range.

    Example:
        >>> ClassBalancedCrossEntropy([0.9])([[1.0]], [[0.0]])  # 0.9 log 2 = 0.624

    Reference:
        Sedai et al. 2018, the loss of section 2.
    """

    def __init__(self, beta, label_smoothing: float = 0.0, **kwargs):
        super().__init__(label_smoothing, **kwargs)
        self.beta = tuple(float(value) for value in beta)
        if not all(0 <= value <= 1 for value in self.beta):
            raise ValueError(f"beta must be in [0, 1], but got {self.beta}.")

    def weigh(self, labels, known):
        beta = ops.convert_to_tensor(self.beta, dtype="float32")
        return beta, 1 - beta

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable(package="keras_mscam")
class BatchBalancedCrossEntropy(_MaskedCrossEntropy):
    """W-CEL: cross entropy balanced by the ones and zeros of the batch.

    `loss = beta_P sum_{y=1} -log p + beta_N sum_{y=0} -log(1 - p)`, the mean over the
    batch, with `beta_P = (P + N) / P` and `beta_N = (P + N) / N`, where P and N count
    ones and zeros over the whole label matrix of the batch. A batch without positives,
    for which the published beta_P is infinite, has no positive terms to weigh: it
    takes P = 1 (and N = 1 likewise).

    Args:
        label_smoothing: float in [0, 1), see `ClassBalancedCrossEntropy`.

    Input shape:
        Labels (1, 0, or NaN for unknown) and logits, both `(batch, pathologies)`.

    Reference:
        Wang et al. 2017 (ChestX-ray8), eq. 1 and 2.
    """

    def weigh(self, labels, known):
        total = ops.sum(ops.cast(known, "float32"))
        positives = ops.sum(labels)
        negatives = total - positives
        return total / ops.maximum(positives, 1.0), total / ops.maximum(negatives, 1.0)


@keras.saving.register_keras_serializable(package="keras_mscam")
class MaskedBinaryCrossEntropy(_MaskedCrossEntropy):
    """Plain binary cross entropy, summed over pathologies, unknown labels left out.

    `loss = sum_c -y[c] log p[c] - (1 - y[c]) log(1 - p[c])`, the mean over the batch.

    Args:
        label_smoothing: float in [0, 1), see `ClassBalancedCrossEntropy`.

    Input shape:
        Labels (1, 0, or NaN for unknown) and logits, both `(batch, pathologies)`.
    """

    def weigh(self, labels, known):
        return 1.0, 1.0


LOSSES = get_args(Loss)


def build_loss(name: str, beta, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Build a loss by its name.

    Args:
        name: `"class_balanced"` (Sedai et al.), `"batch_balanced"` (Wang et al.'s
            W-CEL) or `"binary"`.
        beta: C floats, used by `"class_balanced"` alone.
        label_smoothing: float in [0, 1).

    Returns:
        A Keras loss from `(labels, logits)`.

    Raises:
        ValueError: an unknown name.
    """
    if name == "class_balanced":
        return ClassBalancedCrossEntropy(beta, label_smoothing)
    if name == "batch_balanced":
        return BatchBalancedCrossEntropy(label_smoothing)
    if name == "binary":
        return MaskedBinaryCrossEntropy(label_smoothing)
    raise ValueError(f"Unknown loss {name!r}; choose one of {LOSSES}.")
