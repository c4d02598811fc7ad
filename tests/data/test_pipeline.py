import json

import numpy as np
import pytest

from keras_mscam.data import pipeline
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import (
    make_dataset,
    make_training_dataset,
    read_examples,
)
from keras_mscam.errors import UserError
from keras_mscam.prepare import prepare


def collect(dataset):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def keys(images):
    return [image.tobytes() for image in images]


def test_one_pass_in_order(phantom_records):
    batches = collect(make_dataset(phantom_records, "test", batch_size=7))
    examples = list(read_examples(phantom_records, "test"))
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.uint8
    assert images.shape[1:] == (64, 96, 1)
    np.testing.assert_array_equal(images[..., 0], [e.image for e in examples])
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, [e.labels for e in examples])
    assert {len(images) for images, _ in batches[:-1]} == {7}


def training_epochs(records, epochs, first_epoch=0, seed=5):
    steps = Manifest.read(records).splits["train"].images // 16
    batches = collect(
        make_training_dataset(
            records, batch_size=16, seed=seed, epochs=epochs, first_epoch=first_epoch
        )
    )
    assert len(batches) == steps * (epochs - first_epoch)
    return [
        keys(np.concatenate([b[0] for b in batches[i : i + steps]]))
        for i in range(0, len(batches), steps)
    ]


@pytest.fixture(params=["cached", "streamed"])
def storage(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(pipeline, "CACHE_BYTES", 0)


@pytest.mark.usefixtures("storage")
def test_epochs_depend_on_seed_and_number_alone(phantom_records):
    epochs = training_epochs(phantom_records, 3)
    assert training_epochs(phantom_records, 3, first_epoch=1) == epochs[1:]
    assert epochs[0] != epochs[1] != epochs[2]
    assert training_epochs(phantom_records, 1, seed=6)[0] != epochs[0]


@pytest.mark.usefixtures("storage")
def test_no_image_twice_in_an_epoch(phantom_records):
    known = set(keys(e.image for e in read_examples(phantom_records, "train")))
    for epoch in training_epochs(phantom_records, 2):
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= known


def test_labels_stay_with_their_images(phantom_records):
    labels = {e.image.tobytes(): e.labels for e in read_examples(phantom_records, "train")}
    dataset = make_training_dataset(phantom_records, batch_size=16, seed=0, epochs=1)
    for images, batch in collect(dataset):
        for image, row in zip(images, batch, strict=True):
            np.testing.assert_array_equal(labels[image.tobytes()], row)


def test_examples_keep_boxes_in_the_original_frame(make_patients, tmp_path):
    prepare(make_patients(), tmp_path / "r", image_size=(32, 48), progress=False)
    boxed = [e for e in read_examples(tmp_path / "r", "test") if e.boxes]
    assert [e.name for e in boxed] == ["00000000_000.png"]
    assert boxed[0].original_size == (40, 30)
    assert boxed[0].image.shape == (32, 48)
    assert boxed[0].boxes[0].xyxy == (3, 4, 13, 16)


class TestManifest:
    def test_round_trip(self, phantom_records, tmp_path):
        manifest = Manifest.read(phantom_records)
        for split in manifest.splits.values():
            for shard in split.shards:
                (tmp_path / shard).touch()
        manifest.write(tmp_path)
        assert Manifest.read(tmp_path) == manifest

    def test_no_manifest(self, tmp_path):
        with pytest.raises(UserError, match="holds no prepared records"):
            make_dataset(tmp_path, "test", batch_size=1)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}'])
    def test_damaged_or_foreign(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(UserError, match="Cannot read"):
            Manifest.read(tmp_path)

    def test_missing_shard(self, phantom_records, tmp_path):
        content = json.loads((phantom_records / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="is missing"):
            Manifest.read(tmp_path)
