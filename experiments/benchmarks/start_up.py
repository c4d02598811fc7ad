"""What a command takes before it has done anything, beside importing TensorFlow.

    python experiments/benchmarks/start_up.py

Every command is a process of its own; they take turns. The X-ray is a synthetic one,
and the network the one that comes with the package.
"""

import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from keras_mscam.phantom import write_phantoms

import numpy as np
import tyro


def main(rounds: int = 5) -> None:
    """Print a Markdown table.

    Args:
        rounds: Turns; the first, which finds no file in memory, isn't counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(f"{folder}/phantoms", 1, size=(1024, 1024), progress=False)
        (image,) = Path(folder, "phantoms", "images").iterdir()
        numbers = count()
        commands = {
            "import tensorflow": lambda: ["-c", "import tensorflow"],
            "import keras_mscam": lambda: ["-c", "import keras_mscam"],
            "keras_mscam --help": lambda: ["-m", "keras_mscam", "--help"],
            "keras_mscam-train --help": lambda: [
                "-m", "keras_mscam", "train", "--help",
            ],
            "keras_mscam-predict, one X-ray": lambda: [
                "-m", "keras_mscam", "predict", image,
                "--output", f"{folder}/{next(numbers)}",
            ],
        }  # fmt: skip
        times = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(
                    [sys.executable, *map(str, command())],
                    capture_output=True,
                    check=True,
                )
                times[name].append(time.perf_counter() - start)
    print("| command | seconds | over importing TensorFlow |")
    print("| --- | --- | --- |")
    imports = np.array(times["import tensorflow"][1:])
    for name, found in times.items():
        seconds = np.median(found[1:])
        ratio = np.quantile(np.array(found[1:]) / imports, [0.5, 0.25, 0.75])
        print(
            f"| `{name}` | {seconds:.2f} | {ratio[0]:.2f} "
            f"[{ratio[1]:.2f}, {ratio[2]:.2f}] |"
        )


if __name__ == "__main__":
    tyro.cli(main)
