"""The localizer: a classifier's own maps, calibrated and fused, in one forward pass."""

import keras
import numpy as np
from keras import ops


def build_localizer(
    classifier: keras.Model,
    attention_size: tuple[int, int] | None = None,
    fusion_weights: np.ndarray | None = None,
    platt_scaling: tuple[np.ndarray, np.ndarray] | None = None,
) -> keras.Model:
    """Build the attention network, the paper's A-CNN, over a classifier's weights.

    `attention[..., c] = sum_b relevance_weights[b, c] * resize(cam_b)[..., c]`

    No weight is copied: train the classifier on, and the localizer follows. Weights to
    fuse by and a calibration, if they are given, are constants. The maps are raw and
    signed; normalize after fusing them, else the relevance weights lose their meaning.

    Args:
        classifier: a model made by `build_classifier`.
        attention_size: `(height, width)` of the fused map; that of the input by
            default.
        fusion_weights: `(B, C)`, to fuse maps by in place of the relevance weights, see
            `keras_mscam.localization.fusion.Fusion`.
        platt_scaling: slopes and intercepts, each `(C,)`, that calibrate the
            probabilities; by default they are the sigmoid of the logits.

    Input shape:
        `(batch, height, width, 1)`, grey 0..255, any integer or float type.

    Output shape:
        A dictionary: `probabilities` `(batch, pathologies)`; `cam_block{b}`
        `(batch, height / stride, width / stride, pathologies)` for every block;
        `attention` `(batch, *attention_size, pathologies)`; `relevance_weights`
        `(batch, blocks, pathologies)`, the same for every image.

    Example:
        >>> localizer = build_localizer(build_classifier(14))
        >>> localizer(np.zeros((1, 256, 256, 1)))["attention"].shape
        (1, 256, 256, 14)

    Reference:
        Sedai et al. 2018, eq. 2, eq. 3 and Fig. 2.
    """
    logits = classifier.output["logits"]
    slopes, intercepts = platt_scaling or (
        np.ones(logits.shape[-1]),
        np.zeros(logits.shape[-1]),
    )
    cams = get_cams(classifier)
    combination = classifier.get_layer("block_combination")
    relevance_weights = BlockWeights(combination, name="relevance_weights")(logits)
    weights = relevance_weights
    if fusion_weights is not None:
        weights = BlockWeights(values=fusion_weights, name="fusion_weights")(logits)
    fuse = AttentionMap(attention_size or classifier.input.shape[1:3], name="attention")
    outputs = {
        "probabilities": PlattScaling(slopes, intercepts, name="probabilities")(logits),
        **cams,
        "attention": fuse(list(cams.values()), weights),
        "relevance_weights": relevance_weights,
    }
    return keras.Model(classifier.input, outputs, name="localizer")


def get_cams(classifier: keras.Model) -> dict:
    """Return the symbolic maps of a classifier's heads: `cam_block{b}` of each block.

    With `classifier.input` they make a functional model that gives the maps, each
    `(batch, height / stride, width / stride, pathologies)`, raw and signed.
    """
    return {
        layer.name.replace("head", "cam"): layer.output[1]
        for layer in classifier.layers
        if layer.name.startswith("head_block")
    }


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
    known = np.arange(from_size)
    columns = [np.interp(place, known, one) for one in np.eye(from_size)]
    return np.stack(columns, axis=1).astype("float32")


@keras.saving.register_keras_serializable(package="keras_mscam")
class BlockWeights(keras.layers.Layer):
    """Repeat the weights of B blocks for every image of a batch.

    Args:
        combination: the `ConvexCombination` whose relevance weights they are; they
            follow it when it is trained on.
        values: `(B, pathologies)`, constants in place of them; one of the two is given.

    Input shape:
        `(batch, ...)`, of which only the batch counts.

    Output shape:
        `(batch, B, pathologies)`, float32.
    """

    def __init__(self, combination=None, values=None, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.combination = combination
        self.values = None if values is None else np.asarray(values, "float32").tolist()

    def call(self, inputs):
        weights = self.values
        if self.combination is not None:
            weights = self.combination.relevance_weights
        weights = ops.convert_to_tensor(weights, "float32")
        return ops.tile(weights[None], (ops.shape(inputs)[0], 1, 1))

    def get_config(self):
        return {
            **super().get_config(),
            "combination": keras.saving.serialize_keras_object(self.combination),
            "values": self.values,
        }

    @classmethod
    def from_config(cls, config):
        combination = keras.saving.deserialize_keras_object(config.pop("combination"))
        return cls(combination=combination, **config)


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
