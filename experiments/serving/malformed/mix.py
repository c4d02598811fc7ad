"""Which kinds of requests there are, and how often each comes."""

from random import Random

from malformed import calls, connections, documents, files, tensors
from malformed.images import SMALL
from malformed.requests import Material, Request

#: Name to share (per 10,000) and maker. Kinds that take seconds are a small part: what
#: is slow at every server, such as an image of 81 million pixels, would be all that a
#: run measures.
KINDS = {
    "valid image": (300, files.send_valid),
    "batch of valid and malformed images": (250, files.send_batch),
    **{
        f"image: {name}": (200, files.send_spoiled(name))
        for name in SMALL
    },
    "image: says another size": (200, files.send_size),
    "image: bomb by its header": (50, files.send_claim),
    "image: bomb that is worked on": (10, files.send_bomb),
    "REST: no HTTP": (500, connections.send_bytes),
    "REST: method or path": (800, connections.send_path),
    "REST: model, version, signature": (500, connections.send_names),
    "REST: header field": (700, connections.send_header),
    "REST: length or chunks": (500, connections.send_length),
    "REST: gzip": (200, connections.send_gzip),
    "REST: body of random bytes": (400, documents.send_noise),
    "REST: JSON cut": (500, documents.cut_json),
    "REST: JSON mutated": (500, documents.mutate_json),
    "REST: JSON of wrong types": (600, documents.send_wrong_type),
    "REST: JSON nested, long, doubled": (400, documents.send_odd_json),
    "REST: JSON of megabytes": (6, documents.send_giant),
    "REST: numbers of wrong shape": (300, tensors.send_shape),
    "REST: numbers, ragged": (200, tensors.send_ragged),
    "REST: half a request, stalled": (30, connections.stall),
    "REST: client leaves": (100, connections.leave),
    "REST: over the limit": (4, connections.send_too_much),
    "REST: endless header": (4, connections.send_endless_header),
    "gRPC: no HTTP/2": (200, calls.send_bytes),
    "gRPC: random message": (500, calls.send_noise),
    "gRPC: message mutated": (600, calls.mutate_message),
    "gRPC: message nested": (150, calls.nest_message),
    "gRPC: model, version, names": (500, calls.send_names),
    "gRPC: status, metadata": (300, calls.ask_about),
    "gRPC: tensor": (600, tensors.send_tensor),
    "gRPC: strings": (400, tensors.send_strings),
    "gRPC: names to draw": (100, tensors.send_chosen),
    "gRPC: one value, many pixels": (10, tensors.send_large_pixels),
    "gRPC: over the limit": (6, calls.send_too_large),
    "gRPC: deadline at once": (100, calls.hurry),
}  # fmt: skip


def make_request(seed: int, number: int, material: Material) -> tuple[str, Request]:
    """Return kind and content of a request, which depend on nothing but its number."""
    rng = Random(f"{seed} {number}")
    shares = [share for share, _ in KINDS.values()]
    (kind,) = rng.choices(list(KINDS), shares)
    return kind, KINDS[kind][1](rng, material)
