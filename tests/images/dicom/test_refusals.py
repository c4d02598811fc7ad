from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
)

from keras_mscam.data.shards import convert_image
from keras_mscam.images.dicom.read import read_dicom

RAMP = [[0, 1000, 2000], [3000, 4000, 4095]]


def test_sizes_come_from_the_header(refuse, make_dataset):
    huge = make_dataset(RAMP, Rows=60_000, Columns=50_000)
    sentence = "is too large: 60000x50000 pixels"
    assert refuse(huge) == sentence
    assert "has no pixels" in refuse(make_dataset(RAMP, Rows=0))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (
            {"Modality": "MG"},
            "is of modality MG; radiographs are CR, DX, DR, RG, RF, OT, SC",
        ),
        (
            {"Manufacturer": "keras_mscam"},
            "is a result of keras_mscam, and no radiograph",
        ),
        ({"NumberOfFrames": 12}, "has 12 frames, not one"),
        ({"BitsAllocated": 1}, "has 1-bit pixels; 8 and 16 bits can be read"),
        ({"BitsAllocated": 32}, "has 32-bit pixels; 8 and 16 bits can be read"),
        (
            {"PhotometricInterpretation": "CMYK"},
            "has pixels of an unknown kind: CMYK",
        ),
        ({"Rows": 3}, "is damaged: its pixels cannot be decoded"),
        (
            {"BitsStored": 0},
            "is damaged: its pixels have more bits than its header says",
        ),
    ],
)
def test_reasons(elements, reason, refuse, make_dataset):
    assert refuse(make_dataset(RAMP, **elements)) == reason


@pytest.mark.parametrize("value", ["Doe^Jane 1970", "A" * 40, "<script>", "4711"])
def test_reasons_quote_codes_only(value, refuse, make_dataset):
    for keyword in ("Modality", "PhotometricInterpretation"):
        reason = refuse(make_dataset(RAMP, **{keyword: value}))
        assert "an unknown one" in reason and value.upper() not in reason.upper()


def test_a_directory_of_a_disc(refuse):
    path = get_testdata_file("DICOMDIR", download=False)
    assert refuse(Path(path).read_bytes()) == (
        "is a DICOMDIR, which lists other files, and no image"
    )


def test_a_modality_may_be_missing(make_dataset, to_bytes):
    dataset = make_dataset(RAMP)
    del dataset.Modality
    assert read_dicom(to_bytes(dataset)).pixels.shape == (2, 3)


def test_without_pixels(refuse, make_dataset):
    dataset = make_dataset(RAMP)
    del dataset.PixelData
    sentence = "is a DICOM file without pixels"
    assert refuse(dataset) == f"{sentence}, or an incomplete one"
    report = get_testdata_file("reportsi.dcm", download=False)
    assert convert_image(report, None) == f"{sentence}: Basic Text SR"


def test_compressions_that_cannot_be_read(refuse, make_dataset, radiograph):
    video = make_dataset(RAMP, 12, MPEG2MPML)
    video.PixelData = encapsulate([b"\0" * 100])
    sentence = "is compressed in a way that cannot be read: "
    assert refuse(video) == f"{sentence}MPEG2 Main Profile / Main Level"
