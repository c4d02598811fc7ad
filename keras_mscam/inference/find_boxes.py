"""From what a network gives to what an X-ray shows: positive pathologies and boxes."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.inference.contract import Contract
from keras_mscam.localization.boxes import find_shown, normalize_map
from keras_mscam.localization.fusion import fuse_maps


def find_boxes(
    contract: Contract,
    outputs: dict[str, np.ndarray],
    sizes: np.ndarray,
    heatmaps: dict[tuple[int, int], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the boxes that are shown of the positive pathologies, by NumPy and OpenCV.

    Args:
        contract: of the network, with C pathologies and K boxes at most.
        outputs: `probabilities` `(N, C)` and `cam_block*` `(N, h, w, C)`.
        sizes: `(N, 2)` `(height, width)` of the original images.
        heatmaps: of `fuse_positives`, if they are known already.

    Returns:
        Boxes `(N, C, K, 4)`, half-open xyxy in pixels of the original image, and scores
        `(N, C, K)`, each the probability times the mean heat of the region; 0 where
        there is no box.
    """
    images, pathologies = outputs["probabilities"].shape
    boxes = np.zeros((images, pathologies, contract.shown_max_boxes, 4), "float32")
    scores = np.zeros(boxes.shape[:-1], "float32")
    if heatmaps is None:
        heatmaps = fuse_positives(contract, outputs)
    for (row, column), heatmap in heatmaps.items():
        shown = find_shown(heatmap, tuple(sizes[row]), contract)
        found = len(shown.scores)
        boxes[row, column, :found] = shown.xyxy
        probability = outputs["probabilities"][row, column]
        scores[row, column, :found] = probability * shown.scores
    return boxes, scores


def find_positives(contract: Contract, probabilities):
    """Return which probabilities `(N, C)`, array or tensor, reach their thresholds."""
    thresholds = [2.0 if t is None else t for t in contract.probability_thresholds]
    return probabilities >= np.array(thresholds, "float32")


def fuse_positives(
    contract: Contract, outputs: dict[str, np.ndarray]
) -> dict[tuple[int, int], np.ndarray]:
    """Return `compute_heatmap` of every positive pathology, by row and column."""
    positives = np.argwhere(find_positives(contract, outputs["probabilities"]))
    return {
        (row, column): compute_heatmap(contract, outputs, row, column)
        for row, column in positives.tolist()
    }


def compute_heatmap(
    contract: Contract, outputs: dict[str, np.ndarray], row: int, column: int
) -> np.ndarray:
    """Fuse and normalize the maps of one image and pathology, by their numbers.

    Returns:
        float32 `(height, width)` in [0, 1], at the size that the network sees.
    """
    cams = [outputs[f"cam_block{block}"] for block in contract.blocks]
    maps = [cam[row, ..., [column]].transpose(1, 2, 0) for cam in cams]
    weights = np.array(contract.fusion_weights, "float32")[:, [column]]
    fused = fuse_maps(maps, weights, contract.image_size)[0]
    return normalize_map(fused, contract.normalization, contract.map_scales[column])


@dataclass(frozen=True)
class Box:
    """A predicted box.

    Args:
        pathology: its name.
        xyxy: `(x_min, y_min, x_max, y_max)`, half-open, in pixels of the image given.
        score: probability of the pathology times the mean heat of the region.
    """

    pathology: str
    xyxy: tuple[float, float, float, float]
    score: float
