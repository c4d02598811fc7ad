import numpy as np
import pytest
from pydicom.uid import RLELossless

from keras_mscam.images.dicom.read import read_dicom

SHALLOW = [[3, 100], [200, 250]]
RGB = [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]
COLOUR = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


@pytest.fixture
def change(make_dataset, to_bytes):
    """Return what makes a file of MONOCHROME1 and replaces that by other bytes."""

    def change(spelling):
        kind = {"PhotometricInterpretation": "MONOCHROME1"}
        data = to_bytes(make_dataset(SHALLOW, 8, **kind))
        assert data.count(b"MONOCHROME1 ") == 1 and len(spelling) == 12
        return data.replace(b"MONOCHROME1 ", spelling)

    return change


@pytest.mark.parametrize(
    "spelling", [b"monochrome1 ", b" MONOCHROME1", b"MONOCHROME1\0", b"MONOCHROME1\\"]
)
def test_spellings_of_the_photometric_interpretation(spelling, change):
    # 255 - x
    assert read_dicom(change(spelling)).pixels.tolist() == [[252, 155], [55, 5]]


@pytest.mark.parametrize(
    "spelling", [b"MONOCHROME3 ", b"MONOCHROME  ", b"CIELAB      "]
)
def test_kinds_that_are_not_known(spelling, change, refuse):
    kind = spelling.decode().strip()
    assert refuse(change(spelling)) == f"has pixels of an unknown kind: {kind}"


@pytest.mark.parametrize("value", [None, "missing"])
def test_what_can_be_filled_in(value, make_dataset, to_bytes):
    for keyword in ("SamplesPerPixel", "HighBit", "NumberOfFrames"):
        dataset = make_dataset(SHALLOW, 8, **{keyword: 1})
        if value is None:
            setattr(dataset, keyword, None)
        else:
            delattr(dataset, keyword)
        assert read_dicom(to_bytes(dataset)).pixels.tolist() == SHALLOW


@pytest.mark.parametrize(
    "keyword",
    ["PhotometricInterpretation", "PixelRepresentation", "BitsAllocated", "BitsStored"],
)
def test_what_cannot_be_filled_in(keyword, make_dataset, refuse):
    dataset = make_dataset(SHALLOW, 8)
    delattr(dataset, keyword)
    assert refuse(dataset).startswith("is damaged: its header has no ")
    assert keyword in refuse(dataset)


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_empty_sizes(keyword, make_dataset, refuse):
    dataset = make_dataset(SHALLOW, 8, **{keyword: None})
    assert refuse(dataset) == f"is damaged: its header has no valid {keyword}"


@pytest.mark.parametrize(
    ("pixels", "elements"),
    [
        (RGB, {"PhotometricInterpretation": "MONOCHROME2", "PlanarConfiguration": 0}),
        (RGB, {"PhotometricInterpretation": "PALETTE COLOR", "PlanarConfiguration": 0}),
        (SHALLOW, {"PhotometricInterpretation": "RGB"}),
        (SHALLOW, {"SamplesPerPixel": 2}),
    ],
)
def test_samples_that_contradict_the_kind(pixels, elements, make_dataset, refuse):
    kind = elements.get("PhotometricInterpretation", "MONOCHROME2")
    expected = 3 if kind == "RGB" else 1
    reason = refuse(make_dataset(pixels, 8, **elements))
    assert reason.startswith("is damaged: its header says ")
    assert reason.endswith(f"{kind}, which has {expected}")


@pytest.mark.parametrize("kind", ["YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420"])
def test_colours_that_nothing_would_undo(kind, make_dataset, refuse):
    dataset = make_dataset(RGB, 8, **COLOUR | {"PhotometricInterpretation": kind})
    assert kind in refuse(dataset)


def test_how_colours_are_stored_is_not_guessed(make_dataset, refuse, to_bytes):
    dataset = make_dataset(RGB, 8, **COLOUR)
    del dataset.PlanarConfiguration
    sentence = "is damaged: its header has no valid PlanarConfiguration"
    assert refuse(dataset) == sentence


def test_compressed_colours_say_by_themselves_how_they_are_stored(
    make_dataset, to_bytes
):
    dataset = make_dataset(RGB, 8, **COLOUR)
    dataset.compress(RLELossless, generate_instance_uid=False)
    del dataset.PlanarConfiguration
    # 0.299, 0.587 and 0.114 times 255
    assert read_dicom(to_bytes(dataset)).pixels.tolist() == [[76, 150, 29, 9]]


@pytest.mark.parametrize(
    "frames", [b"1   ", b"1.0 ", b"0   ", b"-3  ", b"abcd", b"    "]
)
def test_one_frame_however_written(frames, make_dataset, to_bytes):
    data = to_bytes(make_dataset(SHALLOW, 8, NumberOfFrames="1234"))
    data = data.replace(b"1234", frames)
    assert read_dicom(data).pixels.tolist() == SHALLOW


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (3, 5)])
@pytest.mark.parametrize("bits", [8, 12])
def test_odd_sizes(shape, bits, make_dataset, to_bytes):
    # 8 bits stay, 12 are stretched from 0 to 34: 255 / 34 = 7.5 each.
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)
    found = read_dicom(to_bytes(make_dataset(pixels, bits))).pixels
    factor = 1 if bits == 8 else 255 / max(pixels.max(), 1)
    np.testing.assert_array_equal(found, np.floor(factor * pixels + 0.5))


@pytest.mark.parametrize("data", [b"", None])
def test_pixels_that_are_empty(data, make_dataset, refuse):
    dataset = make_dataset(SHALLOW, 8)
    dataset.PixelData = data
    assert refuse(dataset) == "is a DICOM file without pixels, or an incomplete one"


@pytest.mark.parametrize(
    ("high", "reason"),
    [(1e9, "is damaged: its pixels have more bits than its header says"), (7.5, None)],
)
def test_a_high_bit_of_a_wrong_type(high, reason, make_dataset, refuse, to_bytes):
    dataset = make_dataset(SHALLOW, 8)
    del dataset.HighBit
    dataset.add_new(0x00280102, "FD", high)
    if reason:
        assert refuse(dataset) == reason
    else:
        assert read_dicom(to_bytes(dataset)).pixels.tolist() == SHALLOW
