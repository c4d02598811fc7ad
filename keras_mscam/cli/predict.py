"""`keras_mscam-predict`: what X-rays show, and where, as tables and pages."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from keras_mscam.batch_predict.index import CSV, describe_result
from keras_mscam.batch_predict.journal import read_lines
from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.batch_predict.settings import Options, Thresholds
from keras_mscam.errors import UserError, command


def _parse_thresholds(values: tuple[str, ...]) -> Thresholds:
    """Read `0.5`, or `Mass=0.3 Nodule=0.2`."""
    if not values:
        return None
    try:
        if len(values) == 1 and "=" not in values[0]:
            return float(values[0])
        pairs = (value.rsplit("=", 1) for value in values)
        return {name: float(value) for name, value in pairs}
    except ValueError:
        raise UserError(
            f"--probability-threshold {' '.join(values)} is neither a number, as 0.5, "
            "nor pairs, as Mass=0.3 Nodule=0.2."
        ) from None


def _predict(
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    paths: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH ...]")
    ],
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    options: Annotated[Options, tyro.conf.arg(name="")],
    probability_threshold: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NUMBER | NAME=NUMBER ...")
    ] = (),
    runtime: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    coco: bool = False,
    strict: bool = False,
    overwrite: bool = False,
) -> None:
    """Say of X-rays what they show, and where.

    Broken off, it goes on where it was when it is given the same command. It exits
    with 0, with 2 if nothing could be read.

    Args:
        model: Folder of a run, or an export.
        paths: Files, folders or patterns; - reads paths, one a line, from a pipe.
        output: Folder of results.
        options: See there.
        probability_threshold: Instead of the model's: one, or Mass=0.3 Nodule=0.2.
        runtime: What runs the model; auto takes the fastest that is installed.
        batch_size: Images that the network takes at once.
        workers: Processes that read, and as many that draw; one a processor by default.
        coco: Write all boxes in COCO's JSON too, predictions.coco.json.
        strict: Exit with 2 if any file was refused, when all are done.
        overwrite: Replace results of another model or other options.
    """
    summary = predict(
        model,
        paths,
        output,
        options=options,
        probability_threshold=_parse_thresholds(probability_threshold),
        runtime=runtime,
        batch_size=batch_size,
        workers=workers,
        coco=coco,
        overwrite=overwrite,
    )
    if summary.read + summary.refused.total() == 1:
        print(describe_result(next(read_lines(output))))
    print(summary.describe())
    if not summary.read:
        raise UserError("No file could be read.")
    if strict and summary.refused:
        count = summary.refused.total()
        files = "1 file was" if count == 1 else f"{count} files were"
        raise UserError(f"{files} refused, see {output / CSV}.")


@command
def main() -> None:
    """Console script `keras_mscam-predict`."""
    try:
        tyro.cli(
            _predict,
            prog="keras_mscam-predict",
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except KeyboardInterrupt:
        print("Go on by the same command.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
