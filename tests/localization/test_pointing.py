import math

import numpy as np
import pytest

from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.detection import compute_pointing_game

DRAWN = [[10, 20, 30, 25]]  # wide and low, so that swapped axes show


def point(peak, tolerance=0, truth=DRAWN, **fields):
    item = Localization("Mass", "1", truth, [], peak=peak, **fields)
    return compute_pointing_game([item], ("Mass",), tolerance)["Mass"]


@pytest.mark.parametrize(
    ("peak", "hit"),
    [
        ((28, 21), True),
        ((21, 28), False),  # x and y swapped
        ((10, 20), True),  # boxes are half-open
        ((30, 21), False),
        ((28, 25), False),
        (None, False),  # a map without contrast is a miss
    ],
)
def test_by_hand(peak, hit):
    assert point(peak) == {"hit_rate": int(hit), "hits": int(hit), "images": 1}


@pytest.mark.parametrize(
    ("peak", "tolerance", "hit"),
    [
        # 3 right of and 4 below the corner (30, 25): 5 away.
        ((33, 29), 5, True),
        ((33, 29), 4.9, False),
        ((30, 21), 15, True),
        ((45, 21), 15, True),
        ((45.1, 21), 15, False),
        ((15, 22), 15, True),
        (None, 1000, False),
    ],
)
def test_tolerance(peak, tolerance, hit):
    assert point(peak, tolerance)["hits"] == hit


def test_by_default_nothing_is_tolerated():
    # The box ends before 30.
    item = Localization("Mass", "1", DRAWN, [], peak=(30, 21))
    assert compute_pointing_game([item], ("Mass",))["Mass"]["hits"] == 0


def test_one_of_several_boxes_is_enough():
    assert point((5, 5), truth=[*DRAWN, [0, 0, 9, 9]])["hit_rate"] == 1


def test_images_without_a_drawn_box_and_other_pathologies_do_not_count():
    items = [
        Localization("Mass", "1", DRAWN, [], peak=(11, 21)),
        Localization("Mass", "2", DRAWN, [], peak=(0, 0)),
        Localization("Mass", "3", [], [], peak=(0, 0)),
        Localization("Nodule", "3", DRAWN, [], peak=(0, 0)),
    ]
    rows = compute_pointing_game(items, ("Mass", "Nodule", "Hernia"))
    assert rows["Mass"] == {"hit_rate": 0.5, "hits": 1, "images": 2}
    assert rows["Nodule"] == {"hit_rate": 0, "hits": 0, "images": 1}
    assert rows["Hernia"] == {"hit_rate": None, "hits": 0, "images": 0}


def test_a_peak_on_an_ignored_box_is_neither_hit_nor_miss():
    ignored = [[0, 0, 9, 9], [12, 20, 14, 30]]
    nothing = {"hit_rate": None, "hits": 0, "images": 0}
    assert point((5, 5), ignored=ignored) == nothing
    assert point((10, 5), tolerance=1, ignored=ignored) == nothing
    assert point((13, 21), ignored=ignored)["hit_rate"] == 1  # on a drawn one too
    assert point((50, 5), ignored=ignored)["hit_rate"] == 0


@pytest.mark.parametrize("tolerance", [0, 2, 15])
def test_equals_another_implementation(random_items, tolerance):
    """By the nearest of many points of each box, instead of by its edges."""

    def is_hit(peak, boxes):
        for x1, y1, x2, y2 in boxes:
            if x1 <= peak[0] < x2 and y1 <= peak[1] < y2:
                return True
            nearest = [
                math.dist(peak, (min(max(peak[0], x1), x2), y))
                for y in (y1, y2, min(max(peak[1], y1), y2))
            ]
            if tolerance and min(nearest) <= tolerance:
                return True
        return False

    items = random_items(tolerance, 300)
    hits = misses = 0
    for it in items:
        if it.pathology == "Mass" and len(it.truth):
            if it.peak is not None and is_hit(it.peak, it.truth):
                hits += 1
            elif it.peak is None or not is_hit(it.peak, it.ignored):
                misses += 1
    assert hits
    row = compute_pointing_game(items, ("Mass",), tolerance)["Mass"]
    assert row == {
        "hit_rate": pytest.approx(hits / (hits + misses)),
        "hits": hits,
        "images": hits + misses,
    }


def test_the_whole_image_is_always_hit():
    rng = np.random.default_rng(0)
    for x, y in rng.random((50, 2)) * [80, 40]:
        assert point((x, y), truth=[[0, 0, 80, 40]])["hit_rate"] == 1
