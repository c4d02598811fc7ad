"""Times of two functions that take turns, so that a busy machine hits both alike."""

import time
from collections.abc import Callable

import numpy as np


def report(
    title: str, a, b, steps: int, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Print the ratio of the times of two functions that take turns."""
    for function in (a, b, a, b):
        function()
    ratios, times = [], []
    for step in range(steps):
        pair = (a, b) if step % 2 else (b, a)
        elapsed = {function: measure(function, clock=clock) for function in pair}
        ratios.append(elapsed[a] / elapsed[b])
        times.append(elapsed[a])
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    print(
        f"{title}: {middle:.3f} [{low:.3f}, {high:.3f}], "
        f"{np.median(times):.2f} s a step",
        flush=True,
    )


def measure(
    function, *arguments, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds that a call takes, by a clock."""
    start = clock()
    function(*arguments)
    return clock() - start
