"""`keras_mscam-prepare`: from a folder of X-rays to sharded TFRecords."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from keras_mscam.data.chestxray14 import Dataset, read_chestxray14
from keras_mscam.data.images import ImageError, encode_png, read_grey, resize_area
from keras_mscam.data.manifest import Manifest, Split
from keras_mscam.data.records import Record
from keras_mscam.data.splits import PAPER_RULE, split_by_patient
from keras_mscam.errors import UserError, command

#: Images in one shard: some 100 MB at 1024x1024, 30 MB at 256x256.
SHARD_IMAGES = 1024
#: Fewer images than these are read before other processes would have started.
POOL_IMAGES = 200


def prepare(
    source: Path,
    output: Path,
    *,
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Decode, resize, split and store a folder of X-rays.

    The folder `output` appears when all of it is written. Its bytes depend on the
    source, the size and the seed, not on the number of workers.

    Args:
        source: folder in the layout of ChestX-ray14.
        output: folder to make: shards, `manifest.json` and `rejected.csv`.
        image_size: `(height, width)` to store images at.
        seed: of the split, and of the order of records.
        workers: processes that read images; `None` takes one for each processor.
        progress: whether to show a bar.

    Returns:
        The manifest.

    Raises:
        UserError: the source can't be used, or the output is there already. An image
            that can't be read is listed in `rejected.csv` and counted instead.
    """
    source, output = Path(source), Path(output)
    if output.exists():
        raise UserError(f"{output} already exists; choose another output folder.")
    dataset = read_chestxray14(source)
    splits = split_by_patient(dataset.records, seed)
    with _temporary_folder(output) as folder:
        rejected = []
        written = {
            split: _write_split(
                folder, split, records, dataset, image_size, seed, workers, progress,
                rejected,
            )
            for split, records in splits.items()
        }  # fmt: skip
        manifest = _describe(written, dataset, image_size, seed, rejected)
        pd.DataFrame(rejected, columns=["name", "reason"]).to_csv(
            folder / "rejected.csv", index=False
        )
        manifest.write(folder)
    if rejected:
        name, reason = rejected[0]
        tqdm.write(
            f"{len(rejected)} images were rejected, such as {name}, which {reason}; "
            f"all are listed in {output / 'rejected.csv'}."
        )
    for problem in dataset.problems:
        tqdm.write(problem)
    return manifest


def _write_split(
    folder: Path,
    split: str,
    records: list[Record],
    dataset: Dataset,
    image_size: tuple[int, int],
    seed: int,
    workers: int | None,
    progress: bool,
    rejected: list,
) -> tuple[tuple[str, ...], list[Record]]:
    """Write the shards of one split; return their names and the records in them."""
    from keras_mscam.data.tfrecords import serialize, write_shard

    order = np.random.default_rng(seed).permutation(len(records))
    records = [records[index] for index in order]
    count = max(1, -(-len(records) // SHARD_IMAGES))
    names = tuple(f"{split}-{i:05d}-of-{count:05d}.tfrecord" for i in range(count))
    kept = []
    results = _read_all(records, image_size, workers)
    bar = tqdm(
        zip(records, results, strict=True),
        desc=f"Preparing {split}",
        total=len(records),
        unit=" images",
        disable=not progress,
    )

    def serialized() -> Iterator[bytes]:
        for record, (png, original_size, reason) in bar:
            if reason is not None:
                rejected.append((record.name, reason))
                continue
            kept.append(record)
            yield serialize(record, png, original_size, dataset.pathologies)

    stream = serialized()
    for name in names:
        write_shard(folder / name, islice(stream, SHARD_IMAGES))
    if not kept:
        raise UserError(
            f"None of the {len(records)} images of the {split} split could be read; "
            f"the first, {rejected[-len(records)][0]}, {rejected[-len(records)][1]}."
        )
    return names, kept


def _read_all(records, image_size, workers) -> Iterator[tuple]:
    """Give the results of `_read_one` in the order of the records."""
    workers = workers or os.cpu_count() or 1
    jobs = ((record.path, image_size) for record in records)
    if workers == 1 or len(records) < POOL_IMAGES:
        yield from map(_read_one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        # Chunks at a time, so that memory holds few images however many there are.
        while chunk := list(islice(jobs, 64 * workers)):
            yield from pool.map(_read_one, chunk, chunksize=16)


def _read_one(job: tuple[Path, tuple[int, int]]):
    """Return the encoded image, its original size, and why it was rejected."""
    path, image_size = job
    try:
        image = read_grey(path)
    except ImageError as error:
        return None, None, str(error)
    return encode_png(resize_area(image, image_size)), image.shape, None


def _describe(written, dataset: Dataset, image_size, seed, rejected) -> Manifest:
    splits = {
        split: _describe_split(shards, records, dataset.pathologies)
        for split, (shards, records) in written.items()
    }
    # A pathology of which training knows no label has no balance: weigh it evenly.
    beta = {
        name: 0.5 if prevalence is None else 1 - prevalence
        for name, prevalence in splits["train"].prevalence.items()
    }
    return Manifest(
        pathologies=dataset.pathologies,
        image_size=tuple(image_size),
        split_rule=PAPER_RULE,
        seed=seed,
        splits=splits,
        beta=beta,
        rejected=len(rejected),
        problems=dataset.problems,
        versions={
            package: metadata.version(package)
            for package in ("opencv-python-headless", "pillow", "tensorflow")
        },
    )


def _describe_split(shards, records: list[Record], pathologies) -> Split:
    labels = np.array([record.labels for record in records])
    positives = np.nansum(labels, axis=0).astype(int)
    known = np.sum(~np.isnan(labels), axis=0)
    return Split(
        shards=shards,
        images=len(records),
        patients=len({record.patient for record in records}),
        positives=dict(zip(pathologies, positives.tolist(), strict=True)),
        prevalence={
            name: float(p / n) if n else None
            for name, p, n in zip(pathologies, positives, known, strict=True)
        },
    )


@contextmanager
def _temporary_folder(output: Path) -> Iterator[Path]:
    """Give a folder beside `output`, renamed to it if the block succeeds."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{output.name}.{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
        os.replace(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@command
def main() -> None:
    """Console script `keras_mscam-prepare`."""
    tyro.cli(_prepare_command, prog="keras_mscam-prepare")


def _prepare_command(
    source: Annotated[Path, tyro.conf.Positional],
    output: Path,
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Turn a folder in ChestX-ray14's layout into records for training.

    Args:
        source: Folder with Data_Entry_2017.csv, images and BBox_List_2017.csv.
        output: Folder to make.
        image_size: Height and width to store images at.
        seed: Seed of the split by patient.
        workers: Processes; one for each processor by default.
    """
    if min(image_size) < 1:
        raise UserError(f"The image size {image_size} is no size; give two numbers.")
    manifest = prepare(
        source, output, image_size=image_size, seed=seed, workers=workers
    )
    for name, split in manifest.splits.items():
        print(f"{name}: {split.images} images of {split.patients} patients")


if __name__ == "__main__":
    main()
