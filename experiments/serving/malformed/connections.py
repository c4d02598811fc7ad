"""REST: what isn't HTTP, or lies about what follows, or never ends."""

import functools
import gzip
import zlib
from random import Random

from malformed.documents import get_path, post, write_body
from malformed.requests import Material, RestRequest

_HOST = "\r\nHost: localhost"


def send_bytes(rng: Random, _: Material) -> RestRequest:
    """Random bytes, or other protocols."""
    data = rng.choice(
        (
            rng.randbytes(rng.choice((1, 16, 300, 5000))),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(64),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(20),
            b"\r\n" * rng.choice((1, 5000)),
            b"GET " + rng.randbytes(20) + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/" + rng.randbytes(3) + b"\r\n\r\n",
            b"GET /\r\n",
            b"\0" * 4000,
        )
    )
    return RestRequest(data, whole=False, end="finish")


def send_path(rng: Random, material: Material) -> RestRequest:
    """Methods and paths of no resource."""
    name = material.name
    methods = (
        *("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"),
        *("CONNECT", "PROPFIND", "get", "FOO"),
    )
    paths = (
        *("/", "//", "*", "/v1", "/v1/", "/v1/models", "/v1/models/", "/v1/models/:"),
        f"/v1/models/{name}", f"/v1/models/{name}/", f"/v1/models/{name}:predict",
        f"/v1/models/{name}:regress", f"/v1/models/{name}:classify",
        f"/v1/models/{name}:PREDICT", f"/v1/models/{name}:delete",
        f"/v1/models/{name}/metadata", f"/v1/models/{name}/versions/0:predict",
        f"/v1/models/{name}/versions/{'9' * rng.choice((5, 19, 20, 5000))}:predict",
        f"/v1/models/{name}/versions/-1", f"/v1/models/{name}/labels/none:predict",
        f"/v1/models/{name}/labels/%00%ff", f"/v1/models/{'x' * 9000}",
        "/v1/models/%2e%2e%2f%2e%2e", "/v1/models/../../etc/passwd",
        "/v1/models/no_such_model", "/v1/models/no_such_model/versions/1:predict",
        "/v1/models/no_such_model:predict", f"/v1/models/{name}?x=1", "/?" + "a" * 9000,
        "/v1/models/" + "%41" * 2000, "/v1/models/%", "/v1/models/%zz:predict",
        "/monitoring/prometheus/metrics/../x", "/healthz/x", "http://other/v1/models/x",
    )  # fmt: skip
    method, path = rng.choice(methods), rng.choice(paths)
    body = rng.choice(("", '{"instances":["x"]}'))
    head = f"{method} {path} HTTP/1.1{_HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
    return RestRequest(
        (head + body).encode("latin-1"),
        whole=method not in ("CONNECT", "get", "FOO"),
        head=method == "HEAD",
    )


def send_names(rng: Random, material: Material) -> RestRequest:
    """Unknown models, versions, labels and signatures."""
    name = rng.choice((material.name, material.name, "other", "%00", "a" * 300, "%ff"))
    place = rng.choice(
        ("", "/versions/2", "/versions/0", f"/versions/{2**63 - 1}",
         f"/versions/{2**63}", "/labels/stable", "/labels/" + "l" * 300, "/labels/%f0")
    )  # fmt: skip
    signature = rng.choice(
        ("none", "Probabilities", " probabilities", "x" * 500, "a\nb", "\0", "é", "__x")
    )
    return post(f"/v1/models/{name}{place}:predict", write_body(signature, [b"x"]))


def send_header(rng: Random, material: Material) -> RestRequest:
    """Header fields that are wrong, too many, too long or twice."""
    body = b'{"instances":["x"]}\r\n'  # so that it also is a line
    length = f"Content-Length: {len(body)}"
    fields = rng.choice(
        (
            [length, "X-A: " + "a" * rng.choice((1000, 20_000, 200_000))],
            [length] + [f"X-{i}: {i}" for i in range(rng.choice((50, 3000)))],
            [length, length],
            [length, "Content-Length: 3"],
            [length, "Transfer-Encoding: chunked"],
            [length, "Transfer-Encoding: gzip, chunked"],
            ["Content-Length: -5"], ["Content-Length: 1e3"], ["Content-Length: +19"],
            ["Content-Length: " + "9" * 30], ["Content-Length: \xb2"],
            [length, "Content-Encoding: br"], [length, "Content-Encoding: gzip"],
            [length, "Content-Encoding: " + "gzip," * 50], [length, "No colon here"],
            [length, ": no name"], [length, "X-\0: 1"], [length, "X-A: \0\x01\x7f"],
            [length, " folded: 1"], [length, "X-\xe9: \xff"], [length, "Host: a, b"],
            [length, "Expect: 100-continue"], [length, "Expect: the unexpected"],
            [length, "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"],
            [length, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"],
            [length, "Connection: close"], [length, "Connection: \xff"],
            [length, "Content-Type: image/png"], [length, "Accept: text/html"],
            [length, "X-Request-Id: " + "i" * 500], [length, "Authorization: Basic ="],
            [length, "Range: bytes=0-1"], [length, "Origin: null"],
        )
    )  # fmt: skip
    version = rng.choice(("1.1", "1.1", "1.1", "1.0", "0.9", "2.0", "1.2"))
    head = "\r\n".join([f"POST {get_path(material)} HTTP/{version}{_HOST}", *fields])
    # What comes behind the header may be read as the next request, or be missing.
    return RestRequest(head.encode("latin-1") + b"\r\n\r\n" + body, whole=False)


def send_length(rng: Random, material: Material) -> RestRequest:
    """A Content-Length that isn't the length, or chunks that are none."""
    body = write_body("probabilities", [b"x"])
    start = f"POST {get_path(material)} HTTP/1.1{_HOST}\r\n".encode()
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    size = b"%x\r\n" % len(body)
    said, whole = rng.choice(
        (
            (start + b"Content-Length: %d\r\n\r\n" % (len(body) + 9) + body, False),
            (start + b"Content-Length: %d\r\n\r\n" % (len(body) - 9) + body, True),
            (start + b"Content-Length: 0\r\n\r\n" + body, True),
            (start + b"\r\n" + body, True),
            (start + b"Content-Length: %d\r\n\r\n" % (1 << 33) + body, True),
            (start + b"Content-Length: %d\r\n\r\n" % (1 << 70) + body, True),
            (chunked + size + body + b"\r\n0\r\n\r\n", True),
            (chunked + size + body + b"\r\n", False),
            (chunked + b"zz\r\n" + body, False),
            (chunked + b"-5\r\n" + body, False),
            (chunked + b"f" * 17 + b"\r\n" + body, False),
            (chunked + b"5\r\n" + body, False),
            (chunked + b"0\r\n\r\n", True),
            (chunked + b"1\r\n{\r\n" * 3000 + b"0\r\n\r\n", True),
            (chunked + b"1;" + b"x" * 9000 + b"\r\n{\r\n0\r\n\r\n", False),
            (chunked + b"0\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", False),
        )
    )
    end = "wait" if whole else "finish"
    return RestRequest(said, whole=whole, end=end, keeps=False)


@functools.cache
def _gzip_zeros(size: int) -> bytes:
    packer, parts = zlib.compressobj(9, wbits=31), []
    for _ in range(0, size, 1 << 24):
        parts.append(packer.compress(bytes(1 << 24)))
    return b"".join(parts) + packer.flush()


def send_gzip(rng: Random, material: Material) -> RestRequest:
    """Gzip that is damaged, cut, or unfolds to gigabytes."""
    sound = gzip.compress(write_body("probabilities", [b"x"]))
    bomb = _gzip_zeros(1 << 30) if rng.random() < 0.02 else _gzip_zeros(1 << 24)
    body = rng.choice(
        (sound[:-9], sound[:5], sound + b"more", rng.randbytes(90), b"", 2 * sound,
         bomb, sound[:20] + rng.randbytes(9) + sound[29:], gzip.compress(sound))
    )  # fmt: skip
    return post(get_path(material), body, Content_Encoding="gzip")


def stall(rng: Random, material: Material) -> RestRequest:
    """Half a request, and then silence."""
    whole = post(get_path(material), write_body("probabilities", [b"x"])).data
    body_at = whole.index(b"\r\n\r\n") + 4
    return RestRequest(
        whole[: rng.choice((0, 4, body_at - 9, body_at, body_at + 5, len(whole) - 1))],
        whole=False,
    )


def leave(rng: Random, material: Material) -> RestRequest:
    """A request, whole or not, whose client goes away without waiting."""
    whole = post(
        get_path(material), write_body("boxes", [material.choose(rng)[1]])
    ).data
    end = rng.choice((len(whole), len(whole), rng.randrange(len(whole))))
    return RestRequest(whole[:end], whole=False, end="leave")


def send_too_much(rng: Random, material: Material) -> RestRequest:
    """More than a server takes, in chunks that don't say so beforehand."""
    head = f"POST {get_path(material)} HTTP/1.1{_HOST}\r\nTransfer-Encoding: chunked"
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    return RestRequest(head.encode() + b"\r\n\r\n" + chunk * 80, whole=False)


def send_endless_header(rng: Random, material: Material) -> RestRequest:
    """Megabytes of header fields without an end."""
    head = f"POST {get_path(material)} HTTP/1.1{_HOST}\r\n".encode()
    fields = rng.choice((b"X-A: " + b"a" * 90 + b"\r\n", b"a"))
    return RestRequest(head + fields * (20_000_000 // len(fields)), whole=False)
