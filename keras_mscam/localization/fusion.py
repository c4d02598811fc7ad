"""Several maps become one: which weight each block has in the fused map."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Fusion:
    """How the maps of B blocks are fused, pathology by pathology.

    `attention[..., c] = sum_b weights[b, c] * resize(cam_b)[..., c]`

    Args:
        weights: `(B, C)`.
        scale: `(C,)`, `sum_b weights[b, c] * deviations[b, c]`: the standard deviation
            that the fused map would have if all blocks said the same.
    """

    weights: np.ndarray
    scale: np.ndarray


def build_fusion(
    method: str, relevance_weights: np.ndarray, deviations: np.ndarray
) -> Fusion:
    """Build the fusion of a configuration.

    `"relevance"`: the weights that the classifier learned (the paper, eq. 3). They were
    learned to classify, and follow the block whose logit does that best.
    `"standardized"`: `1 / (B * deviations)`. Every block counts alike, on the scale
    of its own standard deviation: a peak counts by how rare it is in that block's maps.

    Args:
        method: `"relevance"` or `"standardized"`.
        relevance_weights: `(B, C)`.
        deviations: `(B, C)` standard deviation of each block's maps, see
            `measure_deviations`. A map that never varies has weight 0.

    Reference:
        Sedai et al. 2018, eq. 3 (`"relevance"`).
    """
    weights = np.asarray(relevance_weights, "float64")
    if method == "standardized":
        weights = np.divide(
            1 / len(deviations), deviations, out=np.zeros_like(weights),
            where=deviations > 0,
        )  # fmt: skip
    return Fusion(weights.astype("float32"), (weights * deviations).sum(axis=0))


def measure_deviations(parts: Iterable[Sequence[np.ndarray]]) -> np.ndarray:
    """Measure the standard deviation of every block's maps over images and positions.

    Args:
        parts: of the images, with the maps of every block, `(images, h, w, C)`.

    Returns:
        `(B, C)` float64. Images with a value that isn't finite are left out.
    """
    moments = sum(
        np.stack([_sum_moments(cams.astype("float64")) for cams in maps])
        for maps in parts
    )
    count, total, squares = np.moveaxis(np.asarray(moments), 1, 0)
    mean = total / np.maximum(count, 1)
    variance = squares / np.maximum(count, 1) - mean**2
    return np.sqrt(np.maximum(variance, 0))


def fuse_maps(
    cams: Sequence[np.ndarray], weights: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Fuse the raw maps of one image, enlarged bilinearly with half-pixel centres.

    Args:
        cams: B arrays `(h, w, C)`, raw and signed.
        weights: `(B, C)`.
        size: `(height, width)` of the result.

    Returns:
        `(C, height, width)` float32.

    Reference:
        Sedai et al. 2018, eq. 3.
    """
    fused = np.zeros((*size, weights.shape[1]), "float32")
    for cam, row in zip(cams, weights, strict=True):
        weighted = np.asarray(cam * row, "float32")
        enlarged = cv2.resize(weighted, size[::-1], interpolation=cv2.INTER_LINEAR)
        fused += enlarged.reshape(fused.shape)
    return np.ascontiguousarray(np.moveaxis(fused, -1, 0))


def _sum_moments(cams: np.ndarray) -> np.ndarray:
    """Return number, sum and sum of squares of each pathology's values, `(3, C)`."""
    finite = np.isfinite(cams).all(axis=(1, 2), keepdims=True)
    values = np.where(finite, cams, 0)
    positions = cams.shape[1] * cams.shape[2]
    axes = (0, 1, 2)
    return np.stack(
        [finite.sum(axes) * positions, values.sum(axes), (values**2).sum(axes)]
    )
