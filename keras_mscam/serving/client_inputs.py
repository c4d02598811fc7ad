"""What a client may give as an input."""

import numpy as np


def keep_bytes(values) -> np.ndarray:
    """Return an input as an array; bytes in a list keep the zeros at their end."""
    array = np.asarray(values)
    return np.asarray(values, object) if array.dtype.kind == "S" else array
