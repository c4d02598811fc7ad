"""`keras_mscam-prepare`: from X-rays and their tables to sharded TFRecords."""

import csv
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.data.labels_csv import read_dataset
from keras_mscam.data.manifest import Manifest, compute_beta, describe_split
from keras_mscam.data.records import Dataset, Record
from keras_mscam.data.shards import (
    Converted,
    Stored,
    convert,
    forget_rejected,
    write_shards,
)
from keras_mscam.data.split_gaps import (
    describe_missing_boxes,
    describe_split_gaps,
)
from keras_mscam.data.splits import SplitRule, split_records
from keras_mscam.errors import UserError, explain_disk
from keras_mscam.files import (
    check_can_be_made,
    compute_checksum,
    find_versions,
    hold_lock,
    read_json,
    write_json,
)
from keras_mscam.images.reader import check_max_value
from keras_mscam.parallel.cluster import Engine, find_workers

REJECTED = "rejected.csv"
#: What reads, resizes and writes.
PACKAGES = ("keras_mscam", "opencv-python-headless", "numpy", "pydicom", "tensorflow")


def prepare(
    source: Path,
    output: Path,
    *,
    image_size: tuple[int, int] | None = (256, 256),
    max_value: int | None = None,
    split: str = "paper",
    seed: int = 0,
    folds: int = 5,
    fold: int = 0,
    boxes: Path | None = None,
    strict: bool = False,
    workers: int | None = None,
    engine: Engine = "local",
    progress: bool = True,
) -> Manifest:
    """Read, resize, split and store a data set of X-rays.

    The folder `output` appears when everything in it is written. Until then all work
    is in `.NAME.unfinished` beside it, and the same call goes on with it. The bytes of
    the result depend on source, size and rule, not on the number of workers, where
    they are, nor on how often the work was broken off. Training records are stored in
    an order drawn once, the others in that of the label file.

    Args:
        source: see `read_dataset`.
        output: folder to make, or an empty one: `manifest.json`, shards such as
            `train-00000-of-00004.tfrecord`, and `rejected.csv` with the name of each
            image that couldn't be used and the reason.
        image_size: (height, width) to store images at, in pixels. `None` keeps each
            image's own size, and the bytes of 8-bit grey PNG and JPEG files.
        max_value: the grey value that is white, see `read_xray`.
        split: name of a rule, see `split_records`.
        seed: of the split and of the order of training records, 0 or more.
        folds: number of folds, for `folds`.
        fold: the one that is the test, counted from 0.
        boxes: table of boxes, for a data set in a `labels.csv`.
        strict: whether an image that can't be used is an error.
        workers: processes that read images; `None` takes one per processor. Fewer than
            200 images are read in this process. With `engine="ray"`, see `Cluster`.
        engine: what reads images, see `find_workers`: processes of this machine, or of
            the nodes of a Ray cluster, which find the images under the same paths.
        progress: whether to show bars with rate and time left.

    Returns:
        The manifest, as it is written.

    Raises:
        UserError: the source can't be used, no image of a split can be read, or
            `output` is there already or can't be written; or as `find_workers`.

    Example:
        >>> manifest = prepare(Path("ChestX-ray14"), Path("records"))
        >>> manifest.splits["train"].images

    Reference:
        Sedai et al. 2018, section 3: images of 256x256, split 70/10/20 by patient.
    """
    source, output = Path(source), Path(output)
    rule = SplitRule(split, seed, folds, fold)
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise UserError(
            f"The image size {image_size} must be a height and a width above 0."
        )
    check_max_value(max_value)
    # Before archives are looked into, which may take minutes.
    check_can_be_made(output)
    processes = find_workers(engine, workers)
    dataset = read_dataset(source, boxes, processes, progress)
    if not dataset.pathologies:
        raise UserError(f"No image in {source} shows a pathology; there must be some.")
    splits, left_out = split_records(dataset, rule)
    kept = {record.name for split in splits.values() for record in split}
    records = [record for record in dataset.records if record.name in kept]
    plan = _describe_plan(records, image_size, max_value)
    with unfinished_folder(output, plan) as (folder, result):
        converted = convert(
            records,
            folder,
            dataset.pathologies,
            image_size=image_size,
            max_value=max_value,
            strict=strict,
            workers=processes,
            progress=progress,
        )
        stored = _find_stored(splits, converted, folder)
        names = write_shards(stored, seed, result)
        with (result / REJECTED).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("name", "reason"), *converted.rejected])
        counted = {
            split: describe_split(
                [entry.record for entry in stored[split]], dataset.pathologies, files
            )
            for split, files in names.items()
        }
        problems = dataset.problems + left_out + converted.problems
        problems += describe_split_gaps(counted)
        problems += describe_missing_boxes(
            "test", _count_boxes(stored["test"], dataset)
        )
        manifest = Manifest(
            pathologies=dataset.pathologies,
            image_size=image_size and tuple(image_size),
            max_value=max_value,
            split_rule=str(rule),
            seed=seed,
            splits=counted,
            beta=compute_beta(counted["train"]),
            checksums={p.name: compute_checksum(p) for p in sorted(result.iterdir())},
            sources={path.name: compute_checksum(path) for path in dataset.tables},
            rejected=len(converted.rejected),
            problems=problems,
            versions=find_versions(PACKAGES),
        )
        manifest.write(result)
    return manifest


@contextmanager
def unfinished_folder(output: Path, plan: dict) -> Iterator[tuple[Path, Path]]:
    """Give a place for work that may be broken off and gone on with.

    The place is the hidden folder `.NAME.unfinished` beside `output`. It outlives
    errors, Ctrl-C and `kill -9`; who comes with the same plan, what the work depends on
    as JSON, finds in it what was done. When the block succeeds, the result is renamed
    to `output`, and the rest goes.

    Yields:
        A folder for intermediate files, and an empty one for the result.

    Raises:
        UserError: see `check_can_be_made`; or the place holds other work or is in use.
        DiskError: something can't be written; the work so far is kept.
    """
    whole = check_can_be_made(Path(output))
    place = whole.with_name(f".{whole.name}.unfinished")
    result = place / "result"
    with explain_disk(output, "Then the same command goes on."):
        place.mkdir(parents=True, exist_ok=True)
        with hold_lock(place / "lock", f"at work in {place}"):
            _check_plan(place, plan)
            shutil.rmtree(result, ignore_errors=True)
            result.mkdir()
            yield place, result
            result.replace(whole)
            shutil.rmtree(place)


def _check_plan(place: Path, plan: dict) -> None:
    path = place / "plan.json"
    if not path.exists():
        write_json(path, plan)
    elif read_json(path) != plan:
        raise UserError(
            f"{place} holds an unfinished preparation of other data, or with other "
            "options. Go on with the same ones, or remove that folder to start anew."
        )


def _describe_plan(
    records: list[Record], image_size: tuple[int, int] | None, max_value: int | None
) -> dict[str, object]:
    """Return what converted images depend on; the split is not among it."""
    return {
        "records": hashlib.sha256("".join(map(repr, records)).encode()).hexdigest(),
        "image_size": image_size and list(image_size),
        "max_value": max_value,
        "versions": find_versions(PACKAGES),
    }


def _count_boxes(stored: list[Stored], dataset: Dataset) -> dict[str, int]:
    boxes = [box.pathology for entry in stored for box in entry.record.boxes]
    return {name: boxes.count(name) for name in dataset.pathologies}


def _find_stored(
    splits: dict[str, list[Record]], converted: Converted, folder: Path
) -> dict[str, list[Stored]]:
    """Return what is there of each split; nothing is an error."""
    stored = {
        split: [converted.stored[r.name] for r in records if r.name in converted.stored]
        for split, records in splits.items()
    }
    for split in stored:
        if splits[split] and not stored[split]:
            forget_rejected(folder)
            name, reason = converted.rejected[-1]
            raise UserError(
                f"No image of the {split} split can be used; {name}, for one, {reason}."
            )
    return stored
