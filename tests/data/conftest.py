"""Toy folders in the layout of ChestX-ray14, written by hand rather than by ours."""

from pathlib import Path

import cv2
import numpy as np
import pytest

LABELS_2017 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


@pytest.fixture
def toy(tmp_path):
    """Return a function that writes a toy folder and returns it."""

    def write(patients=20, images_each=2, boxed=2, size=(24, 40), name="toy") -> Path:
        """Patient p has images p_0, p_1, ...; the first `boxed` patients have boxes.

        Image i, counted from 0, shows a Mass if i is divisible by 2 and an Effusion if
        it is divisible by 3. Every pixel of an image is random, from seed i.
        """
        directory = tmp_path / name
        (directory / "images").mkdir(parents=True)
        rows, boxes = [LABELS_2017], [BOXES]
        for index in range(patients * images_each):
            patient = index // images_each
            file = f"{patient:08d}_{index % images_each:03d}.png"
            found = [n for n, k in (("Mass", 2), ("Effusion", 3)) if index % k == 0]
            labels = "|".join(found) or "No Finding"
            rows.append(f"{file},{labels},0,{patient},058Y,F,PA,40,24,0.1,0.1,")
            if patient < boxed and "Mass" in found:
                boxes.append(f"{file},Mass,5.5,4.25,10,12.5")
            pixels = np.random.default_rng(index).integers(0, 256, size, np.uint8)
            cv2.imwrite(str(directory / "images" / file), pixels)
        (directory / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
        (directory / "BBox_List_2017.csv").write_text("\n".join(boxes) + "\n")
        return directory

    return write
