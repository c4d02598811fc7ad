"""Start a training: from nothing, ImageNet, another run, or published weights."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_mscam.configs.schema import ModelConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.split_outputs import read_pathologies
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.hub import fetch
from keras_mscam.inference.run_folder import Run, load_run
from keras_mscam.modeling.backbones import check_weights_file
from keras_mscam.modeling.classifier import (
    build_classifier,
    count_networks,
    find_leaves,
    read_relevance_weights,
)
from keras_mscam.modeling.published import PublishedWeights, read_published


def adopt_normalization(model: ModelConfig) -> ModelConfig:
    """Return a configuration that normalizes grey values as its weights were trained.

    Raises:
        UserError: see `open_weights`.
    """
    source = open_weights(model)
    if source is None or model.normalization is not None:
        return model
    own = isinstance(source, Run)
    normalization = (source.config.model if own else source).normalization
    return dataclasses.replace(model, normalization=normalization)


def build_initial_classifier(
    model: ModelConfig, pathologies: Sequence[str], image_size: tuple[int, int]
) -> keras.Model:
    """Build the classifier of a configuration, with the weights that it starts from.

    What is taken of another run or of a PyTorch file is said on standard error.

    Args:
        model: its `weights` are `None`, `"imagenet"`, a `.h5` file of
            `keras.applications`, a run, a file of PyTorch, or either on a hub.
        pathologies: C names, in the order of its outputs.
        image_size: `(height, width)`.

    Raises:
        UserError: the weights can't be had, or don't fit.
    """
    source = open_weights(model)
    if source is not None:
        model = dataclasses.replace(model, weights=None)
    options = dataclasses.asdict(model)
    classifier = build_classifier(len(pathologies), image_size, **options)
    if source is not None:
        said = (
            copy_run(classifier, pathologies, source)
            if isinstance(source, Run)
            else copy_published(classifier, pathologies, source)
        )
        print(said, file=sys.stderr)
    return classifier


def open_weights(model: ModelConfig) -> Run | PublishedWeights | None:
    """Read what a training starts from, where that is a run or a PyTorch file.

    Raises:
        UserError: it can't be read, isn't there, or is of another backbone.
    """
    if model.weights in (None, "imagenet"):
        return None
    if model.weights.endswith(".h5"):
        check_weights_file(Path(model.weights))
        return None
    path = fetch(model.weights)
    if path.is_dir():
        return load_run(path)
    published = read_published(path)
    published.check_matched()
    if published.backbone != model.backbone:
        raise UserError(
            f"{path} is a {published.backbone}, not a {model.backbone}: give "
            f"--backbone {published.backbone}."
        )
    return published


def copy_published(
    classifier: keras.Model, pathologies: Sequence[str], published: PublishedWeights
) -> str:
    """Give a new classifier published weights.

    The head of block 4 takes the outputs whose names the file has and this classifier,
    too; the heads of other blocks stay as they are initialized.

    Returns:
        A sentence that says what was taken.
    """
    published.copy_backbone(classifier)
    names = published.pathologies or ()
    taken = published.copy_head(classifier, names, pathologies)
    said = f"Starting from {published.path}: its backbone"
    if taken:
        said += f" and, for {', '.join(taken)}, the head of block 4"
    elif published.head is not None and not names:
        said += (
            ". Its classifier is left out, as the file does not name its outputs; "
            "keras_mscam-weights convert --pathologies names them"
        )
    return said + "."


def copy_run(classifier: keras.Model, pathologies: Sequence[str], run: Run) -> str:
    """Give a new classifier the weights of a trained one.

    Layers correspond by name. The backbone has to fit as a whole, up to the last block
    that is read here. A head is taken for the pathologies that both have, by name, and
    stays as it is initialized for the others and for blocks that the run has no head
    on. Relevance weights are taken where both have the same blocks and combination.

    Args:
        classifier: made by `build_classifier`; its weights are replaced.
        pathologies: C names, in the order of its outputs.
        run: the trained one.

    Returns:
        A sentence that says what was taken.

    Raises:
        UserError: the run has no model, or one whose backbone has other layers.
    """
    trained = load_classifier(run)
    if count_networks(trained) > 1:
        raise UserError(
            f"{run.path} is the average of several networks: start from one of them."
        )
    source, target = find_leaves(trained), find_leaves(classifier)
    heads = [name for name in target if name.startswith(("head_", "block_"))]
    unfit = [
        name
        for name, layer in target.items()
        if not _fits(name, layer, source.get(name))
    ]
    if unfit:
        raise UserError(
            f"The weights of {run.path} do not fit this backbone: layer {unfit[0]} and "
            f"{len(unfit) - 1} others are missing there or have other shapes. Train "
            "with the --backbone, --blocks, --taps and --transition of that run."
        )
    for name, layer in target.items():
        if name not in heads:
            layer.set_weights(source[name].get_weights())
    columns = {name: i for i, name in enumerate(read_pathologies(run))}
    pairs = [(i, columns[n]) for i, n in enumerate(pathologies) if n in columns]
    new = [name for name in pathologies if name not in columns]
    if not _combine_alike(classifier, trained):
        source.pop("block_combination", None)
    taken = [name for name in heads if _copy_columns(target, source, name, pairs)]
    return (
        f"Starting from {run.path}: its backbone and, for {len(pairs)} of "
        f"{len(pathologies)} pathologies, {', '.join(taken) or 'no head'}"
        + (f"; new: {', '.join(new)}." if new else ".")
    )


def _combine_alike(one: keras.Model, other: keras.Model) -> bool:
    """Tell whether weights of the combination mean the same in two classifiers."""
    layers = [model.get_layer("block_combination") for model in (one, other)]
    kinds = [layer.parametrization for layer in layers]
    blocks = [read_relevance_weights(model)[0] for model in (one, other)]
    return kinds[0] == kinds[1] and blocks[0] == blocks[1]


def _fits(name: str, layer: keras.Layer, other: keras.Layer | None) -> bool:
    if name.startswith("block_"):
        return True  # see `_combine_alike`
    is_head = name.startswith("head_")
    if other is None:
        return is_head  # it begins anew
    end = -1 if is_head else None  # the last axis of a head is that of the pathologies
    one, two = (
        [tuple(weight.shape)[:end] for weight in found.weights]
        for found in (layer, other)
    )
    return one == two


def _copy_columns(target, source, name: str, pairs) -> bool:
    """Copy the pathologies of a head, the last axis; `False` where there is none."""
    if name not in source or not pairs:
        return False
    weights = target[name].get_weights()
    for new, old in zip(weights, source[name].get_weights(), strict=True):
        for to, of in pairs:
            new[..., to] = old[..., of]
    target[name].set_weights(weights)
    return True
