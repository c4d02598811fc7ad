import numpy as np
import pytest
from pydicom import dcmread

from keras_mscam.dicom_results import write_results
from keras_mscam.visualization.overlay import draw_overlay

from .conftest import SIZE, make_dataset, make_prediction, to_bytes


@pytest.fixture
def captures(tmp_path):
    """Return a function that writes the captures of a source and reads them again."""

    def write(prediction=None, **elements):
        source = make_dataset(**elements)
        paths = write_results(
            prediction or make_prediction(), to_bytes(source), source.pixel_array,
            tmp_path, "x", "phantom-1",
        )  # fmt: skip
        return [dcmread(path) for path in paths[1:]]

    return write


def test_each_positive_pathology_is_its_overlay(captures, tmp_path):
    pixels, prediction = make_dataset().pixel_array, make_prediction()
    found = captures()
    for image, name in zip(found, ("Effusion", "Pleural_Thickening"), strict=True):
        assert image.PhotometricInterpretation == "RGB"
        assert (image.Rows, image.Columns) == SIZE
        overlay = draw_overlay(pixels, prediction, name)
        np.testing.assert_array_equal(image.pixel_array, overlay)
    assert [image.InstanceNumber for image in found] == [1, 2]
    assert len({image.SeriesInstanceUID for image in found}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.Effusion.sc.dcm", "x.Pleural_Thickening.sc.dcm", "x.sr.dcm"
    ]  # fmt: skip


def test_picture_refers_to_its_source_and_says_how_it_was_made(captures):
    image, source = captures()[0], make_dataset()
    (reference,) = image.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert image.StudyInstanceUID == source.StudyInstanceUID
    assert image.ImageType[:2] == ["DERIVED", "SECONDARY"]
    for words in ("Effusion", "phantom-1", "not a medical device"):
        assert words in image.DerivationDescription


def test_spacing_is_of_rows_and_columns_and_calibrated_only_where_the_source_is(
    captures,
):
    image = captures(PixelSpacingCalibrationType="FIDUCIAL")[0]
    assert image.PixelSpacing == [0.2, 0.1]
    assert "PixelSpacingCalibrationType" not in image  # the source has none calibrated
    image = captures(
        PixelSpacing=[0.2, 0.1], PixelSpacingCalibrationType="FIDUCIAL"
    )[0]  # fmt: skip
    assert image.PixelSpacingCalibrationType == "FIDUCIAL"
    image = captures(
        make_prediction(pixel_spacing=(0.16, 0.08)),
        EstimatedRadiographicMagnificationFactor=1.25,  # 0.2 / 1.25 = 0.16
    )[0]
    assert image.PixelSpacingCalibrationType == "GEOMETRY"
    for no_factor in ("", "0", "10"):
        image = captures(EstimatedRadiographicMagnificationFactor=no_factor)[0]
        assert image.PixelSpacing == [0.2, 0.1]  # as the detector has it
        assert "PixelSpacingCalibrationType" not in image
    image = captures(make_prediction(pixel_spacing=None), ImagerPixelSpacing=None)[0]
    assert "PixelSpacing" not in image


def test_pixels_that_are_not_square_stay_so(captures):
    bare = make_prediction(pixel_spacing=None)
    image = captures(bare, ImagerPixelSpacing=None, PixelAspectRatio=["2", "1"])[0]
    assert image.PixelAspectRatio == [2, 1]
    # It is told by the spacing, where there is one.
    assert "PixelAspectRatio" not in captures(PixelAspectRatio=["2", "1"])[0]


@pytest.mark.parametrize("burned", ["YES", "NO", None])
def test_names_burned_into_the_source_are_in_the_picture_too(captures, burned):
    image = captures(BurnedInAnnotation=burned)[0]
    assert image.get("BurnedInAnnotation") == burned


def test_lossy_compression_of_the_source_is_told(captures):
    image = captures(
        LossyImageCompression="01",
        LossyImageCompressionRatio=12.5,
        LossyImageCompressionMethod="ISO_10918_1",
    )[0]
    assert image.LossyImageCompression == "01"
    assert image.LossyImageCompressionRatio == 12.5
    assert image.LossyImageCompressionMethod == "ISO_10918_1"


def test_a_pathologys_name_is_no_path(captures, tmp_path):
    captures(make_prediction(names=("../up", "b", "c", "Lung Opacity"), boxes=()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.Lung_Opacity.sc.dcm", "x.sr.dcm", "x.up.sc.dcm"
    ]  # fmt: skip
    assert not (tmp_path.parent / "up.sc.dcm").exists()
