"""Training that holds few of a network's features, and computes the others again."""

from functools import partial

import keras
from keras import layers, ops


def checkpoint_gradients(classifier: keras.Model) -> None:
    """Let the backbone of a classifier be trained in segments, to save memory.

    A step holds the features at the ends of segments, and computes what lies between
    again when it needs it for the gradients: less memory for a quarter more time. A
    segment ends at every concatenation of a dense block (every sum of a residual one)
    and at every tap. The gradients are the same; `experiments/benchmarks` has the
    memory. What is saved of the network doesn't change.

    Args:
        classifier: a model made by `build_classifier`.

    Reference:
        Chen et al. 2016, "Training deep nets with sublinear memory cost"; Pleiss et al.
        2017, "Memory-efficient implementation of DenseNets".
    """
    backbone = classifier.get_layer("backbone")
    (network,) = [layer for layer in backbone.layers if isinstance(layer, keras.Model)]
    network.call = partial(_call, network, _split(network))


def _split(network: keras.Model) -> list[tuple[keras.Model, bool]]:
    """Return the segments of a network, and whether each of them ends at a tap.

    All that lies behind a concatenation or sum of these networks depends on it alone.
    """
    taps = {id(output) for output in network.outputs}
    ends = [
        layer.output
        for layer in network.layers
        if isinstance(layer, (layers.Concatenate, layers.Add))
        or id(layer.output) in taps
    ]
    starts = [network.inputs[0], *ends[:-1]]
    return [
        (keras.Model(start, end), id(end) in taps)
        for start, end in zip(starts, ends, strict=True)
    ]


def _call(network, segments, inputs, training=None, mask=None):
    if not training:
        return type(network).call(network, inputs, training=training, mask=mask)
    features = inputs
    outputs = []
    for segment, is_tap in segments:
        features = _call_segment(segment, features)
        if is_tap:
            outputs.append(features)
    return outputs if len(outputs) > 1 else outputs[0]


def _call_segment(segment: keras.Model, features):
    """Compute a segment without holding anything but its inputs.

    Its weights go in and its statistics of batch normalization come out as values, as
    what is computed twice must not change them twice.
    """

    @keras.remat
    def compute(weights, statistics, features):
        return segment.stateless_call(weights, statistics, features, training=True)

    outputs, statistics = compute(
        _read(segment.trainable_variables),
        _read(segment.non_trainable_variables),
        features,
    )
    for variable, value in zip(
        segment.non_trainable_variables, statistics, strict=True
    ):
        variable.assign(value)
    return outputs


def _read(variables) -> list:
    return [ops.convert_to_tensor(variable) for variable in variables]
