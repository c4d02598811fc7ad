"""The localizer: the classifier's own maps, fused at the size of its input."""

import keras


def build_localizer(classifier: keras.Model) -> keras.Model:
    """Build the attention network, the paper's A-CNN, over a classifier's weights.

    `attention[..., c] = sum_b relevance_weights[b, c] * resize(cam_b)[..., c]`

    No weight is copied and none is added: train the classifier on and the localizer
    follows. The maps are raw and signed; normalize after fusing them, else the
    relevance weights lose their meaning. Resizing is bilinear with half-pixel centres.

    Args:
        classifier: a model made by `build_classifier`.

    Input shape:
        `(batch, height, width, 1)`, grey 0..255, any integer or float type.

    Output shape:
        A dictionary: `probabilities` `(batch, pathologies)`; `cam_block{b}`
        `(batch, height / stride, width / stride, pathologies)` for every block;
        `attention` `(batch, height, width, pathologies)`.

    Example:
        >>> localizer = build_localizer(build_classifier(14))
        >>> localizer(np.zeros((1, 256, 256, 1)))["attention"].shape
        (1, 256, 256, 14)

    Reference:
        Sedai et al. 2018, eq. 2, eq. 3 and Fig. 2.
    """
    height, width = classifier.input.shape[1:3]
    cams = get_cams(classifier)
    resize = keras.layers.Resizing(
        height, width, interpolation="bilinear", dtype="float32", name="resize"
    )
    merge = classifier.get_layer("merge")
    probabilities = keras.layers.Activation(
        "sigmoid", dtype="float32", name="probabilities"
    )(classifier.output["logits"])
    outputs = {
        "probabilities": probabilities,
        **cams,
        "attention": merge([resize(cam) for cam in cams.values()]),
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
