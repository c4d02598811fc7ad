"""`keras_mscam-export`: from a run to models that run elsewhere."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from keras_mscam.cli.options import parse
from keras_mscam.configs.schema import MapConfig, ShownConfig
from keras_mscam.errors import UserError, command
from keras_mscam.inference.run_folder import PRETRAINED, load_run

_NAME = "keras_mscam-export"


@dataclass(frozen=True)
class ExportOptions:
    """Export a run's model: for TF Serving, with boxes in its graph, and elsewhere.

    What isn't given on maps and boxes is as the run is configured; the defaults shown
    are those of --preset paper.
    """

    output: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Model repository: DIR/NAME/1, DIR/NAME-litert/1, or the next number, is made."""
    run_path: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN", help_behavior_hint=""),
    ] = PRETRAINED
    """Folder that keras_mscam-train made; else, the network of the package."""
    formats: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (
        "saved_model",
    )
    """Formats to write: saved_model, litert, onnx, openvino, tfjs."""
    name: str = "keras_mscam"
    """Name of the model on a server."""
    attention_size: Annotated[
        tuple[int, int] | None, tyro.conf.arg(metavar="HEIGHT WIDTH")
    ] = None
    """Size of the output attention; by default a quarter of the input's."""
    maps: MapConfig = dataclasses.field(default_factory=MapConfig)
    shown: ShownConfig = dataclasses.field(default_factory=ShownConfig)


@command
def main() -> None:
    """Console script `keras_mscam-export`."""
    arguments = sys.argv[1:]
    options = parse(_NAME, arguments, ExportOptions)
    own = load_run(options.run_path).config
    maps = MapConfig(own.localization.fusion, own.localization.normalization)
    own = dataclasses.replace(options, maps=maps, shown=own.shown)
    options = parse(_NAME, arguments, ExportOptions, own)
    size = options.attention_size
    if size is not None and min(size) < 1:
        raise UserError(f"The attention size {size} must be positive.")
    from keras_mscam.exporting.export_run import export_formats

    export_formats(**vars(options))


if __name__ == "__main__":
    main()
