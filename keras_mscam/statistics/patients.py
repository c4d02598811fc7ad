"""Drawing patients again: the images of one aren't independent of each other."""

from collections.abc import Iterator

import numpy as np

#: Numbers that one chunk of resamples may take for each row of a table: 16 MB.
_CELLS = 2**21


def index_patients(patients: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the patients.

    The numbers depend on the set of identifiers alone, not on the order of images, so
    that two systems evaluated in different orders still get the same draws.

    Args:
        patients: `(images,)` identifiers, strings or numbers.

    Returns:
        `(images,)` numbers, and how many patients there are.

    Example:
        >>> index_patients(np.array(["b", "a", "b"]))
        (array([1, 0, 1]), 2)
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    return index, len(names)


def draw_patients(
    count: int, resamples: int, seed: int, rows: int
) -> Iterator[np.ndarray]:
    """Draw as many patients as there are, with replacement, again and again.

    The draws depend on `count` and `seed` alone: the first ones of 1000 resamples are
    those of 10, however they are cut into chunks.

    Args:
        count: number of patients, at least 1.
        resamples: how often.
        seed: of the draws.
        rows: length of the longest table that is computed for each resample, which
            bounds the resamples in a chunk.

    Yields:
        `(count, chunk)` float64: how often each patient was drawn.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(rows, count))
    for first in range(0, resamples, chunk):
        columns = [
            np.bincount(rng.integers(0, count, count), minlength=count)
            for _ in range(min(chunk, resamples - first))
        ]
        yield np.stack(columns, axis=1).astype("float64")
