"""`keras_mscam-prepare`: from X-rays and their tables to sharded TFRecords."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.data.manifest import summarize_splits
from keras_mscam.data.manifest import verify as verify_records
from keras_mscam.data.preparation import REJECTED, prepare
from keras_mscam.errors import UserError, command


def _prepare(
    source: Annotated[Path | None, tyro.conf.Positional] = None,
    output: Path | None = None,
    image_size: tuple[int, int] = (256, 256),
    original_size: tyro.conf.FlagCreatePairsOff[bool] = False,
    max_value: int | None = None,
    split: Literal["paper", "official", "csv", "folds", "test"] = "paper",
    seed: int = 0,
    folds: int = 5,
    fold: int = 0,
    boxes: Path | None = None,
    strict: tyro.conf.FlagCreatePairsOff[bool] = False,
    workers: int | None = None,
    verify: Path | None = None,
) -> None:
    """Turn X-rays and their tables into records to train on.

    Broken off, it goes on where it was when it is given the same command.

    Args:
        source: Folder in the layout of ChestX-ray14, or a labels.csv or its folder.
        output: Folder to make.
        image_size: Height and width to store images at.
        original_size: Keep each image's own size instead.
        max_value: Grey value that is white, where files use fewer bits than they could,
            such as 4095; not for DICOM.
        split: As in the paper, by the published lists, by labels.csv, in folds, or all
            for the test.
        seed: Seed of the split and of the order of training records.
        folds: Number of folds.
        fold: Fold that is the test, from 0; the next one validates.
        boxes: CSV file of boxes to go with a labels.csv.
        strict: Stop at the first image that can't be used.
        workers: Processes that read images; one a processor by default.
        verify: Prepared records to check against their manifest, doing nothing else.
    """
    if verify is not None:
        if source is not None or output is not None:
            raise UserError("--verify DIR goes alone, without a source or --output.")
        manifest = verify_records(verify)
        print(f"{verify}: all {len(manifest.checksums)} files are as they were made.")
        return
    if source is None or output is None:
        raise UserError(
            "Give a source and an output: keras_mscam-prepare SOURCE --output DIR."
        )
    manifest = prepare(
        source,
        output,
        image_size=None if original_size else image_size,
        max_value=max_value,
        split=split,
        seed=seed,
        folds=folds,
        fold=fold,
        boxes=boxes,
        strict=strict,
        workers=workers,
    )
    print(summarize_splits(manifest))
    if manifest.rejected:
        print(f"{manifest.rejected} images rejected, see {output / REJECTED}")
    for problem in manifest.problems:
        print(problem)


@command
def main() -> None:
    """Console script `keras_mscam-prepare`."""
    try:
        tyro.cli(_prepare, prog="keras_mscam-prepare")
    except KeyboardInterrupt:
        print("Go on by the same command.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
