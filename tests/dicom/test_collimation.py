import pytest

CROPPED = ("Only the part that its collimation left open is looked at.",)
NONSENSE = ("Its collimation makes no sense, so all of the image is looked at.",)


def edges(left, top, right, bottom, device="Collimator", shape="RECTANGULAR"):
    return {
        f"{device}Shape": shape,
        f"{device}LeftVerticalEdge": left,
        f"{device}UpperHorizontalEdge": top,
        f"{device}RightVerticalEdge": right,
        f"{device}LowerHorizontalEdge": bottom,
    }


@pytest.mark.parametrize("device", ["Collimator", "Shutter"])
def test_edges_are_counted_from_one_and_belong_to_the_field(device, read_frame):
    # Columns 3 to 18 and rows 2 to 9 of 20 and 10: x from 2 to before 18.
    frame = read_frame(10, 20, **edges(3, 2, 18, 9, device))
    assert (frame.field, frame.warnings) == ((2, 1, 18, 9), CROPPED)
    assert frame.corners == (2, 1, 18, 9)


def test_edges_outside_of_the_image(read_frame):
    # Negative and large ones are allowed by PS3.3, C.8.7.3.
    frame = read_frame(10, 20, **edges(-5, 3, 50, 60))
    assert frame.field == (0, 2, 20, 10)
    whole = read_frame(10, 20, **edges(-5, 1, 20, 60))
    assert (whole.field, whole.warnings) == (None, ())
    assert whole.corners == (0, 0, 20, 10)


def test_shutter_and_collimator_are_intersected(read_frame):
    both = edges(3, 1, 20, 10) | edges(1, 1, 15, 8, "Shutter")
    assert read_frame(10, 20, **both).field == (2, 0, 15, 8)


@pytest.mark.parametrize(
    "values", [(15, 1, 5, 10), (1, 9, 20, 9), (30, 1, 40, 10), (1, None, 20, 10)]
)
def test_fields_that_make_no_sense(values, read_frame):
    frame = read_frame(10, 20, **edges(*values))
    assert (frame.field, frame.warnings) == (None, NONSENSE)


def test_other_shapes_are_left_alone(read_frame):
    frame = read_frame(10, 20, **edges(3, 2, 18, 9, shape="CIRCULAR"))
    assert (frame.field, frame.warnings) == (None, ())
    several = edges(3, 2, 18, 9, "Shutter", ["CIRCULAR", "RECTANGULAR"])
    assert read_frame(10, 20, **several).field == (2, 1, 18, 9)
