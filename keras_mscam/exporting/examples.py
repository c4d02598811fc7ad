"""X-rays of nobody, in the forms that files come in: to check, warm up and show by."""

import base64
import functools
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from keras_mscam.inference.contract import Contract
from keras_mscam.inference.runtimes.tensorflow_keras import run_signature
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit

_SEED = 2018


class ExampleFile(NamedTuple):
    """An image file."""

    name: str  # with its suffix
    data: bytes
    # whether its size is a power of 2 times what the network sees, so that every
    # resampler averages whole pixels and gives the same
    whole: bool


@functools.cache
def draw_examples(image_size: tuple[int, int]) -> tuple[ExampleFile, ...]:
    """Draw radiographs with findings; encode them: PNG and JPEG, 8 and 16 bits, odd.

    They are the same for the same `(height, width)` that the network sees.
    """
    height, width = image_size
    same, double = (height, width), (2 * height, 2 * width)
    odd = (3 * height // 2 + 7, 2 * width + 31)
    small = (height * 2 // 3, width * 3 // 4)
    deep = _draw(same)
    # 16 bits, of which the lower 8 are not those of the upper.
    deep = deep.astype("uint16") * 256 + 255 - deep
    files = {
        "grey.png": _draw(same),
        "colour.png": cv2.cvtColor(_draw(double), cv2.COLOR_GRAY2BGR),
        "photo.jpg": cv2.cvtColor(_draw(double), cv2.COLOR_GRAY2BGR),
        "deep.png": deep,
        "odd.png": _draw(odd),
        "small.jpg": _draw(small),
    }
    return tuple(
        ExampleFile(
            name,
            cv2.imencode(Path(name).suffix, image)[1].tobytes(),
            name not in ("odd.png", "small.jpg"),
        )
        for name, image in files.items()
    )


def run_example(signatures: dict, contract: Contract) -> dict[str, dict]:
    """Return the outputs of every signature on the first example."""
    return {
        name: run_signature(signatures[name], **inputs)
        for name, inputs in _list_requests(contract, 1)
    }


def write_examples(contract: Contract, outputs: dict[str, dict], export: Path) -> None:
    """Write an example, its request and answer, and what warms a server up.

    `outputs` are those of `run_example`, `export` holds `saved_model.pb`.
    """
    place = export / "assets.extra" / "examples"
    place.mkdir()
    first = draw_examples(contract.image_size)[0]
    (place / first.name).write_bytes(first.data)
    image = {"b64": base64.b64encode(first.data).decode()}
    request = {"signature_name": "boxes", "instances": [{"image_bytes": image}]}
    (place / "request.json").write_text(json.dumps(request) + "\n", encoding="utf-8")
    answer = {name: values[0] for name, values in outputs["boxes"].items()}
    text = json.dumps({"predictions": [answer]}, indent=1, default=_to_plain)
    (place / "response.json").write_text(text + "\n", encoding="utf-8")
    # The first run of a graph takes many times as long.
    path = export / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for images in (1, 4):
            for signature, inputs in _list_requests(contract, images):
                request = predict_pb2.PredictRequest(
                    model_spec={"name": contract.name, "signature_name": signature},
                    inputs={k: tf.make_tensor_proto(v) for k, v in inputs.items()},
                )
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())


def _to_plain(value: bytes | np.ndarray) -> str | list:
    return value.decode() if isinstance(value, bytes) else value.tolist()


def _list_requests(contract: Contract, images: int) -> list[tuple[str, dict]]:
    """Return each signature with inputs of so many images."""
    files = [example.data for example in draw_examples(contract.image_size)[:images]]
    pixels = np.full((images, *contract.image_size, 1), 128)
    encoded = ("serving_default", "boxes", "probabilities", "heatmaps")
    return [
        *((name, {"image_bytes": files}) for name in encoded),
        ("overlay", {"image_bytes": files, "chosen": [""] * images}),
        ("tensor", {"image": pixels.astype("float32")}),
        ("tensor_uint8", {"image": pixels.astype("uint8")}),
    ]


def _draw(size: tuple[int, int]) -> np.ndarray:
    """Draw a chest with at least one finding, for each size another."""
    for patient in range(size[0] + size[1], 10**6):
        visit = sample_visit(_SEED, patient, 0)
        phantom = render_phantom(sample_anatomy(_SEED, patient), visit, size)
        if phantom.lesions:
            return phantom.image
    raise AssertionError("one patient in two has a finding")
