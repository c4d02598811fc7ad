"""Other weights and other thresholds, against maps that can be fused in the head."""

from dataclasses import replace

import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

# A hot cell of each block on 4 x 6 cells: above on the left, below on the right.
FIRST, SECOND = np.zeros((2, 4, 6), "float32")
FIRST[1, 1], SECOND[2, 4] = 1, 1


def make_contract(fusion=((0.75, 0.5), (0.25, 0.5)), **changes):
    contract = Contract(
        "toy", ("Mass", "Nodule"), (3, 4), (4, 6), (4, 6),
        ((0.75, 0.5), (0.25, 0.5)), fusion, (1.0, 1.0), (0.0, 0.0), (0.5, None),
        "min_max", (1.0, 1.0), 0.5, 0.0, 1.0, 5,
    )  # fmt: skip
    return replace(contract, **changes)


def make_prediction(contract=None, **changes):
    arguments = {
        "probabilities": {"Mass": 0.8, "Nodule": 0.1},
        "original_size": (40, 60),
        "cams": {
            block: np.stack([cam, cam], axis=-1)
            for block, cam in ((3, FIRST), (4, SECOND))
        },
        "attention": np.zeros((4, 6, 2), "float32"),
        "relevance_weights": np.array([[0.75, 0.5], [0.25, 0.5]]),
        "contract": contract or make_contract(),
        "image": np.full((40, 60), 100, "uint8"),
    }
    return Prediction(**{**arguments, **changes})


def corners(prediction):
    return {box.xyxy for box in prediction.boxes}


# The hot cells, 10 x 10 pixels each.
LEFT, RIGHT = (10, 10, 20, 20), (40, 20, 50, 30)


def test_one_block_alone():
    prediction = make_prediction()
    for shares, expected in (([1, 0], LEFT), ([0, 3], RIGHT)):
        changed = prediction.change("Mass", shares)
        assert corners(changed) == {expected}
        # The probability times the heat of the cell, which is 1.
        assert changed.boxes[0].score == pytest.approx(0.8)
        assert changed.heatmap("Mass").argmax() == (7 if expected == LEFT else 16)


def test_threshold_decides_which_are_boxes():
    # Fused 0.75 and 0.25, so 1 and a third of it once scaled.
    prediction = make_prediction()
    for threshold, expected in ((0.3, {LEFT, RIGHT}), (0.4, {LEFT})):
        changed = prediction.change("Mass", [0.75, 0.25], threshold)
        assert corners(changed) == expected


def test_shares_are_divided_by_their_sum():
    changed = make_prediction().change("Mass", [3, 1])
    assert changed.contract.fusion_weights == ((0.75, 0.5), (0.25, 0.5))


def test_blocks_in_units_of_their_deviation():
    # Deviations of 0.5 and 0.25: weights 1 / (2 * deviation), shares all alike.
    contract = make_contract(fusion=((1.0, 1.0), (2.0, 2.0)))
    assert make_prediction(contract).find_shares("Mass").tolist() == [0.5, 0.5]
    assert make_prediction().find_shares("Mass").tolist() == [0.75, 0.25]
    changed = make_prediction(contract).change("Mass", [1, 0])
    assert changed.contract.fusion_weights == ((2.0, 1.0), (0.0, 2.0))


def test_nothing_counts():
    assert make_prediction().change("Mass", [0, 0]).boxes == ()


def test_negatives_have_boxes_here():
    # Nodule is never called, but its map can be looked at.
    (box,) = make_prediction().change("Nodule", [1, 0]).boxes
    assert box == Box("Nodule", LEFT, pytest.approx(0.1))


def test_boxes_lie_in_the_field():
    # The map covers 30 x 20 pixels from (6, 8): a cell is 5 x 5.
    prediction = make_prediction(field=(6, 8, 36, 28))
    changed = prediction.change("Mass", [1, 0])
    assert corners(changed) == {(11, 13, 16, 18)}


def test_maps_that_are_not_finite():
    cams = {3: np.full((4, 6, 2), np.nan), 4: np.ones((4, 6, 2))}
    assert make_prediction(cams=cams).change("Mass", [1, 1]).boxes == ()


@pytest.mark.parametrize("shares", [[1], [1, 2, 3], [-1, 2], [np.nan, 1]])
def test_shares_that_do_not_fit(shares):
    with pytest.raises(UserError, match="must be 2 numbers of 0 or more"):
        make_prediction().change("Mass", shares)


@pytest.mark.parametrize("threshold", [-0.1, 1, np.nan])
def test_a_threshold_that_leaves_no_meaning(threshold):
    with pytest.raises(UserError, match="from 0 to below 1, not"):
        make_prediction().change("Mass", [1, 1], threshold)


def test_what_cannot_be_changed():
    with pytest.raises(UserError, match="no pathology 'Hernia'; it has Mass, Nodule"):
        make_prediction().change("Hernia", [1, 1])
    for without in ({"cams": {}}, {"contract": None}):
        with pytest.raises(UserError, match="with its maps"):
            replace(make_prediction(), **without).change("Mass", [1, 1])


def test_a_servers_answer_says_that_it_has_no_weights():
    with pytest.raises(UserError, match="a server's answer"):
        replace(make_prediction(), contract=None).find_shares("Mass")


def test_a_box_over_most_of_the_map_is_none():
    # Fused by the first block alone: one hot cell of 24; and where all is hot but one.
    contract = make_contract(shown_max_area=0.5)
    assert corners(make_prediction(contract).change("Mass", [1, 0])) == {LEFT}
    cold = {3: 1 - make_prediction().cams[3], 4: SECOND[..., None] * [1, 1]}
    prediction = make_prediction(contract, cams=cold)
    assert prediction.change("Mass", [1, 0]).boxes == ()
