"""dcmtk's programs: make DICOM files, and render them."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
)


def run(*command: str | Path) -> None:
    """Run a program.

    Raises:
        RuntimeError: it failed; the message is the last line of what it said.
    """
    done = subprocess.run([str(word) for word in command], capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")


def find_window(dataset: Dataset) -> list[str]:
    """Return the options with which dcmtk shows what this package's reader shows.

    By itself dcmtk applies no window, and shows the range of the bits stored.
    """
    if dataset.get("VOILUTSequence"):
        return ["+Wl", "1"]
    if dataset.get("WindowWidth"):
        return ["+Wi", "1"]
    return ["-W"] if dataset.BitsStored <= 8 else ["+Wm"]


def render(path: Path, options: list[str] | None = None) -> np.ndarray:
    """Render the first frame to 8-bit grey, without overlays.

    Args:
        path: a DICOM file.
        options: of windows; those of `find_window` if None.

    Raises:
        RuntimeError: dcmtk can't.
    """
    dataset = dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax in JPEG2000TransferSyntaxes:  # which dcmtk lacks
        path = _decompress(dataset, path)
    program = "dcml2pnm" if syntax in JPEGLSTransferSyntaxes else "dcmj2pnm"
    output = path.with_suffix(".pnm")
    windows = find_window(dataset) if options is None else options
    if dataset.get("SamplesPerPixel") == 3 or "PALETTE" in dataset.get(
        "PhotometricInterpretation", ""
    ):
        windows = []
    run(program, "-O", *windows, "+op", path, output)
    image = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def _decompress(dataset: Dataset, path: Path) -> Path:
    """Write the values that OpenJPEG decodes, which dcmtk is then to render."""
    pixels = pixel_array(dataset, decoding_plugin="pylibjpeg")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = 0
    path = path.with_suffix(".plain.dcm")
    dataset.save_as(path, enforce_file_format=True)
    return path
