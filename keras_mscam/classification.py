"""How well probabilities part the images that show a pathology from the others."""

import warnings

import numpy as np
from sklearn.metrics import roc_auc_score


def compute_auroc(
    labels: np.ndarray, probabilities: np.ndarray, pathologies: tuple[str, ...]
) -> dict[str, float]:
    """Area under the ROC curve of each pathology.

    Args:
        labels: `(images, pathologies)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, pathologies)`, or logits: only their order counts.
        pathologies: names of the columns.

    Returns:
        By pathology; NaN, with a warning, where only one class is present.

    Example:
        >>> compute_auroc(np.array([[0], [1]]), np.array([[0.2], [0.7]]), ("Mass",))
        {'Mass': 1.0}
    """
    result = {}
    for column, pathology in enumerate(pathologies):
        known = ~np.isnan(labels[:, column].astype(float))
        truth = labels[known, column]
        if len(np.unique(truth)) < 2:
            warnings.warn(
                f"The AUROC of {pathology} is undefined: of {len(truth)} images, "
                f"{int(np.sum(truth))} show it.",
                stacklevel=2,
            )
            result[pathology] = float("nan")
            continue
        result[pathology] = float(roc_auc_score(truth, probabilities[known, column]))
    return result
