"""How long networks take, measured side by side."""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

#: How often each is called.
ROUNDS = 15
_WARM = 3


def measure_latencies(
    runs: Mapping[str, Callable[[np.ndarray], object]],
    images: np.ndarray,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Measure the median time of a call.

    All take turns, so that whatever else the machine does meets them alike.

    Args:
        runs: functions of images, by name.
        images: uint8 `(N, height, width)`, of one call.
        rounds: how often each is called.

    Returns:
        Seconds, by name.
    """
    for run in runs.values():
        for _ in range(_WARM):
            run(images)
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
