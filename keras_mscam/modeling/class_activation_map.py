"""The head of one block: class activation maps and the logits that are their means."""

import keras
from keras import ops

POOLINGS = ("gap", "lse", "pcam")


@keras.saving.register_keras_serializable(package="keras_mscam")
class ClassActivationMap(keras.layers.Layer):
    """Turn the features of one block into logits and their class activation maps.

    `cam[..., c] = sum_j features[..., j] * kernel[j, c]`
    `logits[c] = pool(cam[..., c]) + bias[c]`

    Pooling and the kernel are both linear under `gap`, so pooling the map gives what
    the paper's GAP and dense layer give, `GAP(features) @ kernel + bias`, and the map
    needs no second pass.

    It computes in float32 under every precision policy: a mean over 4096 positions in
    half precision would not be the logit.

    Args:
        pathologies: integer, number of maps.
        pooling: how a map becomes one number.
            `"gap"`, the mean (the paper);
            `"lse"`, Log-Sum-Exp, `log(mean(exp(r * cam))) / r`, between the mean
            (r -> 0) and the maximum (r -> inf);
            `"pcam"`, the mean of the map weighted by its own probability,
            `sum(p * cam) / sum(p)` with `p = sigmoid(cam + bias)`.
        sharpness: positive float, the `r` of `"lse"`; 10 in Wang et al.

    Input shape:
        `(batch, height, width, features)`.

    Output shape:
        A pair: logits `(batch, pathologies)`, and the linear, signed maps
        `(batch, height, width, pathologies)`, float32.

    Raises:
        ValueError: the pooling is none of the three, or the sharpness isn't positive.

    Example:
        >>> logits, cam = ClassActivationMap(14)(np.ones((1, 8, 8, 1024)))

    Reference:
        Sedai et al. 2018, eq. 2 (`gap`). Wang et al. 2017 (ChestX-ray8), section 3.2,
        after Pinheiro and Collobert 2015 (`lse`). Ye et al. 2020 (`pcam`); their
        pooled features and one dense layer equal this pooling of the map.
    """

    def __init__(
        self, pathologies: int, pooling: str = "gap", sharpness: float = 10.0, **kwargs
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, but got {pooling!r}.")
        if not sharpness > 0:
            raise ValueError(f"sharpness must be positive, but got {sharpness}.")
        self.pathologies = pathologies
        self.pooling = pooling
        self.sharpness = sharpness

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.pathologies),
            initializer="glorot_uniform",
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.pathologies,), initializer="zeros"
        )

    def call(self, features):
        features = ops.cast(features, self.compute_dtype)
        cam = ops.matmul(features, self.kernel)
        return self._pool(cam) + self.bias, cam

    def _pool(self, cam):
        positions = (1, 2)
        if self.pooling == "gap":
            return ops.mean(cam, axis=positions)
        if self.pooling == "lse":
            count = float(cam.shape[1] * cam.shape[2])
            pooled = ops.logsumexp(self.sharpness * cam, axis=positions)
            return (pooled - ops.log(count)) / self.sharpness
        # Normalized in the log domain: where every position is far below 0 the
        # sigmoids themselves would all vanish, and their sum with them.
        cam = ops.reshape(cam, (-1, cam.shape[1] * cam.shape[2], self.pathologies))
        weights = ops.softmax(ops.log_sigmoid(cam + self.bias), axis=1)
        return ops.sum(weights * cam, axis=1)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, self.pathologies), (batch, height, width, self.pathologies)

    def get_config(self):
        return {
            **super().get_config(),
            "pathologies": self.pathologies,
            "pooling": self.pooling,
            "sharpness": self.sharpness,
        }
