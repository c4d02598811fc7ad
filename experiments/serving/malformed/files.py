"""Image files in requests that are sound but for them, over either protocol."""

from random import Random

from malformed import calls, documents, images
from malformed.requests import GrpcRequest, Material, Request, Rows
from malformed.tensors import PREDICT


def ask(
    rng: Random, material: Material, files: list[bytes], valid, signature: str = ""
) -> Request:
    """Return a sound request for files that may be anything."""
    signature = signature or rng.choice(material.signatures)
    if rng.random() < 0.5:
        return documents.ask(material, signature, files, valid)
    data = calls.make_valid(material, signature, files)
    return GrpcRequest(PREDICT, data, rows=Rows(signature, tuple(valid)))


def spoil(rng: Random, material: Material) -> bytes:
    """Return a malformed file."""
    _, file = material.choose(rng)
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    makers = [*images.SMALL.values(), images.SIZES[kind]]
    return rng.choice(makers)(rng, file)


def send_valid(rng: Random, material: Material) -> Request:
    """A sound image."""
    number, file = material.choose(rng)
    return ask(rng, material, [file], [number])


def send_spoiled(name: str):
    """Return what makes requests with files that are spoiled in one way."""

    def build(rng: Random, material: Material) -> Request:
        _, file = material.choose(rng)
        return ask(rng, material, [images.SMALL[name](rng, file)], [None])

    return build


def send_size(rng: Random, material: Material) -> Request:
    """A file that says another size than it has."""
    _, file = material.choose(rng)
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    return ask(rng, material, [images.SIZES[kind](rng, file)], [None])


def send_batch(rng: Random, material: Material) -> Request:
    """Sound and malformed images together."""
    numbers, batch = [], []
    for _ in range(rng.choice((2, 3, 5))):
        number, file = material.choose(rng)
        is_sound = rng.random() < 0.4
        numbers.append(number if is_sound else None)
        batch.append(file if is_sound else spoil(rng, material))
    return ask(rng, material, batch, numbers)


def send_claim(rng: Random, material: Material) -> Request:
    """A bomb that its header gives away, beside a sound image."""
    number, file = material.choose(rng)
    bomb = images.CLAIMS[rng.choice(list(images.CLAIMS))]()
    return ask(rng, material, [bomb, file], [None, number])


def send_bomb(rng: Random, material: Material) -> Request:
    """A bomb that is worked on, beside a sound image."""
    number, file = material.choose(rng)
    bomb = images.BOMBS[rng.choice(list(images.BOMBS))]()
    return ask(rng, material, [bomb, file], [None, number], "probabilities")
