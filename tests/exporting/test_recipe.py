"""The steps of export/README.md, "In another language", by NumPy and SciPy alone."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from keras_mscam.exporting.agreement import run_reference
from keras_mscam.exporting.examples import draw_examples


def enlarge(values, size):
    """Bilinear with half-pixel centres; beyond the outer centres nothing changes."""
    for axis, side in enumerate(size):
        old = values.shape[axis]
        at = ((np.arange(side) + 0.5) * old / side - 0.5).clip(0, old - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        part = (at - low).reshape([-1, 1] if axis == 0 else [1, -1])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def compute_heatmap(contract, outputs, row, c):
    fused = sum(
        contract["fusion_weights"][b][c]
        * enlarge(outputs[f"cam_block{block}"][row, ..., c], contract["image_size"])
        for b, block in enumerate(contract["blocks"])
    )
    if contract["normalization"] == "min_max":
        return (fused - fused.min()) / (fused.max() - fused.min())
    return np.exp((fused - fused.max()) / contract["map_scales"][c])


def find_boxes(contract, heat, size):
    """Give (mean heat, box) of every region, the hottest first."""
    found = []
    mask = heat > contract["shown_threshold"]
    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
        region = heat[regions == number]
        if region.size >= contract["shown_min_area"] * heat.size:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            found.append((region.mean(), box))
    height, width = contract["image_size"]
    scale = np.array([size[1] / width, size[0] / height] * 2)
    most = contract["shown_max_area"] * heat.size
    if any(measure_area(*box) > most for _, box in found):
        return []
    found = sorted(found, key=lambda item: -item[0])[: contract["shown_max_boxes"]]
    return [
        (heat, box * scale)
        for place, (heat, box) in enumerate(found)
        if not any(lies_in(box, hotter) or lies_in(hotter, box)
                   for _, hotter in found[:place])
    ]  # fmt: skip


def measure_area(left, top, right, bottom):
    return (right - left) * (bottom - top)


def lies_in(box, other):
    return np.all(np.maximum(box, other)[:2] == box[:2]) and np.all(
        np.minimum(box, other)[2:] == box[2:]
    )


@pytest.mark.parametrize("normalization", ["min_max", "exponential"])
def test_another_implementation_finds_the_same(calibrated_model, normalization):
    contract = dataclasses.replace(
        calibrated_model.contract,
        normalization=normalization,
        shown_threshold=0.7,
        shown_min_area=0.01,
        shown_max_area=0.6,
        shown_max_boxes=2,
    )
    files = [file.data for file in draw_examples(contract.image_size)[3:]]
    outputs = run_reference(calibrated_model.localizer, contract, files)
    known = json.loads(contract.dump())
    count = 0
    for row, c in np.ndindex(outputs["probabilities"].shape):
        threshold = known["probability_thresholds"][c]
        probability = outputs["probabilities"][row, c]
        expected = []
        if threshold is not None and probability >= threshold:
            heat = compute_heatmap(known, outputs, row, c)
            expected = find_boxes(known, heat, outputs["original_size"][row])
        count += len(expected)
        scores = np.zeros(2)
        scores[: len(expected)] = [probability * heat for heat, _ in expected]
        np.testing.assert_allclose(outputs["box_scores"][row, c], scores, rtol=1e-4)
        for box, (_, other) in zip(outputs["boxes"][row, c], expected, strict=False):
            np.testing.assert_allclose(box, other, rtol=1e-6)
    assert count > 4
