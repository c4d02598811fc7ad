"""`keras_mscam-prepare`: from a folder of X-rays to sharded TFRecords."""

import csv
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from keras_mscam.data.chestxray14 import read_chestxray14
from keras_mscam.data.images import convert_image
from keras_mscam.data.manifest import Manifest, compute_beta, describe_split
from keras_mscam.data.records import Dataset, Record
from keras_mscam.data.shards import Shard, plan_shards
from keras_mscam.data.splits import PAPER_RULE, SPLITS, split_by_patient
from keras_mscam.errors import UserError, command
from keras_mscam.pool import map_in_order

_PACKAGES = ("keras_mscam", "opencv-python-headless", "numpy", "tensorflow")


def prepare(
    source: Path,
    output: Path,
    *,
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Read, resize, split and store a folder of X-rays.

    The folder `output` appears when everything in it is written. Its bytes depend on
    source, size and seed, not on the number of workers. Training records are stored in
    an order drawn once, the others in that of the label file.

    Args:
        source: folder in the layout of ChestX-ray14.
        output: folder to make, or an empty one: `manifest.json`, shards such as
            `train-00000-of-00004.tfrecord`, and `rejected.csv` with the name of each
            image that couldn't be used and the reason.
        image_size: (height, width) to store images at, in pixels.
        seed: of the split and of the order of training records, 0 or more.
        workers: processes that read images; `None` takes one a processor. Fewer than
            200 images are read in this process.
        progress: whether to show a bar with rate and time left.

    Returns:
        The manifest, as it is written.

    Raises:
        UserError: the source can't be used, no image of a split can be read, or
            `output` is there already or can't be written.
        KeyboardInterrupt: Ctrl-C; nothing is left behind.

    Example:
        >>> manifest = prepare(Path("ChestX-ray14"), Path("records"))
        >>> manifest.splits["train"].images

    Reference:
        Sedai et al. 2018, section 3: images of 256x256, split 70/10/20 by patient.
    """
    source, output = Path(source), Path(output)
    _check(output, image_size, seed, workers)
    dataset = read_chestxray14(source)
    if not dataset.pathologies:
        raise UserError(f"No image in {source} shows a pathology; there must be some.")
    shards = plan_shards(split_by_patient(dataset.records, seed), seed)
    with _new_folder(output) as folder:
        kept, rejected = _write_shards(
            folder, shards, dataset.pathologies, image_size, workers, progress
        )
        _write_rejected(folder / "rejected.csv", rejected)
        manifest = _describe(dataset, shards, kept, rejected, image_size, seed)
        manifest.write(folder)
    return manifest


def _check(
    output: Path, image_size: tuple[int, int], seed: int, workers: int | None
) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} already exists and isn't empty; choose another.")
    if len(image_size) != 2 or min(image_size) < 1:
        raise UserError(
            f"The image size {image_size} must be a height and a width above 0."
        )
    if seed < 0:
        raise UserError(f"The seed {seed} must be 0 or more.")
    if workers is not None and workers < 1:
        raise UserError(f"There must be 1 worker or more, not {workers}.")


def _write_shards(
    folder: Path,
    shards: list[Shard],
    pathologies: tuple[str, ...],
    image_size: tuple[int, int],
    workers: int | None,
    progress: bool,
) -> tuple[dict[str, list[Record]], list[tuple[str, str]]]:
    """Return the records written, by split, and the name and reason of the others."""
    # Takes seconds to import, and only this process needs it.
    from keras_mscam.data.tfrecords import serialize, write_shard

    kept = {split: [] for split in SPLITS}
    rejected = []
    jobs = [(record.path, image_size) for shard in shards for record in shard.records]
    bar = tqdm(total=len(jobs), desc="Preparing", unit=" images", disable=not progress)

    def serialize_all(shard: Shard, images: Iterator) -> Iterator[bytes]:
        for record, image in zip(shard.records, images, strict=True):
            bar.update()
            if isinstance(image, str):
                rejected.append((record.name, image))
            else:
                kept[shard.split].append(record)
                yield serialize(record, *image, pathologies)

    with bar, closing(map_in_order(convert_image, jobs, workers)) as images:
        for shard in shards:
            here = islice(images, len(shard.records))
            write_shard(folder / shard.name, serialize_all(shard, here))
    for split, records in kept.items():
        if not records:
            name, reason = rejected[-1]
            raise UserError(
                f"No image of the {split} split can be used; {name}, for one, {reason}."
            )
    return kept, rejected


def _write_rejected(path: Path, rejected: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "reason"), *rejected])


def _describe(
    dataset: Dataset,
    shards: list[Shard],
    kept: dict[str, list[Record]],
    rejected: list[tuple[str, str]],
    image_size: tuple[int, int],
    seed: int,
) -> Manifest:
    splits = {
        split: describe_split(
            records,
            dataset.pathologies,
            [shard.name for shard in shards if shard.split == split],
        )
        for split, records in kept.items()
    }
    unseen = [name for name, count in splits["train"].positives.items() if not count]
    problems = dataset.problems
    if unseen:
        problems += (f"no positive training image of {', '.join(unseen)}",)
    return Manifest(
        pathologies=dataset.pathologies,
        image_size=tuple(image_size),
        split_rule=PAPER_RULE,
        seed=seed,
        splits=splits,
        beta=compute_beta(splits["train"]),
        rejected=len(rejected),
        problems=problems,
        versions=_find_versions(),
    )


def _find_versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # a source checkout, or OpenCV under another name
    return versions


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a folder beside `output`, renamed to it when the block succeeds."""
    folder = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.replace(output)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(
    source: Annotated[Path, tyro.conf.Positional],
    output: Path,
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Turn a folder of ChestX-ray14 files into records to train on.

    Args:
        source: Folder with Data_Entry_2017.csv, images, perhaps BBox_List_2017.csv.
        output: Folder to make.
        image_size: Height and width to store images at.
        seed: Seed of the split by patient and of the order of training records.
        workers: Processes that read images; one a processor by default.
    """
    manifest = prepare(
        source, output, image_size=image_size, seed=seed, workers=workers
    )
    for name, split in manifest.splits.items():
        print(f"{name}: {split.images} images of {split.patients} patients")
    if manifest.rejected:
        print(f"{manifest.rejected} images rejected, see {output / 'rejected.csv'}")
    for problem in manifest.problems:
        print(problem)


@command
def main() -> None:
    """Console script `keras_mscam-prepare`."""
    tyro.cli(_prepare, prog="keras_mscam-prepare")


if __name__ == "__main__":
    main()
