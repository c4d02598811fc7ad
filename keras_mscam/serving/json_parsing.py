"""From the bytes of a request to bounded Python values."""

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from keras_mscam.serving.errors import refuse

#: Values, lists and objects of a document. An image of 2048x2048 numbers passes; at
#: most 80 bytes each, a document takes less than 400 MB.
MOST_ELEMENTS = 5_000_000
#: Lists within lists. The tensors of a model need five.
MOST_DEPTH = 64
#: The tokens that JSON lacks and TF Serving takes. Their identity tells them from a
#: number that is too big, which Python reads as infinity too.
INFINITY = float("inf")
MINUS_INFINITY = float("-inf")
_CONSTANTS = {"NaN": float("nan"), "Infinity": INFINITY, "-Infinity": MINUS_INFINITY}
_CHUNK = 1 << 20
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_IS_OPENING = np.zeros(256, np.int8)
_IS_OPENING[list(b"[{")] = 1
_WHITESPACE = re.compile(r"[ \t\n\r]*")


def parse_object(body: bytes) -> dict:
    """Parse a JSON object as TF Serving does, but within bounds.

    `NaN`, `Infinity` and `-Infinity` are numbers, a byte order mark is skipped, and
    bytes behind the object are not read. Unlike there, a key that comes twice is
    refused, since it can only be a mistake. The standard parser is used since `orjson`
    knows neither those numbers nor a way to see repeated keys.

    Args:
        body: of the request, UTF-8.

    Returns:
        The object: lists are `list`, objects `dict`, numbers `int` or `float`.

    Raises:
        ServingError: INVALID_ARGUMENT, with a sentence that says what is wrong where.
    """
    if not body or body.isspace():
        raise refuse("JSON Parse error: The document is empty.")
    check_bounds(body)
    try:
        text = body.decode("utf-8-sig")
        start = _WHITESPACE.match(text).end()
        with _pause_collection():
            document, _ = _DECODER.raw_decode(text, start)
    except UnicodeDecodeError as error:
        raise refuse(
            f"JSON Parse error: The document is not UTF-8 at offset: {error.start}."
        ) from error
    except json.JSONDecodeError as error:
        reason = error.msg.replace("Expecting value", "Invalid value")
        raise refuse(f"JSON Parse error: {reason} at offset: {error.pos}.") from error
    except ValueError as error:  # Python reads no integer of more than 4300 digits.
        raise refuse(
            "JSON Parse error: Number too big to be stored in double."
        ) from error
    if not isinstance(document, dict):
        raise refuse("JSON Value: the document Is not object, but must be one.")
    return document


def check_bounds(body: bytes) -> None:
    """Refuse a document of too many or too deeply nested elements, before parsing it.

    Takes no more memory than a copy of the document, whatever it holds.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    plain = body
    if b"\\" in body:
        # Without escapes a quotation mark is always the border of a string.
        plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    elements = depth = 0
    in_string = False
    for start in range(0, len(plain), _CHUNK):
        parts = plain[start : start + _CHUNK].split(b'"')
        outside = b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0
        brackets = np.frombuffer(outside.translate(None, _NOT_BRACKETS), np.uint8)
        opening = _IS_OPENING[brackets]
        elements += outside.count(b",") + int(opening.sum())
        if elements > MOST_ELEMENTS:
            raise refuse(
                f"The JSON document has more than {MOST_ELEMENTS} elements; send an "
                "image as base64 of its file, or use gRPC."
            )
        if brackets.size:
            depths = depth + np.cumsum(2 * opening - 1, dtype=np.int64)
            depth = int(depths[-1])
            if depths.max() > MOST_DEPTH:
                raise refuse(
                    f"The JSON document is nested more than {MOST_DEPTH} levels deep."
                )


@contextmanager
def _pause_collection() -> Iterator[None]:
    """Let lists and dicts be made without the search for cycles, which JSON lacks.

    That search would take two thirds of the time of a large document.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _make_object(pairs: list[tuple]) -> dict:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise refuse(f"A JSON object has the key {shorten(twice)} twice.")
    return result


def shorten(value) -> str:
    """Return a value for a message: short, whatever the value is."""
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return json.dumps(value[:40] + "..." if len(value) > 40 else value)
    if isinstance(value, int) and abs(value) > 1 << 70:
        return "a large integer"
    return json.dumps(value)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object, parse_constant=_CONSTANTS.__getitem__
)
