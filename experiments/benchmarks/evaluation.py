"""What evaluating costs once predictions are stored: seconds and peak memory.

    python experiments/benchmarks/evaluation.py --images 1000 --pathologies 8
    python experiments/benchmarks/evaluation.py --images 25596 --pathologies 14

The predictions are made up, at the size that the paper's network has: three blocks of
32, 16 and 8 positions a side for images of 256x256, with hills eight positions apart.
984 images have a ground-truth box, as in ChestX-ray14, spread over eight pathologies.
All fourteen T(IoU) and T(IoBB), boxes of every block alone, both baselines, FROC and
1,000 bootstrap resamples are included.
"""

import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.evaluation.calibration import calibrate_on
from keras_mscam.evaluation.measure import locate_all, measure
from keras_mscam.evaluation.split_outputs import read_predictions

import cv2
import numpy as np
import tyro

PART, SIDES, BLOCKS, BOXED = 256, (32, 16, 8), (2, 3, 4), 8


def run(images: int = 1000, pathologies: int = 8, seed: int = 0) -> None:
    """Store predictions, then measure them; print what it took.

    Args:
        images: Number of images.
        pathologies: Number of pathologies; eight of them have boxes.
        seed: Of the maps.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        store(folder, images, pathologies, np.random.default_rng(seed))
        started = time.perf_counter()
        predictions = read_predictions(folder)
        calibration = calibrate_on([predictions], model="")
        calibrated = time.perf_counter()
        protocol = LocalizationConfig()
        systems, fusion = locate_all(predictions, calibration, protocol)
        measure(predictions, calibration, protocol, systems, fusion)
        ended = time.perf_counter()
    finally:
        shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{images} images, {pathologies} pathologies:")
    print(f"calibrating    {calibrated - started:7.1f} s")
    print(f"measuring      {ended - calibrated:7.1f} s")
    print(f"peak memory    {peak:7.0f} MiB")


def store(folder: Path, images: int, pathologies: int, rng) -> None:
    """Write made-up predictions as `keras_mscam.evaluation.split_outputs` does."""
    content = {
        "pathologies": [f"P{c}" for c in range(pathologies)],
        "blocks": BLOCKS,
        "image_size": [256, 256],
        "relevance_weights": np.full((3, pathologies), 1 / 3).tolist(),
    }
    (folder / "predictions.json").write_text(json.dumps(content))
    every = max(1, images // 984)
    for first in range(0, images, PART):
        rows = np.arange(first, min(first + PART, images))
        boxed = rows[rows % every == 0]
        corner = rng.uniform(0, 600, (len(boxed), 2))
        columns = boxed // every % min(BOXED, pathologies)
        labels = (rng.random((len(rows), pathologies)) < 0.1).astype("float32")
        labels[boxed - first, columns] = 1
        logits = rng.normal(size=labels.shape) + labels
        maps = {
            f"cam_block{block}": draw_maps(rng, len(rows), side, pathologies)
            for block, side in zip(BLOCKS, SIDES, strict=True)
        }
        np.savez_compressed(
            folder / f"part-{first // PART:05d}.npz",
            names=np.array([f"{row:08d}.png" for row in rows]),
            patients=np.array([f"{row // 4:08d}" for row in rows]),
            labels=labels,
            logits=logits.astype("float32"),
            block_logits=np.repeat(logits[:, None], 3, axis=1).astype("float32"),
            original_sizes=np.full((len(rows), 2), 1024),
            box_rows=boxed,
            box_columns=columns,
            box_xyxy=np.concatenate(
                [corner, corner + rng.uniform(50, 400, corner.shape)], 1
            ),
            **{name: cams.astype("float16") for name, cams in maps.items()},
        )


def draw_maps(rng, images: int, side: int, pathologies: int) -> np.ndarray:
    """Draw `(images, side, side, pathologies)` smooth noise with a little rough one."""
    coarse = rng.normal(
        size=(images, max(2, side // 8), max(2, side // 8), pathologies)
    )
    smooth = [cv2.resize(maps, (side, side)) for maps in coarse]
    return np.stack(smooth) + 0.05 * rng.normal(size=(images, side, side, pathologies))


if __name__ == "__main__":
    tyro.cli(run)
