"""The files of one image, and its line in `predictions.jsonl`."""

import base64
import json
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from isal import isal_zlib

from keras_mscam.batch_predict.settings import Options
from keras_mscam.errors import DiskError, UserError
from keras_mscam.files import name_files, write_whole
from keras_mscam.images.png_jpeg import PNG_START
from keras_mscam.images.reader import find_format, read_bytes, read_xray
from keras_mscam.images.resize import choose_shape, shrink
from keras_mscam.inference.prediction import Prediction
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.localization.protocol import describe_shown
from keras_mscam.visualization.overlay import draw_overlay
from keras_mscam.visualization.style import MAP_COLOURS, read_template

_UP = 2  # the filter by which a row is stored as its difference from the one above
_DIGITS = 6
_THUMBNAIL = 224
_BLOCK_SIDE = 160


@dataclass(frozen=True)
class Place:
    """Where results go, and what they are."""

    folder: Path
    model: str
    options: Options
    title: str  # what reports call the model


@dataclass(frozen=True, eq=False)
class Predicted:
    """An image whose files are to be written."""

    path: str
    name: str  # that its files have, see `Names`
    stamp: tuple[int, int]
    picture: np.ndarray  # uint8, at the size it is drawn at; empty if it isn't
    prediction: Prediction


def finish(place: Place, item: Predicted) -> str:
    """Write the files of an image.

    Returns:
        Its line for the journal.

    Raises:
        DiskError: a file can't be written.
    """
    options, prediction, files = place.options, item.prediction, {}
    chosen = options.choose(prediction.positives, prediction.ranked)
    overlays = {
        name: draw_overlay(item.picture, prediction, name, item.picture.shape)
        for name in chosen
    }
    if overlays:
        parts = name_files(prediction.pathologies)
        files["overlays"] = {
            name: _write(
                place, f"overlays/{item.name}.{parts[name]}.png", encode_png(overlay)
            )
            for name, overlay in overlays.items()
        }
    if options.maps:
        files["maps"] = _write_maps(place, item, chosen)
    if options.dicom:
        try:
            files["dicom"] = _write_dicom(place, item)
        except DiskError:
            raise
        except UserError as error:
            reason = f"There are no results as DICOM: {error}"
            said = (*prediction.warnings, reason)
            item = replace(item, prediction=replace(prediction, warnings=said))
    if options.html:
        files |= _write_html(place, item, overlays)
    return json.dumps(describe_prediction(item, files))


def describe_prediction(item: Predicted, files: dict) -> dict:
    """Return what is stored of an image that was read.

    Plain values for JSON: boxes are in pixels of the file, and with `millimetres` where
    the file says how far its pixels are apart; `files` by kind are relative to the
    folder of results.
    """
    prediction = item.prediction
    content = prediction.to_dict()
    del content["error"]
    content["probabilities"] = {
        name: round(value, _DIGITS) for name, value in prediction.probabilities.items()
    }
    content["boxes"] = _describe_boxes(prediction)
    return {
        "path": item.path,
        "status": "read",
        "stamp": list(item.stamp),
        "name": item.name,
        "positives": list(prediction.positives),
        **content,
        "files": files,
    }


def _describe_boxes(prediction: Prediction) -> list[dict]:
    spacing = prediction.pixel_spacing
    return [
        {
            "pathology": box.pathology,
            "xyxy": [round(value, 3) for value in box.xyxy],
            "score": round(box.score, _DIGITS),
            **({"millimetres": measure_box(box.xyxy, spacing)} if spacing else {}),
        }
        for box in prediction.boxes
    ]


def measure_box(
    xyxy: tuple[float, float, float, float], pixel_spacing: tuple[float, float]
) -> dict[str, float]:
    """Measure a box in mm and square mm, where its pixels are `(down, across)` apart.

    Example:
        >>> measure_box((0, 0, 100, 50), (0.2, 0.1))
        {'width': 10.0, 'height': 10.0, 'area': 100.0}
    """
    left, top, right, bottom = xyxy
    width = (right - left) * pixel_spacing[1]
    height = (bottom - top) * pixel_spacing[0]
    measured = {"width": width, "height": height, "area": width * height}
    return {name: round(value, 3) for name, value in measured.items()}


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

    def chunk(kind: bytes, data: bytes) -> bytes:
        length, checksum = len(data), zlib.crc32(kind + data)
        return struct.pack(">I", length) + kind + data + struct.pack(">I", checksum)

    data = chunk(b"IDAT", isal_zlib.compress(filtered, 1))
    return PNG_START + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def _write(place: Place, name: str, content: bytes) -> str:
    with write_whole(place.folder / name) as temporary:
        temporary.write_bytes(content)
    return name


def _write_maps(place: Place, item: Predicted, drawn: tuple[str, ...]) -> str:
    """Store maps as `.npz`, compressed.

    Per image 0.5 MB at the paper's size, most of it `attention`: `cam_block*`
    `(h, w, C)` and `attention`, raw and signed, float32; `heatmaps` `(P, height,
    width)` in [0, 1], float16, of the `heatmap_pathologies`, which are those drawn;
    `relevance_weights` `(B, C)`, `pathologies` `(C,)`, `original_size`, `field`.
    """
    prediction = item.prediction
    heatmaps = [prediction.heatmap(name) for name in drawn]
    name = f"maps/{item.name}.npz"
    with write_whole(place.folder / name) as temporary:
        maps: dict[str, Any] = {
            **{f"cam_block{block}": cam for block, cam in prediction.cams.items()},
            "attention": prediction.attention,
            "heatmaps": np.array(heatmaps, "float16"),
            "heatmap_pathologies": np.array(drawn, "str"),
            "relevance_weights": prediction.relevance_weights,
            "pathologies": np.array(prediction.pathologies),
            "original_size": np.array(prediction.original_size),
            "field": np.array(prediction.corners),
        }
        np.savez_compressed(temporary, **maps)
    return name


def _write_dicom(place: Place, item: Predicted) -> list[str]:
    """Write results of a DICOM file as DICOM; of others there are none.

    The file is read again. Its pixels, 10 MB at full size, would wait by the hundred
    for the network and for a process that draws.
    """
    from keras_mscam.dicom_results import write_results

    source = read_bytes(item.path)
    if find_format(source) != "dicom":
        return []
    pixels = read_xray(source).pixels
    folder = place.folder / "dicom"
    paths = write_results(
        item.prediction, source, pixels, folder, item.name, place.model
    )
    return [str(path.relative_to(place.folder)) for path in paths]


def _write_html(place: Place, item: Predicted, overlays: dict) -> dict[str, str]:
    options, prediction = place.options, item.prediction
    if options.overlays != "all":
        options = replace(options, overlays="positive")  # even if they get no files
    chosen = options.choose(prediction.positives, prediction.ranked)
    report = render_report(place.title, item.path, item.picture, prediction, chosen)
    picture = item.picture
    top = next((name for name in prediction.positives if name in chosen), None)
    if top is not None:
        overlay = overlays.get(top)
        if overlay is None:
            overlay = draw_overlay(picture, prediction, top, picture.shape)
        picture = overlay[..., ::-1]
    shape = choose_shape(picture.shape[:2], longest_side=_THUMBNAIL)
    return {
        # A name need not be text. What can't be written as such is shown as `?`.
        "report": _write(
            place, f"reports/{item.name}.html", report.encode(errors="replace")
        ),
        "thumbnail": _write(
            place,
            f"thumbnails/{item.name}.jpg",
            _encode_jpeg(shrink(picture, shape), 80),
        ),
    }


def render_report(
    model: str,
    path: str,
    picture: np.ndarray,
    prediction: Prediction,
    pathologies: tuple[str, ...],
) -> str:
    """Return the report of one image as HTML that needs nothing beside it.

    The prediction needs the maps of the blocks. Those of `pathologies` are shown, or of
    the most probable one, if there are none.
    """
    contract = prediction.require_contract()
    return read_template("image.html.jinja").render(
        model=model,
        path=path,
        prediction=prediction,
        xray=_embed(picture),
        shape=picture.shape,
        probabilities=[
            (name, prediction.probabilities[name]) for name in prediction.ranked
        ],
        thresholds=contract.thresholds,
        positives=prediction.positives,
        boxes=_describe_boxes(prediction),
        shown=describe_shown(contract),
        maps=[
            _describe_maps(name, picture, prediction)
            for name in pathologies or prediction.ranked[:1]
        ],
    )


def _describe_maps(name: str, picture: np.ndarray, prediction: Prediction) -> dict:
    column = prediction.pathologies.index(name)
    weights = np.asarray(prediction.relevance_weights)
    overlay = draw_overlay(picture, prediction, name, picture.shape)
    left, top, right, bottom = prediction.corners
    down, across = np.divide(picture.shape, prediction.original_size)
    field = round((bottom - top) * down), round((right - left) * across)
    shape = choose_shape(field, longest_side=_BLOCK_SIDE)
    return {
        "name": name,
        "probability": prediction.probabilities[name],
        "overlay": _embed(overlay[..., ::-1]),
        "blocks": [
            {
                "block": block,
                "size": cam.shape[:2],
                "weight": float(weights[row, column]),
                "map": _embed(_colour(cam[..., column], shape)),
            }
            for row, (block, cam) in enumerate(prediction.cams.items())
        ],
    }


def _colour(cam: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a map between its own minimum and maximum, BGR."""
    heat = cv2.resize(normalize_map(cam), shape[::-1], interpolation=cv2.INTER_LINEAR)
    colours = matplotlib.colormaps[MAP_COLOURS](np.arange(256), bytes=True)[:, 2::-1]
    return colours[np.rint(255 * heat).astype("uint8")]


def _embed(picture: np.ndarray) -> str:
    """Return grey or BGR as a data URL."""
    data = base64.b64encode(_encode_jpeg(picture, 88)).decode()
    return f"data:image/jpeg;base64,{data}"


def _encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", picture, options)[1].tobytes()
