"""What a prediction would be if blocks counted otherwise, or boxes were cut elsewhere.

The network isn't asked again: the maps of its blocks are fused and cut anew.
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

    The relevance weights, where maps are fused by them; all alike where each is in
    units of its own deviation.
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
    """Fuse one pathology's maps by other weights, and cut its boxes anew.

    Shares are divided by their sum, which puts them on the simplex. Where maps are
    fused in units of their deviation, so are these. Probabilities stay what they are:
    only maps and boxes change. The unit of an exponential normalization stays, too.

    Args:
        prediction: of a `Predictor`, with the maps of its blocks.
        pathology: the one to change.
        shares: B numbers of 0 or more, how much each block is to count; if all are 0,
            the map points nowhere.
        cam_thresholds: levels in [0, 1) at which boxes are cut; those of the model by
            default.

    Returns:
        The prediction with another contract, and with boxes of this pathology in place
        of all others: they are proposed whether it is positive or not. Without
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
    changed = replace(
        contract,
        fusion_weights=tuple(map(tuple, weights.tolist())),
        cam_thresholds=tuple(levels),
    )
    boxes = _cut(prediction, changed, column)
    return replace(prediction, contract=changed, boxes=boxes, attention=None)


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


def _cut(prediction: "Prediction", contract: Contract, column: int) -> tuple[Box, ...]:
    names = contract.pathologies
    alone = tuple(0.0 if place == column else None for place in range(len(names)))
    called = replace(contract, probability_thresholds=alone)
    outputs = {f"cam_block{block}": cam[None] for block, cam in prediction.cams.items()}
    values = [prediction.probabilities[name] for name in names]
    outputs["probabilities"] = np.array([values], "float32")
    height, width = prediction.original_size
    left, top, right, bottom = prediction.field or (0, 0, width, height)
    size = np.array([[bottom - top, right - left]])
    boxes, scores = find_boxes(called, outputs, size)
    boxes = boxes[0, column] + [left, top, left, top]
    return tuple(
        Box(names[column], tuple(map(float, box)), float(score))
        for box, score in zip(boxes, scores[0, column], strict=True)
        if score > 0
    )
