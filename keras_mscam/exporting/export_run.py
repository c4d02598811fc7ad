"""`keras_mscam-export`: from a run to models that run elsewhere."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from keras_mscam.configs.schema import MapConfig, ShownConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.exporting.agreement import check_export
from keras_mscam.exporting.examples import run_example, write_examples
from keras_mscam.exporting.formats.conversion import (
    FORMATS,
    check_installed,
    convert,
    prepare_conversion,
)
from keras_mscam.exporting.graph.signatures import write_saved_model
from keras_mscam.exporting.model_card import write_model_card
from keras_mscam.files import find_versions
from keras_mscam.inference.calibrated_model import (
    CalibratedModel,
    load_calibrated_model,
    load_classifier,
)
from keras_mscam.inference.contract import FILE
from keras_mscam.inference.export_folder import (
    OTHER_FORMATS,
    new_version,
    next_common_version,
    write_manifest,
)
from keras_mscam.inference.run_calibration import find_calibration
from keras_mscam.inference.run_folder import Run, describe_environment, load_run
from keras_mscam.inference.runtimes.tensorflow_keras import load_signatures

SAVED_MODEL = "saved_model"


def export(run_path: Path, output: Path, **options) -> Path:
    """Export a run as a SavedModel, see `export_formats`; return its folder."""
    return export_formats(run_path, output, (SAVED_MODEL,), **options)[SAVED_MODEL]


def export_formats(
    run_path: Path,
    output: Path,
    formats: Sequence[str],
    *,
    name: str = "keras_mscam",
    maps: MapConfig | None = None,
    shown: ShownConfig | None = None,
    attention_size: tuple[int, int] | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Export a run in several formats, all with the number of the next version.

    The version of a format appears whole or not at all, and only after each of its
    models, loaded anew, has given the numbers of the Keras model: on synthetic
    radiographs, and on images of the run's test split. Formats that were done before
    one fails stay.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        output: the repository; made if it is missing.
        formats: `"saved_model"` and names of `OTHER_FORMATS`, see `read_formats`.
        name: of the model, as servers know it.
        maps: how the maps of the blocks become one; the run's own way by default.
        shown: which boxes are shown; by the run's own rule by default.
        attention_size: `(height, width)` of the fused map that is given; a quarter of
            the input's by default.
        progress: whether to say what is being done.

    Returns:
        The folders of the version, by format.

    Raises:
        UserError: Keras runs on another backend than TensorFlow, there is no such
            format, the run can't be exported, a library is missing, or an export
            differs from the Keras model.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(
            f"Models are exported by TensorFlow, and Keras runs on {backend}: "
            "set KERAS_BACKEND=tensorflow, which reads the runs of every backend."
        )
    check_name(name)
    formats = read_formats(formats)
    others = [kind for kind in formats if kind != SAVED_MODEL]
    for kind in others:
        check_installed(kind)
    run = load_run(run_path)
    if find_calibration(run) is None:
        calibrate_run(run, load_classifier(run), progress)
    calibrated_model = load_calibrated_model(run, maps, shown, attention_size, name)
    number = next_common_version(Path(output), name)
    say = functools.partial(print, flush=True) if progress else lambda text: None
    made = {}

    def write(kind: str, fill: Callable[[Path], dict]) -> None:
        folder_name = name if kind == SAVED_MODEL else f"{name}-{kind}"
        version = Path(output) / folder_name / str(number)
        say(f"Writing {version}")
        with new_version(output, folder_name, number) as folder:
            measured = fill(folder)
            environment = describe_environment()
            if kind in FORMATS:
                environment["versions"] |= find_versions(FORMATS[kind].modules)
            model = calibrated_model.calibration.model
            write_manifest(folder, model, environment, measured)
        say(f"Exported: {version}")
        made[kind] = version

    if SAVED_MODEL in formats:
        write(SAVED_MODEL, lambda folder: _fill(folder, calibrated_model, run, say))
    if others:
        conversion = prepare_conversion(calibrated_model, run)
        for kind in others:
            write(
                kind, lambda folder, kind=kind: convert(kind, conversion, folder, say)
            )
    return made


def _fill(
    folder: Path, calibrated_model: CalibratedModel, run: Run, say: Callable
) -> dict:
    """Write a SavedModel, compare it, and put beside it what explains it."""
    contract = calibrated_model.contract
    write_saved_model(calibrated_model.localizer, contract, folder)
    say("Comparing it with the Keras model")
    signatures = load_signatures(folder)
    parities = check_export(calibrated_model, run, signatures)
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / FILE).write_text(contract.dump(), encoding="utf-8")
    outputs = run_example(signatures, contract)
    write_examples(contract, outputs, folder)
    card = extra / "model_card.md"
    write_model_card(calibrated_model, run, card, parities, outputs)
    return {"parity": {kind: asdict(item) for kind, item in parities.items()}}


def check_name(name: str) -> None:
    """Refuse a name of a model that is no name of a folder, or no part of a URL.

    One that would be taken for a version, or ends as the folder of another format, too.

    Raises:
        UserError: it is one of these.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) or name.isdigit():
        raise UserError(
            f"{name!r} can't be a model's name: use letters, digits, _, - and dots, "
            "not digits alone."
        )
    endings = tuple(f"-{kind}" for kind in OTHER_FORMATS)
    if name.endswith(endings):
        raise UserError(
            f"{name!r} can't be a model's name: {', '.join(endings)} end the names of "
            "other formats."
        )


def read_formats(words: Sequence[str]) -> tuple[str, ...]:
    """Read names of formats, each once; a word may hold several, parted by commas.

    Raises:
        UserError: there is no such format, or none is named.

    Example:
        >>> read_formats(["saved_model,litert", "onnx"])
        ('saved_model', 'litert', 'onnx')
    """
    known = (SAVED_MODEL, *OTHER_FORMATS)
    names = tuple(dict.fromkeys(name for word in words for name in word.split(",")))
    if not names:
        raise UserError(f"No format is named; there are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise UserError(
                f"There is no format {name!r}; there are {', '.join(known)}."
            )
    return names
