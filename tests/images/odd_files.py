"""Files as strangers send them: what is read, and what is refused, by every reader."""

import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from keras_mscam.images.png_jpeg import JPEG_FILLINGS

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (41, 66, 4), np.uint8)
GREY = NOISE[..., 0]
COLOUR = np.ascontiguousarray(NOISE[..., :3])
SMOOTH = cv2.GaussianBlur(COLOUR, (0, 0), 3)
DEEP = RNG.integers(0, 65536, (41, 66, 4), np.uint16)


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def make_png(
    raw, width=66, height=41, depth=8, colour=0, interlaced=0, extra=b"", after=b""
):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), extra, chunk(b"IDAT", raw), after,
        chunk(b"IEND", b""),
    ])  # fmt: skip


def make_noisy(extra=b"", after=b"", colour=0):
    """Make a PNG of `GREY`, or of its indices into a palette of four."""
    return make_png(
        compress(GREY % 4 if colour else GREY), colour=colour, extra=extra, after=after
    )


def spoil(part):
    """Make the last byte of a checksum another one."""
    return part[:-1] + bytes([part[-1] ^ 1])


def make_text(kind, content):
    """Make a chunk of compressed text or of a colour profile."""
    ahead = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    return chunk(kind, ahead + zlib.compress(content, 1))


def compress(rows):
    """Compress rows of packed bytes, each behind filter type 0."""
    return zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))


def interlace(image):
    """List the rows of the seven passes of Adam7."""
    starts = [(0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0)]
    steps = [(8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1)]
    return [
        row
        for (top, left), (down, right) in zip(starts, steps, strict=True)
        for row in image[top::down, left::right]
    ]


def save_dicom(pixels, **elements):
    """Make a DICOM of grey values, with other elements, or without those of None."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.4"
    dataset.Modality, dataset.SamplesPerPixel = "CR", 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    for name, value in elements.items():
        setattr(dataset, name, value)
        if value is None:
            delattr(dataset, name)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def encode(image, extension=".png", *options):
    return cv2.imencode(extension, image, options)[1].tobytes()


def save(image, format, **kwargs):
    file = io.BytesIO()
    image.save(file, format, **kwargs)
    return file.getvalue()


def make_palette(transparent):
    image = Image.fromarray(GREY % 16, "P")
    image.putpalette(RNG.integers(0, 256, 48, np.uint8).tobytes())
    return save(image, "PNG", **({"transparency": 3} if transparent else {}))


PNG = encode(GREY)
JPEG = encode(SMOOTH[..., 0], ".jpg")
COMMENT = chunk(b"tEXt", b"Comment\0a text of some length")
PIXELS = compress(GREY)
DEEP_ROWS = compress(DEEP[..., 0].astype(">u2").view(np.uint8).reshape(41, -1))
LONG = bytes(3_000_000)  # decoders with a limit take 1 MB, or 8
RANDOM = RNG.bytes(9_000_000)
PLTE = chunk(b"PLTE", bytes(np.repeat([0, 60, 200, 17], 3).astype("uint8")))
FRAMES = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
ANIMATED = {"save_all": True, "append_images": [FRAMES[1], FRAMES[0].transpose(1)]}
NO_FRAMES = chunk(b"acTL", bytes(8))
FALSE_FRAME = chunk(b"acTL", b"\0\0\0\1" + bytes(4)) + chunk(
    b"fcTL", struct.pack(">IIIIIHHBB", 0, 500, 500, 99, 99, 1, 1, 0, 0)
)
# Colours that differ, and black in places.
CMYK = save(
    Image.fromarray(np.dstack([SMOOTH, 255 - SMOOTH[..., 0]]), "CMYK"), "JPEG",
    quality=90,
)  # fmt: skip
RESTARTS = save(Image.fromarray(SMOOTH), "JPEG", restart_marker_blocks=1)
#: Where the third and the fourth restart is.
THIRD, FOURTH = RESTARTS.index(b"\xff\xd2"), RESTARTS.index(b"\xff\xd3")
PROGRESSIVE = save(Image.fromarray(SMOOTH[..., 0]), "JPEG", progressive=True)
SECOND_SCAN = PROGRESSIVE.index(b"\xff\xda", PROGRESSIVE.index(b"\xff\xda") + 2)
SCAN = JPEG[JPEG.index(b"\xff\xda") : -2]
END = b"\xff\xd9"


def end_with(grey):
    """Make a PNG that ends like a JPEG that was filled up."""
    image = GREY.copy()
    image[-1, -1] = grey
    return encode(image)


def insert(segment):
    """Put bytes behind the start of a JPEG."""
    return JPEG[:2] + segment + JPEG[2:]


def make_exif(orientation, order=b"II*\0", type="H"):
    """Make EXIF data of an orientation alone, a short or long number."""
    sign = "<" if order[:1] == b"I" else ">"
    entry = struct.pack(
        f"{sign}IHHHI{type}{'2x' if type == 'H' else ''}I",
        8, 1, 0x0112, 3 if type == "H" else 4, 1, orientation, 0,
    )  # fmt: skip
    return order + entry


def make_app1(exif):
    return b"\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif


EXIF = Image.Exif()
EXIF[0x0112] = 6  # a viewer would turn it by 90 degrees
SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR

READABLE = {
    "grey": PNG,
    "grey of 16 bits": encode(DEEP[..., 0]),
    "grey and alpha": save(Image.fromarray(NOISE[..., :2]), "PNG"),
    "colour": encode(COLOUR),
    "colour of 16 bits": encode(np.ascontiguousarray(DEEP[..., :3])),
    "colour and alpha": encode(NOISE),
    "colour and alpha of 16 bits": encode(DEEP),
    "colour of many rows": encode(np.tile(COLOUR, (13, 1, 1))),
    "palette": make_palette(transparent=False),
    "transparent palette": make_palette(transparent=True),
    "1 bit": save(Image.fromarray(GREY > 99), "PNG"),
    "2 bits": make_png(compress(NOISE[:8, :9, 0]), 36, 8, depth=2),
    "4 bits": make_png(compress(NOISE[:8, :9, 0]), 18, 8, depth=4),
    "a transparent grey": make_png(
        compress(GREY), extra=chunk(b"tRNS", struct.pack(">H", 17))
    ),
    "interlaced": make_png(compress(interlace(GREY)), interlaced=1),
    "a pixel": encode(GREY[:1, :1]),
    "a row": encode(GREY[:1]),
    "a column": encode(GREY[:, :1]),
    "large, in many chunks": encode(np.tile(GREY, (15, 14))),
    **{f"last pixel of {grey}": end_with(grey) for grey in JPEG_FILLINGS},
    "comment": make_png(compress(GREY), extra=COMMENT),
    "comment of a wrong checksum": make_noisy(spoil(COMMENT)),
    "comment of a wrong checksum behind": make_noisy(after=spoil(COMMENT)),
    "long comment": make_noisy(chunk(b"tEXt", b"a\0" + RANDOM)),
    "long compressed comment": make_noisy(make_text(b"zTXt", LONG)),
    "long international comment": make_noisy(make_text(b"iTXt", LONG)),
    "long comment behind the pixels": make_noisy(after=make_text(b"iTXt", LONG)),
    "many comments": make_noisy(2000 * chunk(b"tEXt", b"a\0b")),
    "long colour profile": make_noisy(make_text(b"iCCP", RANDOM)),
    "colour profile of nonsense": make_noisy(chunk(b"iCCP", b"a\0\0nonsense")),
    "long EXIF": make_noisy(chunk(b"eXIf", RANDOM)),
    "EXIF with a rotation": save(FRAMES[0], "PNG", exif=EXIF),
    "EXIF with a rotation of a wrong checksum": make_noisy(
        spoil(chunk(b"eXIf", make_exif(6)))
    ),
    "EXIF with a rotation behind a prefix": make_noisy(
        chunk(b"eXIf", b"Exif\0\0" + make_exif(6))
    ),
    "EXIF with a rotation behind the pixels": make_noisy(
        after=chunk(b"eXIf", make_exif(6))
    ),
    "long unknown chunk": make_noisy(chunk(b"prVt", RANDOM)),
    "reserved chunk": make_noisy(chunk(b"text", b"abc")),
    "gamma": make_noisy(chunk(b"gAMA", struct.pack(">I", 100_000))),
    "gamma of 0": make_noisy(chunk(b"gAMA", bytes(4))),
    "gamma of a wrong checksum": make_noisy(spoil(chunk(b"gAMA", bytes(4)))),
    "significant bits": make_noisy(chunk(b"sBIT", b"\5")),
    "12 significant bits of 16": make_png(
        DEEP_ROWS, depth=16, extra=chunk(b"sBIT", b"\x0c")
    ),
    "background": make_noisy(chunk(b"bKGD", b"\0\7")),
    "transparency of a wrong checksum": make_noisy(spoil(chunk(b"tRNS", b"\0\7"))),
    "a transparent grey of 16 bits": make_png(
        DEEP_ROWS, depth=16, extra=chunk(b"tRNS", b"\0\7")
    ),
    "palette of grey": make_noisy(PLTE),
    "palette too long for its bits": make_png(
        compress(NOISE[:8, :9, 0]), 72, 8, depth=1, colour=3, extra=PLTE
    ),
    "transparency in front of its palette": make_noisy(
        chunk(b"tRNS", b"\1\2") + PLTE, colour=3
    ),
    "animation": save(FRAMES[0], "PNG", **ANIMATED),
    # OpenCV would read the second picture, which browsers animate.
    "animation of others": save(FRAMES[0], "PNG", default_image=True, **ANIMATED),
    "animation of no frame": make_noisy(NO_FRAMES),
    "animation of a false frame": make_noisy(FALSE_FRAME),
    "pixels in parts": make_png(PIXELS[:500], after=chunk(b"IDAT", PIXELS[500:])),
    "pixels again behind a comment": make_noisy(
        after=COMMENT + chunk(b"IDAT", compress(255 - GREY))
    ),
    "too many rows": make_png(compress([*GREY, *GREY])),
    "end with content": PNG[:-12] + chunk(b"IEND", b"xx"),
    "bytes behind the end": PNG + b"\n\0trailing",
    "another behind the end": PNG + encode(255 - GREY),
    "JPEG": JPEG,
    "JPEG in colour": encode(SMOOTH, ".jpg"),
    "JPEG of noise": encode(COLOUR, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 40),
    "JPEG 4:4:4": encode(SMOOTH, ".jpg", SAMPLING, 0x111111),
    "JPEG 4:2:2": encode(SMOOTH, ".jpg", SAMPLING, 0x211111),
    "JPEG 4:4:0": encode(SMOOTH, ".jpg", SAMPLING, 0x121111),
    "JPEG progressive": save(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "JPEG with a rotation": save(Image.fromarray(SMOOTH), "JPEG", exif=EXIF),
    "JPEG with a rotation as a long number": insert(
        make_app1(make_exif(6, b"MM\0*", "I"))
    ),
    "JPEG with a rotation, then none": insert(
        make_app1(make_exif(6)) + make_app1(make_exif(1))
    ),
    "JPEG with no rotation, then one": insert(
        make_app1(make_exif(1)) + make_app1(make_exif(6))
    ),
    "JPEG with a rotation of no byte order": insert(make_app1(make_exif(6, b"XX\0*"))),
    "JPEG with a rotation behind its pixels": JPEG[:-2] + make_app1(make_exif(6)) + END,
    "JPEG with padding": JPEG[:2] + b"\xff" * 5 + JPEG[2:],
    "JPEG with bytes behind its end": JPEG + b"\n\0trailing",
    "JPEG with a scan behind its end": JPEG + b"\xff\xda\xff",
    "JPEG in front of another": JPEG + encode(255 - SMOOTH, ".jpg"),
    "JPEG of mid-grey": encode(np.full((40, 66), 128, np.uint8), ".jpg"),
    "JPEG with a long colour profile": save(
        FRAMES[0], "JPEG", icc_profile=RANDOM[:3_000_000]
    ),
    "JPEG with EXIF of nonsense": insert(b"\xff\xe1\0\x0cExif\0\0II*\0"),
    "JPEG with a picture in its EXIF": insert(
        b"\xff\xe1" + struct.pack(">H", 10 + len(JPEG)) + b"Exif\0\0II" + JPEG
    ),
    "JPEG with markers of scans in its EXIF": insert(
        b"\xff\xe1\0\xdaExif\0\0II" + 104 * b"\xff\xda"
    ),
    "JPEG with many scans behind its end": JPEG + 101 * b"\xff\xda",
    "JPEG with an end in a comment between its scans": (
        PROGRESSIVE[:SECOND_SCAN] + b"\xff\xfe\0\4\xff\xd9" + PROGRESSIVE[SECOND_SCAN:]
    ),
    "JPEG with a marker of no length": insert(b"\xff\1\xff\xd3"),
    "JPEG with a short JFIF": insert(b"\xff\xe0\0\7JFIF\0"),
    "JPEG with a short Adobe": insert(b"\xff\xee\0\7Adobe"),
    "JPEG with a segment of no length": insert(b"\xff\xfe\0\0"),
    "JPEG in one of three scans": PROGRESSIVE[:SECOND_SCAN] + END,
    "JPEG with restarts": RESTARTS,
    "JPEG without a restart": RESTARTS[:THIRD] + RESTARTS[FOURTH:],
    "JPEG with another restart": RESTARTS.replace(b"\xff\xd2", b"\xff\xd7", 1),
    "JPEG in RGB": imagecodecs.jpeg8_encode(
        SMOOTH, colorspace="rgb", outcolorspace="rgb"
    ),
    "JPEG in CMYK": CMYK,
    "JPEG in CMYK, not Adobe's": CMYK.replace(b"Adobe", b"Other"),
    "JPEG in YCCK": imagecodecs.jpeg8_encode(
        np.dstack([SMOOTH, SMOOTH[..., 0]]), colorspace="cmyk", outcolorspace="ycck"
    ),
    # Bytes that are no arithmetic code are nevertheless decoded.
    "JPEG with arithmetic coding": JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
}  # fmt: skip

REFUSED = {
    "empty": b"",
    "a byte": b"\x89",
    "text": b"<!DOCTYPE html><title>404</title>",
    "GIF": save(Image.fromarray(GREY), "GIF"),
    "BMP": encode(GREY, ".bmp"),
    "signature": PNG[:8],
    "cut in the header": PNG[:20],
    "header only": PNG[:33],
    "head of the pixels only": PNG[:41],
    "cut in the pixels": PNG[:1000],
    "cut before the end": PNG[:-12],
    "cut by a byte": PNG[:-1],
    "checksum of the header": PNG[:19] + b"\x01" + PNG[20:],
    "checksum of the end": PNG[:-1] + b"\x83",
    "no width": make_png(b"", width=0),
    "3 bits": make_png(compress(GREY), depth=3),
    "colour of 4 bits": make_png(compress(GREY), depth=4, colour=2),
    "few rows": make_png(compress(GREY[:9])),
    "garbage for pixels": make_png(GREY.tobytes()),
    "no pixels": make_png(b""),
    "palette missing": make_png(compress(GREY), colour=3),
    "palette of no colour": make_noisy(chunk(b"PLTE", b""), colour=3),
    "palette of 11 bytes": make_noisy(chunk(b"PLTE", bytes(11)), colour=3),
    "palette of a wrong checksum": make_noisy(spoil(PLTE), colour=3),
    "two palettes": make_noisy(PLTE + PLTE, colour=3),
    "two headers": PNG[:33] + PNG[8:],
    "a comment ahead of the header": PNG[:8] + COMMENT + PNG[8:],
    "a chunk of Apple's ahead of the header": PNG[:8] + chunk(b"CgBI", b"") + PNG[8:],
    "header of 14 bytes": PNG[:8] + chunk(b"IHDR", PNG[16:29] + b"\0") + PNG[33:],
    "unknown compression": PNG[:8] + chunk(b"IHDR", PNG[16:26] + b"\1\0\0") + PNG[33:],
    "unknown interlacing": PNG[:8] + chunk(b"IHDR", PNG[16:28] + b"\2") + PNG[33:],
    "unknown necessary chunk": make_noisy(chunk(b"QRST", b"")),
    "chunk without a name": make_noisy(chunk(b"te\0t", b"")),
    "pixels around a comment": make_png(
        PIXELS[:500], after=COMMENT + chunk(b"IDAT", PIXELS[500:])
    ),
    "checksum of the pixels": make_png(spoil(PIXELS)),
    "unknown filter": make_png(zlib.compress(41 * (b"\7" + bytes(66)))),
    "a million columns": make_png(
        compress(np.zeros((1, 1_000_001), "uint8")), 1_000_001, 1
    ),
    "WebP": save(FRAMES[0], "WEBP"),
    "TIFF": save(FRAMES[0], "TIFF"),
    "JPEG 2000": encode(GREY, ".jp2"),
    "JPEG signature": JPEG[:3],
    "JPEG cut in its header": JPEG[:100],
    "JPEG cut in its pixels": JPEG[:-90],
    "JPEG of 12 bits": JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
    "JPEG without a frame": JPEG.replace(b"\xff\xc0", b"\xff\xfe"),
    "JPEG without height": JPEG.replace(b"\x0b\x08\0\x29", b"\x0b\x08\0\0"),
    "JPEG of more rows than it has": JPEG.replace(b"\x08\0\x29", b"\x08\0\x59"),
    "JPEG cut by a byte": JPEG[:-1],
    "JPEG without its end": JPEG[:-2],
    "JPEG cut in front of another": JPEG[:-90] + JPEG,
    "JPEG cut, then closed": JPEG[:-90] + END,
    "JPEG in colour cut, then closed": encode(SMOOTH, ".jpg")[:-90] + END,
    "JPEG in CMYK cut, then closed": CMYK[:-90] + END,
    "JPEG of other CMYK cut, then closed": CMYK.replace(b"Adobe", b"Other")[:-90] + END,
    "JPEG cut, closed and filled": JPEG[:-90] + b"\xff\xff" + END,
    "JPEG cut, closed, with bytes behind": JPEG[:-90] + END + b"xx" + END,
    "JPEG progressive cut": PROGRESSIVE[:-90],
    "JPEG twice": JPEG[:2] + JPEG,
    "JPEG without a scan": JPEG[: JPEG.index(b"\xff\xda")] + END,
    "JPEG of two scans": JPEG[:-2] + SCAN + END,
    "JPEG with an unknown marker": JPEG[:-90] + b"\xff\x2a" + JPEG[-90:],
    "JPEG with a segment that is too long": insert(b"\xff\xfe\xff\xff"),
    "JPEG without quantization": JPEG.replace(b"\xff\xdb", b"\xff\xfe"),
    "JPEG lossless": imagecodecs.ljpeg_encode(GREY),
    "JPEG lossless by its frame": JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    "JPEG hierarchical": JPEG.replace(b"\xff\xc0", b"\xff\xc5"),
    "JPEG-LS": imagecodecs.jpegls_encode(GREY),
    "JPEG XL": imagecodecs.jpegxl_encode(GREY),
}
