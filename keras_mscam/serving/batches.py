"""Several requests as one batch of arrays, and its outputs apart again."""

import numpy as np

Arrays = dict[str, np.ndarray]


class RowsDifferError(Exception):
    """A graph gave more or fewer rows than it was given: they belong to no request."""


def get_kind(inputs: Arrays) -> tuple:
    """Return what requests must have in common to be one batch."""
    return tuple(
        (name, value.dtype.str, value.shape[1:])
        for name, value in sorted(inputs.items())
    )


def count_rows(inputs: Arrays) -> int:
    """Return the size of the batch."""
    return len(next(iter(inputs.values())))


def count_bytes(inputs: Arrays) -> int:
    """Return how much memory arrays take, with the strings in them."""
    strings = [value for value in inputs.values() if value.dtype == object]
    return sum(value.nbytes for value in inputs.values()) + sum(
        len(string) for value in strings for string in value.flat
    )


def cut(inputs: Arrays, most: int) -> list[Arrays]:
    """Cut a request into pieces of so many rows at most."""
    return [
        {name: value[start : start + most] for name, value in inputs.items()}
        for start in range(0, count_rows(inputs), most)
    ]


def concatenate(parts: list[Arrays]) -> Arrays:
    """Put rows behind each other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(outputs: Arrays, sizes: list[int]) -> list[Arrays]:
    """Give every request its rows.

    Args:
        outputs: of the whole batch.
        sizes: rows of each request.

    Raises:
        RowsDifferError: an output has not as many rows as the requests together.
    """
    total = sum(sizes)
    if any(value.ndim == 0 or len(value) != total for value in outputs.values()):
        raise RowsDifferError
    parts, start = [], 0
    for size in sizes:
        # Copies: a slice would keep the whole batch in memory.
        rows = slice(start, start + size)
        parts.append({name: value[rows].copy() for name, value in outputs.items()})
        start += size
    return parts
