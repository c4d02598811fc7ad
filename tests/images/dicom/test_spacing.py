import pytest
from pydicom import Dataset

from keras_mscam.images.dicom.frame import compute_aspect, find_spacing


def find(**elements):
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return find_spacing(dataset)


def test_the_detector_unless_the_magnification_is_known():
    imager = {"ImagerPixelSpacing": ["0.15", "0.3"]}
    assert find(**imager) == ((0.15, 0.3), "detector")
    # 0.15 / 1.2 and 0.3 / 1.2 mm in the patient.
    magnified = find(**imager, EstimatedRadiographicMagnificationFactor="1.2")
    assert magnified == (pytest.approx((0.125, 0.25)), "patient")
    assert find(**imager, EstimatedRadiographicMagnificationFactor="0") == (
        (0.15, 0.3),
        "detector",
    )


def test_what_was_calibrated_goes_first():
    both = {"PixelSpacing": ["0.14", "0.14"], "ImagerPixelSpacing": ["0.15", "0.15"]}
    assert find(**both) == ((0.14, 0.14), "patient")
    # It is not divided again.
    assert find(**both, EstimatedRadiographicMagnificationFactor="1.1")[0] == (
        0.14,
        0.14,
    )


def test_a_copy_of_the_detectors_spacing_is_not_calibrated():
    both = {"PixelSpacing": ["0.15", "0.15"], "ImagerPixelSpacing": ["0.15", "0.15"]}
    assert find(**both) == ((0.15, 0.15), "detector")
    calibrated = find(**both, PixelSpacingCalibrationType="FIDUCIAL")
    assert calibrated == ((0.15, 0.15), "patient")


def test_the_plane_of_a_spacing_alone_is_unknown():
    assert find(PixelSpacing=["0.2", "0.2"]) == ((0.2, 0.2), None)


def test_a_scanned_film_goes_last():
    film = {"NominalScannedPixelSpacing": ["0.1", "0.1"]}
    assert find(**film) == ((0.1, 0.1), "film")
    assert find(**film, PixelSpacing=["0.1", "0.1"]) == ((0.1, 0.1), "film")
    assert find(**film, PixelSpacing=["0.09", "0.09"])[1] == "patient"
    assert find(**film, ImagerPixelSpacing=["0.2", "0.2"])[1] == "detector"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        ["0", "0"],
        ["-1", "1"],
        "0.2",
        ["1"] * 3,
        ["1E308"] * 2,
        ["1E-308"] * 2,
    ],
)
def test_nonsense_is_no_spacing(value):
    assert find(PixelSpacing=value) is None


def test_no_millimetres_from_an_aspect_ratio(read_frame):
    frame = read_frame(PixelAspectRatio=["2", "1"])
    assert frame.pixel_spacing is None
    assert frame.warnings == (
        "Its pixels are not square: they are 2 times as high as wide.",
    )


def test_square_pixels_are_not_worth_a_warning(read_frame):
    assert read_frame(PixelAspectRatio=["3", "3"]).warnings == ()
    frame = read_frame(PixelSpacing=["0.2", "0.2"], PixelAspectRatio=["2", "1"])
    assert (frame.pixel_spacing, frame.warnings) == ((0.2, 0.2), ())
    assert len(read_frame(ImagerPixelSpacing=["0.2", "0.1"]).warnings) == 1


def test_the_aspect_of_nothing():
    assert compute_aspect(Dataset()) == 1
