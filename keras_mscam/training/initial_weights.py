"""Start a training from the network of another run."""

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_mscam.errors import UserError
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import load_run, read_pathologies
from keras_mscam.modeling.classifier import find_leaves


def copy_weights(
    classifier: keras.Model, pathologies: Sequence[str], path: Path
) -> str:
    """Give a new classifier the weights of a trained one.

    Layers correspond by name. The backbone has to fit as a whole, up to the last block
    that is read here. A head is taken for the pathologies that both have, by name, and
    stays as it is initialized for the others and for blocks that the run has no head
    on. Relevance weights are taken where both have the same blocks.

    Args:
        classifier: made by `build_classifier`; its weights are replaced.
        pathologies: C names, in the order of its outputs.
        path: folder of the run.

    Returns:
        A sentence that says what was taken.

    Raises:
        UserError: the run has no model, or one whose backbone has other layers.
    """
    run = load_run(Path(path))
    source = find_leaves(load_classifier(run))
    target = find_leaves(classifier)
    heads = [name for name in target if name.startswith(("head_", "block_"))]
    unfit = [
        name
        for name, layer in target.items()
        if name not in heads and not _fits(layer, source.get(name))
    ]
    if unfit:
        raise UserError(
            f"The weights of {path} do not fit this backbone: layer {unfit[0]} and "
            f"{len(unfit) - 1} others are missing there or have other shapes. Train "
            "with the --backbone, --blocks, --taps and --transition of that run."
        )
    for name, layer in target.items():
        if name not in heads:
            layer.set_weights(source[name].get_weights())
    columns = {name: i for i, name in enumerate(read_pathologies(run))}
    pairs = [(i, columns[n]) for i, n in enumerate(pathologies) if n in columns]
    new = [name for name in pathologies if name not in columns]
    taken = [name for name in heads if _copy_columns(target, source, name, pairs)]
    return (
        f"Starting from {path}: its backbone and, for {len(pairs)} of "
        f"{len(pathologies)} pathologies, {', '.join(taken) or 'no head'}"
        + (f"; new: {', '.join(new)}." if new else ".")
    )


def _fits(layer: keras.Layer, other: keras.Layer | None) -> bool:
    return other is not None and _shapes(layer) == _shapes(other)


def _shapes(layer: keras.Layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]


def _copy_columns(target, source, name: str, pairs) -> bool:
    """Copy the pathologies of a head, the last axis; `False` where there is none."""
    if name not in source or not pairs:
        return False
    weights = target[name].get_weights()
    for new, old in zip(weights, source[name].get_weights(), strict=True):
        if new.shape[:-1] != old.shape[:-1]:  # relevance weights of other blocks
            return False
        for to, of in pairs:
            new[..., to] = old[..., of]
    target[name].set_weights(weights)
    return True
