"""The localizer: the classifier's own maps, fused at the size of its input."""

import keras
import numpy as np

from keras_mscam.modeling.attention_map import AttentionMap
from keras_mscam.modeling.block_weights import BlockWeights
from keras_mscam.modeling.platt_scaling import PlattScaling


def build_localizer(
    classifier: keras.Model,
    attention_size: tuple[int, int] | None = None,
    fusion_weights: np.ndarray | None = None,
    platt_scaling: tuple[np.ndarray, np.ndarray] | None = None,
) -> keras.Model:
    """Build the attention network, the paper's A-CNN, over a classifier's weights.

    `attention[..., c] = sum_b relevance_weights[b, c] * resize(cam_b)[..., c]`

    No weight is copied and none is added: train the classifier on and the localizer
    follows. The maps are raw and signed; normalize after fusing them, else the
    relevance weights lose their meaning. Resizing is bilinear with half-pixel centres.

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
    merge = classifier.get_layer("merge")
    weights = relevance_weights = BlockWeights(merge, name="relevance_weights")(logits)
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
