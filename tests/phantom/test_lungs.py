"""Lungs and heart found in pictures whose anatomy is known."""

import cv2
import numpy as np
import pytest

from keras_mscam.images.reader import read_grey
from keras_mscam.images.xray import ImageError
from keras_mscam.phantom.lungs import outline_of, settle, trace_chest

from .conftest import make_xray


def overlap(a, b):
    a, b = a > 0.5, b > 0.5
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("case", range(1, 9))
def test_the_lungs_that_were_drawn_are_found(case):
    image, chest = make_xray(case)
    traced = trace_chest(image).to_chest()
    for found, drawn in zip(traced.lungs, chest.lungs, strict=True):
        assert found.side == drawn.side
        assert overlap(found.mask, drawn.mask) > 0.85
        # 8% of the picture: it moves with the template alone
        assert np.linalg.norm(found.hilum - drawn.hilum) < 0.08 * 256
    # the heart's borders; its top and bottom lie behind other things
    assert traced.heart[0] == pytest.approx(chest.heart[0], abs=0.08 * 256)
    assert traced.heart[2] == pytest.approx(chest.heart[2], abs=0.08 * 256)


def test_a_picture_of_another_shape_is_traced_as_if_stretched():
    image, _ = make_xray(2, (256, 256))
    wide = cv2.resize(image, (400, 300), interpolation=cv2.INTER_CUBIC)
    a, b = (trace_chest(picture).to_chest() for picture in (image, wide))
    for first, second in zip(a.lungs, b.lungs, strict=True):
        assert overlap(first.mask, second.mask) > 0.93


@pytest.mark.parametrize("shift", [-20, 20])
def test_contours_follow_a_shift(shift):
    image, _ = make_xray(3)
    moved = cv2.warpAffine(
        image, np.float32([[1, 0, 0], [0, 1, shift]]), image.shape[::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    before, after = trace_chest(image).outlines, trace_chest(moved).outlines
    by = after.mean(axis=1) - before.mean(axis=1)
    assert by[:, 1] == pytest.approx(shift, abs=4)
    assert by[:, 0] == pytest.approx(0, abs=4)


def test_refuses_what_shows_no_lungs(noise):
    with pytest.raises(ImageError, match="contrast"):
        trace_chest(np.full((100, 100), 90, np.uint8))
    with pytest.raises(ImageError, match="shows no lungs"):
        trace_chest(noise)
    image, _ = make_xray(2)
    with pytest.raises(ImageError, match="shows no lungs"):
        trace_chest(255 - image)  # inverted grey
    with pytest.raises(ImageError, match="shows no lungs"):
        trace_chest(image[::-1])  # upside down


def test_a_contour_settles_on_a_disc():
    y, x = np.mgrid[:256, :256] + 0.5
    radius = np.hypot(x - 130, y - 120)
    picture = np.where(radius < 60, 40, 180).astype(np.uint8)
    start = outline_of((np.hypot(x - 133, y - 122) < 54).astype(np.float32))
    contour, rise = settle(picture, start, blur=0.007, stiffness=4.0, reach=1.0)
    distance = np.hypot(contour[:, 0] - 130, contour[:, 1] - 120)
    assert distance == pytest.approx(60, abs=1.5)
    # 140 grey levels from one side to the other, less what the blur keeps back: half a
    # step is 1.25 of its deviations wide, and erf(1.25 / sqrt(2)) = 0.79
    assert np.median(rise) == pytest.approx(0.79 * 140, rel=0.05)


def test_outline_of_nothing():
    assert not outline_of(np.zeros((20, 30), np.float32)).any()


def test_the_real_x_rays(shared):
    folder = shared / "chestxray14-normal" / "images"
    paths = sorted(folder.glob("*.png"))[:12]
    refused = []
    for path in paths:
        try:
            tracing = trace_chest(read_grey(path))
        except ImageError as error:
            refused.append(str(error))
            continue
        (right, left), heart = tracing.outlines, tracing.heart
        assert right[:, 0].mean() < 128 < left[:, 0].mean()
        assert right[:, 0].min() < heart[0] < heart[2] < left[:, 0].max()
    assert len(refused) <= 2, refused
