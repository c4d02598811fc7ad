"""Whether oneDNN pays: training with and without, each in a process of its own.

    python experiments/benchmarks/onednn.py
    ONEDNN_MAX_CPU_ISA=AVX2 python experiments/benchmarks/onednn.py

TensorFlow decides at its import, so the two can't take turns step by step: processes
take turns instead. The second line keeps oneDNN from using AVX-512 where there is any.
"""

import os
import statistics
import subprocess
import sys

import tyro

_NETWORKS = {"small_densenet": ((192, 192), 32), "densenet121": ((256, 256), 8)}


def main(rounds: int = 3, steps: int = 4, network: str | None = None) -> None:
    """Time both.

    Args:
        rounds: Processes of each kind, in turns.
        steps: Timed steps of a process.
        network: Print the seconds a step of this one in this process, nothing else.
    """
    if network is not None:
        print(_train(network, steps))
        return
    for name, (size, batch) in _NETWORKS.items():
        seconds = {"0": [], "1": []}
        for _ in range(rounds):
            for option, times in seconds.items():
                times.append(_time(name, steps, option))
        off, on = (statistics.median(times) for times in seconds.values())
        ratios = [a / b for a, b in zip(seconds["1"], seconds["0"], strict=True)]
        print(
            f"{name}, {size}, batch {batch}: {on / batch:.4f} s per image, "
            f"over without {on / off:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
            flush=True,
        )


def _time(network: str, steps: int, option: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--network", network, "--steps", str(steps)],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": option},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _train(network: str, steps: int) -> float:
    from timing import measure
    from training_step import make_step

    _, step = make_step(network, *_NETWORKS[network])
    step()
    return statistics.median(measure(step) for _ in range(steps))


if __name__ == "__main__":
    tyro.cli(main)
