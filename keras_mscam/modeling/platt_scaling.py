"""The layer that turns logits into probabilities that may be shown to a person."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mscam")
class PlattScaling(keras.layers.Layer):
    """Turn logits into calibrated probabilities.

    `probabilities = sigmoid(slopes * logits + intercepts)`

    Args:
        slopes: one float for each pathology.
        intercepts: the same.

    Input shape:
        `(batch, pathologies)`.

    Output shape:
        The same, float32.

    Example:
        >>> PlattScaling([2.0], [1.0])(np.array([[-0.5]]))  # -> 0.5

    Reference:
        Platt 1999, "Probabilistic outputs for support vector machines".
    """

    def __init__(self, slopes, intercepts, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.slopes = [float(slope) for slope in slopes]
        self.intercepts = [float(intercept) for intercept in intercepts]

    def call(self, logits):
        slopes = ops.convert_to_tensor(self.slopes, "float32")
        intercepts = ops.convert_to_tensor(self.intercepts, "float32")
        return ops.sigmoid(slopes * ops.cast(logits, "float32") + intercepts)

    def get_config(self):
        return {
            **super().get_config(),
            "slopes": self.slopes,
            "intercepts": self.intercepts,
        }
