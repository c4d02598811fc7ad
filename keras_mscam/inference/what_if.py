"""What a prediction would be under other shares of blocks, or other thresholds.

The network isn't run again: the maps of its blocks are fused and thresholded anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box, find_boxes

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction


def find_shares(contract: Contract, pathology: str) -> np.ndarray:
    """Return how much every block counts in the fused map, `(B,)` on the simplex.

    The relevance weights, where maps are fused by them; all alike where each is
    divided by its own standard deviation.
    """
    fused, relevance = _find_weights(contract, pathology)
    if np.allclose(fused, relevance):
        return relevance
    return np.full(len(fused), 1 / len(fused))


def change_prediction(
    prediction: "Prediction",
    pathology: str,
    shares: Sequence[float],
    cam_thresholds: Sequence[float] | None = None,
) -> "Prediction":
    """Fuse one pathology's maps by other weights, and find its boxes anew.

    Shares are divided by their sum, which puts them on the simplex. Where maps are
    divided by their standard deviations, so are these. Probabilities and the scale of
    an exponential normalization stay what they are.

    Args:
        prediction: of a `Predictor`, with the maps of its blocks.
        pathology: the one to change.
        shares: B numbers of 0 or more, how much each block is to count; if all are 0,
            the map points nowhere.
        cam_thresholds: thresholds in [0, 1); those of the model by default.

    Returns:
        The prediction with another contract, and with boxes of this pathology in place
        of all others, whether it is positive or not. Without
        `attention`, which was fused by the model's weights.

    Raises:
        UserError: the prediction has no maps or no contract, no such pathology, or
            shares that don't fit.
    """
    contract = _check(prediction, pathology, shares)
    column = contract.pathologies.index(pathology)
    shares = np.asarray(shares, float)
    shares = shares / (shares.sum() or 1)
    fused, relevance = _find_weights(contract, pathology)
    # What a block weighs when it alone counts.
    scale = 1.0 if np.allclose(fused, relevance) else fused * len(fused)
    weights = np.array(contract.fusion_weights)
    weights[:, column] = shares * scale
    levels = list(contract.cam_thresholds)
    if cam_thresholds is not None:
        levels[column] = tuple(map(float, cam_thresholds))
    contract = replace(
        contract,
        fusion_weights=tuple(map(tuple, weights.tolist())),
        cam_thresholds=tuple(levels),
    )
    changed = replace(prediction, contract=contract, attention=None, heatmaps={})
    return replace(changed, boxes=_find_boxes(changed, pathology))


def _find_weights(contract: Contract, pathology: str) -> tuple[np.ndarray, np.ndarray]:
    column = contract.pathologies.index(pathology)
    return (
        np.array(contract.fusion_weights)[:, column],
        np.array(contract.relevance_weights)[:, column],
    )


def _check(prediction: "Prediction", pathology: str, shares) -> Contract:
    contract = prediction.contract
    if contract is None or not prediction.cams:
        raise UserError(
            "Only a prediction of a Predictor, with its maps, can be explored: a "
            "server's answer doesn't hold what maps are fused and cut by."
        )
    if pathology not in contract.pathologies:
        raise UserError(
            f"The model has no pathology {pathology!r}; it has "
            f"{', '.join(contract.pathologies)}."
        )
    values = np.asarray(shares, float)
    if values.shape != (len(contract.blocks),) or not (values >= 0).all():
        raise UserError(
            f"The shares {list(shares)} must be {len(contract.blocks)} numbers of 0 or "
            "more, one for each block."
        )
    return contract


def _find_boxes(prediction: "Prediction", pathology: str) -> tuple[Box, ...]:
    """Find the boxes of one pathology, positive or not."""
    contract = prediction.contract
    column = contract.pathologies.index(pathology)
    probabilities = np.array([list(prediction.probabilities.values())], "float32")
    height, width = prediction.original_size
    left, top, right, bottom = prediction.field or (0, 0, width, height)
    boxes, scores = find_boxes(
        contract,
        {"probabilities": probabilities},
        np.array([[bottom - top, right - left]]),
        {(0, column): prediction.heatmap(pathology)},
    )
    return tuple(
        Box(pathology, tuple(map(float, box)), float(score))
        for box, score in zip(
            boxes[0, column] + [left, top, left, top], scores[0, column], strict=True
        )
        if score > 0
    )
