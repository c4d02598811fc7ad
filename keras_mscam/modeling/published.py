"""Published PyTorch networks: what a file holds, and its weights in Keras's layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.modeling.backbones import default_normalization
from keras_mscam.modeling.classifier import find_leaves
from keras_mscam.modeling.pytorch_file import read_state_dict
from keras_mscam.modeling.pytorch_layouts import (
    FEATURES,
    KINDS,
    find_layout,
    identify,
    pair_layers,
    to_keras,
)
from keras_mscam.pathologies import PATHOLOGIES

#: Orders of outputs that files leave out; "" for one that was not trained.
OUTPUT_NAMES: dict[str, tuple[str, ...]] = {
    "chestxray14": PATHOLOGIES,
    "chexpert": (
        "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity",
        "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis",
        "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
        "Support Devices",
    ),
    "torchxrayvision": (
        "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema",
        "Emphysema", "Fibrosis", "Effusion", "Pneumonia", "Pleural_Thickening",
        "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
        "Lung Opacity", "Enlarged Cardiomediastinum",
    ),
}  # fmt: skip
_IGNORED = ("num_batches_tracked", "op_threshs")


@dataclass(frozen=True, eq=False)
class PublishedWeights:
    """Weights of a classifier that was trained elsewhere."""

    path: Path  # the file
    backbone: str  # one of `BACKBONES`
    channels: int  # of the images that it takes
    # weights of every layer of the backbone by Keras's name, in Keras's order and axes
    layers: dict[str, list[np.ndarray]]
    normalization: str  # of `NORMALIZATIONS`, as the layout of the file tells it
    # kernel `(features, outputs)` and bias `(outputs,)`, or `None`
    head: tuple[np.ndarray, np.ndarray] | None
    # names of the outputs, "" for one that was not trained; `None` where the file
    # doesn't say
    pathologies: tuple[str, ...] | None
    # probability of each output from which on it is positive; `None` where the file
    # doesn't say
    thresholds: tuple[float, ...] | None
    missing: tuple[str, ...]  # tensors that the architecture has and the file hasn't
    left_over: tuple[str, ...]  # tensors that the file has and the architecture hasn't

    def describe(self) -> str:
        """Return what a user wants to know of the file, one fact per line."""
        sizes = [array.size for arrays in self.layers.values() for array in arrays]
        if self.head is None:
            outputs = "none: a backbone alone"
        else:
            outputs = f"{len(self.head[1])}, " + (
                ", ".join(name or "(not trained)" for name in self.pathologies)
                if self.pathologies
                else "which the file does not name"
            )
        facts = {
            "architecture": f"{self.backbone}, {self.channels} input channels",
            "parameters": f"{sum(sizes):,} of the backbone",
            "outputs": outputs,
            "thresholds": "of every output" if self.thresholds else "none",
            "normalization": f"{self.normalization}, as its layout tells",
            "missing": ", ".join(self.missing) or "nothing",
            "left over": ", ".join(self.left_over) or "nothing",
        }
        return "\n".join(f"{name + ':':15}{fact}" for name, fact in facts.items())

    def check_matched(self) -> None:
        """Refuse weights of which some are missing or left over.

        Raises:
            UserError: they are listed.
        """
        problems = [
            f"{len(names)} tensors {what} ({', '.join(names[:5])}"
            + (", ...)" if len(names) > 5 else ")")
            for what, names in (
                (f"of a {self.backbone} are missing", self.missing),
                ("are left over", self.left_over),
            )
            if names
        ]
        if problems:
            raise UserError(
                f"{self.path} is no plain {self.backbone}: {' and '.join(problems)}. "
                "keras_mscam-weights convert --allow-unmatched takes what fits."
            )

    def name_outputs(self, names: Sequence[str]) -> Sequence[str]:
        """Return the outputs' names: those given, one of `OUTPUT_NAMES`, or its own.

        Raises:
            UserError: there are none, or of another number than outputs.
        """
        if self.head is None:
            raise UserError(
                f"{self.path} has no classifier, only a backbone: train heads on it "
                f"with keras_mscam-train --weights {self.path}."
            )
        outputs = len(self.head[1])
        known = OUTPUT_NAMES.get(names[0]) if len(names) == 1 else None
        names = known or tuple(names) or self.pathologies or ()
        if not names:
            raise UserError(
                f"{self.path} does not name its {outputs} outputs: give --pathologies "
                f"{', '.join(OUTPUT_NAMES)}, or the names in their order."
            )
        if len(names) != outputs:
            raise UserError(
                f"{self.path} has {outputs} outputs, but {len(names)} names are given."
            )
        return names

    def copy_backbone(self, classifier: keras.Model) -> None:
        """Give a classifier's backbone these weights.

        Raises:
            UserError: a tensor has another shape than its layer.
        """
        for name, layer in find_leaves(classifier).items():
            if name not in self.layers:
                continue  # a head, or missing in the file
            weights = self.layers[name]
            for given, own in zip(weights, layer.weights, strict=True):
                if given.shape != tuple(own.shape):
                    raise UserError(
                        f"{self.path} is no {self.backbone}: its layer {name} has the "
                        f"shape {given.shape} in place of {tuple(own.shape)}."
                    )
            layer.set_weights(weights)

    def copy_head(
        self, classifier: keras.Model, names: Sequence[str], pathologies: Sequence[str]
    ) -> list[str]:
        """Give the head of block 4 the outputs that have the names of its pathologies.

        Args:
            classifier: made by `build_classifier`.
            names: of the outputs of these weights.
            pathologies: of the classifier.

        Returns:
            The pathologies that were taken.
        """
        heads = find_leaves(classifier)
        if self.head is None or "head_block4" not in heads:
            return []
        columns = {name: i for i, name in enumerate(names) if name}
        taken = [name for name in pathologies if name in columns]
        to = [i for i, name in enumerate(pathologies) if name in columns]
        of = [columns[name] for name in taken]
        kernel, bias = heads["head_block4"].get_weights()
        kernel[:, to], bias[to] = self.head[0][:, of], self.head[1][of]
        heads["head_block4"].set_weights([kernel, bias])
        return taken


def read_published(path: Path) -> PublishedWeights:
    """Read the weights of a DenseNet, ResNet or EfficientNet that PyTorch saved.

    Known are the layouts of torchvision (DenseNet's old names, too), of `DataParallel`
    and other wrappers, of CheXNet's reproductions, timm, TorchXRayVision, RadImageNet,
    and of EfficientNet-Lite0 timm's and `efficientnet_pytorch`'s.

    Raises:
        UserError: the file can't be read, or holds another architecture.
    """
    path = Path(path)
    tensors, names = read_state_dict(path)
    listed, canonical = find_layout(tensors, path)
    backbone = identify(canonical, path)
    layers, missing = {}, []
    rest = {n for n in tensors if not n.endswith(_IGNORED)}
    for torch_name, keras_name in pair_layers(backbone):
        kind = keras_name.split("_")[-1]
        wanted = [f"{torch_name}.{part}" for part in KINDS[kind]]
        absent = [name for name in wanted if name not in canonical]
        missing += absent
        rest -= {canonical[n] for n in wanted if n in canonical}
        if absent:
            continue
        arrays = [tensors[canonical[name]] for name in wanted]
        if kind != "bn" and arrays[0].ndim != 4:
            raise UserError(f"{path} has a {canonical[wanted[0]]} that is no kernel.")
        layers[keras_name] = [to_keras(array, kind) for array in arrays]
    head = _find_head(tensors, rest, FEATURES[backbone])
    thresholds = _find_thresholds(tensors, len(head[1]) if head else None, path)
    channels = layers["conv1_conv"][0].shape[2] if "conv1_conv" in layers else 3
    if channels == 1:
        known = OUTPUT_NAMES["torchxrayvision"]
        names = names or (known if head and len(head[1]) == len(known) else None)
    if names and thresholds and len(names) == len(thresholds):
        pairs = zip(names, thresholds, strict=True)
        names = tuple("" if np.isnan(threshold) else name for name, threshold in pairs)
    normalization = _guess_normalization(backbone, channels, listed)
    return PublishedWeights(
        path, backbone, channels, layers, normalization, head, names, thresholds,
        tuple(missing), tuple(sorted(rest)),
    )  # fmt: skip


def _find_head(tensors, rest: set[str], features: int):
    """Take the one dense layer that is left over, on the features of the last block."""
    dense = [
        name
        for name in rest
        if name.endswith(".weight")
        and tensors[name].ndim == 2
        and tensors[name].shape[1] == features
        and tensors.get(_bias_of(name), np.zeros(0)).shape == tensors[name].shape[:1]
    ]
    if len(dense) != 1:
        return None
    rest -= {dense[0], _bias_of(dense[0])}
    return tensors[dense[0]].T, tensors[_bias_of(dense[0])]


def _bias_of(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _find_thresholds(tensors, outputs: int | None, path) -> tuple[float, ...] | None:
    found = [value for name, value in tensors.items() if name.endswith("op_threshs")]
    if not found or outputs is None:
        return None
    if found[0].shape != (outputs,):
        raise UserError(
            f"{path} has thresholds of shape {found[0].shape} for {outputs} outputs."
        )
    return tuple(map(float, found[0]))


def _guess_normalization(backbone: str, channels: int, listed: bool) -> str:
    own = default_normalization(backbone)
    if own != "imagenet":
        return own
    if channels == 1:
        return "torchxrayvision"
    # RadImageNet's networks are lists of children, and its example scales to -1..1.
    return "minus1_to_1" if listed else own
