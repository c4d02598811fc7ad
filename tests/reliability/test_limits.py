"""Small files that ask for much memory, each read in a process that has little."""

import gzip
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from ..images.odd_files import chunk, make_png, save_dicom

SIZE = (64, 64)
#: Bytes beside those that the libraries take.
LIMIT = 2**30
READ = """
import resource, sys
from pathlib import Path
from keras_mscam.data.archives import list_members, read_members
from keras_mscam.data.csv_table import read_rows
from keras_mscam.errors import UserError
from keras_mscam.images.reader import read_grey
read_grey(sys.argv[1])  # once, to have all libraries
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
for path in sys.argv[3:]:
    try:
        if ".csv" in path:
            read_rows(path)
        elif ".zip" in path or ".tar" in path:
            places = [member.position for member in list_members(Path(path))]
            for content in read_members(Path(path), places):
                if isinstance(content, UserError):
                    raise content
        else:
            read_grey(path)
        print("read")
    except UserError as error:
        print(str(error).replace(path, ""))
"""


def make_dicom(syntax, frame=None, **elements):
    dataset = dcmread(io.BytesIO(save_dicom(np.zeros(SIZE, np.uint8))))
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def deflate(count):
    """Deflate a good file with so many zeros behind it."""
    data = make_dicom(DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    packer = zlib.compressobj(wbits=-15)
    parts = [packer.compress(zlib.decompress(data[start:], -15))]
    # An element of that many bytes, after the pixels.
    parts.append(packer.compress(struct.pack("<HH2sHI", 0x7FE1, 16, b"OB", 0, count)))
    parts += [packer.compress(bytes(2**20)) for _ in range(count // 2**20)]
    return data[:start] + b"".join(parts) + packer.flush()


def make_j2k(size=SIZE, tiles=None, precinct=None):
    """Make a code stream that claims other sizes."""
    data = bytearray(
        imagecodecs.jpeg2k_encode(
            np.zeros(SIZE, np.uint8), codecformat="j2k", reversible=True, level=0
        )
    )
    at = data.index(b"\xff\x51")
    struct.pack_into(">II", data, at + 6, *size[::-1])
    struct.pack_into(">II", data, at + 22, *(tiles or size)[::-1])
    if precinct is not None:
        at = data.index(b"\xff\x52")
        length, levels = struct.unpack_from(">H", data, at + 2)[0], data[at + 9]
        data[at + 4] |= 1
        struct.pack_into(">H", data, at + 2, length + levels + 1)
        data[at + 2 + length : at + 2 + length] = bytes([precinct * 17] * (levels + 1))
    return bytes(data)


def make_tar(size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo("images/1.png")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)


def make_zip(size):
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images/1.png", "w") as member,
    ):
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return file.getvalue()


def make_jpeg(height, width):
    frame = struct.pack(">HHBHHB3B", 0xFFC0, 11, 8, height, width, 1, 1, 0x11, 0)
    return (
        b"\xff\xd8" + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0" * 9 + b"\xff\xd9"
    )


LARGE = 400 * 2**20
FILES = {
    "png of 65535x65535": (
        "a.png", lambda: make_png(zlib.compress(b""), 65535, 65535), "is too large",
    ),
    "png with a text of 256 MB": (
        "b.png", lambda: make_png(
            zlib.compress(bytes(42 * 41), 1), 41, 41,
            extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28), 1)),
        ), "read",
    ),
    "jpeg of 65535x65535": ("c.jpg", lambda: make_jpeg(65535, 65535), "is too large"),
    "dicom of 65535x65535": (
        "d.dcm",
        lambda: save_dicom(np.zeros(SIZE, np.uint8), Rows=65535, Columns=65535),
        "is too large",
    ),
    "dicom deflated from 400 MB": (
        "e.dcm", lambda: deflate(LARGE), "is, inflated, larger than 268,435,456 bytes",
    ),
    "dicom of runs of 400 MB": (
        "f.dcm", lambda: make_dicom(
            RLELossless,
            struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * (LARGE // 128),
        ), "is damaged: its pixels are not as many as its header says",
    ),
    "jpeg 2000 of another size": (
        "g.dcm", lambda: make_dicom(JPEG2000Lossless, make_j2k((60000, 60000))),
        "is damaged: its pixels are not as many as its header says",
    ),
    "jpeg 2000 of four million precincts": (
        "h.dcm", lambda: make_dicom(
            JPEG2000Lossless, make_j2k((4000, 4000), precinct=1),
            Rows=4000, Columns=4000,
        ), "is a JPEG 2000 of too many parts",
    ),
    "jpeg 2000 of one tile of many": (
        "i.dcm", lambda: make_dicom(JPEG2000Lossless, make_j2k(tiles=(1, 1))),
        "is damaged: a part of its JPEG 2000 data is missing",
    ),
    "tar of a member of 50 GB": (
        "j.tar", lambda: make_tar(50 * 10**9), "is damaged or incomplete",
    ),
    "tar of a name of 8 GB": (
        "k.tar", lambda: make_tar(8 * 10**9, tarfile.GNUTYPE_LONGNAME),
        "is damaged or incomplete",
    ),
    "zip of a member of 400 MB": (
        "l.zip", lambda: make_zip(LARGE), "is larger than 268,435,456 bytes",
    ),
    "tar.gz of a member of 300 MB": (
        "m.tar.gz",
        lambda: gzip.compress(make_tar(3 * 10**8)[:512] + bytes(300_001_280), 1),
        "is larger than 268,435,456 bytes",
    ),
    "gz of a table of 2 GB": (
        "n.csv.gz", lambda: gzip.compress(b"path,patient\n", 1) + gzip.compress(
            bytes(2**28), 1) * 8, "is larger than 268,435,456 bytes",
    ),
    "table of 100 million fields": (
        "o.csv.gz", lambda: gzip.compress(b"," * 10**8, 1), "has more than 20,000,000",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Read all files in one process, with 1 GB more than its libraries take."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = []
    for name, make, _ in FILES.values():
        paths.append(folder / name)
        paths[-1].write_bytes(make())
    good = folder / "good.dcm"
    good.write_bytes(make_dicom(JPEG2000Lossless, make_j2k()))
    result = subprocess.run(
        [sys.executable, "-c", READ, good, str(LIMIT), *paths],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return dict(zip(FILES, result.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_that_asks_for_much(said, name):
    assert FILES[name][-1] in said[name]
