import pytest

from keras_mscam.data.records import Box


def test_box_inside_is_kept_as_it_is():
    box = Box("Mass", (0.0, 0.0, 48.0, 64.0))
    assert box.clip((64, 48)) is box


def test_box_is_cut_off_at_each_edge_of_an_image_that_is_not_square():
    # The frame is 48 wide and 64 high: x ends at 48, y at 64.
    box = Box("Mass", (-3.0, -4.0, 50.0, 70.0))
    assert box.clip((64, 48)) == Box("Mass", (0.0, 0.0, 48.0, 64.0))


@pytest.mark.parametrize(
    "xyxy",
    [
        (48.0, 0.0, 60.0, 10.0),  # begins where the frame ends: half-open
        (0.0, 64.0, 10.0, 70.0),
        (-9.0, 0.0, 0.0, 10.0),
    ],
)
def test_nothing_is_left_of_a_box_outside(xyxy):
    assert Box("Mass", xyxy).clip((64, 48)) is None
