"""What the boxes cost that an exported model finds in its own graph.

    python experiments/benchmarks/graph_boxes.py

TensorFlow's operations and OpenCV take turns over the same maps; medians, in
milliseconds an image of so many maps, and how many maps got the same boxes and scores.
"""

from keras_mscam.exporting.graph.map_boxes import extract_boxes, normalize_maps
from keras_mscam.localization import boxes as by_opencv

import cv2
import numpy as np
import tensorflow as tf
import tyro
from timing import measure

THRESHOLD = 0.35
KEPT = 8

_MAPS = tf.TensorSpec((None, None, None), tf.float32)


def main(images: int = 32, maps: int = 5, size: int = 256, steps: int = 15) -> None:
    """Time both.

    Args:
        images: Images a batch.
        maps: Maps an image.
        size: Height and width of a map.
        steps: Timed calls of each.
    """
    rng = np.random.default_rng(0)
    print(f"{images} images of {maps} maps, {size}x{size}, threshold {THRESHOLD}")
    print("| maps | graph | OpenCV | OpenCV, boxes alone | equal |")
    print("| --- | --- | --- | --- | --- |")
    smooth = draw_smooth(rng, images * maps, size)
    _compare("smooth", smooth, images, steps)
    _compare("smooth, of one image", smooth[:maps], 1, steps)
    _compare("smooth, one", smooth[:1], 1, steps)
    for name, mask in draw_adversarial(rng, size).items():
        heat = np.where(mask, rng.uniform(0.75, 1, mask.shape), 0).astype("float32")
        _compare(name, np.repeat(heat[None], 4 * maps, axis=0), 4, 3)
    cams = tf.constant(10 * smooth)
    units = tf.ones(len(cams))
    for normalization in ("min_max", "exponential"):
        seconds = _median(lambda n=normalization: _normalize(cams, n, units), steps)
        print(
            f"to normalize, {normalization}: {1e3 * seconds / images:.2f} ms an image"
        )


def draw_smooth(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Maps such as three blocks make: noise of three sizes, enlarged and added up."""
    cams = np.zeros((count, size, size), "float32")
    for small in (8, 16, 32):
        for cam in cams:
            noise = rng.normal(size=(small, small)).astype("float32")
            cam += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    return normalize_maps(tf.constant(cams)).numpy()


def draw_adversarial(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Masks of as many runs, regions or joints as there can be."""
    y, x = np.indices((size, size))
    middle = size / 2
    turn = np.arctan2(y - middle, x - middle) / (2 * np.pi)
    return {
        "checkerboard": (y + x) % 2 == 0,
        "isolated pixels": (y % 2 == 0) & (x % 2 == 0),
        "columns": x % 2 == 0,
        "diagonals": (y + x) % 3 == 0,
        "noise, a fifth": rng.random((size, size)) < 0.2,
        "noise, 0.4": rng.random((size, size)) < 0.4,
        "two spirals": (np.hypot(y - middle, x - middle) / 6 + 2 * turn) % 1 < 0.5,
        "Sierpinski": (x & y) == 0,
    }


def _compare(name: str, heat: np.ndarray, images: int, steps: int) -> None:
    tensor = tf.constant(heat)
    ours, theirs, alone = [], [], []
    for _ in range(2):
        xyxy, scores = _find(tensor)
    for _ in range(steps):
        ours.append(measure(_find, tensor))
        theirs.append(measure(_find_by_opencv, heat))
        alone.append(measure(_find_alone, heat))
    equal = sum(
        np.array_equal(_pad(found.xyxy), boxes)
        and np.array_equal(_pad(found.scores), s)
        for found, boxes, s in zip(
            _find_by_opencv(heat), xyxy.numpy(), scores.numpy(), strict=True
        )
    )
    times = [f"{1e3 * np.median(t) / images:.2f}" for t in (ours, theirs, alone)]
    print("|", " | ".join([name, *times]), f"| {equal} of {len(heat)} |", flush=True)


@tf.function(input_signature=[_MAPS])
def _find(heatmaps: tf.Tensor):
    return extract_boxes(heatmaps, THRESHOLD, 0.0, 1.0, KEPT)


_normalize = tf.function(normalize_maps)


def _find_by_opencv(heat: np.ndarray) -> list[by_opencv.PredictedBoxes]:
    found = [by_opencv.extract_boxes(one, one.shape, (THRESHOLD,)) for one in heat]
    size = heat.shape[1:]
    return [by_opencv.select_shown(boxes, size, 1.0, KEPT) for boxes in found]


def _find_alone(heat: np.ndarray) -> None:
    for one in heat:
        by_opencv.find_boxes(one, THRESHOLD)


def _pad(values: np.ndarray) -> np.ndarray:
    padded = np.zeros((KEPT, *values.shape[1:]), "float32")
    padded[: len(values)] = values
    return padded


def _median(function, steps: int) -> float:
    function()
    return float(np.median([measure(function) for _ in range(steps)]))


if __name__ == "__main__":
    tyro.cli(main)
