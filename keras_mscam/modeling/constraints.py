"""The constraint that keeps relevance weights on the simplex."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mscam")
class UnitSimplex(keras.constraints.Constraint):
    """Project weights onto the unit simplex: `w >= 0` and `sum(w, axis) = 1`.

    The result is the exact Euclidean projection, the feasible point nearest to the
    given one: `w[i] = max(v[i] - t, 0)`, where `t` is the one threshold that makes
    the sum 1. With `v` sorted in falling order it is
    `t = max over k of (sum(v[:k]) - 1) / k`.

    The maximum stands in place of the usual search for the support size: the
    candidate `(sum(v[:k]) - 1) / k` rises while the next entry is above it and never
    again after, so no comparison can tip over in a tie.

    Args:
        axis: integer, the axis that sums to 1. The default, 0, is the block axis of
            relevance weights of shape `(blocks, pathologies)`.

    Returns:
        A tensor of the shape and type of the one given. A column that holds NaN comes
        back as NaN, so that a diverged training is seen.

    Example:
        >>> UnitSimplex()(np.array([[2.0], [0.5], [-1.0]]))  # -> 1, 0, 0

    Reference:
        Sedai et al. 2018, the constraints under eq. 1. Held, Wolfe and Crowder 1974
        and Duchi et al. 2008, Fig. 1, for the projection.
    """

    def __init__(self, axis: int = 0):
        self.axis = axis

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        # The simplex is all that matters along a shift of the whole vector, so move
        # its largest entry to 0: sums of huge entries would lose the 1 in rounding.
        w = w - ops.max(w, axis=self.axis, keepdims=True)
        # Entries 1 or more below the largest are outside the support whatever the
        # others are; clipping them keeps the cumulative sums exact.
        w = ops.maximum(w, -1.0)
        falling = -ops.sort(-w, axis=self.axis)
        shape = [1] * len(w.shape)
        shape[self.axis] = w.shape[self.axis]
        count = ops.reshape(ops.arange(1, w.shape[self.axis] + 1, dtype=w.dtype), shape)
        threshold = ops.max(
            (ops.cumsum(falling, axis=self.axis) - 1.0) / count,
            axis=self.axis,
            keepdims=True,
        )
        return ops.maximum(w - threshold, 0.0)

    def get_config(self):
        return {"axis": self.axis}
