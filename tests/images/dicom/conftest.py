import io
import shutil
import warnings

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from keras_mscam.images.dicom.read import read_dicom
from keras_mscam.images.xray import ImageError


@pytest.fixture(scope="session")
def make_dataset():
    """Return what makes a radiograph with what each attribute is given."""
    return _make_dataset


@pytest.fixture(scope="session")
def to_bytes():
    return _to_bytes


@pytest.fixture(scope="session")
def read():
    """Return what makes a radiograph and reads its grey values."""

    def read(pixels, bits=12, **kwargs):
        return read_dicom(
            _to_bytes(_make_dataset(pixels, bits, **kwargs))
        ).pixels.tolist()

    return read


@pytest.fixture(scope="session")
def read_frame():
    """Return what makes a radiograph and reads its frame."""

    def read_frame(height=4, width=6, **kwargs):
        pixels = np.arange(height * width).reshape(height, width)
        return read_dicom(_to_bytes(_make_dataset(pixels, 12, **kwargs))).frame

    return read_frame


@pytest.fixture(scope="session")
def refuse():
    """Return what reads a file that can't be read, and says why."""

    def refuse(dataset):
        with pytest.raises(ImageError) as caught:
            read_dicom(dataset if isinstance(dataset, bytes) else _to_bytes(dataset))
        return str(caught.value)

    return refuse


@pytest.fixture(scope="session")
def radiograph():
    """Return what reads one of pydicom's files, as a radiograph."""
    return _read_radiograph


def _make_dataset(pixels, bits=12, syntax=ExplicitVRLittleEndian, **elements):
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    pixels = np.asarray(pixels)
    signed = int(pixels.min() < 0)
    dtype = np.dtype(f"{'ui'[signed]}{1 if bits <= 8 else 2}").newbyteorder(order)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    dataset.Modality = "DX"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = signed
    data = pixels.astype(dtype).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values on purpose wrong
        for name, value in elements.items():
            setattr(dataset, name, value)
    return dataset


def _to_bytes(dataset):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _read_radiograph(name, modality="CR"):
    dataset = dcmread(get_testdata_file(name, download=False))
    dataset.Modality = modality
    if "DataSetTrailingPadding" in dataset:
        del dataset.DataSetTrailingPadding
    return dataset


@pytest.fixture(scope="session")
def dcmtk():
    """Return what finds a program of dcmtk; without it the test is skipped."""

    def find(program):
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} of dcmtk is not installed")
        return path

    return find
