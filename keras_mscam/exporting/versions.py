"""Write a version of each format, whole or not at all."""

from collections.abc import Callable, Sequence
from pathlib import Path

from keras_mscam.exporting.check import check_export
from keras_mscam.exporting.contract import FILE
from keras_mscam.exporting.converting import (
    CALIBRATION_IMAGES,
    TEST_IMAGES,
    convert,
    read_images,
)
from keras_mscam.exporting.examples import run_example, write_examples
from keras_mscam.exporting.exportable import Exportable
from keras_mscam.exporting.formats import FORMATS
from keras_mscam.exporting.manifest import (
    describe_parities,
    describe_variants,
    write_manifest,
)
from keras_mscam.exporting.model_card import write_model_card
from keras_mscam.exporting.network import build_network
from keras_mscam.exporting.new_version import new_version
from keras_mscam.exporting.saved_model import load_signatures, write_saved_model
from keras_mscam.run_folder import Run, describe_environment
from keras_mscam.runtimes import load_runtime
from keras_mscam.versions import find_versions

Say = Callable[[str], None]


def export_saved_model(
    exportable: Exportable, run: Run, output: Path, number: int, say: Say
) -> Path:
    """Write a SavedModel, compare it, and put beside it what explains it.

    Args:
        exportable: what is exported.
        run: that it comes from.
        output: the repository.
        number: of the version.
        say: is told what is being done.

    Returns:
        The folder of the version.
    """
    contract = exportable.contract
    version = Path(output) / contract.name / str(number)
    with new_version(output, contract.name, number) as folder:
        say(f"Writing {version}")
        write_saved_model(exportable.localizer, contract, folder)
        say("Comparing it with the Keras model")
        signatures = load_signatures(folder)
        parities = check_export(exportable, run, signatures)
        extra = folder / "assets.extra"
        extra.mkdir()
        (extra / FILE).write_text(contract.dump())
        outputs = run_example(signatures, contract)
        write_examples(contract, outputs, folder)
        write_model_card(exportable, run, parities, outputs, extra / "model_card.md")
        write_manifest(
            folder,
            exportable.calibration.model,
            describe_environment(),
            describe_parities(parities),
        )
    say(f"Exported: {version}")
    return version


def export_others(
    exportable: Exportable,
    run: Run,
    output: Path,
    number: int,
    formats: Sequence[str],
    saved_model: Path | None,
    say: Say,
) -> dict[str, Path]:
    """Convert to other formats, each into a folder of its own.

    Args:
        exportable: what is exported.
        run: that it comes from.
        output: the repository.
        number: of the version.
        formats: of `OTHER_FORMATS`.
        saved_model: folder of the same version, to compare times with.
        say: is told what is being done.

    Returns:
        The folders of the version, by format.
    """
    contract = exportable.contract
    network = build_network(exportable.localizer, contract)
    calibration = read_images(run, "validation", contract, CALIBRATION_IMAGES)
    test = read_images(run, "test", contract, TEST_IMAGES)
    run_saved_model = saved_model and load_runtime(saved_model).run
    made = {}
    for kind in formats:
        folder_name = f"{contract.name}-{kind}"
        version = Path(output) / folder_name / str(number)
        say(f"Writing {version}")
        with new_version(output, folder_name, number) as folder:
            variants = convert(
                kind, network, contract, folder, calibration, test, run_saved_model, say
            )
            write_manifest(
                folder,
                exportable.calibration.model,
                _describe_environment(kind),
                describe_variants(variants, calibration.source, test.source),
            )
        say(f"Exported: {version}")
        made[kind] = version
    return made


def _describe_environment(kind: str) -> dict:
    """Add the libraries that converted to what describes every export."""
    environment = describe_environment()
    environment["versions"] |= find_versions(FORMATS[kind].modules)
    return environment
