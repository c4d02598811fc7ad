"""The head of one block: class activation maps and the logits that are their means."""

from typing import get_args

import keras
from keras import ops

from keras_mscam.configs.choices import Combination, Pooling
from keras_mscam.modeling.constraints import UnitSimplex

POOLINGS = get_args(Pooling)


@keras.saving.register_keras_serializable(package="keras_mscam")
class ClassActivationMap(keras.layers.Layer):
    """Turn the features of one block into logits and their class activation maps.

    `cam[..., c] = sum_j features[..., j] * kernel[j, c]`
    `logits = pool(features) @ kernel + bias`, or `pool(cam) + bias`

    Under `gap` the two are one, as pooling and the kernel are both linear: the mean of
    a map, plus the bias, is the logit, and the map needs no second pass. The other
    poolings differ by what they pool.

    It computes in float32 under every precision policy: a mean over 4096 positions in
    half precision would not be the logit.

    Args:
        pathologies: integer, number of maps.
        pooling: how the positions become one number.
            `"gap"`, the mean (the paper).
            Of every feature, as in Wang et al.: `"max"`, the maximum; `"lse"`,
            Log-Sum-Exp, `log(mean(exp(r * features))) / r`, between the mean (r -> 0)
            and the maximum (r -> inf).
            Of every map: `"lse_map"`, Log-Sum-Exp of the map; `"pcam"`, the mean of
            the map weighted by its own probability, `sum(p * cam) / sum(p)` with
            `p = sigmoid(cam + bias)`.
        sharpness: positive float, the `r` of Log-Sum-Exp; 10 in Wang et al.

    Input shape:
        `(batch, height, width, features)`.

    Output shape:
        A pair: logits `(batch, pathologies)`, and the linear, signed maps
        `(batch, height, width, pathologies)`, float32.

    Raises:
        ValueError: the pooling is none of these, or the sharpness isn't positive.

    Example:
        >>> logits, cam = ClassActivationMap(14)(np.ones((1, 8, 8, 1024)))

    Reference:
        Sedai et al. 2018, eq. 2 (`gap`). Wang et al. 2017 (ChestX-ray8), section 3.2
        (`max`, `lse`). Pinheiro and Collobert 2015 (`lse_map`). Ye et al. 2020 (`pcam`;
        their pooled features and one dense layer equal this pooling of the map).
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

    @property
    def pools_features(self) -> bool:
        """Whether features may be pooled before the kernel: the logits are the same."""
        return self.pooling in ("gap", "max", "lse")

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
        if self.pooling in ("max", "lse"):
            return ops.matmul(self._pool(features), self.kernel) + self.bias, cam
        return self._pool(cam) + self.bias, cam

    def pool_features(self, features):
        """Pool `(batch, height, width, features)` to `(batch, 1, 1, features)`.

        This layer gives of the result the logits that it gives of the features.
        """
        pooled = self._pool(ops.cast(features, self.compute_dtype))
        return ops.expand_dims(ops.expand_dims(pooled, 1), 1)

    def _pool(self, values):
        if self.pooling == "gap":
            return ops.mean(values, axis=(1, 2))
        if self.pooling == "max":
            return ops.max(values, axis=(1, 2))
        if self.pooling == "pcam":
            return self._pool_by_probability(values)
        count = float(values.shape[1] * values.shape[2])
        pooled = ops.logsumexp(self.sharpness * values, axis=(1, 2))
        return (pooled - ops.log(count)) / self.sharpness

    def _pool_by_probability(self, cam):
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


@keras.saving.register_keras_serializable(package="keras_mscam")
class AveragedHead(keras.layers.Layer):
    """Average the heads of several networks on the same block.

    Input shape:
        A list of pairs, outputs of `ClassActivationMap`.

    Output shape:
        One such pair: the mean logits, and the mean maps, of which they are the means
        too under `gap`.
    """

    def call(self, heads):
        logits, cams = zip(*heads, strict=True)
        return sum(logits) / len(heads), sum(cams) / len(heads)


PARAMETRIZATIONS = get_args(Combination)


@keras.saving.register_keras_serializable(package="keras_mscam")
class ConvexCombination(keras.layers.Layer):
    """Combine the logits of B blocks by relevance weights, learned for each pathology.

    `output[:, c] = sum_b relevance_weights[b, c] * inputs[b][:, c]`, with
    `relevance_weights >= 0` and `sum_b relevance_weights[b, c] = 1`.

    By the same weights, `localizer.AttentionMap` fuses the maps of the blocks (eq. 3).

    It computes in float32 under every precision policy: a sum of few terms costs
    nothing, and weights in half precision would leave the simplex.

    Args:
        parametrization: what keeps the weights on the simplex.
            `"projection"` (the paper): they are the variable, and the constraint
            projects it after every step;
            `"softmax"`: they are the softmax over the blocks of a free variable, which
            never reaches 0 or 1;
            `"uniform"`: 1 / B, not learned.
        relevance_weights_constraint: a Keras constraint of the `"projection"`.
            `UnitSimplex` by default; `None` leaves the weights free.

    Input shape:
        A list of B tensors, each `(batch, pathologies)`.

    Output shape:
        That of one input.

    Raises:
        ValueError: the input is no list of tensors of one shape, or the
            parametrization none of the three.

    Example:
        >>> layer = ConvexCombination()
        >>> layer([np.zeros((1, 2)), np.ones((1, 2))])  # -> 0.5, 0.5

    Reference:
        Sedai et al. 2018, eq. 1.
    """

    def __init__(
        self,
        parametrization: str = "projection",
        relevance_weights_constraint="default",
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if parametrization not in PARAMETRIZATIONS:
            raise ValueError(
                f"parametrization must be one of {PARAMETRIZATIONS}, but got "
                f"{parametrization!r}."
            )
        self.parametrization = parametrization
        if relevance_weights_constraint == "default":
            relevance_weights_constraint = UnitSimplex(axis=0)
        self.relevance_weights_constraint = keras.constraints.get(
            relevance_weights_constraint
        )

    def build(self, input_shape):
        if not isinstance(input_shape, (list, tuple)) or not isinstance(
            input_shape[0], (list, tuple)
        ):
            raise ValueError(
                "ConvexCombination takes a list of tensors, one for each block, "
                f"but got one of shape {input_shape}."
            )
        if len({tuple(shape) for shape in input_shape}) > 1:
            raise ValueError(
                "ConvexCombination takes tensors of one shape, but got "
                f"{[tuple(shape) for shape in input_shape]}."
            )
        shape = (len(input_shape), input_shape[0][-1])
        if self.parametrization == "softmax":
            self._variable = self.add_weight(
                name="relevance_logits", shape=shape, initializer="zeros"
            )
            return
        learned = self.parametrization == "projection"
        self._variable = self.add_weight(
            name="relevance_weights",
            shape=shape,
            initializer=keras.initializers.Constant(1.0 / shape[0]),
            constraint=self.relevance_weights_constraint if learned else None,
            trainable=learned,
        )

    @property
    def variable(self):
        """What training steps: the weights themselves, or the logits of a softmax."""
        return self._variable

    @property
    def relevance_weights(self):
        """The weights, `(blocks, pathologies)`: a variable or a tensor made of one."""
        if self.parametrization == "softmax":
            return ops.softmax(self._variable, axis=0)
        return self._variable

    def call(self, inputs):
        weights = ops.convert_to_tensor(self.relevance_weights)
        return sum(
            weights[block] * ops.cast(tensor, self.compute_dtype)
            for block, tensor in enumerate(inputs)
        )

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "parametrization": self.parametrization,
            "relevance_weights_constraint": keras.constraints.serialize(
                self.relevance_weights_constraint
            ),
        }
