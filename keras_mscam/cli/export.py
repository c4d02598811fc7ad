"""`keras_mscam-export`: from a run to models that run elsewhere."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.configs.schema import LocalizationConfig, change_localization
from keras_mscam.errors import UserError, command
from keras_mscam.exporting.export_run import _SAVED_MODEL, export_formats


@command
def main() -> None:
    """Console script `keras_mscam-export`."""
    tyro.cli(_export_command, prog="keras_mscam-export")


def _export_command(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    formats: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (
        _SAVED_MODEL,
    ),
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
    """Export a run's model: for TF Serving, with boxes in its graph, and elsewhere.

    Args:
        run: Folder that keras_mscam-train made.
        output: Model repository; DIR/NAME/1 is written, or the next number, and
            DIR/NAME-litert/1 and so on.
        formats: Of saved_model, litert, onnx, openvino and tfjs.
        name: Of the model, as servers know it.
        attention_size: Of the fused map that is given; a quarter of the input's.
        protocol: Begin with what the run is configured for, or with Wang et al.'s.
        fusion: Fuse blocks by learned weights, or all alike over their deviations.
        normalization: Scale a map by minimum and maximum, or exp of deviations.
        threshold: Fixed, or tuned on the ground-truth boxes of the run's test split.
        cam_thresholds: Levels of a fixed threshold, of 0 to 1.
        min_area: Fraction of the map that a region must cover at least.
        max_boxes: Boxes of a pathology in an image at most; 10 by default.
    """
    from keras_mscam.inference.run_folder import read_run

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
    export_formats(
        run,
        output,
        formats,
        name=name,
        protocol=change_localization(base, changes),
        attention_size=attention_size,
    )


if __name__ == "__main__":
    main()
