"""Toy data sets in ChestX-ray14's layout, and the real one where it is at hand."""

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_mscam.data.phantom import write_phantoms
from keras_mscam.prepare import prepare

# What a shell starts in the background ignores Ctrl-C, and so would all processes here.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared" / "data"

LABEL_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("needs the real ChestX-ray14 sample in ../shared/data")
    return SHARED


@pytest.fixture
def make_folder(tmp_path):
    """Write a folder in ChestX-ray14's layout: rows of (name, findings, patient)."""

    def make(rows, boxes=(), size=(40, 30), name="xrays", header=LABEL_HEADER):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        rng = np.random.default_rng(0)
        lines = [header]
        for image, findings, patient in rows:
            pixels = rng.integers(0, 256, size).astype("uint8")
            cv2.imwrite(str(folder / "images" / image), pixels)
            lines.append(f"{image},{findings},0,{patient},058Y,M,PA,30,40,0.1,0.1,")
        (folder / "Data_Entry_2017.csv").write_text("\n".join(lines))
        if boxes:
            lines = [",".join(map(str, box)) for box in boxes]
            text = "\n".join([BOX_HEADER, *lines])
            (folder / "BBox_List_2017.csv").write_text(text)
        return folder

    return make


@pytest.fixture
def make_patients(make_folder):
    """Twenty patients of two images; every third has a Mass, the first a box of it."""

    def make(**kwargs):
        rows = [
            (f"{p:08d}_{v:03d}.png", "Mass" if p % 3 == 0 else "No Finding", p)
            for p in range(20)
            for v in range(2)
        ]
        boxes = [("00000000_000.png", "Mass", 3.0, 4.0, 10.0, 12.0)]
        return make_folder(rows, boxes, **kwargs)

    return make


@pytest.fixture(scope="session")
def phantom_records(tmp_path_factory):
    """Records of 120 small phantoms, not square."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantoms(folder / "xrays", 120, size=(64, 96), workers=1, progress=False)
    prepare(folder / "xrays", folder / "records", image_size=(64, 96), progress=False)
    return folder / "records"
