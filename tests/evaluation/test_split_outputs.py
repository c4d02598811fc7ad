import json
import shutil

import keras
import numpy as np
import pytest

from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.evaluation.split_outputs import predict, read_predictions
from keras_mscam.modeling.localizer import get_cams

from .conftest import build


@pytest.fixture(scope="module")
def model(classifier, pathologies, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    classifier.save(path)
    return classifier, path, pathologies


@pytest.fixture(scope="module")
def stored(model, phantom_records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "p"
    return predict(*model, phantom_records, "test", folder, progress=False)


@pytest.fixture
def predictions(stored, tmp_path):
    """Stored predictions that a test may spoil."""
    shutil.copytree(stored.folder, tmp_path / "p")
    return read_predictions(tmp_path / "p")


def test_they_are_what_the_model_says_image_by_image(
    predictions, model, phantom_records
):
    classifier, *_ = model
    network = keras.Model(
        classifier.input, {**classifier.output, **get_cams(classifier)}
    )
    examples = list(read_examples(phantom_records, "test"))
    assert predictions.names.tolist() == [e.name for e in examples]
    assert predictions.patients.tolist() == [e.patient for e in examples]
    stored = [m for _, maps in predictions.read_maps() for m in zip(*maps, strict=True)]
    assert len(stored) == len(examples)
    for row in (0, len(examples) - 1):
        outputs = network(examples[row].image[None, ..., None])
        np.testing.assert_allclose(
            predictions.logits[row], outputs["logits"][0], atol=1e-4
        )
        np.testing.assert_allclose(
            predictions.block_logits[row, 0], outputs["logits_block3"][0], atol=1e-4
        )
        for block, maps in zip(predictions.blocks, stored[row], strict=True):
            expected = keras.ops.convert_to_numpy(outputs[f"cam_block{block}"])[0]
            # Half precision has 11 bits: 1 in 2048 of each value.
            np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4)


def test_boxes_keep_their_image_and_pathology(predictions, phantom_records):
    expected = [
        (row, box.pathology, box.xyxy)
        for row, example in enumerate(read_examples(phantom_records, "test"))
        for box in example.boxes
    ]
    found = [
        (row, predictions.pathologies[column], tuple(xyxy.tolist()))
        for row, column, xyxy in zip(
            predictions.box_rows, predictions.box_columns, predictions.box_xyxy,
            strict=True,
        )
    ]  # fmt: skip
    assert len(expected) > 0
    assert found == expected


def test_a_second_call_looks_at_no_image(predictions, model, phantom_records):
    parts = {p: p.stat().st_mtime_ns for p in predictions.folder.iterdir()}
    again = predict(*model, phantom_records, "test", predictions.folder, progress=False)
    assert {p: p.stat().st_mtime_ns for p in again.folder.iterdir()} == parts


def test_a_broken_off_call_is_gone_on_with(
    model, phantom_records, tmp_path, monkeypatch
):
    monkeypatch.setattr("keras_mscam.evaluation.split_outputs._PART", 5)
    whole = predict(*model, phantom_records, "test", tmp_path / "a", progress=False)
    folder = tmp_path / "b"
    predict(*model, phantom_records, "test", folder, progress=False)
    parts = sorted(folder.glob("part-*"))
    assert len(parts) > 2
    for path in parts[1:]:
        path.unlink()
    kept = parts[0].stat().st_mtime_ns
    resumed = predict(*model, phantom_records, "test", folder, progress=False)
    assert parts[0].stat().st_mtime_ns == kept
    assert resumed.names.tolist() == whole.names.tolist()
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    np.testing.assert_array_equal(resumed.box_rows, whole.box_rows)


def test_predictions_of_another_model_are_replaced(
    predictions, pathologies, phantom_records, tmp_path
):
    other = build(8, blocks=(4,), seed=1)
    other.save(tmp_path / "other.keras")
    replaced = predict(
        other, tmp_path / "other.keras", pathologies, phantom_records, "test",
        predictions.folder, progress=False,
    )  # fmt: skip
    assert replaced.blocks == (4,)
    assert not np.array_equal(replaced.logits, predictions.logits)


def test_values_beyond_half_precision_are_kept(model, phantom_records, tmp_path):
    classifier, *_ = model
    head = classifier.get_layer("head_block4")
    kernel = head.kernel.numpy()
    head.kernel.assign(kernel * 1e8)
    try:
        big = predict(*model, phantom_records, "test", tmp_path / "big", progress=False)
    finally:
        head.kernel.assign(kernel)
    _, maps = next(big.read_maps())
    assert np.isfinite(maps[-1]).all()
    assert np.abs(maps[-1]).max() > 1e6


def test_refusals(model, phantom_records, tmp_path):
    with pytest.raises(UserError, match="no split 'nowhere'"):
        predict(*model, phantom_records, "nowhere", tmp_path, progress=False)
    with pytest.raises(UserError, match="8 outputs, but 2 pathologies are named: Mass"):
        predict(
            *model[:2], ("Mass", "Nodule"), phantom_records, "test", tmp_path,
            progress=False,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_they_say_what_they_are_of(predictions):
    content = json.loads((predictions.folder / "predictions.json").read_text())
    assert content["split"] == "test"
    assert read_predictions(predictions.folder).image_size == (64, 96)
