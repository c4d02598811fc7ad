"""Converted images: first in parts, in the order of reading, then in shards.

Images are read in the order in which they lie in their folders and archives, records
are stored in another one. The parts lie between: 1024 images each, converted and
serialized. A preparation that was broken off goes on from them; a part is there when
its index is.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_mscam.data.archives import Member, read_members
from keras_mscam.data.records import Record, summarize
from keras_mscam.data.splits import SPLITS
from keras_mscam.errors import UserError
from keras_mscam.files import read_json, stamp, write_json
from keras_mscam.images.grey_values import describe_values
from keras_mscam.images.png_jpeg import encode_png, is_grey
from keras_mscam.images.reader import CRASHED, may_crash, read_bytes, read_xray
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import CROPPED, CROPPED_AROUND, ImageError
from keras_mscam.parallel.cluster import Cluster
from keras_mscam.parallel.in_order import map_in_order

PART_IMAGES = 1024
#: A shard is closed when it has as many bytes: some 1,800 images of 256x256.
SHARD_BYTES = 64 * 2**20
#: Where images of their own size are looked at for odd grey values.
_LOOKED_AT = (256, 256)


@dataclass(frozen=True)
class Stored:
    """A record that lies in a part, `length` bytes from byte `start` on."""

    record: Record  # with its boxes inside its image
    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Converted:
    """What became of the images."""

    stored: dict[str, Stored]  # by the name of the record
    rejected: list[tuple[str, str]]  # name and reason of what can't be used
    problems: tuple[str, ...]  # what had to be mended, one sentence a kind


def convert_image(
    source: Path | bytes | ImageError,
    size: tuple[int, int] | None,
    max_value: int | None = None,
) -> tuple[bytes, tuple[int, int], list[str]] | str:
    """Turn an image file into what is stored: the work of one worker process.

    At its own size, an image that is stored in 8 bits of grey already, as PNG or JPEG,
    is kept byte for byte.

    Args:
        source: a file for `read_xray`, its content, or why there is none.
        size: (height, width) to store; the image's own if None.
        max_value: of `read_xray`.

    Returns:
        PNG (or kept JPEG) bytes, the original (height, width) and what a reader should
        know of it; or the reason why not.
    """
    if isinstance(source, ImageError):
        return str(source)
    try:
        data = read_bytes(source)
        xray = read_xray(data, max_value=max_value)
    except ImageError as error:
        return str(error)
    image, frame = xray.pixels, xray.frame
    resized = resize_area(image, size or _LOOKED_AT)
    said = [s for s in frame.warnings if s not in (CROPPED, CROPPED_AROUND)]
    if frame.field:
        said.append(
            "What its collimation shut is stored too; predictions leave it out."
        )
    said += describe_values(resized)
    if size is not None:
        return encode_png(resized), image.shape, said
    is_kept = is_grey(data) and max_value is None
    return data if is_kept else encode_png(image), image.shape, said


def convert(
    records: Sequence[Record],
    folder: Path,
    pathologies: tuple[str, ...],
    *,
    image_size: tuple[int, int] | None,
    max_value: int | None,
    strict: bool,
    workers: int | Cluster | None,
    progress: bool,
) -> Converted:
    """Convert all images that aren't converted yet.

    Args:
        records: all records of the data set.
        folder: where the parts are, or will be.
        pathologies: the data set's.
        image_size: as for `prepare`, and so are the others.

    Raises:
        UserError: `strict`, and an image can't be used; an archive is damaged; the
            folder can't be written.
    """
    # Files in the order given, then archives from front to back.
    ordered = [record for record in records if not isinstance(record.path, Member)]
    packed = [record for record in records if isinstance(record.path, Member)]
    ordered += sorted(packed, key=lambda record: record.path)
    parts = {
        folder / f"part-{number:05d}.tfrecord": ordered[start : start + PART_IMAGES]
        for number, start in enumerate(range(0, len(ordered), PART_IMAGES))
    }
    stamps = {record.name: _stamp_image(record) for record in ordered}
    todo = {p: part for p, part in parts.items() if not _is_done(p, part, stamps)}
    count = sum(map(len, todo.values()))
    images = _read(chain.from_iterable(todo.values()))
    jobs = ((image, image_size, max_value) for image in images)
    apart = may_crash(record.path.suffix for record in ordered)
    results = map_in_order(convert_image, jobs, workers, count, CRASHED, apart)
    bar = tqdm(
        results,
        total=len(ordered),
        initial=len(ordered) - count,
        desc="Preparing",
        unit="image",
        disable=not progress,
    )
    with bar, closing(results):
        images = iter(bar)
        for path, part in todo.items():
            here = islice(images, len(part))
            _write_part(path, part, here, stamps, pathologies, image_size, strict)
        next(images, None)  # only then the bar shows all of them
    return _collect(parts, strict)


def _stamp_image(record: Record) -> list[int] | None:
    """Return the stamp, as JSON has it, of the file or archive that an image is in."""
    path = record.path
    found = stamp(path.archive if isinstance(path, Member) else path)
    return found and list(found)


def _is_done(path: Path, part: list[Record], stamps: dict) -> bool:
    """Whether a part is there, of images that have not changed since."""
    if not _index_path(path).exists():
        return False
    index = read_json(_index_path(path))
    return [e["stamp"] for e in index] == [stamps[record.name] for record in part]


def _read(records: Iterable[Record]) -> Iterator[Path | bytes | ImageError]:
    """Give paths of files, which workers read, and contents of archives' members."""
    paths = (record.path for record in records)
    for archive, group in groupby(paths, key=lambda path: getattr(path, "archive", 0)):
        if archive:
            members = [path for path in group if isinstance(path, Member)]
            yield from read_members(archive, [member.position for member in members])
        else:
            yield from (path for path in group if isinstance(path, Path))


def _write_part(
    path: Path,
    records: list[Record],
    images: Iterator,
    stamps: dict[str, list[int] | None],
    pathologies: tuple[str, ...],
    image_size: tuple[int, int] | None,
    strict: bool,
) -> None:
    # Takes seconds to import, and only this process needs it.
    from keras_mscam.data.tfrecords import frame_length, serialize, write_shard

    index = []

    def serialize_all():
        for record, image in zip(records, images, strict=True):
            own = {"stamp": stamps[record.name]}
            if isinstance(image, str):
                if strict:
                    raise _refuse(record.name, image)
                index.append({"reason": image, **own})
                continue
            encoded, size, said = image
            inside = _fit_boxes(record, size)
            example = serialize(inside, encoded, size, image_size or size, pathologies)
            length = frame_length(example)
            index.append({"size": size, "length": length, "warnings": said, **own})
            yield example

    write_shard(path, serialize_all())
    write_json(_index_path(path), index)


def _collect(parts: dict[Path, list[Record]], strict: bool) -> Converted:
    stored, odd = {}, {}
    rejected, scaled, turned, clipped, dropped = [], [], [], [], []
    for path, part in parts.items():
        start = 0
        index = read_json(_index_path(path))
        for record, entry in zip(part, index, strict=True):
            if "reason" in entry:
                if strict:
                    forget_rejected(path.parent)
                    raise _refuse(record.name, entry["reason"])
                rejected.append((record.name, entry["reason"]))
                continue
            size = tuple(entry["size"])
            inside = _fit_boxes(record, size)
            for box in record.boxes:
                if box.size not in (None, size):
                    turn = box.size == size[::-1]
                    (turned if turn else scaled).append(record.name)
            whole = [box.scale(size) for box in record.boxes]
            dropped += [record.name] * (len(whole) - len(inside.boxes))
            clipped += [record.name for box in inside.boxes if box not in whole]
            for sentence in entry["warnings"]:
                kind = f'images with the warning "{sentence}"'
                odd.setdefault(kind, []).append(record.name)
            stored[record.name] = Stored(inside, path, start, entry["length"])
            start += entry["length"]
    problems = summarize(
        ("boxes drawn on an image of another size, scaled to that of theirs", scaled),
        ("boxes drawn on a turned copy of their image, probably misplaced", turned),
        ("boxes that stick out of their image, cut off at its edge", clipped),
        ("boxes that lie outside of their image, left out", dropped),
        *sorted(odd.items()),
    )
    return Converted(stored, rejected, problems)


def _fit_boxes(record: Record, size: tuple[int, int]) -> Record:
    boxes = (box.scale(size).clip(size) for box in record.boxes)
    return replace(record, boxes=tuple(box for box in boxes if box is not None))


def forget_rejected(folder: Path) -> None:
    """Have parts with an image that can't be used converted again, as it may be mended.

    Only where that image ends the work: any that is broken off would else do most parts
    of a large data set again.
    """
    for index in folder.glob("part-*.json"):
        if any("reason" in entry for entry in read_json(index)):
            index.unlink()


def _refuse(name: str, reason: str) -> UserError:
    return UserError(
        f"{name} {reason}. Mend or remove it, or prepare without --strict."
    )


def _index_path(part: Path) -> Path:
    return part.with_suffix(".json")


def write_shards(
    splits: dict[str, list[Stored]], seed: int, folder: Path
) -> dict[str, list[str]]:
    """Write shards by copying records, checksums included, out of the parts.

    Training records are put in an order drawn once, so that neighbours in a file, which
    training shuffles among each other, are not of the same patients. The other splits
    keep theirs.

    Args:
        splits: records by split.
        seed: of the order of training records.
        folder: where to write `train-00000-of-00004.tfrecord` and so on: of 64 MiB or
            a little more each, the last of a split of less.

    Returns:
        Names of the files by split.
    """
    order = np.random.default_rng(seed).permutation(len(splits["train"]))
    ordered = splits | {"train": [splits["train"][i] for i in order]}
    names = {}
    with ExitStack() as stack:
        open_part = cache(lambda path: stack.enter_context(path.open("rb")))
        for split in SPLITS:
            groups = _group_by_bytes(ordered[split])
            names[split] = [
                f"{split}-{number:05d}-of-{len(groups):05d}.tfrecord"
                for number in range(len(groups))
            ]
            for name, group in zip(names[split], groups, strict=True):
                with (folder / name).open("wb") as file:
                    for stored in group:
                        part = open_part(stored.path)
                        part.seek(stored.start)
                        file.write(part.read(stored.length))
    return names


def _group_by_bytes(records: list[Stored]) -> list[list[Stored]]:
    groups, size = [], SHARD_BYTES
    for stored in records:
        if size >= SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(stored)
        size += stored.length
    return groups
