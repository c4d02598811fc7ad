"""The layer that weighs scales against each other, pathology by pathology."""

import keras
from keras import ops

from keras_mscam.modeling.constraints import UnitSimplex

PARAMETRIZATIONS = ("projection", "softmax", "uniform")


@keras.saving.register_keras_serializable(package="keras_mscam")
class ConvexCombination(keras.layers.Layer):
    """Combine B tensors by relevance weights that are learned for each pathology.

    `output[..., c] = sum_b relevance_weights[b, c] * inputs[b][..., c]`, with
    `relevance_weights >= 0` and `sum_b relevance_weights[b, c] = 1`.

    One layer serves both uses in the paper: on logits (eq. 1) and, by the same
    weights, on resized class activation maps (eq. 3).

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
        A list of B tensors, each `(batch, pathologies)` or
        `(batch, height, width, pathologies)`, all of one shape.

    Output shape:
        That of one input.

    Raises:
        ValueError: the input is no list of tensors of one shape, or the
            parametrization none of the three.

    Example:
        >>> layer = ConvexCombination()
        >>> layer([np.zeros((1, 2)), np.ones((1, 2))])  # -> 0.5, 0.5

    Reference:
        Sedai et al. 2018, eq. 1 and eq. 3.
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
