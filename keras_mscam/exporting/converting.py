"""From a network to the folder of another format, each variant checked."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from keras_mscam.data.images import decode_grey, resize_area
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.exporting import tfjs
from keras_mscam.exporting.agreement import (
    LIMITS,
    Agreement,
    check_agreement,
    compare_variant,
)
from keras_mscam.exporting.contract import FILE, Contract
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.exporting.formats import (
    FORMATS,
    get_writer,
    load_variant,
    measure_size,
)
from keras_mscam.exporting.latency import ROUNDS, measure_latencies
from keras_mscam.exporting.network import SCRATCH
from keras_mscam.run_folder import Run, is_prepared

#: Images of the run's validation split that scales of 8-bit maps are taken from.
CALIBRATION_IMAGES = 128
#: Images of the run's test split that are compared.
TEST_IMAGES = 32
_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1}


@dataclass(frozen=True)
class Images:
    """Prepared images, and where they come from.

    Args:
        pixels: uint8 `(N, height, width)`.
        source: in words.
    """

    pixels: np.ndarray
    source: str


@dataclass(frozen=True)
class Variant:
    """What is known of a converted network.

    Args:
        agreement: with the Keras model.
        bytes: of its files.
        milliseconds: that one image takes on this machine, the median.
        of_saved_model: the same over that of the SavedModel, measured in turn; `None`
            if none was exported along with it.
    """

    agreement: Agreement
    bytes: int
    milliseconds: float
    of_saved_model: float | None


def read_images(run: Run, split: str, contract: Contract, most: int) -> Images:
    """Read prepared images of a split of a run, or draw some where it is gone."""
    size = contract.image_size
    if is_prepared(run.records):
        found = islice(read_examples(run.records, split, image_size=size), most)
        pixels = [example.image for example in found]
        source = f"{len(pixels)} images of the run's {split} split"
    else:
        drawn = draw_examples(size)
        pixels = [resize_area(decode_grey(file.data), size) for file in drawn]
        source = f"{len(pixels)} phantoms, as the run's records are gone"
    return Images(np.stack(pixels), source)


def convert(
    name: str,
    network: keras.Model,
    contract: Contract,
    folder: Path,
    calibration: Images,
    test: Images,
    saved_model: Callable[[np.ndarray], dict] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Variant]:
    """Write every variant of a format and compare it with the Keras model.

    Args:
        name: of the format.
        network: of `build_network`.
        contract: names, sizes and thresholds; it is written, too.
        folder: to write into.
        calibration: images that scales of 8-bit maps are taken from.
        test: images that are compared.
        saved_model: runs the SavedModel, to compare times with.
        say: is told of every variant.

    Returns:
        What is known of every variant.

    Raises:
        UserError: one has lost its weights or an output, or differs too much.
    """
    (folder / FILE).write_text(contract.dump())
    expected = network.predict_on_batch(test.pixels[..., None].astype("float32"))
    variants = {}
    for variant in FORMATS[name].variants:
        label = f"{name} {variant}"
        images = calibration.pixels.astype("float32")
        get_writer(name, variant)(network, folder, images)
        path = folder / FORMATS[name].path.format(variant)
        size = measure_size(path)
        check_weights(size, network, variant, label)
        run = load_variant(name, path)
        agreement = compare_variant(run(test.pixels), expected, contract)
        check_agreement(agreement, LIMITS[variant], label)
        milliseconds, ratio = _measure_latency(run, path, test, saved_model)
        variants[variant] = Variant(agreement, size, milliseconds, ratio)
        say(f"{label}: {describe(variants[variant])}")
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return variants


def check_weights(
    size: int, network: keras.Model, variant: str, label: str = "The model"
) -> None:
    """Refuse a model that is too small to hold its weights.

    A converter may lose them and say nothing. Those of batch normalizations may be
    folded into others, so a fifth may be missing.

    Args:
        size: bytes of its files.
        network: that was converted.
        variant: what its weights are stored in.
        label: of the model, to say in the error.

    Raises:
        UserError: it is.
    """
    least = int(0.8 * network.count_params() * _BYTES[variant])
    if size < least:
        raise UserError(
            f"{label} has {size:,} bytes, too few for the {network.count_params():,} "
            "weights of the network: the converter lost them, and nothing was exported."
        )


def describe(variant: Variant) -> str:
    """Return one line on a variant."""
    agreement = variant.agreement
    boxes = "none" if agreement.boxes is None else f"{agreement.boxes:.2f}"
    text = (
        f"{variant.bytes / 1e6:.2f} MB, probabilities within "
        f"{agreement.probabilities:.1e} ({agreement.mean_probabilities:.1e} in the "
        f"mean), maps {agreement.maps:.1e} ({agreement.mean_maps:.1e}), same positives "
        f"{agreement.positives:.1%}, boxes overlap by {boxes}, "
        f"{variant.milliseconds:.1f} ms"
    )
    if variant.of_saved_model is not None:
        text += f" ({variant.of_saved_model:.2f} of the SavedModel)"
    return text


def _measure_latency(run, path: Path, test: Images, saved_model):
    """Return milliseconds of one image, and that over those of the SavedModel."""
    image = test.pixels[:1]
    runs = {} if saved_model is None else {"saved_model": saved_model}
    if path.name == "model.json":  # another process: it measures itself
        seconds = measure_latencies(runs, image)
        own = statistics.median(tfjs.run_in_node(path, image, ROUNDS)[1])
    else:
        seconds = measure_latencies({"own": run, **runs}, image)
        own = seconds["own"]
    return 1000 * own, own / seconds["saved_model"] if runs else None
