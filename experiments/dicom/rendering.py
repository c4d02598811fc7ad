"""Whether DICOM files are read as dcmtk renders them; see README.md.

    python experiments/dicom/rendering.py \
        --image ../shared/data/chestxray14-sample/images/00000013_026.png
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from keras_mscam.images.reader import read_grey, read_xray
from keras_mscam.images.xray import ImageError

import cv2
import numpy as np
import pandas as pd
import tyro
from dcmtk import find_window, render
from pydicom import dcmread
from pydicom.data import get_testdata_files
from sources import Made, make_all

HERE = Path(__file__).parent
OUTPUT = HERE / "rendering.csv"


def main(image: Path, side: int = 256, output: Path = OUTPUT) -> None:
    """Compare every file, and write a table.

    Args:
        image: A radiograph, of which files are made.
        side: Its height and width in them, about.
        output: The table.
    """
    warnings.simplefilter("ignore")  # pydicom's, on its own odd files
    folder = Path(tempfile.mkdtemp())
    try:
        # Neither square nor of an even number of pixels.
        size = (side - 25, side - 1)
        grey = cv2.resize(read_grey(image), size, interpolation=cv2.INTER_AREA)
        rows = [compare("made", made) for made in make_all(grey, folder)]
        rows += [compare("pydicom", made) for made in copy_pydicom(folder)]
    finally:
        shutil.rmtree(folder)
    table = pd.DataFrame(rows)
    table.to_csv(output, index=False)
    print(table.groupby(["source", "outcome"]).worst.agg(["size", "max"]).to_string())


def copy_pydicom(folder: Path) -> Iterator[Made]:
    """Copy pydicom's files, and again as radiographs those of other modalities."""
    names = sorted(get_testdata_files())
    root = Path(next(name for name in names if name.endswith("CT_small.dcm"))).parent
    for path in map(Path, names):
        if not path.is_file() or path.suffix in (".txt", ".json", ".dump", ".gz"):
            continue
        label = str(path.relative_to(root))
        copy = folder / f"{label.replace('/', '_')}.dcm"
        shutil.copy(path, copy)
        yield Made(label, copy)
        if " of modality" in compare("", Made(label, copy))["said"]:
            dataset = dcmread(copy, force=True)
            dataset.Modality = "CR"
            copy = copy.with_suffix(".cr.dcm")
            dataset.save_as(copy)
            yield Made(f"{label}, as CR", copy)


def compare(source: str, made: Made) -> dict:
    """Read a file both ways, and describe the difference."""
    row = {"source": source, "file": made.name, "worst": None, "dcmtk": "", "said": ""}
    try:
        ours = read_xray(made.path).pixels
    except ImageError as error:
        return row | {"outcome": "refused", "said": str(error)}
    row["dcmtk"] = " ".join(find_window(dcmread(made.path, force=True)))
    try:
        theirs = render(made.path)
    except RuntimeError as error:
        said = str(error).partition(": reading file")[0]
        return row | {"outcome": "dcmtk refuses", "said": said}
    row["worst"] = int(np.abs(ours.astype(int) - theirs).max())
    if row["worst"] <= 1:
        return row | {"outcome": "equal"}
    if np.ptp(theirs) == 0:
        # On purpose: such a window counts as none.
        return row | {"outcome": "dcmtk shows nothing", "said": "outside of the window"}
    return row | {"outcome": "differs"}


if __name__ == "__main__":
    tyro.cli(main)
