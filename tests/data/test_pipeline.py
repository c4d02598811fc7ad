from collections import Counter
from itertools import chain

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.data import pipeline, shards
from keras_mscam.data.images import resize_area
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import (
    make_dataset,
    make_training_dataset,
    read_examples,
)
from keras_mscam.errors import UserError
from keras_mscam.prepare import prepare

SIZE = (20, 34)


@pytest.fixture
def prepared(toy, tmp_path, monkeypatch):
    """20 patients of 2 images each: 28, 4 and 8 images, in shards of 5."""
    monkeypatch.setattr(shards, "SHARD_IMAGES", 5)
    prepare(toy(), tmp_path / "records", image_size=SIZE, progress=False)
    return tmp_path / "records"


@pytest.fixture(params=["memory", "blocks"])
def storage(request, monkeypatch):
    """Both ways to shuffle, the second with blocks smaller than the split."""
    if request.param == "blocks":
        monkeypatch.setattr(pipeline, "MEMORY_BYTES", 0)
        monkeypatch.setattr(pipeline, "BLOCK_RECORDS", 12)


def read_images(batches):
    """Return one hashable value for each image of each batch."""
    return [[image.tobytes() for image in images] for images, _ in to_numpy(batches)]


def to_numpy(batches):
    return list(batches.as_numpy_iterator())


def test_examples_are_the_resized_files_with_their_boxes(prepared, toy, tmp_path):
    examples = list(read_examples(prepared, "test"))
    assert len(examples) == 8
    assert sum(len(example.boxes) for example in examples) == 2
    for example in examples:
        file = tmp_path / "toy" / "images" / example.name
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(example.image, resize_area(pixels, SIZE))
        assert example.original_size == (24, 40)
        patient, image = int(example.name[:8]), int(example.name[9:12])
        assert example.patient == str(patient)
        # Image i of the whole set shows an Effusion if 3 divides i, a Mass if 2 does.
        index = 2 * patient + image
        assert example.labels.tolist() == [index % 3 == 0, index % 2 == 0]
        if example.boxes:
            # x, y, w, h of 5.5, 4.25, 10, 12.5.
            (box,) = example.boxes
            assert (box.pathology, box.xyxy) == ("Mass", (5.5, 4.25, 15.5, 16.75))


def test_one_pass_in_the_order_of_the_examples(prepared):
    examples = list(read_examples(prepared, "test"))
    dataset = make_dataset(prepared, "test", batch_size=3)
    batches = to_numpy(dataset)
    assert len(dataset) == 3
    assert [len(images) for images, _ in batches] == [3, 3, 2]
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    assert images.dtype == np.uint8 and labels.dtype == np.float32
    assert images.shape == (8, *SIZE, 1) and labels.shape == (8, 2)
    np.testing.assert_array_equal(images[..., 0], [e.image for e in examples])
    np.testing.assert_array_equal(labels, [e.labels for e in examples])
    # A second pass is the same.
    assert read_images(dataset) == read_images(dataset)
    assert dataset.element_spec[0].shape.as_list() == [None, *SIZE, 1]


def test_every_epoch_has_every_image_at_most_once(prepared, storage):
    dataset = make_training_dataset(prepared, batch_size=8, seed=0, epochs=4)
    batches = read_images(dataset)
    # 28 images make 3 batches of 8; 4 are left over, others in every epoch.
    assert len(dataset) == len(batches) == 12
    assert {len(batch) for batch in batches} == {8}
    everything = {e.image.tobytes() for e in read_examples(prepared, "train")}
    assert len(everything) == 28
    epochs = [[*chain(*batches[3 * k : 3 * k + 3])] for k in range(4)]
    for epoch in epochs:
        assert len(set(epoch)) == 24 and set(epoch) <= everything
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({frozenset(epoch) for epoch in epochs}) > 1
    assert dataset.element_spec[0].shape.as_list() == [8, *SIZE, 1]


def test_images_keep_their_labels(prepared, storage):
    labels_of = {
        e.image.tobytes(): e.labels.tolist() for e in read_examples(prepared, "train")
    }
    dataset = make_training_dataset(prepared, batch_size=7, seed=0, epochs=2)
    for images, labels in to_numpy(dataset):
        expected = [labels_of[image.tobytes()] for image in images]
        assert labels.tolist() == expected


def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(prepared, storage):
    whole = make_training_dataset(prepared, batch_size=8, seed=7, epochs=4)
    resumed = make_training_dataset(
        prepared, batch_size=8, seed=7, epochs=4, first_epoch=2
    )
    assert len(resumed) == 6
    assert read_images(resumed) == read_images(whole)[6:]


def test_the_order_depends_on_the_seed_and_not_on_the_global_one(prepared, storage):
    def read(seed, global_seed):
        tf.random.set_seed(global_seed)
        dataset = make_training_dataset(prepared, batch_size=8, seed=seed, epochs=2)
        return read_images(dataset)

    assert read(1, 10) == read(1, 20)
    assert read(1, 10) != read(2, 10)
    dataset = make_training_dataset(prepared, batch_size=8, seed=1, epochs=2)
    assert read_images(dataset) == read_images(dataset)


def test_nothing_is_left_to_do(prepared, storage):
    dataset = make_training_dataset(
        prepared, batch_size=8, seed=0, epochs=2, first_epoch=2
    )
    assert len(dataset) == 0 and to_numpy(dataset) == []


def test_permutations_are_uniform():
    # 1500 permutations of 3: each of the 6 is expected 250 times, with a standard
    # deviation of sqrt(1500 / 6 * 5 / 6) = 14.4.
    seen = Counter(
        tuple(pipeline._permutation(3, 5, tf.constant(key, tf.int64)).numpy())
        for key in range(1500)
    )
    assert len(seen) == 6
    assert all(abs(count - 250) < 5 * 14.4 for count in seen.values())


def test_decoded_once_where_it_fits_into_memory(prepared, monkeypatch):
    decoded = []
    original = pipeline.decode_image

    def count(png, image_size):
        tf.py_function(lambda: decoded.append(1), [], [])
        return original(png, image_size)

    monkeypatch.setattr(pipeline, "decode_image", count)
    dataset = make_training_dataset(prepared, batch_size=8, seed=0, epochs=5)
    assert len(to_numpy(dataset)) == 15
    assert len(decoded) == 28


def test_a_batch_larger_than_the_split(prepared):
    with pytest.raises(UserError, match="28 images, fewer than a batch of 29"):
        make_training_dataset(prepared, batch_size=29, seed=0, epochs=1)


def test_what_is_not_there(prepared, tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json"):
        make_dataset(tmp_path, "train", batch_size=2)
    with pytest.raises(UserError, match="no split 'dev'"):
        make_dataset(prepared, "dev", batch_size=2)
    (prepared / Manifest.read(prepared).splits["test"].shards[0]).unlink()
    with pytest.raises(UserError, match="is missing"):
        list(read_examples(prepared, "test"))
