"""`keras_mscam-export`: from a run to a model that TF Serving serves."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.config import LocalizationConfig, change_localization
from keras_mscam.errors import UserError, command


def export(
    run_path: Path,
    output: Path,
    *,
    name: str = "keras_mscam",
    protocol: LocalizationConfig | None = None,
    attention_size: tuple[int, int] | None = None,
    progress: bool = True,
) -> Path:
    """Export a run as the next version of a model in a TF Serving repository.

    The version appears whole or not at all, and only after the SavedModel, loaded
    anew, has given the numbers of the Keras model on phantoms in several encodings and
    on images of the run's test split.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        output: the repository; made if it is missing.
        name: of the model, as servers know it.
        protocol: how maps become boxes; the run's own by default.
        attention_size: `(height, width)` of the fused map that is given; a quarter of
            the input's by default.
        progress: whether to say what is being done.

    Returns:
        The folder of the version.

    Raises:
        UserError: the run can't be exported, or the export differs from it.
    """
    from keras_mscam.exporting.check import check_export
    from keras_mscam.exporting.contract import FILE
    from keras_mscam.exporting.examples import run_example, write_examples
    from keras_mscam.exporting.exportable import read_exportable
    from keras_mscam.exporting.manifest import write_manifest
    from keras_mscam.exporting.model_card import write_model_card
    from keras_mscam.exporting.repository import new_version, next_version
    from keras_mscam.exporting.saved_model import load_signatures, write_saved_model
    from keras_mscam.run_folder import describe_environment, read_run

    check_name(name)
    run = read_run(run_path)
    exportable = read_exportable(run, protocol, attention_size, name, progress)
    contract = exportable.contract
    version = Path(output) / name / str(next_version(Path(output) / name))
    with new_version(output, name) as folder:
        _say(progress, f"Writing {version}")
        write_saved_model(exportable.localizer, contract, folder)
        _say(progress, "Comparing it with the Keras model")
        signatures = load_signatures(folder)
        parities = check_export(exportable, run, signatures)
        extra = folder / "assets.extra"
        extra.mkdir()
        (extra / FILE).write_text(contract.dump())
        outputs = run_example(signatures, contract)
        write_examples(contract, outputs, folder)
        write_model_card(exportable, run, parities, outputs, extra / "model_card.md")
        write_manifest(
            folder, exportable.calibration.model, describe_environment(), parities
        )
    return version


def check_name(name: str) -> None:
    """Refuse a name of a model that is no name of a folder, or no part of a URL."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    if not name or set(name) - allowed or name.startswith("."):
        raise UserError(
            f"{name!r} can't be a model's name: use letters, digits, _, - and dots."
        )


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, flush=True)


@command
def main() -> None:
    """Console script `keras_mscam-export`."""
    tyro.cli(_export_command, prog="keras_mscam-export")


def _export_command(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    name: str = "keras_mscam",
    attention_size: Annotated[
        tuple[int, int] | None, tyro.conf.arg(metavar="HEIGHT WIDTH")
    ] = None,
    protocol: Literal["own", "wang"] = "own",
    fusion: Literal["relevance", "standardized"] | None = None,
    normalization: Literal["min_max", "exponential"] | None = None,
    threshold: Literal["fixed", "tuned"] | None = None,
    cam_thresholds: tuple[float, ...] | None = None,
    min_area: float | None = None,
    max_boxes: int | None = None,
) -> None:
    """Export a run's model for TF Serving, with maps and boxes in its graph.

    Args:
        run: Folder that keras_mscam-train made.
        output: Model repository; DIR/NAME/1 is written, or the next number.
        name: Of the model, as servers know it.
        attention_size: Of the fused map that is given; a quarter of the input's.
        protocol: Begin with what the run is configured for, or with Wang et al.'s.
        fusion: Fuse blocks by learned weights, or all alike over their deviations.
        normalization: Scale a map by minimum and maximum, or exp of deviations.
        threshold: Fixed, or tuned on the drawn boxes of the run's test split.
        cam_thresholds: Levels of a fixed threshold, of 0 to 1.
        min_area: Fraction of the map that a region must cover at least.
        max_boxes: Boxes of a pathology in an image at most; 10 by default.
    """
    from keras_mscam.run_folder import read_run

    if attention_size is not None and min(attention_size) < 1:
        raise UserError(f"The attention size {attention_size} must be positive.")
    base = (
        read_run(run).config.localization if protocol == "own" else LocalizationConfig()
    )
    changes = {
        "fusion": fusion,
        "normalization": normalization,
        "threshold": threshold,
        "cam_thresholds": cam_thresholds,
        "min_area": min_area,
        "max_boxes": max_boxes,
    }
    version = export(
        run,
        output,
        name=name,
        protocol=change_localization(base, changes),
        attention_size=attention_size,
    )
    print(f"Exported: {version}")


if __name__ == "__main__":
    main()
