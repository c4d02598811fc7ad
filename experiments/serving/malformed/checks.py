"""What is wrong with an answer."""

import base64
import json
import re

from malformed.requests import Request, RestRequest, Rows
from malformed.sending import Answer

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

Outputs = dict[str, np.ndarray]

#: Statuses that say that the server is at fault, or that nobody knows.
_FAULTS = {"500", "502", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"}
_NO_SENTENCE = re.compile(r"Traceback|File \"|\{\{node|\b0x[0-9a-f]{8}|\n")
_TOLERANCES = {"boxes": (1e-3, 0.05), "heatmaps": (0, 1)}


class Checker:
    """Remembers what was said first of each valid image, and compares with that."""

    def __init__(self):
        self.first: dict[tuple[str, int], Outputs] = {}
        self.valid = 0

    def check(self, request: Request, answer: Answer) -> tuple[str, str]:
        """Return the status to count, and what is wrong or "".

        An answer with unreadable images has a status of its own.
        """
        status = answer.status
        if status in ("closed", "left", "no answer"):
            return status, _check_silence(request, status)
        if status in _FAULTS:
            return status, f"the server is at fault: {answer.content[:200]!r}"
        if status not in ("200", "OK"):
            return status, _check_sentence(request, answer)
        if not getattr(request, "rows", None):
            return status, ""
        try:
            outputs = _read(request, answer)
            wrong = self._check_rows(request.rows, outputs)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return status, f"the answer can't be read: {error!r}"
        is_refused = any(outputs["error"]) if "error" in outputs else False
        return f"{status}, image error" if is_refused else status, wrong

    def _check_rows(self, rows: Rows, outputs: Outputs) -> str:
        if any(len(values) != len(rows.valid) for values in outputs.values()):
            return "the answer has more or fewer rows than the request"
        for place, number in enumerate(rows.valid):
            row = {name: np.asarray(values[place]) for name, values in outputs.items()}
            wrong = (
                _check_unknown(row)
                if number is None
                else self._compare(rows.signature, number, row)
            )
            if wrong:
                return f"row {place}: {wrong}"
        return ""

    def _compare(self, signature: str, number: int, row: Outputs) -> str:
        self.valid += 1
        first = self.first.setdefault((signature, number), row)
        if row["error"].item():
            return f"a valid image is refused: {row['error']}"
        for name, values in first.items():
            if values.dtype.kind in "OSU":
                if not np.array_equal(values, row[name]):
                    return f"{name} differs from the first answer"
                continue
            relative, absolute = _TOLERANCES.get(name, (1e-4, 1e-4))
            if not np.allclose(values, row[name], relative, absolute):
                most = np.abs(values - row[name].astype(float)).max()
                return f"{name} differs from the first answer by {most:.3g}"
        return ""


def _check_silence(request: Request, status: str) -> str:
    if status == "no answer":
        return "there was no answer in time"
    if status == "closed" and getattr(request, "whole", False):
        return "the connection was closed without an answer"
    return ""


def _check_sentence(request: Request, answer: Answer) -> str:
    if isinstance(request, RestRequest):
        if request.head:
            return ""
        try:
            text = json.loads(answer.content)["error"]
        except (ValueError, KeyError, TypeError):
            text = answer.content.decode("utf-8", "replace")
    else:
        text = answer.content.decode("utf-8", "replace")
    is_sentence = len(text.split()) >= 2 and len(text) < 2000
    if not is_sentence or _NO_SENTENCE.search(text):
        return f"the error is no sentence: {text[:300]!r}"
    return ""


def _check_unknown(row: Outputs) -> str:
    """Check what is said of an image that may be readable or not."""
    chances = row["probabilities"]
    if error := row["error"].item():
        if len(error.split()) < 2 or _NO_SENTENCE.search(error):
            return f"the image's error is no sentence: {error!r}"
        return "" if (chances == -1).all() else f"unreadable, but {chances}"
    return "" if ((chances >= 0) & (chances <= 1)).all() else f"readable: {chances}"


def _read(request: Request, answer: Answer) -> Outputs:
    if isinstance(request, RestRequest):
        rows = json.loads(answer.content)["predictions"]
        outputs = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    else:
        message = predict_pb2.PredictResponse.FromString(answer.content)
        outputs = {name: tf.make_ndarray(p) for name, p in message.outputs.items()}
    return {
        name: _decode(values) if values.dtype.kind in "OSU" else values
        for name, values in outputs.items()
    }


def _decode(values: np.ndarray) -> np.ndarray:
    flat = [
        base64.b64decode(item["b64"])
        if isinstance(item, dict)
        else (item.decode() if isinstance(item, bytes) else str(item))
        for item in values.ravel().tolist()
    ]
    decoded = np.empty(len(flat), object)
    decoded[:] = flat
    return decoded.reshape(values.shape)
