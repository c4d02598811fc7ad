"""A few of the files of experiments/dicom against dcmtk's own rendering."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.data import get_testdata_file

from keras_mscam.images.reader import read_xray

WINDOW = {"WindowCenter": "1500", "WindowWidth": "1800"}


def make_lut(bits, divisor, more=0):
    """Make a VOI LUT of a square root: 16 bits, divided; it may say more entries."""
    curve = (4095 * np.linspace(0, 1, 4096) ** 0.5 * 16).astype(int) // divisor
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096 + more, 0, bits])
    item.add_new("LUTData", "US", curve.tolist())
    return Sequence([item])


@pytest.fixture(scope="module")
def values():
    """A smooth picture in 12 bits, neither square nor of even sides."""
    noise = np.random.default_rng(0).random((61, 75), "float32")
    smooth = cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 4095, cv2.NORM_MINMAX
    )
    return smooth.astype(np.uint16)


@pytest.fixture
def render(dcmtk, tmp_path):
    """Return dcmtk's rendering of a file, without overlays."""

    def render(path, *options, program="dcmj2pnm"):
        output = tmp_path / "rendered.pgm"
        command = [dcmtk(program), "-O", *options, "+op", path, output]
        subprocess.run(command, check=True, capture_output=True)
        image = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)

    return render


def check(path, rendered):
    difference = read_xray(path).pixels.astype(int) - rendered
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("elements", "options"),
    [
        ({}, ["+Wm"]),
        (WINDOW, ["+Wi", "1"]),
        (WINDOW | {"VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
        ({"RescaleSlope": "-2", "RescaleIntercept": "8190"}, ["+Wm"]),
        ({"PhotometricInterpretation": "MONOCHROME1"} | WINDOW, ["+Wi", "1"]),
        ({"PresentationLUTShape": "INVERSE"}, ["+Wm"]),
        (
            {"PhotometricInterpretation": "MONOCHROME1"}
            | {"PresentationLUTShape": "INVERSE"},
            ["+Wm"],
        ),
        ({"VOILUTSequence": make_lut(8, 256)}, ["+Wl", "1"]),
        ({"VOILUTSequence": make_lut(16, 1, 9)}, ["+Wl", "1"]),
        # Only where dcmtk is told to look at the entries.
        ({"VOILUTSequence": make_lut(16, 16)}, ["+Wl", "1", "+Mv"]),
        ({"RescaleSlope": "0", "RescaleIntercept": "7"}, ["+Wm"]),
    ],
)
def test_presentations(
    elements, options, values, render, make_dataset, to_bytes, tmp_path
):
    path = tmp_path / "made.dcm"
    path.write_bytes(to_bytes(make_dataset(values, 12, **elements)))
    check(path, render(path, *options))


@pytest.mark.parametrize(
    "command",
    [
        ["dcmconv", "+ti"],
        ["dcmconv", "+tb"],
        ["dcmconv", "+td"],
        ["dcmcrle"],
        ["dcmcjpeg", "+e1"],
        ["dcmcjpeg", "+el", "+sv", "6"],
        ["dcmcjpeg", "+eb"],
        ["dcmcjpeg", "+ee"],  # of 12 bits
        ["dcmcjpeg", "+ep"],
        ["dcmcjpls", "+el"],
        ["dcmcjpls", "+en"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("sign", [0, 2048])
def test_transfer_syntaxes(
    sign, command, values, render, dcmtk, make_dataset, to_bytes, tmp_path
):
    lossy = command[-1] in ("+eb", "+ee", "+ep", "+en")
    if sign and lossy:
        pytest.skip("dcmtk compresses signed values without loss only")
    source, made = tmp_path / "source.dcm", tmp_path / "made.dcm"
    source.write_bytes(to_bytes(make_dataset(values.astype(int) - sign, 12)))
    subprocess.run([dcmtk(command[0]), *command[1:], source, made], check=True)
    program = "dcml2pnm" if "dcmcjpls" in command else "dcmj2pnm"
    windows = ["-W"] if "+eb" in command else ["+Wm"]  # which leaves 8 bits
    check(made, render(made, *windows, program=program))
    if not lossy:
        np.testing.assert_array_equal(read_xray(made).pixels, read_xray(source).pixels)


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_jpeg_app14_dcmd", "SC_rgb_rle"]
)
def test_colours(name, render):
    path = Path(get_testdata_file(f"{name}.dcm", download=False))
    check(path, render(path))
