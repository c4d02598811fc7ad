"""Whether of the images called 30% likely, 30% show the pathology."""

import numpy as np

from keras_mscam.evaluation.known_labels import check_tables, take_known

STRATEGIES = ("quantile", "uniform")


def compute_reliability(
    labels: np.ndarray,
    probabilities: np.ndarray,
    pathologies: tuple[str, ...],
    bins: int = 10,
    strategy: str = "quantile",
) -> dict[str, dict[str, list]]:
    """Points of the reliability curve of each pathology.

    Probabilities are parted into bins `(edge[k], edge[k + 1]]`, the first with both
    its edges. With `"quantile"` edge k is the quantile `k / bins` of the probabilities,
    so that bins hold about equally many images; equal probabilities are never parted.
    With `"uniform"` it is `k / bins`; of a rare pathology nearly all images then lie in
    the first bin.

    Args:
        labels: `(images, C)`, 1, 0 or NaN; unknown ones are left out.
        probabilities: `(images, C)` in [0, 1].
        pathologies: C names.
        bins: number of them, at least 1. Empty ones are left out.
        strategy: `"quantile"` or `"uniform"`.

    Returns:
        By pathology, three lists with an entry a bin: `predicted` (mean probability),
        `observed` (fraction of the images that show it) and `images`. All empty where
        no label is known.

    Raises:
        ValueError: a probability is outside [0, 1], or the strategy is unknown.

    Example:
        >>> compute_reliability([[0], [1]], [[0.25], [0.5]], ("Mass",), bins=1)
        {'Mass': {'predicted': [0.375], 'observed': [0.5], 'images': [2]}}

    Reference:
        Niculescu-Mizil & Caruana 2005, "Predicting good probabilities with supervised
        learning". The bins are those of scikit-learn's `calibration_curve`.
    """
    labels, probabilities = check_tables(labels, probabilities, pathologies)
    return {
        name: bin_probabilities(
            *take_known(labels, probabilities, column, name)[1:], bins, strategy
        )
        for column, name in enumerate(pathologies)
    }


def bin_probabilities(
    truth: np.ndarray, probabilities: np.ndarray, bins: int, strategy: str
) -> dict[str, list]:
    """Compute `compute_reliability` of one pathology from its `(known,)` images."""
    if strategy not in STRATEGIES or bins < 1:
        raise ValueError(
            f"The strategy must be one of {STRATEGIES} and there must be bins, but got "
            f"{strategy!r} and {bins}."
        )
    check_probabilities(probabilities)
    if not len(truth):
        return {"predicted": [], "observed": [], "images": []}
    edges = np.linspace(0, 1, bins + 1)
    if strategy == "quantile":
        edges = np.quantile(probabilities, edges)
    place = np.searchsorted(edges[1:-1], probabilities)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    predicted = np.bincount(place, probabilities, bins)[filled] / images[filled]
    observed = np.bincount(place, truth, bins)[filled] / images[filled]
    return {
        "predicted": predicted.tolist(),
        "observed": observed.tolist(),
        "images": images[filled].tolist(),
    }


def check_probabilities(probabilities: np.ndarray) -> None:
    """Refuse what is no probability, such as a logit."""
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise ValueError("Probabilities must be in [0, 1]; are these logits?")
