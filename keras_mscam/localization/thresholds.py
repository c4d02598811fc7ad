"""Where a map is cut: fixed levels, Otsu's, or tuned on boxes."""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

#: Candidates of a tuned threshold.
GRID = tuple(level / 20 for level in range(1, 20))
#: Parts that patients fall into; each is cut at what is best on the others.
FOLDS = 5
#: Levels for the heatmap of a pathology in an image of a patient.
Levels = Callable[[str, str, np.ndarray], tuple[float, ...]]


def fixed_thresholds(cam_thresholds: tuple[float, ...]) -> Levels:
    """Cut every map at the same levels."""
    return lambda pathology, patient, heatmap: cam_thresholds


def otsu_thresholds(
    pathology: str, patient: str, heatmap: np.ndarray
) -> tuple[float, ...]:
    """Cut a map where its values fall best into two classes (Otsu 1979)."""
    grey = np.rint(255 * heatmap).astype("uint8")
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # `grey > level` means more than half a grey level above it.
    return (min((level + 0.5) / 255, 1 - 1e-6),)


def tuned_thresholds(
    best_iou: np.ndarray, pathologies: list[str], patients: list[str], oracle: bool
) -> Levels:
    """Cut each pathology's maps where the boxes of *other* patients are met best.

    Patients fall into five parts by a checksum of their identifier. The maps of a part
    are cut at the candidate with the highest mean IoU over the ground-truth boxes of the
    others, so no patient's boxes decide how that patient is judged.

    Args:
        best_iou: `(boxes, candidates)`, for every ground-truth box and every level of `GRID`,
            the highest IoU of a box cut there.
        pathologies: of each ground-truth box.
        patients: of each ground-truth box.
        oracle: choose on the evaluated boxes themselves. That is no result, but a bound
            on one, and must be called so.

    Returns:
        Levels; 0.5 for a pathology of which no other patient has a box.
    """
    names, folds = np.array(pathologies), np.array([find_fold(p) for p in patients])
    table = {}
    for pathology in dict.fromkeys(pathologies):
        for fold in range(FOLDS):
            seen = (names == pathology) & (oracle | (folds != fold))
            if seen.any():
                choice = int(best_iou[seen].mean(axis=0).argmax())
                table[pathology, fold] = GRID[choice]
    return lambda pathology, patient, heatmap: (
        table.get((pathology, find_fold(patient)), 0.5),
    )


def best_thresholds(best_iou: np.ndarray, pathologies: list[str]) -> dict[str, float]:
    """Choose the level for each pathology that meets all ground-truth boxes best.

    For a model that goes on to other patients. On the patients of these boxes, it would
    be an oracle.

    Args:
        best_iou: `(boxes, candidates)`, as of `tuned_thresholds`.
        pathologies: of each ground-truth box.

    Returns:
        By pathology that has a ground-truth box: the candidate of the highest mean IoU.
    """
    names = np.array(pathologies)
    return {
        name: GRID[int(best_iou[names == name].mean(axis=0).argmax())]
        for name in dict.fromkeys(pathologies)
    }


def find_fold(patient: str) -> int:
    """Return the part that a patient falls into, the same in every run."""
    return zlib.crc32(patient.encode()) % FOLDS
