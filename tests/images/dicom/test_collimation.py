import numpy as np
import pytest

from keras_mscam.data.shards import convert_image

CROPPED = ("Only the part that its collimation left open is looked at.",)
AROUND = ("Only the rectangle around what its collimation left open is looked at.",)
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


def test_what_is_shut_is_stored_and_said(make_dataset, to_bytes):
    shut = edges(3, 2, 18, 9) | {"ViewPosition": "LL"}
    dataset = make_dataset(np.arange(200).reshape(10, 20), 12, **shut)
    _, size, said = convert_image(to_bytes(dataset), None)
    assert size == (10, 20)
    assert "What its collimation shut is stored too; predictions leave it out." in said
    assert "The view is lateral; the model is for frontal views." in said
    assert not set(CROPPED) & set(said)


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


def circle(row, column, radius, device="Shutter"):
    return {
        f"{device}Shape": "CIRCULAR",
        f"CenterOfCircular{device}": [row, column],
        f"RadiusOfCircular{device}": radius,
    }


@pytest.mark.parametrize("device", ["Collimator", "Shutter"])
def test_the_rectangle_around_a_circle(device, read_frame):
    # Column 10 is x 9 to 10, so its centre 9.5: from 9.5 - 4 to 9.5 + 4, outwards.
    frame = read_frame(10, 20, **circle(5, 10, 4, device))
    assert (frame.field, frame.warnings) == ((5, 0, 14, 9), AROUND)


def test_a_circle_that_reaches_over_the_edges(read_frame):
    assert read_frame(10, 20, **circle(5, 10, 8)).field == (1, 0, 18, 10)
    assert read_frame(10, 20, **circle(5, 10, 30)).field is None


def test_a_circle_of_pixels_that_are_not_square(read_frame):
    # Pixels twice as high as wide: 8 across are 4 down. 4.5 - 4 and 4.5 + 4.
    frame = read_frame(10, 20, **circle(5, 10, 8), PixelAspectRatio=["2", "1"])
    assert frame.field == (1, 0, 18, 9)


@pytest.mark.parametrize("device", ["Collimator", "Shutter"])
def test_the_rectangle_around_a_polygon(device, read_frame):
    # Pairs of row and column: rows 2 to 9, columns 3 to 18, as the rectangle above.
    frame = read_frame(
        10,
        20,
        **{
            f"{device}Shape": "POLYGONAL",
            f"VerticesOfThePolygonal{device}": [2, 10, 5, 3, 9, 11, 6, 18],
        },
    )
    assert (frame.field, frame.warnings) == ((2, 1, 18, 9), AROUND)


def test_what_is_inside_of_all_shapes(read_frame):
    # x 1 to 18 of the circle, 2 to 18 of the rectangle; y 0 to 10 and 1 to 9.
    shapes = circle(5, 10, 8) | edges(
        3, 2, 18, 9, "Shutter", ["CIRCULAR", "RECTANGULAR"]
    )
    frame = read_frame(10, 20, **shapes)
    assert (frame.field, frame.warnings) == ((2, 1, 18, 9), AROUND)


@pytest.mark.parametrize(
    "elements",
    [
        circle(5, 10, 0),
        circle(5, 10, None),
        circle(50, 100, 4),
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 9]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 9, 20]},
    ],
)
def test_circles_and_polygons_that_make_no_sense(elements, read_frame):
    frame = read_frame(10, 20, **elements)
    assert (frame.field, frame.warnings) == (None, NONSENSE)


def test_a_bitmap_is_not_followed(read_frame):
    frame = read_frame(10, 20, ShutterShape="BITMAP")
    assert (frame.field, frame.warnings) == (None, ())
