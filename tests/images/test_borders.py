import numpy as np
import pytest

from keras_mscam.images.reader import find_field, read_grey, read_xray


@pytest.fixture
def chest():
    """Noise without an even line."""
    return np.random.default_rng(0).integers(20, 240, (60, 90), "uint8")


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("widths", [(5, 0, 0, 0), (3, 7, 11, 1), (0, 0, 0, 20)])
def test_borders_of_any_grey_on_any_side(value, widths, chest):
    top, bottom, left, right = widths
    image = np.pad(chest, ((top, bottom), (left, right)), constant_values=value)
    assert find_field(image) == (left, top, left + 90, top + 60)


def test_a_border_of_its_own_grey_on_each_side(chest):
    image = np.pad(chest, 9)
    image[-9:] = 255
    assert find_field(image) == (9, 9, 99, 69)


def test_marks_and_noise_on_a_border(chest):
    image = np.pad(chest, ((30, 0), (0, 0)), constant_values=8)
    image[:30] += np.random.default_rng(1).integers(0, 4, (30, 90), "uint8")
    image[10:12, 40] = 255  # one of ninety pixels: 1.1%
    assert find_field(image) == (0, 30, 90, 90)


def test_letters_end_a_border(chest):
    image = np.pad(chest, ((30, 0), (0, 0)))
    image[10:14, 20:40] = 255
    assert find_field(image) == (0, 10, 90, 90)


def test_nothing_to_cut(chest):
    assert find_field(chest) is None


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (40, 30)])
def test_an_even_image_stays_whole(value, size):
    assert find_field(np.full(size, value, np.uint8)) is None


def test_a_little_spot_is_no_chest():
    image = np.zeros((100, 100), np.uint8)
    image[40:60, 40:60] = 200
    assert find_field(image) is None


def test_shading_is_no_border():
    # Air beside a patient gets darker outwards: 0 to 50 across 100 columns.
    image = np.random.default_rng(0).integers(100, 200, (100, 300), "uint8")
    image[:, :100] = np.linspace(0, 50, 100)
    image[:, :100] += np.random.default_rng(1).integers(0, 9, (100, 100), "uint8")
    left = find_field(image)[0] if find_field(image) else 0
    assert left < 20


def test_it_is_asked_for(chest):
    image = np.pad(chest, 10)
    assert read_xray(image).frame.field is None
    asked = read_xray(image, crop_borders=True)
    assert asked.frame.field == (10, 10, 100, 70)
    assert asked.frame.warnings == (
        "Only the part inside of its borders is looked at.",
    )
    assert asked.pixels.shape == asked.frame.size == (80, 110)
    np.testing.assert_array_equal(asked.resize((60, 90)), chest)
    assert read_xray(chest, crop_borders=True).frame.warnings == ()


def test_real_borders_and_real_chests(shared):
    # Looked at: a child in black, with letters at the upper left and the right.
    folder = shared / "chestxray14-sample/images"
    assert find_field(read_grey(folder / "00019534_000.png")) == (168, 20, 931, 716)
