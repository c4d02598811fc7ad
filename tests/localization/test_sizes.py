import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.localization.accuracy import (
    SIZES,
    Localization,
    compute_localization,
    select_size,
)
from keras_mscam.localization.detection import (
    compute_average_precision,
    compute_froc,
    compute_mean_iou,
    compute_pointing_game,
)

# In an image of 100 by 400, whose side is 200 (the root of its area): small below 20,
# large from 50 on.
SMALL = [0, 0, 10, 10]
MEDIUM = [100, 0, 140, 40]
LARGE = [200, 0, 300, 100]


def item(truth, predicted=(), **fields):
    return Localization(
        "Mass", "1", truth, predicted, original_size=(100, 400), **fields
    )


@pytest.mark.parametrize("scale", [1, 2.56])
def test_sizes_do_not_depend_on_the_resolution(scale):
    # Roots of 100, 1600 and 10,000 over 200: 0.05, 0.2 and 0.5.
    boxes = scale * np.array([SMALL, MEDIUM, LARGE])
    it = Localization(
        "Mass", "1", boxes, [], original_size=(int(100 * scale), int(400 * scale))
    )
    for box, name in zip(boxes.tolist(), SIZES, strict=True):
        assert select_size([it], name)[0].truth.tolist() == [box]


def test_every_box_has_one_size():
    # From nothing to the whole image, the limits among them: 50 by 50 is large.
    boxes = [
        [0, 0, 0, 5],
        [0, 0, 20, 20],
        [0, 0, 50, 50],
        SMALL,
        LARGE,
        [0, 0, 400, 100],
    ]
    it = item(boxes)
    selected = [select_size([it], name)[0] for name in SIZES]
    assert sum(len(one.truth) for one in selected) == len(boxes)
    assert [0, 0, 50, 50] in selected[2].truth.tolist()
    assert all(len(one.truth) + len(one.ignored) == len(boxes) for one in selected)


def test_selection_by_hand():
    it = item(
        [SMALL, LARGE], [MEDIUM, SMALL, SMALL], scores=[1, 2, 3], peak=(7, 8),
        ignored=[[0, 0, 1, 1]], excused=[False, False, True], name="a.png",
    )  # fmt: skip
    (one,) = select_size([it], "small")
    assert one.truth.tolist() == [SMALL]
    assert one.ignored.tolist() == [[0, 0, 1, 1], LARGE]
    assert one.excused.tolist() == [True, False, True]
    for key in ("predicted", "scores", "peak", "name", "original_size", "patient"):
        assert np.array_equal(getattr(one, key), getattr(it, key))
    # What was given stays as it was.
    assert it.truth.tolist() == [SMALL, LARGE]
    assert it.excused.tolist() == [False, False, True]


def test_every_metric_respects_it():
    it = item(
        [SMALL, LARGE],
        # Finds the large one: neither right nor wrong. Finds nothing, medium: not
        # false. Finds nothing, small: false. Finds the small one.
        [LARGE, MEDIUM, [50, 50, 60, 60], SMALL], scores=[4, 3, 2, 1], peak=(250, 50),
    )  # fmt: skip
    negative = item([], [MEDIUM, SMALL], scores=[5, 0])
    items = select_size([it, negative], "small")
    names = ("Mass",)
    assert compute_localization(items, names, 0.5)["Mass"] == {
        "accuracy": 1, "afp": 1, "boxes": 1, "images": 1,
    }  # fmt: skip
    assert compute_mean_iou(items, names)["Mass"] == {"mean_iou": 1, "boxes": 1}
    # The peak is on the large one.
    assert compute_pointing_game(items, names)["Mass"]["images"] == 0
    row = compute_froc(items, names)["Mass"]
    # From 2: false, 1 in 2 images. From 1: found. From 0: false in the other image.
    assert row["score_thresholds"] == [None, 2, 1, 0]
    assert row["false_positives"] == [0, 0.5, 0.5, 1]
    assert row["sensitivity"] == [0, 0, 1, 1]
    # False, right, false: the best precision is 1/2.
    row = compute_average_precision(items, names)["Mass"]
    assert row == {"average_precision": pytest.approx(0.5), "boxes": 1, "images": 2}


def test_a_box_of_another_size_can_find_one():
    # 30 by 30 on 19 by 19, IoU 361 / 900 = .4: a medium box finds a small one.
    it = item([[0, 0, 19, 19]], [[0, 0, 30, 30]])
    items = select_size([it], "small")
    assert compute_localization(items, ("Mass",), 0.3)["Mass"]["accuracy"] == 1
    assert compute_localization(items, ("Mass",), 0.5)["Mass"]["afp"] == 0


def test_an_image_of_other_sizes_only():
    items = select_size([item([LARGE], [LARGE, SMALL], scores=[2, 1])], "small")
    assert compute_localization(items, ("Mass",), 0.5)["Mass"]["accuracy"] is None
    assert compute_froc(items, ("Mass",))["Mass"]["mean_sensitivity"] is None


def test_sizes_add_up(random_items):
    """Drawn and found boxes of the three sizes are those of all together."""
    items = random_items(0, 200, ignored=False)
    whole = compute_localization(items, ("Mass",), 0.3)["Mass"]
    parts = [
        compute_localization(select_size(items, name), ("Mass",), 0.3)["Mass"]
        for name in SIZES
    ]
    assert sum(row["boxes"] for row in parts) == whole["boxes"]
    found = [round(row["accuracy"] * row["boxes"]) for row in [*parts, whole]]
    assert sum(found[:-1]) == found[-1]


def test_mistakes():
    with pytest.raises(UserError, match="no size 'tiny'"):
        select_size([], "tiny")
    with pytest.raises(ValueError, match=r"a.png Mass has no original_size"):
        select_size([Localization("Mass", "1", [], [], name="a.png")], "small")
