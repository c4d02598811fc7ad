"""A `.keras` file that anybody may have made: a network, and nothing else."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras

from keras_mscam.errors import UserError
from keras_mscam.files import check_archive

#: All that Keras writes of a classifier, uncompressed.
_PARTS = ("metadata.json", "config.json", "model.weights.h5")
#: What the classifiers of this package are made of, and no code comes with. Keras
#: itself refuses what is known to run code; of this nothing needs to be known.
_OWN = "keras_mscam.modeling"
_CLASSES = {
    "keras": {"DTypePolicy"},
    "keras.initializers": {"GlorotUniform", "Ones", "Zeros"},
    "keras.layers": {
        "Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate",
        "Conv2D", "DepthwiseConv2D", "InputLayer", "MaxPooling2D", "Normalization",
        "ReLU", "ZeroPadding2D",
    },
    "keras.src.models.functional": {"Functional"},
    f"{_OWN}.constraints": {"UnitSimplex"},
    f"{_OWN}.layers": {"AveragedHead", "ClassActivationMap", "ConvexCombination"},
    None: {"__keras_tensor__"},
}  # fmt: skip


def load_network(path: Path) -> keras.Model:
    """Load a classifier, without its optimizer, and run no code of the file.

    Raises:
        UserError: it is damaged, or holds anything but a classifier of this package.
        OSError: the disk can't be read.
    """
    try:
        _check_parts(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except UserError:
        raise
    except Exception as error:  # there is no saying what a flipped bit can lead to
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's
        raise UserError(
            f"{path} is damaged, or is of another version of Keras; restore it from a "
            "copy, or train again."
        ) from error


def _check_parts(path: Path) -> None:
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        if sorted(archive.namelist()) != sorted(_PARTS):
            raise UserError(
                f"{path} is refused: it holds other files than {', '.join(_PARTS)}."
            )
        config = json.loads(archive.read("config.json"))
        for module, name in _find_classes(config):
            if name not in _CLASSES.get(module, ()):
                raise UserError(
                    f"{path} is refused: it holds {module}.{name}, which no classifier "
                    "of this package does. An unknown class could run code."
                )
        weights = io.BytesIO(archive.read("model.weights.h5"))  # with its checksum
        with h5py.File(weights) as weights:
            weights.visititems_links(_check_link)
            weights.visititems(_check_values)


def _find_classes(part: object) -> Iterator[tuple[str | None, str]]:
    """Give module and name of whatever a configuration would make."""
    if isinstance(part, dict):
        if "class_name" in part:
            yield part.get("module"), str(part["class_name"])
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        yield from _find_classes(inner)


def _check_link(name: str, link: object) -> None:
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} lies elsewhere")


def _check_values(name: str, item: object) -> None:
    if isinstance(item, h5py.Dataset) and (item.external or item.chunks):
        raise ValueError(f"{name} lies elsewhere, or is compressed")
