"""`keras_mscam-predict`: what X-rays show, and where, as tables and pages."""

import dataclasses
import glob
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from keras_mscam.batch_predict.index import CSV, describe_result
from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.batch_predict.settings import Options, Thresholds
from keras_mscam.cli.options import parse
from keras_mscam.errors import UserError, command
from keras_mscam.inference.run_folder import PRETRAINED
from keras_mscam.inference.runtimes import holds_model
from keras_mscam.parallel.cluster import Engine

_NAME = "keras_mscam-predict"


def _parse_thresholds(values: tuple[str, ...]) -> Thresholds:
    """Read `0.5`, or `Mass=0.3 Nodule=0.2`."""
    if not values:
        return None
    try:
        if len(values) == 1 and "=" not in values[0]:
            return float(values[0])
        pairs = [value.rsplit("=", 1) for value in values]
        thresholds = {name: float(value) for name, value in pairs}
    except ValueError:
        raise UserError(
            f"--probability-threshold {' '.join(values)} is neither a number, as 0.5, "
            "nor pairs, as Mass=0.3 Nodule=0.2."
        ) from None
    if len(thresholds) < len(values):
        raise UserError("--probability-threshold has two numbers for a pathology.")
    return thresholds


@tyro.conf.configure(tyro.conf.FlagCreatePairsOff)
@dataclass(frozen=True)
class PredictOptions:
    """Say of X-rays what they show, and where.

    MODEL is the folder of a run, or an export; without one, the network that comes with
    the package is used. A PATH is a file, a folder or a pattern; - reads paths, one a
    line, from a pipe.

    After Ctrl-C or a kill, the same command goes on where it stopped. The exit status
    is 0, or 2 if none of these files could be read.
    """

    inputs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[MODEL] PATH [PATH ...]", help_behavior_hint=""),
    ]
    """A model, if it isn't the package's own, and X-rays."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    """Folder of results."""
    options: Annotated[Options, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Options
    )
    probability_threshold: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NUMBER | NAME=NUMBER ...")
    ] = ()
    """In place of the model's thresholds: one number, or Mass=0.3 Nodule=0.2."""
    runtime: str = "auto"
    """What runs the model; auto takes the fastest that is installed."""
    batch_size: int = 32
    """Images that the network takes at once."""
    workers: int | None = None
    """Processes that read, and as many that draw; one per processor by default."""
    engine: Engine = "local"
    """What does the work: this machine, or ray, a Ray cluster."""
    coco: bool = False
    """Write all boxes in COCO's JSON too, predictions.coco.json."""
    strict: bool = False
    """Exit with 2 if any of these files was refused, when all are done."""
    overwrite: bool = False
    """Replace results of another model or other options."""


def _find_model(inputs: tuple[str, ...]) -> tuple[str | Path, tuple[str, ...]]:
    """Part the model from the X-rays; none is named where the first is an X-ray."""
    first = inputs[0] if inputs else "-"
    if holds_model(first):
        return first, inputs[1:]
    if first != "-" and not glob.has_magic(first) and not os.path.lexists(first):
        raise UserError(f"There is no model, and no X-ray, at {first}.")
    print(
        "No model is named, so the small network that comes with the package is used. "
        f"What it can and can't do: {PRETRAINED / 'README.md'}",
        file=sys.stderr,
    )
    return PRETRAINED, inputs


@command
def main() -> None:
    """Console script `keras_mscam-predict`."""
    options = dict(vars(parse(_NAME, sys.argv[1:], PredictOptions)))
    strict, output = options.pop("strict"), options["output"]
    options["model"], options["paths"] = _find_model(options.pop("inputs"))
    thresholds = _parse_thresholds(options.pop("probability_threshold"))
    try:
        summary = predict(**options, probability_threshold=thresholds)
    except KeyboardInterrupt:
        print("Go on by the same command.", file=sys.stderr)
        raise
    if summary.only is not None:
        print(describe_result(summary.only, summary.thresholds))
    print(summary.describe())
    if not summary.asked_read:
        raise UserError("No file could be read.")
    count = summary.asked_refused
    if strict and count:
        files = "1 file was" if count == 1 else f"{count} files were"
        raise UserError(f"{files} refused, see {output / CSV}.")


if __name__ == "__main__":
    main()
