"""`keras_mscam-prepare`: from X-rays and their tables to sharded TFRecords."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.cli.options import parse
from keras_mscam.data.manifest import summarize_splits
from keras_mscam.data.manifest import verify as verify_records
from keras_mscam.data.preparation import REJECTED, prepare
from keras_mscam.errors import UserError, command
from keras_mscam.parallel.cluster import Engine

_NAME = "keras_mscam-prepare"
_Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class PrepareOptions:
    """Turn X-rays and their tables into records to train on.

    After Ctrl-C or a kill, the same command goes on where it stopped.
    """

    source: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")
    ] = None
    """Folder in the layout of ChestX-ray14, or a labels.csv or its folder."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to make."""
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (
        256,
        256,
    )
    """Size to store images at."""
    original_size: _Flag = False
    """Keep each image's own size instead."""
    max_value: int | None = None
    """Grey value that is white, such as 4095, where files use fewer bits than 16."""
    split: Literal["paper", "official", "csv", "folds", "test"] = "paper"
    """As in the paper, by published lists, by labels.csv, in folds, or all a test."""
    seed: int = 0
    """Seed of the split and of the order of training records."""
    folds: int = 5
    """Number of folds."""
    fold: int = 0
    """Fold that is the test, from 0; the next one validates."""
    boxes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Boxes to go with a labels.csv: CSV, or COCO's JSON."""
    strict: _Flag = False
    """Stop at the first image that can't be used."""
    workers: int | None = None
    """Processes that read images; one per processor by default."""
    engine: Engine = "local"
    """What reads images: processes here, or ray, those of a Ray cluster."""
    verify: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Prepared records to check against their manifest, doing nothing else."""


@command
def main() -> None:
    """Console script `keras_mscam-prepare`."""
    options = dict(vars(parse(_NAME, sys.argv[1:], PrepareOptions)))
    source, output = options["source"], options["output"]
    verify = options["verify"]
    if verify is not None:
        if options != dict(vars(PrepareOptions())) | {"verify": verify}:
            raise UserError("--verify DIR goes alone, without any other option.")
        manifest = verify_records(verify)
        print(f"{verify}: all {len(manifest.checksums)} files are as they were made.")
        return
    if source is None or output is None:
        raise UserError(f"Give a source and an output: {_NAME} SOURCE --output DIR.")
    has_folds = any(options[n] != getattr(PrepareOptions, n) for n in ("folds", "fold"))
    if has_folds and options["split"] != "folds":
        raise UserError("--folds and --fold need --split folds.")
    del options["verify"]
    if options.pop("original_size"):
        if options["image_size"] != PrepareOptions.image_size:
            raise UserError("Give --original-size or --image-size, not both.")
        options["image_size"] = None
    try:
        manifest = prepare(**options)
    except KeyboardInterrupt:
        print("Go on by the same command.", file=sys.stderr)
        raise
    print(summarize_splits(manifest))
    if manifest.rejected:
        print(f"{manifest.rejected} images rejected, see {output / REJECTED}")
    for problem in manifest.problems:
        print(problem)
    print(f"Records: {output}")


if __name__ == "__main__":
    main()
