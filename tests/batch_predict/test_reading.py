import errno
import os

import cv2
import numpy as np

from keras_mscam.batch_predict.stream import Refused, read

SIZE = (32, 48)


def write(path, shape=(60, 40), value=None):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    cv2.imwrite(str(path), pixels if value is None else np.full(shape, value, "uint8"))
    return str(path)


def test_image_and_picture(tmp_path):
    path = write(tmp_path / "1.png", value=7)
    os.utime(path, ns=(1, 11))
    item = read(path, SIZE, 30, False)
    assert item.stamp == (os.path.getsize(path), 11)
    assert item.image.shape == SIZE and (item.image == 7).all()
    assert item.frame.size == (60, 40)
    assert item.picture.shape == (30, 20) and (item.picture == 7).all()
    assert read(path, SIZE, None, False).picture.size == 0


def test_borders(tmp_path):
    pixels = np.zeros((100, 80), "uint8")
    pixels[10:90, 20:60] = np.random.default_rng(0).integers(50, 255, (80, 40))
    cv2.imwrite(str(tmp_path / "1.png"), pixels)
    assert read(str(tmp_path / "1.png"), SIZE, None, False).frame.field is None
    item = read(str(tmp_path / "1.png"), SIZE, None, True)
    assert item.frame.field == (20, 10, 60, 90) and item.frame.warnings


def test_refusals(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    assert read(str(tmp_path / "text.png"), SIZE, 9, False).reason.startswith("is not")
    os.symlink("nowhere", tmp_path / "link")
    os.symlink("circle", tmp_path / "circle")
    for name, reason in (
        ("no", "there is no such file"),
        ("a\0b", "there is no such file"),
        ("link", "it is a link to no file"),
        ("pipe", "it is neither a file nor a folder"),
        (".", "it is a folder that can't be listed"),
        ("circle", os.strerror(errno.ELOOP)),
        ("text.png/1.png", os.strerror(errno.ENOTDIR)),
    ):
        refused = read(str(tmp_path / name), SIZE, 9, False)
        assert refused == Refused(None, f"cannot be opened: {reason}")
