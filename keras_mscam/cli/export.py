"""`keras_mscam-export`: from a run to models that run elsewhere."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.cli.options import parse, parse_localization
from keras_mscam.configs.schema import BoxConfig
from keras_mscam.errors import UserError, command

_NAME = "keras_mscam-export"


@dataclass(frozen=True)
class ExportOptions:
    """Export a run's model: for TF Serving, with boxes in its graph, and elsewhere.

    What isn't given on maps and boxes is as the run is configured; the defaults shown
    are those of --protocol wang. The threshold must be fixed, or tuned: on the
    ground-truth boxes of the run's test split. Where no number of boxes is set, 10 of
    each pathology are kept.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder that keras_mscam-train made."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Model repository; DIR/NAME/1 is written, or the next number, and
    DIR/NAME-litert/1 and so on."""
    formats: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (
        "saved_model",
    )
    """Of saved_model, litert, onnx, openvino and tfjs."""
    name: str = "keras_mscam"
    """Of the model, as servers know it."""
    attention_size: Annotated[
        tuple[int, int] | None, tyro.conf.arg(metavar="HEIGHT WIDTH")
    ] = None
    """Of the fused map that is given; a quarter of the input's by default."""
    protocol: Literal["own", "wang"] = "own"
    """Begin with what the run is configured for, or with Wang et al.'s."""
    localization: BoxConfig = dataclasses.field(default_factory=BoxConfig)


@command
def main() -> None:
    """Console script `keras_mscam-export`."""
    arguments = sys.argv[1:]
    options = parse(_NAME, arguments, ExportOptions)
    size = options.attention_size
    if size is not None and min(size) < 1:
        raise UserError(f"The attention size {size} must be positive.")
    from keras_mscam.exporting.export_run import export_formats

    export_formats(
        options.run,
        options.output,
        options.formats,
        name=options.name,
        protocol=parse_localization(_NAME, arguments, options, options.run),
        attention_size=size,
    )


if __name__ == "__main__":
    main()
