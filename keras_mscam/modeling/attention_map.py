"""The layer that enlarges the maps of all blocks and sums them, by matrix products."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mscam")
class AttentionMap(keras.layers.Layer):
    """Fuse the maps of B blocks at one size.

    `attention[..., c] = sum_b weights[b, c] * resize(cam_b)[..., c]`

    Resizing is bilinear with half-pixel centres. It is linear along rows and along
    columns, so it is two matrix products; those along the columns of all blocks, and
    their sum, are one. On a CPU that takes a quarter of the time of resizing and adding
    map by map, and no runtime has a convention of its own for it.

    Args:
        size: `(height, width)` of the result.

    Input shape:
        A list of B maps, each `(batch, h, w, pathologies)`; and weights
        `(batch, B, pathologies)`.

    Output shape:
        `(batch, height, width, pathologies)`, float32.

    Example:
        >>> AttentionMap((4, 4))([np.ones((1, 2, 2, 3))], np.ones((1, 1, 3))).shape
        (1, 4, 4, 3)

    Reference:
        Sedai et al. 2018, eq. 3.
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, cams, weights):
        height, width = self.size
        pathologies = cams[0].shape[-1]
        wide = [
            ops.matmul(
                build_bilinear_matrix(width, cam.shape[2]),
                ops.cast(cam, "float32") * weights[:, block, None, None, :],
            )
            for block, cam in enumerate(cams)
        ]
        rows = sum(cam.shape[1] for cam in cams)
        columns = ops.reshape(
            ops.concatenate(wide, axis=1), (-1, rows, width * pathologies)
        )
        enlarge = np.concatenate(
            [build_bilinear_matrix(height, cam.shape[1]) for cam in cams], axis=1
        )
        return ops.reshape(
            ops.matmul(enlarge, columns), (-1, height, width, pathologies)
        )

    def compute_output_shape(self, cams_shape, weights_shape):
        return (weights_shape[0], *self.size, weights_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def build_bilinear_matrix(size: int, from_size: int) -> np.ndarray:
    """Return the matrix that resizes a column of numbers, `(size, from_size)` float32.

    Position i of the result lies at `(i + 0.5) * from_size / size - 0.5` of the column,
    between its two neighbours there; beyond the ends, the end is repeated.

    Example:
        >>> build_bilinear_matrix(4, 2)
        array([[1.  , 0.  ],
               [0.75, 0.25],
               [0.25, 0.75],
               [0.  , 1.  ]], dtype=float32)
    """
    place = (np.arange(size) + 0.5) * from_size / size - 0.5
    below = np.floor(place).astype(int)
    share = place - below
    matrix = np.zeros((size, from_size))
    rows, last = np.arange(size), from_size - 1
    np.add.at(matrix, (rows, below.clip(0, last)), 1 - share)
    np.add.at(matrix, (rows, (below + 1).clip(0, last)), share)
    return matrix.astype("float32")
