"""Files to predictions, with few of them in memory.

Batches are the same on one machine and on a cluster: in another place of a batch, the
last digits may be others.
"""

import functools
import json
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath

import numpy as np

from keras_mscam.batch_predict.journal import FILE
from keras_mscam.batch_predict.outputs import Place, Predicted, finish
from keras_mscam.errors import UserError
from keras_mscam.files import Names, stamp
from keras_mscam.images.reader import CRASHED, may_crash, read_xray
from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.images.xray import Frame, ImageError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.predictor import Predictor
from keras_mscam.parallel.cluster import Cluster
from keras_mscam.parallel.in_order import map_in_order

#: Batches that a piece of work has where every file can be read. No batch has images
#: of two pieces.
_BATCHES = 4


@dataclass(frozen=True, eq=False)
class Read:
    """An X-ray that has been read."""

    stamp: tuple[int, int]  # of the file, before it was read
    image: np.ndarray  # uint8 (height, width), as the network takes it
    frame: Frame
    picture: np.ndarray  # uint8, at the size it is drawn at; empty if it isn't


@dataclass(frozen=True)
class Refused:
    """A file that can't be used, and why; the reason goes on behind its name."""

    stamp: tuple[int, int] | None
    reason: str


def read(
    path: str,
    size: tuple[int, int],
    longest_side: int | None,
    crop_borders: bool,
    max_value: int | None = None,
) -> Read | Refused:
    """Read one X-ray, for a network that takes `size`, `(height, width)`.

    The picture is `longest_side` pixels long at most; there is none where that is None.
    """
    found = stamp(path)
    try:
        if found is None:
            raise ImageError(f"cannot be opened: {_explain_no_stamp(path)}")
        xray = read_xray(path, crop_borders, max_value)
    except ImageError as error:
        return Refused(found, " ".join(str(error).split()))
    frame, picture = xray.frame, np.zeros((0, 0), "uint8")
    if longest_side is not None:
        shape = choose_shape(frame.size, frame.pixel_spacing, longest_side)
        picture = shrink(xray.pixels, shape)
    return Read(found, xray.resize(size), frame, picture)


def _explain_no_stamp(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, ValueError):
        is_link = "\0" not in path and os.path.islink(path)
        return "it is a link to no file" if is_link else "there is no such file"
    except OSError as error:
        return str(error.strerror)
    if stat.S_ISDIR(mode):
        return "it is a folder that can't be listed"
    return "it is neither a file nor a folder"


def stream(
    files: Sequence[str],
    names: Names,
    predictor: Predictor,
    place: Place,
    batch_size: int,
    workers: int | Cluster | None,
) -> Generator[str]:
    """Predict files and write what is made of each.

    On a cluster, a process reads, predicts and draws all files of a piece of work.

    Args:
        files: paths.
        names: names that are free. Each file is given one.
        predictor: with the thresholds wanted.
        place: where files go.
        batch_size: images that the network takes at once.
        workers: processes that read, and as many that draw; one per processor by
            default. Or a cluster.

    Yields:
        The line of each file for the journal, in their order.

    Raises:
        DiskError: a file can't be written.
        UserError: worker processes die one after the other; or a node of the cluster
            lacks the model, or the folder of results.
    """
    found = (names.find(PurePath(path).stem) for path in files)
    full = batch_size if len(files) > batch_size else None
    if not isinstance(workers, Cluster):
        yield from _stream(files, found, predictor, place, full, workers)
        return
    runtime, step = predictor.runtime, _BATCHES * batch_size
    rest = runtime.contract, place, full
    jobs = (
        (piece, list(islice(found, step)), runtime.path, runtime.name, *rest)
        for piece in (files[n : n + step] for n in range(0, len(files), step))
    )
    with closing(map_in_order(_stream_elsewhere, jobs, workers, chunk=1)) as pieces:
        for lines in pieces:
            yield from lines


def _stream_elsewhere(
    files: list[str],
    names: list[str],
    model: Path,
    runtime: str,
    contract: Contract,
    place: Place,
    full: int | None,
) -> list[str]:
    """Do a piece of work: `stream` in a process of a cluster."""
    if place.options.writes_files and not (place.folder / FILE).exists():
        raise UserError(
            f"there is no {place.folder}; put the folder of results on a disk that all "
            "nodes share."
        )
    predictor = _load(model, runtime, contract)
    return list(_stream(files, names, predictor, place, full, workers=1))


@functools.lru_cache(maxsize=1)
def _load(model: Path, runtime: str, contract: Contract) -> Predictor:
    predictor = Predictor(model, runtime)
    predictor.runtime = replace(predictor.runtime, contract=contract)
    return predictor


def _stream(
    files: Sequence[str],
    names: Iterable[str],
    predictor: Predictor,
    place: Place,
    full: int | None,
    workers: int | None,
) -> Generator[str]:
    count, options = len(files), place.options
    side = options.longest_side if options.needs_picture else None
    size = predictor.runtime.contract.image_size
    how = options.crop_borders, options.max_value
    jobs = ((path, size, side, *how) for path in files)
    apart = may_crash(PurePath(path).suffix for path in files)
    with closing(map_in_order(read, jobs, workers, count, CRASHED, apart)) as reads:
        items = (
            (path, name, Refused(stamp(path), item) if isinstance(item, str) else item)
            for path, name, item in zip(files, names, reads, strict=True)
        )
        work = (
            (place, item)
            for batch in _collect(items, full)
            for item in _predict(batch, predictor, full, options.maps)
        )
        drawers = workers if options.writes_files else 1
        with closing(map_in_order(_finish, work, drawers, count)) as lines:
            yield from lines


def _finish(place: Place, item: Predicted | tuple[str, Refused]) -> str:
    if isinstance(item, Predicted):
        return finish(place, item)
    return json.dumps(describe_refusal(*item))


def describe_refusal(path: str, refused: Refused) -> dict:
    """Return what is stored of a file that couldn't be read."""
    return {
        "path": path,
        "status": "refused",
        "stamp": refused.stamp and list(refused.stamp),
        "error": refused.reason,
    }


#: Path, name and content of a file.
_Item = tuple[str, str, Read | Refused]


def _collect(items: Iterable[_Item], full: int | None) -> Iterator[list[_Item]]:
    """Give lists of files with `full` images at most, or all where that is `None`."""
    waiting, images = [], 0
    for number, item in enumerate(items, 1):
        waiting.append(item)
        images += isinstance(item[-1], Read)
        if full and (images == full or number % (_BATCHES * full) == 0):
            yield waiting
            waiting, images = [], 0
    yield waiting


def _predict(
    items: list[_Item],
    predictor: Predictor,
    full: int | None,
    maps: bool,
) -> Iterator[Predicted | tuple[str, Refused]]:
    """Predict a batch, filled up: a network is compiled anew for every number."""
    images = [item.image for *_, item in items if isinstance(item, Read)]
    frames = [item.frame for *_, item in items if isinstance(item, Read)]
    predictions = iter(())
    if images:
        missing = max((full or 0) - len(images), 0)
        images += [np.zeros_like(images[0])] * missing
        frames += frames[:1] * missing
        predictions = iter(predictor.predict_resized(np.stack(images), frames))
    for path, name, item in items:
        if isinstance(item, Refused):
            yield path, item
            continue
        prediction = next(predictions)
        if prediction.error:
            yield path, Refused(item.stamp, prediction.error)
            continue
        if not maps:
            # Nothing needs what is the largest part of it.
            prediction = replace(prediction, attention=None)
        yield Predicted(path, name, item.stamp, item.picture, prediction)
