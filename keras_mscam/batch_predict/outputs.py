"""The result of one file, as a line of `predictions.jsonl`."""

import json
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from isal import isal_zlib

from keras_mscam.batch_predict.reading import describe_prediction
from keras_mscam.batch_predict.settings import Options
from keras_mscam.errors import UserError
from keras_mscam.files import write_whole
from keras_mscam.images.reader import find_format, read_bytes, read_xray
from keras_mscam.images.xray import Frame
from keras_mscam.inference.prediction import Prediction
from keras_mscam.visualization.overlay import draw_overlay

_START = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the filter by which a row is stored as its difference from the one above


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 RGB `(height, width, 3)`.

    All rows have the filter "up", and ISA-L compresses them: a fifth of OpenCV's time
    at the same size of file.

    Reference: PNG specification, third edition, sections 5.2, 9 and 11.2.
    """
    height, width, _ = picture.shape
    rows = np.ascontiguousarray(picture).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), "uint8")
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]  # above the first is a row of zeros
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            _START,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", isal_zlib.compress(filtered, 1)),
            *_chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)


_THUMBNAIL = 224
_SAFE = str.maketrans(dict.fromkeys('/\\:*?"<>| ', "_"))


@dataclass(frozen=True)
class Place:
    """Where results go, and what they are.

    Args:
        folder: of results.
        model: name of the model.
        options: what is made of each image.
        title: what reports call the model; its name by default.
    """

    folder: Path
    model: str
    options: Options
    title: str = ""


@dataclass(frozen=True, eq=False)
class Predicted:
    """An image whose files are to be written; as in `Read`, with its prediction."""

    path: str
    name: str
    stamp: tuple[int, int]
    frame: Frame
    picture: np.ndarray | None
    prediction: Prediction


def finish(place: Place, item: Predicted) -> str:
    """Write the files of an image.

    Returns:
        Its line for the journal.

    Raises:
        OSError: a file can't be written.
    """
    options, files = place.options, {}
    prediction = item.prediction
    chosen = options.choose(prediction.positives, prediction.ranked)
    overlays = {
        name: draw_overlay(item.picture, prediction, name, item.picture.shape)
        for name in chosen
    }
    if overlays:
        files["overlays"] = {
            name: _write(
                place, f"overlays/{item.name}.{_clean(name)}.png", encode_png(overlay)
            )
            for name, overlay in overlays.items()
        }
    if options.maps:
        files["maps"] = _write_maps(place, item)
    if options.dicom:
        written = _write_dicom(place, item)
        if isinstance(written, str):
            said = (*prediction.warnings, written)
            item = replace(item, prediction=replace(prediction, warnings=said))
        else:
            files["dicom"] = written
    if options.html:
        files |= _write_html(place, item, overlays)
    line = describe_prediction(
        item.path, item.name, item.stamp, item.prediction, item.frame, files
    )
    return json.dumps(line)


def _write(place: Place, name: str, content: bytes) -> str:
    with write_whole(place.folder / name) as temporary:
        temporary.write_bytes(content)
    return name


def _write_maps(place: Place, item: Predicted) -> str:
    """Store maps as `.npz`, compressed.

    Per image 0.5 MB at the paper's size, most of it `attention`: `cam_block*`
    `(h, w, C)` and `attention`, raw and signed, float32; `heatmaps` `(P, height,
    width)` in [0, 1], float16, of the `heatmap_pathologies`, which are those drawn;
    `relevance_weights` `(B, C)`, `pathologies` `(C,)`, `original_size`, `field`.
    """
    prediction = item.prediction
    drawn = place.options.choose(prediction.positives, prediction.ranked)
    heatmaps = [prediction.heatmap(name).astype("float16") for name in drawn]
    name = f"maps/{item.name}.npz"
    with write_whole(place.folder / name) as temporary:
        np.savez_compressed(
            temporary,
            **{f"cam_block{block}": cam for block, cam in prediction.cams.items()},
            attention=prediction.attention,
            heatmaps=np.array(heatmaps, "float16"),
            heatmap_pathologies=np.array(drawn, "str"),
            relevance_weights=prediction.relevance_weights,
            pathologies=np.array(prediction.pathologies),
            original_size=np.array(prediction.original_size),
            field=np.array(item.frame.corners),
        )
    return name


def _write_dicom(place: Place, item: Predicted) -> list[str] | str:
    """Write results of a DICOM file as DICOM; of others there are none.

    Returns:
        Names of files, or why there are none.
    """
    from keras_mscam.dicom_results import write_results

    try:
        source = read_bytes(Path(item.path))
        if find_format(source) != "dicom":
            return []
        paths = write_results(
            item.prediction,
            source,
            read_xray(source).pixels,
            place.folder / "dicom",
            item.name,
            place.model,
        )
    except UserError as error:
        return f"There are no results as DICOM: {error}"
    return [str(path.relative_to(place.folder)) for path in paths]


def _write_html(place: Place, item: Predicted, overlays: dict) -> dict[str, str]:
    from keras_mscam.batch_predict.image_report import render_report

    options, prediction = place.options, item.prediction
    if options.overlays != "all":
        options = replace(options, overlays="positive")  # even if they get no files
    report = render_report(
        place.title or place.model,
        item.path,
        item.picture,
        prediction,
        item.frame,
        options.choose(prediction.positives, prediction.ranked),
    )
    # A name need not be text. What can't be written as such is shown as `?`.
    page = report.encode(errors="replace")
    drawn = (overlays[name] for name in prediction.positives if name in overlays)
    top = next(drawn, None)
    picture = item.picture if top is None else top[..., ::-1]
    factor = min(1, _THUMBNAIL / max(picture.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return {
        "report": _write(place, f"reports/{item.name}.html", page),
        "thumbnail": _write(place, f"thumbnails/{item.name}.jpg", thumbnail.tobytes()),
    }


def _clean(name: str) -> str:
    """Return the name of a pathology as part of a file's name."""
    return name.translate(_SAFE)
