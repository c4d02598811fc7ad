"""The page's own arithmetic against NumPy and OpenCV."""

import dataclasses

import cv2
import matplotlib
import numpy as np
import pytest

from keras_mscam.images.resize import resize_area
from keras_mscam.inference.find_boxes import compute_heatmap, find_boxes
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.modeling.localizer import build_bilinear_matrix


def test_area_averaging_is_that_of_opencv(run_node):
    rng = np.random.default_rng(0)
    sizes = [
        ((64, 96), (64, 96)), ((128, 192), (64, 96)), ((256, 288), (64, 96)),
        ((71, 113), (64, 96)), ((500, 333), (64, 96)), ((40, 50), (64, 96)),
        ((200, 40), (64, 96)), ((65, 97), (64, 96)), ((1, 1), (3, 2)),
    ]  # fmt: skip
    images = [rng.integers(0, 256, size).astype("uint8") for size, _ in sizes]
    cases = [
        {"kind": "area", "pixels": image.ravel(), "from": size, "to": to}
        for image, (size, to) in zip(images, sizes, strict=True)
    ]
    answers = run_node(cases)
    for image, (_, to), answer in zip(images, sizes, answers, strict=True):
        expected = resize_area(image, to).astype(int)
        difference = np.abs(np.reshape(answer, to) - expected)
        # OpenCV adds in float32; it enlarges in whole numbers, and cuts twice.
        grows = min(image.shape) < 64
        assert difference.max() <= (2 if grows else 1)
        assert difference.mean() < (0.3 if grows else 0.001)


def test_bilinear_resizing_has_half_pixel_centres(run_node):
    rng = np.random.default_rng(1)
    sizes = [((8, 12), (64, 96)), ((3, 5), (7, 4)), ((1, 2), (1, 4)), ((6, 6), (6, 6))]
    maps = [rng.normal(size=size) for size, _ in sizes]
    answers = run_node(
        [
            {"kind": "bilinear", "values": cam.ravel(), "from": size, "to": to}
            for cam, (size, to) in zip(maps, sizes, strict=True)
        ]
    )
    for cam, (size, to), answer in zip(maps, sizes, answers, strict=True):
        down, across = map(build_bilinear_matrix, to, size)
        np.testing.assert_allclose(
            np.reshape(answer, to), down @ cam @ across.T, atol=1e-6
        )


@pytest.mark.parametrize("normalization", ["min_max", "exponential"])
def test_maps_are_normalized_alike(normalization, run_node):
    rng = np.random.default_rng(2)
    maps = [rng.normal(size=9), np.ones(4), np.array([1.0, np.nan]), np.array([-3, -1])]
    units = [0.4, 1.0, 1.0, 0.0]
    answers = run_node(
        [
            {"kind": "normalize", "cam": [None if np.isnan(v) else v for v in cam],
             "normalization": normalization, "unit": unit}
            for cam, unit in zip(maps, units, strict=True)
        ]
    )  # fmt: skip
    for cam, unit, answer in zip(maps, units, answers, strict=True):
        expected = normalize_map(cam[None].astype("float32"), normalization, unit)
        np.testing.assert_allclose(answer, expected[0], atol=1e-6)


def make_smooth(rng, size):
    return cv2.GaussianBlur(rng.normal(size=size).astype("float32"), (0, 0), 2)


@pytest.mark.parametrize(
    "threshold, min_area, max_area", [(0.3, 0.0, 1.0), (180 / 255, 0.002, 0.5)]
)
def test_heat_maps_and_boxes_are_those_of_python(
    threshold, min_area, max_area, run_node, predictor
):
    rng = np.random.default_rng(3)
    contract = dataclasses.replace(
        predictor.runtime.contract, probability_thresholds=(0.0, 0.0, 0.0),
        shown_threshold=threshold, shown_min_area=min_area, shown_max_area=max_area,
        shown_max_boxes=6,
    )  # fmt: skip
    cams = {
        f"cam_block{block}": rng.normal(size=(1, *size, 3)).astype("float32")
        for block, size in zip((2, 3, 4), [(8, 12), (4, 6), (2, 3)], strict=True)
    }
    probabilities = np.array([[0.5, 0.25, 1.0]], "float32")
    boxes, scores = find_boxes(
        contract, {"probabilities": probabilities, **cams}, np.array([[200, 330]])
    )
    plain = dataclasses.asdict(contract)
    outputs = {
        name: {"data": cam.ravel(), "shape": cam.shape} for name, cam in cams.items()
    }
    heatmaps = run_node(
        [
            {"kind": "heatmap", "contract": plain, "cams": outputs, "column": column}
            for column in range(3)
        ]
    )
    found = run_node(
        [
            {"kind": "boxes", "contract": plain, "heatmap": heatmap,
             "threshold": threshold, "field": [0, 0, 330, 200],
             "probability": probabilities[0, column]}
            for column, heatmap in enumerate(heatmaps)
        ]
    )  # fmt: skip
    for column in range(3):
        expected = compute_heatmap(contract, cams, 0, column)
        np.testing.assert_allclose(
            np.reshape(heatmaps[column], expected.shape), expected, atol=1e-5
        )
        kept = scores[0, column] > 0
        assert len(found[column]) == kept.sum()
        xyxy = [box["xyxy"] for box in found[column]]
        expected = boxes[0, column][kept]
        np.testing.assert_allclose(np.reshape(xyxy, (-1, 4)), expected, atol=1e-3)
        score = [box["score"] for box in found[column]]
        np.testing.assert_allclose(score, scores[0, column][kept], atol=1e-5)
    assert scores.any()


def test_boxes_lie_in_the_field_and_touch_diagonally(run_node, predictor):
    # Two pixels that touch at a corner are one region; a third is another.
    heat = np.zeros((64, 96))
    heat[0, 0] = heat[1, 1] = 0.5
    heat[63, 95] = 0.75
    contract = dataclasses.replace(predictor.runtime.contract, shown_min_area=0.0)
    plain = dataclasses.asdict(contract)
    case = {"kind": "boxes", "contract": plain, "heatmap": heat.ravel(),
            "threshold": 0.25, "field": [10, 20, 10 + 192, 20 + 64],
            "probability": 0.5}  # fmt: skip
    first, second = run_node([case])[0]
    # Columns are twice as wide in the field, rows as high: the last is at 10 + 2 * 95.
    assert first == {"xyxy": [200, 83, 202, 84], "score": 0.375}
    assert second == {"xyxy": [10, 20, 14, 22], "score": 0.25}


def test_luma_and_colours_are_those_of_opencv_and_matplotlib(run_node):
    rng = np.random.default_rng(4)
    colours = rng.integers(0, 256, (50, 70, 4)).astype("uint8")
    luma, inferno = run_node(
        [{"kind": "luma", "colours": colours.ravel(), "channels": 4},
         {"kind": "inferno"}]
    )  # fmt: skip
    expected = cv2.cvtColor(colours[..., :3], cv2.COLOR_RGB2GRAY)
    assert np.reshape(luma, (50, 70)).tolist() == expected.tolist()
    palette = np.rint(255 * matplotlib.colormaps["inferno"](np.arange(256))[:, :3])
    assert np.reshape(inferno, (256, 3)).tolist() == palette.tolist()
