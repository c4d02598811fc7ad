"""AUROC and average precision under many weightings of the patients, from one sort."""

import numpy as np
from scipy.sparse import csr_array


class Ranking:
    """The images of one pathology in the order of their scores.

    Only where negatives lie between the *distinct* scores of positives counts. Level k
    is the k-th such score, from the lowest; negatives of stratum `2k` lie between
    levels k - 1 and k, those of stratum `2k + 1` at level k. Two sparse matrices count
    each patient's images there, and their products with a matrix of weights give the
    AUROCs of hundreds of resamples at once. With whole weights all sums are whole
    numbers, so equal rankings have exactly equal AUROCs.

    Args:
        truth: `(images,)` bool.
        scores: `(images,)`, finite.
        index: `(images,)` number of the patient of each.
        patients: how many patients there are.
    """

    def __init__(
        self, truth: np.ndarray, scores: np.ndarray, index: np.ndarray, patients: int
    ):
        levels, level = np.unique(scores[truth], return_inverse=True)
        stratum = np.searchsorted(levels, scores[~truth], side="left")
        stratum += np.searchsorted(levels, scores[~truth], side="right")
        size = len(levels)
        self._positives = _count(level, index[truth], (size, patients))
        self._negatives = _count(stratum, index[~truth], (2 * size + 1, patients))

    def compute_auroc(self, weights: np.ndarray) -> np.ndarray:
        """AUROC of each weighting.

        `auroc = sum_k positives[k] (below[k] + equal[k] / 2) / (positives negatives)`

        Args:
            weights: `(patients, W)`, how often each patient counts.

        Returns:
            `(W,)`; NaN where a class has no weight.

        Reference:
            Mann & Whitney 1947, ties counted half; weighted as scikit-learn's
            `roc_auc_score` does with `sample_weight`.
        """
        positives, below = self._weigh(weights)
        wins = (positives * (below[:-1:2] + below[1::2])).sum(axis=0) / 2
        return _divide(wins, positives.sum(axis=0) * below[-1])

    def compute_auprc(self, weights: np.ndarray) -> np.ndarray:
        """Average precision of each weighting, as scikit-learn defines it.

        `auprc = sum_k positives[k] / positives * tp[k] / (tp[k] + fp[k])`, with the
        counts of images at level k and above.

        Args:
            weights: `(patients, W)`, how often each patient counts.

        Returns:
            `(W,)`; NaN where a class has no weight.
        """
        positives, below = self._weigh(weights)
        tp = positives[::-1].cumsum(axis=0)[::-1]
        fp = below[-1] - below[:-1:2]
        precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp > 0)
        total = np.where(below[-1] > 0, positives.sum(axis=0), 0)
        return _divide((positives * precision).sum(axis=0), total)

    def _weigh(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weight of positives by level, of negatives up to each stratum."""
        return self._positives @ weights, (self._negatives @ weights).cumsum(axis=0)


def _count(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Count how often each place occurs; places that occur again are added up."""
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)
