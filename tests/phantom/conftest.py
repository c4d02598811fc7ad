"""Stand-ins for real X-rays: phantoms without findings, whose anatomy is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit
from keras_mscam.phantom.chest import build_chest
from keras_mscam.phantom.drawing import Frame

LABEL_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def make_xray(case, size=(256, 256)):
    """An X-ray without findings, and the chest that it was drawn from."""
    anatomy = sample_anatomy(5, case)
    visit = replace(sample_visit(5, case, 0), findings=())
    zoom = 0.985 * visit.zoom
    frame = Frame(size, visit.rotation, (zoom, zoom), visit.shift)
    chest, *_ = build_chest(frame, anatomy, visit)
    return render_phantom(anatomy, visit, size).image, chest


@pytest.fixture(scope="session")
def xrays():
    """Twelve of them; `xrays[k]` is of case k + 1."""
    return [make_xray(case)[0] for case in range(1, 13)]


@pytest.fixture
def write_plain(tmp_path, xrays):
    """Write a folder of X-rays under any names, cycling through the twelve."""

    def write(names, folder="plain"):
        directory = tmp_path / folder
        directory.mkdir()
        for place, name in enumerate(names):
            cv2.imwrite(str(directory / name), xrays[place % len(xrays)])
        return directory

    return write


@pytest.fixture
def write_labelled(tmp_path, xrays):
    """Write a ChestX-ray14 folder: rows of (name, labels, patient, view)."""

    def write(rows, folder="labelled"):
        directory = tmp_path / folder
        (directory / "images").mkdir(parents=True)
        lines = [LABEL_HEADER]
        for place, (name, labels, patient, view) in enumerate(rows):
            path = directory / "images" / name
            cv2.imwrite(str(path), xrays[place % len(xrays)])
            lines.append(f"{name},{labels},0,{patient},058Y,F,{view},256,256,0.1,0.1,")
        (directory / "Data_Entry_2017.csv").write_text("\n".join(lines))
        return directory

    return write


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
