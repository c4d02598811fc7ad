"""The check that every export passes before it gets its name."""

from itertools import islice

from keras_mscam.data.images import encode_png
from keras_mscam.data.pipeline import read_examples
from keras_mscam.exporting.examples import draw_examples, run_signature
from keras_mscam.exporting.exportable import Exportable
from keras_mscam.exporting.parity import (
    LOOSE_TOLERANCES,
    TOLERANCES,
    Parity,
    check_parity,
    compare_outputs,
)
from keras_mscam.exporting.reference import run_reference
from keras_mscam.run_folder import Run, is_prepared

#: Images of the run's test split that are compared.
RUN_IMAGES = 32


def check_export(exportable: Exportable, run: Run, signatures: dict) -> dict:
    """Compare an exported model with the Keras model.

    Args:
        exportable: what was exported.
        run: that it comes from.
        signatures: loaded from what was written.

    Returns:
        `Parity` by kind of images: `"whole"`, phantoms of a size that every resampler
        averages alike; `"odd"`, of others; `"run"`, images of the run's test split, if
        it is there.

    Raises:
        UserError: they differ by more than they may.
    """
    contract = exportable.contract
    examples = draw_examples(contract.image_size)
    sets = {
        "whole": [example.data for example in examples if example.whole],
        "odd": [example.data for example in examples if not example.whole],
        "run": _read_run_images(run, contract.image_size),
    }
    parities: dict[str, Parity] = {}
    for kind, images in sets.items():
        if not images:
            continue
        found = run_signature(signatures["serving_default"], image_bytes=images)
        expected = run_reference(exportable.localizer, contract, images)
        parities[kind] = compare_outputs(found, expected, contract.image_size)
        check_parity(parities[kind], LOOSE_TOLERANCES if kind == "odd" else TOLERANCES)
    return parities


def _read_run_images(run: Run, image_size: tuple[int, int]) -> list[bytes]:
    """Return images of the run's test split, as PNG at the size of the network."""
    if not is_prepared(run.records):
        return []
    found = read_examples(run.records, "test", image_size=image_size)
    return [encode_png(example.image) for example in islice(found, RUN_IMAGES)]
