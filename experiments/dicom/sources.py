"""DICOM files of every kind that is read, made from one radiograph.

Those of pydicom are the sources, which dcmtk's programs then compress and change.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from dcmtk import run
from pydicom import Dataset, Sequence, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)


class Made(NamedTuple):
    """A file, and what to call it."""

    name: str
    path: Path


def make_dataset(pixels: np.ndarray, bits: int, **elements) -> Dataset:
    """Return a radiograph with these stored values and elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
        generate_uid()
    )
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Drawn", "1", "CR"
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def make_all(grey: np.ndarray, folder: Path) -> Iterator[Made]:
    """Make every file.

    Args:
        grey: uint8 `(height, width)`, a radiograph.
        folder: where they go.
    """
    yield from make_values(grey, folder)
    yield from make_colours(grey, folder)
    yield from make_presentations(grey, folder)
    plain = [*sorted(folder.glob("values-*.dcm")), *sorted(folder.glob("bits-*.dcm"))]
    for path in [*plain, folder / "colour-RGB.dcm"]:
        yield from compress(path, folder)
    yield from make_by_dcmtk(grey, folder)


def deepen(grey: np.ndarray, bits: int) -> np.ndarray:
    """Spread 8 bits over more, with noise in what they lack."""
    noise = np.random.default_rng(0).random(grey.shape)
    return ((grey + noise) / 256 * 2**bits).astype("u1" if bits <= 8 else "u2")


def make_values(grey: np.ndarray, folder: Path) -> Iterator[Made]:
    """Every depth, with and without a sign, and bits beside the stored ones."""
    for bits in (8, 10, 12, 14, 15, 16):
        pixels = deepen(grey, bits)
        yield _save(make_dataset(pixels, bits), folder, f"values-{bits}-bits")
        half = pixels.astype("i4") - 2 ** (bits - 1)
        signed = half.astype("i1" if bits <= 8 else "i2")
        yield _save(make_dataset(signed, bits), folder, f"values-{bits}-bits-signed")
    pixels = deepen(grey, 12)
    yield _save(make_dataset(pixels << 4, 12, HighBit=15), folder, "bits-high-15-of-12")
    yield _save(
        make_dataset(pixels << 2 | 0xC003, 12, HighBit=13), folder, "bits-high-13-of-12"
    )
    yield _save(make_dataset(pixels | 0xF000, 12), folder, "bits-above-12-set")
    yield _save(
        make_dataset(deepen(grey, 8).astype("u2"), 8), folder, "bits-8-of-16-allocated"
    )


def make_colours(grey: np.ndarray, folder: Path) -> Iterator[Made]:
    """Every photometric interpretation of colour."""
    colour = np.stack([grey, grey[:, ::-1], grey[::-1]], -1)
    yield _save(make_dataset(colour, 8), folder, "colour-RGB")
    planes = np.ascontiguousarray(colour.transpose(2, 0, 1))
    by_plane = make_dataset(colour, 8, PlanarConfiguration=1)
    by_plane.PixelData = planes.tobytes()
    yield _save(by_plane, folder, "colour-RGB-by-plane")
    ybr = cv2.cvtColor(colour, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    full = make_dataset(ybr, 8, PhotometricInterpretation="YBR_FULL")
    yield _save(full, folder, "colour-YBR_FULL")
    table = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2], 1)
    for bits in (8, 16):
        palette = make_dataset(grey, 8, PhotometricInterpretation="PALETTE COLOR")
        for column, name in enumerate(("Red", "Green", "Blue")):
            entries = table[:, column] * (257 if bits == 16 else 1)
            descriptor = [256, 0, bits]
            setattr(palette, f"{name}PaletteColorLookupTableDescriptor", descriptor)
            data = entries.astype("<u2" if bits == 16 else "u1").tobytes()
            setattr(palette, f"{name}PaletteColorLookupTableData", data)
        yield _save(palette, folder, f"colour-PALETTE-{bits}-bits")


def make_presentations(grey: np.ndarray, folder: Path) -> Iterator[Made]:
    """Modality LUTs and rescaling, VOI LUTs, windows, inversion, overlays."""
    pixels = deepen(grey, 12)
    window = {"WindowCenter": "1800", "WindowWidth": "2500"}
    curve = (4095 * np.linspace(0, 1, 4096) ** 0.5).astype(int).tolist()
    overlay = {
        "add": [
            (0x60000010, "US", grey.shape[0]),
            (0x60000011, "US", grey.shape[1]),
            (0x60000040, "CS", "G"),
            (0x60000050, "SS", [1, 1]),
            (0x60000100, "US", 1),
            (0x60000102, "US", 0),
            (0x60003000, "OW", b"\xff" * (-(-grey.size // 16) * 2)),
        ]
    }
    kinds = {
        "window": window,
        "window-sigmoid": window | {"VOILUTFunction": "SIGMOID"},
        "window-linear": window | {"VOILUTFunction": "LINEAR"},
        "window-linear-exact": window | {"VOILUTFunction": "LINEAR_EXACT"},
        "window-several": {
            "WindowCenter": ["1800", "300"],
            "WindowWidth": ["2500", "50"],
        },
        "window-narrow": {"WindowCenter": "1800", "WindowWidth": "1"},
        "rescale": {"RescaleSlope": "0.5", "RescaleIntercept": "-1000"},
        "rescale-falling": {"RescaleSlope": "-1", "RescaleIntercept": "4095"},
        "rescale-window": {
            "RescaleSlope": "2",
            "RescaleIntercept": "-1024",
            "WindowCenter": "2000",
            "WindowWidth": "4000",
        },
        "modality-lut": {"ModalityLUTSequence": _make_lut(0, 16, curve)},
        "voi-lut": {"VOILUTSequence": _make_lut(0, 12, curve)},
        "voi-lut-window": {"VOILUTSequence": _make_lut(0, 12, curve)} | window,
        "voi-lut-short": {"VOILUTSequence": _make_lut(1000, 12, curve[:2000])},
        "padding": {"PixelPaddingValue": 0},
        "overlay": overlay,
    }
    for name, elements in kinds.items():
        for photometric in ("MONOCHROME2", "MONOCHROME1"):
            said = {k: v for k, v in elements.items() if k != "add"}
            dataset = make_dataset(
                pixels, 12, PhotometricInterpretation=photometric, **said
            )
            for element in elements.get("add", []):
                dataset.add_new(*element)
            yield _save(dataset, folder, f"{name}-{photometric}")
    for photometric, shape in (
        ("MONOCHROME1", "INVERSE"),
        ("MONOCHROME2", "IDENTITY"),
        ("MONOCHROME2", "INVERSE"),
        ("MONOCHROME1", "IDENTITY"),
    ):
        dataset = make_dataset(pixels, 12, PhotometricInterpretation=photometric)
        dataset.PresentationLUTShape = shape
        yield _save(dataset, folder, f"shape-{photometric}-{shape}")
    eight = make_dataset(grey, 8, PhotometricInterpretation="MONOCHROME1")
    yield _save(eight, folder, "8-bits-MONOCHROME1")


def compress(path: Path, folder: Path) -> Iterator[Made]:
    """The same file in every transfer syntax, by dcmtk or OpenJPEG."""
    signed, colour = "signed" in path.stem, "colour" in path.stem
    lossless = {
        "implicit": ["dcmconv", "+ti"],
        "big-endian": ["dcmconv", "+tb"],
        "deflated": ["dcmconv", "+td"],
        "rle": ["dcmcrle"],
        "jpeg-lossless": ["dcmcjpeg", "+e1"],
        "jpeg-lossless-predictor-6": ["dcmcjpeg", "+el", "+sv", "6"],
        "jpeg-ls": ["dcmcjpls", "+el"],
    }
    lossy = {
        "jpeg-baseline": ["dcmcjpeg", "+eb"],
        "jpeg-extended": ["dcmcjpeg", "+ee"],
        "jpeg-spectral": ["dcmcjpeg", "+es"],
        "jpeg-progressive": ["dcmcjpeg", "+ep"],
        "jpeg-ls-near": ["dcmcjpls", "+en", "+md", "2"],
    }
    if colour:
        lossless |= {
            f"jpeg-ls{option}": ["dcmcjpls", "+el", option]
            for option in ("+il", "+is", "+in")
        }
        lossy |= {
            f"jpeg-baseline{option}": ["dcmcjpeg", "+eb", option]
            for option in ("+cr", "+s4", "+n2", "+n1", "+np")
        }
    for kind, command in (lossless | (lossy if not signed else {})).items():
        made = folder / f"{path.stem}-{kind}.dcm"
        run(*command, path, made)
        yield Made(made.stem, made)
    yield from _compress_by_openjpeg(path, folder, signed)


def _compress_by_openjpeg(path: Path, folder: Path, signed: bool) -> Iterator[Made]:
    kinds = {"jpeg-2000-lossless": JPEG2000Lossless}
    kinds |= {} if signed else {"jpeg-2000": JPEG2000}
    for kind, syntax in kinds.items():
        dataset = dcmread(path)
        options = {} if syntax != JPEG2000 else {"j2k_cr": [8]}
        dataset.compress(syntax, encoding_plugin="pylibjpeg", **options)
        made = folder / f"{path.stem}-{kind}.dcm"
        dataset.save_as(made)
        yield Made(made.stem, made)


def make_by_dcmtk(grey: np.ndarray, folder: Path) -> Iterator[Made]:
    """What dcmtk makes of pictures, changes in headers, and writes without one."""
    for kind, suffix in (("BMP", "bmp"), ("JPEG", "jpg")):
        picture, made = folder / f"picture.{suffix}", folder / f"img2dcm-{kind}.dcm"
        cv2.imwrite(str(picture), grey)
        run("img2dcm", "-i", kind, picture, made)
        yield Made(made.stem, made)
    source = folder / "values-12-bits.dcm"
    changes = {
        "window": ["-i", "WindowCenter=1500", "-i", "WindowWidth=1800"],
        "MONOCHROME1": ["-m", "PhotometricInterpretation=MONOCHROME1"],
    }
    for kind, change in changes.items():
        made = folder / f"dcmodify-{kind}.dcm"
        made.write_bytes(source.read_bytes())
        run("dcmodify", "-nb", *change, made)
        yield Made(made.stem, made)
    for kind in ("+te", "+tb", "+ti"):
        made = folder / f"data-set-alone-dcmconv{kind}.dcm"
        run("dcmconv", "-F", kind, source, made)
        yield Made(made.stem, made)


def _make_lut(first: int, bits: int, entries: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    item.ModalityLUTType = "US"
    return Sequence([item])


def _save(dataset: Dataset, folder: Path, name: str) -> Made:
    path = folder / f"{name}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Made(name, path)
