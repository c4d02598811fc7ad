"""`keras_mscam-evaluate`: what models find, where they look, and how sure that is."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from keras_mscam.cli.options import parse, parse_localization
from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError, command

_NAME = "keras_mscam-evaluate"


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate the models of runs: one for itself, or several side by side.

    What isn't given on maps and boxes is as each run is configured; the defaults shown
    are those of --protocol wang.
    """

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")
    ] = ()
    """Folders that keras_mscam-train made; the first is tested against each."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Prepared records; those of the runs by default."""
    split: Literal["train", "validation", "test"] = "test"
    """Split of the records to evaluate."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where to write; by default into the run. Several runs need it."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ()
    """Images to show, in place of typical hits and confident misses."""
    coco: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write ground-truth and predicted boxes in COCO's JSON too, *.coco.json."""
    protocol: Literal["own", "wang"] = "own"
    """Begin with what each run is configured for, or with Wang et al.'s."""
    localization: LocalizationConfig = dataclasses.field(
        default_factory=LocalizationConfig
    )


@command
def main() -> None:
    """Console script `keras_mscam-evaluate`."""
    arguments = sys.argv[1:]
    options = parse(_NAME, arguments, EvaluateOptions)
    runs, output = options.runs, options.output
    if not runs:
        raise UserError(f"Give one run at least: {_NAME} RUN.")
    protocols = [parse_localization(_NAME, arguments, options, run) for run in runs]
    shared: dict[str, Any] = {
        name: getattr(options, name) for name in ("data", "split", "images", "coco")
    }
    if len(runs) > 1:
        from keras_mscam.evaluation.compare import compare

        if output is None:
            raise UserError("Several runs are compared in a folder: give --output DIR.")
        report = compare(runs, protocols, output, **shared)
    else:
        from keras_mscam.evaluation.evaluate_run import evaluate

        evaluate(runs[0], protocol=protocols[0], output=output, **shared)
        report = (output or runs[0]) / "report.html"
    print(f"Report: {report}")


if __name__ == "__main__":
    main()
