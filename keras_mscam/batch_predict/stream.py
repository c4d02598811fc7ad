"""One file to what the network takes: the work of one worker process."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from keras_mscam.batch_predict.discovery import Names, stamp
from keras_mscam.batch_predict.outputs import Place, Predicted, finish
from keras_mscam.batch_predict.reading import Read, Refused, describe_refusal, read
from keras_mscam.inference.predictor import Predictor
from keras_mscam.parallel import map_in_order

DIED = "is damaged: its decoder crashed on it"
# Decoders of these have never been seen to end their process; those of DICOM have.
_HARMLESS = (".png", ".jpg", ".jpeg")


def stream(
    files: Sequence[str],
    names: Names,
    predictor: Predictor,
    place: Place,
    batch_size: int,
    workers: int | None,
) -> Iterator[str]:
    """Predict files, with few of them in memory.

    Args:
        files: paths.
        names: names that are free.
        predictor: with the thresholds wanted.
        place: where files go.
        batch_size: images that the network takes at once.
        workers: processes that read, and as many that draw; one a processor by default.

    Yields:
        The line of each file for the journal, in their order.

    Raises:
        OSError: a file can't be written.
        UserError: worker processes die one after the other.
    """
    count, options = len(files), place.options
    side = options.longest_side if options.needs_picture else None
    size = predictor.runtime.contract.image_size
    jobs = ((path, size, side, options.crop_borders) for path in files)
    apart = any(PurePath(path).suffix.lower() not in _HARMLESS for path in files)
    full = batch_size if count > batch_size else None
    with closing(map_in_order(read, jobs, workers, count, DIED, apart)) as reads:
        items = _predict(zip(files, reads, strict=True), names, predictor, full, place)
        work = ((place, item) for item in items)
        drawers = workers if options.writes_files else 1
        with closing(map_in_order(_finish, work, drawers, count)) as lines:
            yield from lines


def _finish(place: Place, item: Predicted | tuple[str, Refused]) -> str:
    if isinstance(item, Predicted):
        return finish(place, item)
    return json.dumps(describe_refusal(*item))


def _predict(
    items, names: Names, predictor: Predictor, full: int | None, place: Place
) -> Iterator[Predicted | tuple[str, Refused]]:
    """Predict batch by batch.

    Args:
        items: paths and what became of them.
        full: images of a batch; fewer are filled up to as many, since a network is
            compiled anew for every number. `None` for a single batch of all.
    """
    waiting = []
    images = 0
    for path, item in items:
        item = Refused(stamp(path), item) if isinstance(item, str) else item
        waiting.append((path, item))
        images += isinstance(item, Read)
        # Among many that can't be read, those that can needn't wait for a full batch.
        if full and (images == full or len(waiting) == 8 * full):
            yield from _predict_batch(waiting, names, predictor, full, place)
            waiting, images = [], 0
    yield from _predict_batch(waiting, names, predictor, full, place)


def _predict_batch(
    items, names: Names, predictor: Predictor, full: int | None, place: Place
) -> Iterator[Predicted | tuple[str, Refused]]:
    read_items = [item for _, item in items if isinstance(item, Read)]
    predictions = iter(())
    if read_items:
        images = np.stack([item.image for item in read_items])
        frames = [item.frame for item in read_items]
        missing = (full or 0) - len(images)
        if missing > 0:
            images = np.concatenate(
                [images, np.zeros_like(images, shape=(missing, *images.shape[1:]))]
            )
            frames += frames[:1] * missing
        predictions = iter(predictor.predict_resized(images, frames))
    for path, item in items:
        if isinstance(item, Refused):
            yield path, item
            continue
        prediction = next(predictions)
        if prediction.error:
            yield path, Refused(item.stamp, prediction.error)
            continue
        if not place.options.maps:
            # Nothing needs what is the largest part of it.
            prediction = replace(prediction, attention=None)
        yield Predicted(
            path, names.find(path), item.stamp, item.frame, item.picture, prediction
        )
