"""Where the time of a training step goes on TensorFlow, by kind of operation.

python experiments/benchmarks/step_profile.py
"""

import re
import tempfile
from collections import Counter
from pathlib import Path

import tensorflow as tf
import tyro
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from training_step import make_step

_KINDS = {
    "batch normalization": r"bn(_\d+)?/|BatchNorm",
    "convolutions": r"Conv2D",
    "ReLU": r"Relu",
    "pooling": r"Pool",
    "concatenating": r"Concat|Slice",
    "heads": r"MatMul|cam_block|block_combination",
    "Adam": r"adam",
}


def main(
    network: str = "densenet121",
    size: tuple[int, int] = (256, 256),
    batch: int = 8,
    steps: int = 4,
) -> None:
    """Print the share of every kind, forwards and backwards.

    Args:
        network: A backbone.
        size: Height and width of the images.
        batch: Images in a step.
        steps: Steps that are profiled.
    """
    _, step = make_step(network, size, batch)
    for _ in range(2):
        step()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                step()
        seconds = _add_up(Path(folder))
    print(
        f"{network}, {size}, {batch} images: {seconds.total() / steps:.2f} s a step\n"
    )
    print("| kind | forwards | backwards |\n| --- | --- | --- |")
    for kind in [*_KINDS, "other"]:
        shares = [seconds[kind, way] / seconds.total() for way in (False, True)]
        print(f"| {kind} | {shares[0]:.1%} | {shares[1]:.1%} |")


def _add_up(folder: Path) -> Counter:
    """Return the seconds of operations, by kind and by whether they go backwards."""
    space = xplane_pb2.XSpace()
    (file,) = folder.rglob("*.xplane.pb")
    space.ParseFromString(file.read_bytes())
    seconds = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if re.search(r"/.*:", name):  # path of a layer, kind of operation
                    key = _find_kind(name), "gradient_tape" in name
                    seconds[key] += event.duration_ps / 1e12
    return seconds


def _find_kind(name: str) -> str:
    found = (kind for kind, pattern in _KINDS.items() if re.search(pattern, name))
    return next(found, "other")


if __name__ == "__main__":
    tyro.cli(main)
