"""REST: paths, and JSON documents that aren't what they should be."""

import base64
import json
from random import Random

from malformed.requests import Material, RestRequest, Rows

_MOST = 4_900_000  # elements that a server may take


def post(path: str, body: bytes, rows: Rows | None = None, **headers) -> RestRequest:
    """Return a sound HTTP request with any body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return RestRequest(head.encode("latin-1") + body, rows=rows)


def get_path(material: Material) -> str:
    """Return where predictions are asked for."""
    return f"/v1/models/{material.name}:predict"


def write_body(signature: str, files: list[bytes], chosen: bool = False) -> bytes:
    """Return a sound document in rows."""
    rows = [{"b64": base64.b64encode(file).decode()} for file in files]
    if chosen:
        rows = [{"image_bytes": row, "chosen": ""} for row in rows]
    return json.dumps({"signature_name": signature, "instances": rows}).encode()


def ask(material: Material, signature: str, files: list[bytes], valid) -> RestRequest:
    """Return a sound request for files that may be anything."""
    body = write_body(signature, files)
    return post(get_path(material), body, Rows(signature, tuple(valid)))


def send_noise(rng: Random, material: Material) -> RestRequest:
    """Random bytes as body."""
    return post(get_path(material), rng.randbytes(rng.choice((0, 1, 9, 500, 9000))))


def cut_json(rng: Random, material: Material) -> RestRequest:
    """A document without its end."""
    body = write_body("probabilities", [material.choose(rng)[1]])
    end = rng.choice((rng.randrange(80), rng.randrange(len(body))))
    return post(get_path(material), body[:end])


def mutate_json(rng: Random, material: Material) -> RestRequest:
    """A document with some bytes changed."""
    body = bytearray(write_body("probabilities", [material.choose(rng)[1][:900]]))
    end = rng.choice((80, len(body)))
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(end)
        body[place] = rng.choice((rng.randrange(256), rng.choice(b'{}[]",:0')))
    return post(get_path(material), bytes(body))


def send_wrong_type(rng: Random, material: Material) -> RestRequest:
    """A value of another type at some place."""
    values = (
        None, True, 0, -1, 1.5, 1e308, "", "text", [], {}, [[]], [None], [[1], [2]],
        {"b64": 3}, {"b64": "***"}, {"b64": "AAA"}, {"b64": "AA==", "x": 1}, {"x": 1},
        {"b64": "\ud800"}, "\ud83d", ["a", 1], [["a"], "a"], "\0", 10**400,
    )  # fmt: skip
    value, other = rng.choice(values), rng.choice(values)
    document = rng.choice(
        (
            value,
            {"instances": value},
            {"inputs": value},
            {"instances": [value]},
            {"instances": [value, other]},
            {"instances": [{"image_bytes": value}]},
            {"inputs": {"image_bytes": value}},
            {"inputs": {"image_bytes": [value, other]}},
            {"inputs": {"image_bytes": ["x"], "other": value}},
            {"signature_name": value, "instances": ["x"]},
            {"signature_name": "tensor", "instances": value},
            {"signature_name": "tensor", "inputs": {"image": value}},
            {"signature_name": "tensor_uint8", "instances": [value]},
            {"signature_name": "overlay", "instances": [value, other]},
            {"signature_name": "overlay", "inputs": {"image_bytes": ["x"],
                                                     "chosen": value}},
            {"signature_name": "overlay", "inputs": {"image_bytes": ["x", "y"],
                                                     "chosen": ["Mass,,", "\ud800"]}},
            {"signature_name": "overlay", "inputs": {"image_bytes": ["x", "y"],
                                                     "chosen": ["Mass", "No,Such"]}},
            {"instances": ["x"], "inputs": ["x"]},
            {},
        )
    )  # fmt: skip
    return post(get_path(material), json.dumps(document).encode())


def send_odd_json(rng: Random, material: Material) -> RestRequest:
    """What some parsers take and others don't, or don't survive."""
    deep = rng.choice((63, 64, 65, 1000, 100_000))
    many = rng.choice((1000, 30_000))
    start = b'{"signature_name":"tensor","instances":'
    body = rng.choice(
        (
            b"[" * deep,
            b"[" * deep + b"]" * deep,
            start + b"[" * deep + b"1" + b"]" * deep + b"}",
            b'{"a":' * deep + b"1" + b"}" * deep,
            b'{"instances":[' + b"{}," * many + b"{}]}",
            b'{"instances":[' + b"1," * many + b"1]}",
            b'{"instances":["x"],"instances":["x"]}',
            b'{"instances":[{"image_bytes":"x","image_bytes":"y"}]}',
            b'{"instances":["\xff\xfe"]}',
            b'{"instances":["\xed\xa0\x80"]}',
            b'\xef\xbb\xbf{"instances":["x"]}',
            '{"instances":["x"]}'.encode("utf-16"),
            start + b"[[[[NaN]]]]}",
            start + b"[[[[-Infinity],[1]]]]}",
            start + b"[[[[1e999]]]]}",
            start + b"[[[[" + b"9" * deep + b"]]]]}",
            start + b"[[[[0." + b"1" * deep + b"]]]]}",
            start + b"[[[[1e-" + b"9" * deep + b"]]]]}",
            start + b"[[[[01]]]]}",
            start + b"[[[[+1]]]]}",
            start + b"[[[[0x10]]]]}",
            b'{"instances":["x"],}',
            b"{'instances':['x']}",
            b'{"instances":["x"]} // more',
            b'{"instances":["\\u12"]}',
            b'{"instances":["\\ud800"]}',
            b'{"instances":["a\nb"]}',
            b'{"' + b"k" * many + b'":1}',
            b'{"signature_name":"' + b"k" * many + b'","instances":["x"]}',
            b'"' + b"\\" * many + b'"',
            b"{" + b",".join(b'"%d":0' % i for i in range(many)) + b"}",
        )
    )
    return post(get_path(material), body)


def send_giant(rng: Random, material: Material) -> RestRequest:
    """A document of megabytes."""
    start = b'{"signature_name":"tensor","instances":'
    count = rng.choice((_MOST, 2 * _MOST))
    return post(
        get_path(material),
        rng.choice(
            (
                start + b"[[" + b"1," * count + b"1]]}",
                start + b"[" + b"[1]," * (count // 3) + b"[1]]}",
                start + b'["' + b"A" * 40_000_000 + b'"]}',
                b'{"instances":["' + b"\\u0041" * 5_000_000 + b'"]}',
                start + b"[[[[" + b"7" * 20_000_000 + b"]]]]}",
                start + b"[" + b"[1,2]," * (count // 5) + b"[1]]}",
                b'{"instances":[' + b'{"a":{}},' * (count // 6) + b"{}]}",
                b" " * 50_000_000 + b"{}",
            )
        ),
    )
