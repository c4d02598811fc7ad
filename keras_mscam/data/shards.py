"""Converted images in parts: what a preparation that was broken off goes on from.

Images are read in the order in which they lie in their folders and archives, records
are stored in another one. The parts lie between: 1024 images each, converted and
serialized, in the order of reading. A part is there when its index is.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_mscam.data.archives import Member, read_members
from keras_mscam.data.records import Record, summarize
from keras_mscam.data.splits import SPLITS
from keras_mscam.errors import UserError
from keras_mscam.files import write_whole
from keras_mscam.images.png_jpeg import encode_png, is_grey
from keras_mscam.images.reader import read_bytes, read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.parallel import map_in_order


def convert_image(
    source: Path | bytes, size: tuple[int, int] | None
) -> tuple[bytes, tuple[int, int]] | str:
    """Turn an image file into what is stored: the work of one worker process.

    At its own size, an image that is stored in 8 bits of grey already, as PNG or JPEG,
    is kept byte for byte.

    Args:
        source: a file for `read_grey`, or its content.
        size: (height, width) to store; the image's own if None.

    Returns:
        PNG (or kept JPEG) bytes and the original (height, width), or the reason why
        not.
    """
    try:
        data = source if isinstance(source, bytes) else read_bytes(source)
        image = read_grey(data)
    except ImageError as error:
        return str(error)
    if size is not None:
        return encode_png(resize_area(image, size)), image.shape
    return data if is_grey(data) else encode_png(image), image.shape


PART_IMAGES = 1024
_DIED = "is damaged: its decoder crashed on it"


@dataclass(frozen=True)
class Stored:
    """A record that lies in a part.

    Args:
        record: what it says, its boxes inside its image.
        path: file of the part.
        start: first byte of the record in it.
        length: number of bytes.
    """

    record: Record
    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Converted:
    """What became of the images.

    Args:
        stored: by the name of the record.
        rejected: name and reason of each image that can't be used.
        problems: what had to be mended, one sentence a kind.
    """

    stored: dict[str, Stored]
    rejected: list[tuple[str, str]]
    problems: tuple[str, ...]


def convert(
    records: Sequence[Record],
    folder: Path,
    pathologies: tuple[str, ...],
    *,
    image_size: tuple[int, int] | None,
    strict: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Converted:
    """Convert all images that aren't converted yet.

    Args:
        records: all records of the data set.
        folder: where the parts are, or will be.
        pathologies: the data set's.
        image_size: (height, width) to store; `None` keeps each image's own.
        strict: whether an image that can't be used is an error.
        workers: processes; `None` takes one a processor.
        progress: whether to show a bar with rate and time left.

    Raises:
        UserError: `strict`, and an image can't be used; an archive is damaged; the
            folder can't be written.
    """
    ordered = _order_as_stored(records)
    parts = {
        folder / f"part-{number:05d}.tfrecord": ordered[start : start + PART_IMAGES]
        for number, start in enumerate(range(0, len(ordered), PART_IMAGES))
    }
    todo = {p: part for p, part in parts.items() if not _index_path(p).exists()}
    count = sum(map(len, todo.values()))
    jobs = ((image, image_size) for image in _read(chain.from_iterable(todo.values())))
    bar = tqdm(
        total=len(ordered),
        initial=len(ordered) - count,
        desc="Preparing",
        unit="image",
        disable=not progress,
    )
    # Of the decoders, those of DICOM have been seen to end their process.
    apart = any(record.path.suffix.lower() == ".dcm" for record in ordered)
    results = map_in_order(convert_image, jobs, workers, count, _DIED, apart)
    with bar, closing(results) as images:
        for path, part in todo.items():
            here = _report(islice(images, len(part)), bar)
            _write_part(path, part, here, pathologies, image_size, strict)
    return _collect(parts, strict)


def _order_as_stored(records: Sequence[Record]) -> list[Record]:
    """Files in the order given, then archives from front to back."""
    files = [record for record in records if not isinstance(record.path, Member)]
    packed = [record for record in records if isinstance(record.path, Member)]
    return files + sorted(packed, key=lambda record: record.path)


def _read(records: Iterable[Record]) -> Iterator[Path | bytes]:
    """Give paths of files, which workers read, and contents of archives' members."""
    for archive, group in groupby(records, key=_archive):
        if archive is None:
            yield from (record.path for record in group)
        else:
            yield from read_members(archive, [r.path.position for r in group])


def _archive(record: Record) -> Path | None:
    return record.path.archive if isinstance(record.path, Member) else None


def _report(images: Iterable, bar: tqdm) -> Iterator:
    for image in images:
        bar.update()
        yield image


def _write_part(
    path: Path,
    records: list[Record],
    images: Iterator,
    pathologies: tuple[str, ...],
    image_size: tuple[int, int] | None,
    strict: bool,
) -> None:
    # Takes seconds to import, and only this process needs it.
    from keras_mscam.data.tfrecords import frame_length, serialize, write_shard

    index = []

    def serialize_all():
        for record, image in zip(records, images, strict=True):
            if isinstance(image, str):
                _refuse_if(strict, record.name, image)
                index.append({"reason": image})
                continue
            encoded, size = image
            inside = _clip_boxes(record, size)
            example = serialize(inside, encoded, size, image_size or size, pathologies)
            index.append({"size": size, "length": frame_length(example)})
            yield example

    write_shard(path, serialize_all())
    with write_whole(_index_path(path)) as temporary:
        temporary.write_text(json.dumps(index))


def _collect(parts: dict[Path, list[Record]], strict: bool) -> Converted:
    stored, rejected, clipped, dropped = {}, [], [], []
    for path, part in parts.items():
        start = 0
        index = json.loads(_index_path(path).read_text())
        for record, entry in zip(part, index, strict=True):
            if "reason" in entry:
                _refuse_if(strict, record.name, entry["reason"])
                rejected.append((record.name, entry["reason"]))
                continue
            inside = _clip_boxes(record, entry["size"])
            lost = len(record.boxes) - len(inside.boxes)
            dropped += [record.name] * lost
            cut = sum(box not in record.boxes for box in inside.boxes)
            clipped += [record.name] * cut
            stored[record.name] = Stored(inside, path, start, entry["length"])
            start += entry["length"]
    problems = summarize(
        ("boxes that stick out of their image, cut off at its edge", clipped),
        ("boxes that lie outside of their image, left out", dropped),
    )
    return Converted(stored, rejected, problems)


def _clip_boxes(record: Record, size: tuple[int, int]) -> Record:
    boxes = (box.clip(size) for box in record.boxes)
    return replace(record, boxes=tuple(box for box in boxes if box is not None))


def _refuse_if(strict: bool, name: str, reason: str) -> None:
    if strict:
        raise UserError(
            f"{name} {reason}. Mend or remove it, or prepare without --strict."
        )


def _index_path(part: Path) -> Path:
    return part.with_suffix(".json")


#: A shard is closed when it has as many bytes: some 1,800 images of 256x256.
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Shard:
    """A TFRecord file to write.

    Args:
        split: the split it belongs to.
        name: file name, such as `train-00000-of-00004.tfrecord`.
        records: what goes into it, in order.
    """

    split: str
    name: str
    records: list[Stored]


def plan_shards(splits: dict[str, list[Stored]], seed: int) -> list[Shard]:
    """Lay out all files of a data set.

    Training records are put in an order drawn once, so that neighbours in a file, which
    training shuffles among each other, are not of the same patients. The other splits
    keep theirs.

    Args:
        splits: records by split.
        seed: of the order of training records.

    Returns:
        Shards of 64 MiB or a little more, the last of a split with less, split after
        split.
    """
    order = np.random.default_rng(seed).permutation(len(splits["train"]))
    ordered = splits | {"train": [splits["train"][i] for i in order]}
    shards = []
    for split in SPLITS:
        groups = _group_by_bytes(ordered[split])
        for number, group in enumerate(groups):
            name = f"{split}-{number:05d}-of-{len(groups):05d}.tfrecord"
            shards.append(Shard(split, name, group))
    return shards


def write_shards(shards: Sequence[Shard], folder: Path) -> None:
    """Write shards by copying their records, checksums included, out of the parts."""
    parts = {}
    try:
        for shard in shards:
            with (folder / shard.name).open("wb") as file:
                for stored in shard.records:
                    if stored.path not in parts:
                        parts[stored.path] = stored.path.open("rb")
                    part = parts[stored.path]
                    part.seek(stored.start)
                    file.write(part.read(stored.length))
    finally:
        for part in parts.values():
            part.close()


def _group_by_bytes(records: list[Stored]) -> list[list[Stored]]:
    groups, size = [], SHARD_BYTES
    for stored in records:
        if size >= SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(stored)
        size += stored.length
    return groups
