"""What loading has in common, whatever the library."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Say in one sentence that a file can't be loaded.

    Libraries raise what they like: `RuntimeError`, `ValueError`, classes of their own.

    Raises:
        UserError: the block failed.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} can't be loaded, it is damaged or of another version of the "
            f"format: {reason}"
        ) from error


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
