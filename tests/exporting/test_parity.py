import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.exporting.parity import (
    TOLERANCES,
    Parity,
    check_parity,
    compare_outputs,
)


def make_outputs():
    cam = np.zeros((2, 2, 2, 1), "float32")
    cam[:, 0, 0] = 4.0  # every map's range is 4
    boxes = np.zeros((2, 1, 3, 4), "float32")
    boxes[0, 0, 0] = [10, 20, 30, 40]
    scores = np.zeros((2, 1, 3), "float32")
    scores[0, 0, 0] = 0.5
    return {
        "probabilities": np.array([[0.2], [0.9]]),
        "cam_block2": cam,
        "attention": cam.copy(),
        "boxes": boxes,
        "box_scores": scores,
        "original_size": np.array([[200, 400], [100, 100]]),
        "pathologies": np.array([["Mass"], ["Mass"]]),
    }


def test_the_same_has_no_difference():
    parity = compare_outputs(make_outputs(), make_outputs(), (100, 100))
    assert parity == Parity(2, 0.0, 0.0, 0.0, 1.0)


def test_differences_are_the_worst():
    found = make_outputs()
    found["probabilities"][1] -= 0.3
    found["attention"][0, 1, 1] += 1.0  # a quarter of the range
    found["boxes"][0, 0, 0, 2] += 8  # x: of 400 pixels, on 100: 2
    found["boxes"][0, 0, 0, 1] += 3  # y: of 200 pixels, on 100: 1.5
    parity = compare_outputs(found, make_outputs(), (100, 100))
    assert parity.probabilities == pytest.approx(0.3)
    assert parity.maps == pytest.approx(0.25)
    assert parity.boxes == pytest.approx(2.0)
    assert parity.same_boxes == 0.5


def test_a_box_too_many_is_infinitely_far():
    found = make_outputs()
    found["box_scores"][1, 0, 0] = 0.1
    parity = compare_outputs(found, make_outputs(), (100, 100))
    assert parity.boxes == np.inf


def test_a_lost_output_is_said():
    found = make_outputs()
    del found["cam_block2"]
    with pytest.raises(UserError, match="lost its output 'cam_block2'"):
        compare_outputs(found, make_outputs(), (100, 100))


def test_another_shape_is_said():
    found = make_outputs()
    found["attention"] = found["attention"][:, :1]
    with pytest.raises(UserError, match="'attention' has shape"):
        compare_outputs(found, make_outputs(), (100, 100))


def test_strings_are_bytes_in_tensorflow():
    found = make_outputs()
    found["pathologies"] = found["pathologies"].astype("S").astype(object)
    assert compare_outputs(found, make_outputs(), (100, 100)).same_boxes == 1


@pytest.mark.parametrize(
    "name, value",
    [
        ("original_size", [[400, 200], [100, 100]]),  # height and width swapped
        ("pathologies", [["Mass"], ["Nodule"]]),
    ],
)
def test_what_is_not_computed_must_be_equal(name, value):
    found = make_outputs() | {name: np.array(value)}
    with pytest.raises(UserError, match=f"'{name}' isn't that of the Keras model"):
        compare_outputs(found, make_outputs(), (100, 100))


@pytest.mark.parametrize(
    "worst",
    [{"probabilities": 2e-5}, {"maps": 2e-4}, {"boxes": 1.5}, {"maps": np.nan}],
)
def test_too_far_is_refused(worst):
    met = {"probabilities": 0.0, "maps": 0.0, "boxes": 0.0, **worst}
    with pytest.raises(UserError, match="nothing was exported"):
        check_parity(Parity(images=1, same_boxes=1.0, **met), TOLERANCES)


def test_a_map_of_nan_is_refused():
    found = make_outputs()
    found["attention"][:] = np.nan
    parity = compare_outputs(found, make_outputs(), (100, 100))
    with pytest.raises(UserError, match="maps differ"):
        check_parity(parity, TOLERANCES)
