"""A chest radiograph as a hospital's archive has it, and a prediction of it by hand."""

import io
import shutil

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box
from keras_mscam.inference.prediction import Prediction

SIZE = (60, 40)
NAMES = ("Effusion", "Mass", "Nodule", "Pleural_Thickening")
ELEMENTS = {
    "SOPClassUID": DigitalXRayImageStorageForPresentation,
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.11",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.12",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.13",
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19660102",
    "PatientSex": "F",
    "StudyDate": "20240229",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A99",
    "ReferringPhysicianName": "Roe^Richard",
    "StudyDescription": "Chest",
    "PatientAge": "058Y",
    "Manufacturer": "Some Detectors",
    "Modality": "DX",
    "SeriesNumber": 1,
    "InstanceNumber": 1,
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PatientOrientation": ["L", "F"],
    "ImagerPixelSpacing": [0.2, 0.1],
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "PresentationLUTShape": "IDENTITY",
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "SamplesPerPixel": 1,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
}


def make_dataset(pixels=None, **elements):
    """Make a radiograph; an element of `None` is left out."""
    if pixels is None:
        pixels = np.tile(np.linspace(0, 255, SIZE[1], dtype="uint8"), (SIZE[0], 1))
    dataset = Dataset()
    dataset.preamble = b"\0" * 128
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, value in (ELEMENTS | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    for name in ("SOPClassUID", "SOPInstanceUID"):
        setattr(dataset.file_meta, f"MediaStorage{name}", dataset.get(name, "1.2.3"))
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def to_bytes(dataset):
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def make_prediction(names=NAMES, size=SIZE, **kwargs):
    """Effusion is positive at .25 with two boxes, Mass not at .5, Nodule never is.

    The fourth is positive, without a box.
    """
    count = len(names)
    contract = Contract(
        "keras_mscam", names, (2,), (30, 20), (30, 20),
        ((1.0,) * count,), ((1.0,) * count,), (1.0,) * count, (0.0,) * count,
        (0.25, 0.5, None, 0.5)[:count], "min_max", (1.0,) * count,
        0.5, 0.0, 1.0, 5,
    )  # fmt: skip
    cams = np.zeros((30, 20, count), "float32")
    cams[5:15, 2:12] = 1
    values = {
        "probabilities": dict(zip(names, (0.87654, 0.25, 0.1, 0.5), strict=False)),
        "boxes": (
            Box(names[0], (4.0, 10.0, 24.0, 30.0), 0.75),
            Box(names[0], (0.0, 0.0, float(size[1]), float(size[0])), 0.5),
        ),
        "original_size": size,
        "cams": {2: cams},
        "pixel_spacing": (0.2, 0.1),
        "spacing_plane": "detector",
        "contract": contract,
    }
    return Prediction(**(values | kwargs))


@pytest.fixture
def need():
    """Return a function that skips the test unless programs are installed."""

    def check(*programs):
        missing = [name for name in programs if shutil.which(name) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}, of Debian's packages")

    return check
