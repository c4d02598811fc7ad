"""The threshold of a map: fixed, Otsu's, or tuned on boxes."""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

#: Candidates of a tuned threshold.
GRID = tuple(step / 20 for step in range(1, 20))
#: Parts that patients fall into; each is thresholded as is best on the others.
FOLDS = 5
#: Gives the thresholds for the heatmap of a pathology in an image of a patient.
ThresholdRule = Callable[[str, str, np.ndarray], tuple[float, ...]]


def fixed_thresholds(cam_thresholds: tuple[float, ...]) -> ThresholdRule:
    """Threshold every map at the same values."""
    return lambda pathology, patient, heatmap: cam_thresholds


def otsu_thresholds(
    pathology: str, patient: str, heatmap: np.ndarray
) -> tuple[float, ...]:
    """Threshold a map where its values fall best into two classes (Otsu 1979)."""
    grey = np.rint(255 * heatmap).astype("uint8")
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # `grey > threshold` means more than half a grey level above it.
    return (min((threshold + 0.5) / 255, 1 - 1e-6),)


def tuned_thresholds(
    best_iou: np.ndarray, pathologies: list[str], patients: list[str], oracle: bool
) -> ThresholdRule:
    """Threshold each pathology's maps as is best for the boxes of *other* patients.

    Patients fall into five parts by a checksum of their identifier. The maps of a part
    are thresholded at the candidate with the highest mean IoU over the ground-truth
    boxes of the others, so no patient's boxes decide how that patient is judged.

    Args:
        best_iou: `(boxes, candidates)`, for every ground-truth box and every threshold
            of `GRID`, the highest IoU of a box predicted there.
        pathologies, patients: of each ground-truth box.
        oracle: choose on the evaluated boxes themselves. That is no result, but a bound
            on one, and must be named so.

    Returns:
        The rule; 0.5 for a pathology of which no other patient has a box.
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


def find_fold(patient: str) -> int:
    """Return the part that a patient falls into, the same in every run."""
    return zlib.crc32(patient.encode()) % FOLDS
