"""The classifier: a head on every block, combined by relevance weights."""

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_mscam.modeling.backbones import build_backbone
from keras_mscam.modeling.layers import (
    AveragedHead,
    ClassActivationMap,
    ConvexCombination,
)


def build_classifier(
    pathologies: int,
    image_size: tuple[int, int] = (256, 256),
    backbone: str = "densenet121",
    blocks: tuple[int, ...] = (2, 3, 4),
    taps: str = "activated",
    pooling: str = "gap",
    transition: int | None = None,
    combination: str = "projection",
    weights: str | Path | None = None,
    batch_norm_momentum: float = 0.99,
    normalization: str | None = None,
) -> keras.Model:
    """Build the classification network, the paper's C-CNN.

    `logits_block{b} = pool(cam_b) + bias_b`
    `logits = sum_b relevance_weights[b] * logits_block{b}`
    `probabilities = sigmoid(logits)`

    The systems of the paper's Table 1 are this function with other arguments: A-CNN is
    the default, DN-CAM has `blocks=(4,)`, RN-CAM `backbone="resnet50", blocks=(4,),
    pooling="lse", transition=2048`.

    Args:
        pathologies: integer C, number of outputs.
        image_size: `(height, width)` of the input.
        backbone: see `keras_mscam.modeling.backbones.BACKBONES`.
        blocks: blocks that get a head, rising, out of 1 to 4.
        taps: `"activated"` or `"raw"`, see `build_backbone`.
        pooling: see `ClassActivationMap`.
        transition: features of a transition layer before every head, a convolution
            over single positions with batch normalization and ReLU; `None` for none.
        combination: how relevance weights stay on the simplex: the parametrization of
            `ConvexCombination`.
        weights: initial weights of the backbone, see `build_backbone`.
        batch_norm_momentum: see `build_backbone`. Keras's 0.99 needs some 500 steps
            before the moving averages can be trusted: use 0.9 for short trainings.
        normalization: see `build_backbone`.

    Input shape:
        `(batch, height, width, 1)`, grey 0..255, any integer or float type.

    Output shape:
        A dictionary of `(batch, pathologies)`: the combined `logits`, and
        `logits_block{b}` for every block.

    Raises:
        UserError: an argument that is out of its range.

    Example:
        >>> classifier = build_classifier(14, (256, 256))
        >>> sorted(classifier(np.zeros((1, 256, 256, 1), "uint8")))
        ['logits', 'logits_block2', 'logits_block3', 'logits_block4']

    Reference:
        Sedai et al. 2018, section 2, eq. 1 and Fig. 1. Wang et al. 2017 (ChestX-ray8),
        section 3.2, for the transition layer; they give its width (2048 for ResNet-50)
        but neither the size of its kernel nor what follows it.
    """
    features = build_backbone(
        backbone,
        image_size,
        blocks,
        taps,
        weights,
        batch_norm_momentum,
        normalization,
    )
    image = keras.Input((*image_size, 1), name="image")
    outputs = {}
    for block, tensor in zip(blocks, keras.tree.flatten(features(image)), strict=True):
        if transition is not None:
            tensor = _add_transition(tensor, transition, block, batch_norm_momentum)
        head = ClassActivationMap(pathologies, pooling, name=f"head_block{block}")
        outputs[f"logits_block{block}"], _ = head(tensor)
    combine = ConvexCombination(combination, name="block_combination")
    combined = combine(list(outputs.values()))
    return keras.Model(image, {"logits": combined, **outputs}, name="classifier")


def average_classifiers(classifiers: Sequence[keras.Model]) -> keras.Model:
    """Build the classifier that says, block by block, what several say on average.

    Logits and maps of every block are the means of theirs, and so are the relevance
    weights, which stay on the simplex. So it is read, fused and exported as one
    network, in the time and the size of all.

    Args:
        classifiers: made by `build_classifier`, of the same pathologies, image size,
            blocks, and sizes of maps.

    Returns:
        A classifier. It isn't to be trained: it has no backbone of its own.

    Raises:
        ValueError: they have heads on different blocks, or of different shapes.
    """
    image = keras.Input(classifiers[0].input.shape[1:], name="image")
    heads = {}
    for number, classifier in enumerate(classifiers, 1):
        own = {
            layer.name: tuple(layer.output)
            for layer in classifier.layers
            if layer.name.startswith("head_block")
        }
        network = keras.Model(classifier.input, own, name=f"network{number}")
        for name, head in network(image).items():
            heads.setdefault(name, []).append(head)
    for name, several in heads.items():
        shapes = [cam.shape[1:] for _, cam in several]
        if shapes != [shapes[0]] * len(classifiers):
            raise ValueError(f"The classifiers differ in {name}: maps of {shapes}.")
    outputs = {
        name.replace("head", "logits"): AveragedHead(dtype="float32", name=name)(head)[
            0
        ]
        for name, head in heads.items()
    }
    combine = ConvexCombination(name="block_combination")
    combined = combine(list(outputs.values()))
    weights = [read_relevance_weights(classifier)[1] for classifier in classifiers]
    combine.variable.assign(sum(weights) / len(weights))
    return keras.Model(image, {"logits": combined, **outputs}, name="classifier")


def count_networks(model: keras.Model) -> int:
    """Return how many networks a classifier, or a localizer over it, averages, or 1."""
    return max(1, sum(layer.name.startswith("network") for layer in model.layers))


def _add_transition(tensor, features: int, block: int, momentum: float):
    name = f"transition_block{block}"
    tensor = keras.layers.Conv2D(features, 1, use_bias=False, name=f"{name}_conv")(
        tensor
    )
    tensor = keras.layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(
        tensor
    )
    return keras.layers.ReLU(name=f"{name}_relu")(tensor)


def split_at_features(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Part a classifier between its backbone and all that follows.

    Args:
        classifier: a model made by `build_classifier`, whose layers both parts share.

    Returns:
        A pair. From images to the features of every block, a dictionary
        `features_block{b}`, pooled to one position where the logits are the same (see
        `ClassActivationMap`); and from that dictionary to the classifier's outputs.
    """
    backbone = classifier.get_layer("backbone")
    blocks, _ = read_relevance_weights(classifier)
    images = keras.Input(backbone.input.shape[1:], name="image")
    tensors = keras.tree.flatten(backbone(images))
    names = {layer.name for layer in classifier.layers}
    heads = [classifier.get_layer(f"head_block{block}") for block in blocks]
    transitions = [
        [f"transition_block{block}_{part}" for part in ("conv", "bn", "relu")]
        for block in blocks
    ]
    for i, head in enumerate(heads):
        if head.pools_features and transitions[i][0] not in names:
            tensors[i] = head.pool_features(tensors[i])
    features = dict(zip((f"features_block{b}" for b in blocks), tensors, strict=True))
    inputs = {n: keras.Input(v.shape[1:], name=n) for n, v in features.items()}
    outputs = {}
    for block, tensor, head, layers in zip(
        blocks, inputs.values(), heads, transitions, strict=True
    ):
        for name in layers:
            if name in names:
                tensor = classifier.get_layer(name)(tensor)
        outputs[f"logits_block{block}"], _ = head(tensor)
    combine = classifier.get_layer("block_combination")
    combined = combine(list(outputs.values()))
    return (
        keras.Model(images, features, name="extractor"),
        keras.Model(inputs, {"logits": combined, **outputs}, name="heads"),
    )


def read_relevance_weights(classifier: keras.Model):
    """Return the relevance weights of a classifier.

    Args:
        classifier: a model made by `build_classifier`.

    Returns:
        A pair: the block numbers, a tuple of B integers; and the weights, a numpy
        array `(B, pathologies)` whose columns sum to 1.
    """
    blocks = tuple(
        int(name.removeprefix("logits_block"))
        for name in classifier.output
        if name.startswith("logits_block")
    )
    weights = classifier.get_layer("block_combination").relevance_weights
    return blocks, keras.ops.convert_to_numpy(weights)


def find_leaves(model: keras.Model) -> dict[str, keras.Layer]:
    """Return the layers of a classifier that have weights, at any depth, by name."""
    found = {}
    for layer in model.layers:
        if getattr(layer, "layers", None):
            found |= find_leaves(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found
