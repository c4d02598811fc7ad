from itertools import chain

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data import order, pipeline, shards, tfrecords
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import (
    make_dataset,
    make_training_dataset,
    name_batch,
    read_examples,
)
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import UserError
from keras_mscam.images.resize import resize_area

SIZE = (20, 34)


ALL_CHANGES = AugmentationConfig(
    rotation=10, shift=0.1, zoom=0.1, brightness=20, contrast=0.2, noise=5, flip=True
)


@pytest.fixture
def prepared(toy, tmp_path, monkeypatch):
    """20 patients of 2 images each: 28, 4 and 8 images, in shards of 4 or so."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 3500)
    prepare(toy(), tmp_path / "records", image_size=SIZE, progress=False)
    assert len(Manifest.read(tmp_path / "records").splits["train"].shards) >= 6
    return tmp_path / "records"


@pytest.fixture(params=["memory", "disk", "none"])
def cache(request, monkeypatch):
    """All ways to shuffle, the last with blocks smaller than the split."""
    monkeypatch.setattr(order, "BLOCK_RECORDS", 12)
    monkeypatch.setattr(order, "OPEN_SHARDS", 3)
    monkeypatch.setattr(order, "RUN_RECORDS", 2)
    return request.param


@pytest.fixture
def count_decoded(monkeypatch):
    """Return a list that grows by one with every image that is decoded."""
    decoded = []
    original = tfrecords.decode_image

    def count(png, image_size):
        tf.py_function(lambda: decoded.append(1), [], [])
        return original(png, image_size)

    monkeypatch.setattr(tfrecords, "decode_image", count)
    return decoded


def read_images(batches):
    """Return one hashable value for each image of each batch."""
    return [[image.tobytes() for image in images] for images, _ in batches]


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
    assert read_images(to_numpy(dataset)) == read_images(to_numpy(dataset))
    assert dataset.element_spec[0].shape.as_list() == [None, *SIZE, 1]


def test_every_epoch_has_every_image_at_most_once(prepared, cache):
    dataset = make_training_dataset(
        prepared, batch_size=8, seed=0, epochs=4, cache=cache
    )
    batches = read_images(to_numpy(dataset))
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


def test_images_keep_their_labels(prepared, cache):
    labels_of = {
        e.image.tobytes(): e.labels.tolist() for e in read_examples(prepared, "train")
    }
    dataset = make_training_dataset(
        prepared, batch_size=7, seed=0, epochs=2, cache=cache
    )
    for images, labels in to_numpy(dataset):
        expected = [labels_of[image.tobytes()] for image in images]
        assert labels.tolist() == expected


def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(prepared, cache):
    def read(**first):
        dataset = make_training_dataset(
            prepared,
            batch_size=8,
            seed=7,
            epochs=4,
            cache=cache,
            augmentation=ALL_CHANGES,
            **first,
        )
        batches = to_numpy(dataset)
        assert len(dataset) == len(batches)
        return read_images(batches), [labels.tolist() for _, labels in batches]

    images, labels = read()
    # 3 steps an epoch.
    assert read(first_epoch=2) == (images[6:], labels[6:])
    assert read(first_epoch=1, first_step=2) == (images[5:], labels[5:])


def test_batches_before_the_first_are_not_decoded(prepared, cache, count_decoded):
    dataset = make_training_dataset(
        prepared, batch_size=8, seed=0, epochs=2, first_step=2, cache=cache
    )
    assert len(to_numpy(dataset)) == 4
    # The third step of one epoch and the three of another are left: 4 batches of 8.
    assert len(count_decoded) == (32 if cache == "none" else 28)


@pytest.mark.parametrize("changes", [{}, {"balanced": True}])
def test_the_names_of_a_batch(prepared, cache, changes):
    """They are found without training; here, by the pixels of what training saw."""
    if changes and cache == "none":
        pytest.skip("balanced sampling needs a cache")
    names = {e.image.tobytes(): e.name for e in read_examples(prepared, "train")}
    options = {"batch_size": 6, "seed": 3, "cache": cache, **changes}
    batches = make_training_dataset(prepared, epochs=2, **options)
    batches = read_images(batches.as_numpy_iterator())
    steps = len(batches) // 2
    for epoch, step in ((0, 0), (1, 0), (1, 2)):
        found = name_batch(prepared, "train", epoch, step, **options)
        assert found == [names[image] for image in batches[epoch * steps + step]]


def test_the_names_of_a_batch_of_validation(prepared):
    names = [example.name for example in read_examples(prepared, "validation")]
    assert len(names) == 4
    found = [
        name_batch(prepared, "validation", 7, step, batch_size=3, seed=0)
        for step in range(2)
    ]
    assert found == [names[:3], names[3:]]


def test_the_order_depends_on_the_seed_and_not_on_the_global_one(prepared, cache):
    def make(seed, global_seed, augmentation=None):
        tf.random.set_seed(global_seed)
        return make_training_dataset(
            prepared,
            batch_size=8,
            seed=seed,
            epochs=2,
            cache=cache,
            augmentation=augmentation,
        )

    first = read_images(to_numpy(make(1, 10)))
    assert first == read_images(to_numpy(make(1, 20)))
    assert first != read_images(to_numpy(make(2, 10)))
    changed = make(1, 10, ALL_CHANGES)
    first = read_images(to_numpy(changed))
    assert first == read_images(to_numpy(changed))
    assert first == read_images(to_numpy(make(1, 20, ALL_CHANGES)))


def test_memory_and_disk_have_one_order(prepared):
    memory, disk = (
        make_training_dataset(prepared, batch_size=8, seed=3, epochs=2, cache=cache)
        for cache in ("memory", "disk")
    )
    assert read_images(to_numpy(memory)) == read_images(to_numpy(disk))


def test_nothing_is_left_to_do(prepared, cache):
    for first in ({"first_epoch": 2}, {"first_epoch": 1, "first_step": 3}):
        dataset = make_training_dataset(
            prepared, batch_size=8, seed=0, epochs=2, cache=cache, **first
        )
        assert len(dataset) == 0 and to_numpy(dataset) == []


def check_hosts(prepared, **options):
    """Compare what three hosts get with what one gets."""

    def make(host):
        return make_training_dataset(
            prepared,
            batch_size=9,
            seed=5,
            epochs=2,
            first_step=1,
            augmentation=ALL_CHANGES,
            host=host,
            **options,
        )

    parts = [make((index, 3)) for index in range(3)]
    assert parts[0].element_spec[0].shape.as_list() == [3, *SIZE, 1]
    whole, *parts = map(to_numpy, (make((0, 1)), *parts))
    assert len(whole) == 5
    for (images, labels), *shared in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(images, np.concatenate([i for i, _ in shared]))
        np.testing.assert_array_equal(labels, np.concatenate([k for _, k in shared]))


def test_hosts_share_the_batches_of_one(prepared, cache):
    check_hosts(prepared, cache=cache)


def test_hosts_share_balanced_batches(prepared):
    check_hosts(prepared, cache="memory", balanced=True)


def test_hosts_decode_their_own_images_only(prepared, count_decoded):
    dataset = make_training_dataset(
        prepared, batch_size=8, seed=0, epochs=2, cache="none", host=(1, 4)
    )
    # 6 steps of 8 / 4 images.
    assert len(to_numpy(dataset)) == 6 and len(count_decoded) == 12


def test_hosts_share_one_pass_whose_last_batch_is_filled_up(prepared, count_decoded):
    """28 images in batches of 12 for 3 hosts: 4 of each batch, and 8 to fill it up."""
    whole = list(to_numpy(make_dataset(prepared, "train", batch_size=12)))
    hosts = []
    for index in range(3):
        count_decoded.clear()
        shared = make_dataset(prepared, "train", batch_size=12, host=(index, 3))
        assert len(shared) == 3
        hosts.append(list(to_numpy(shared)))
        assert len(count_decoded) == 12  # its own
    for (images, labels), *parts in zip(whole, *hosts, strict=True):
        assert all(part[0].shape == (4, *SIZE, 1) for part in parts)
        together = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        np.testing.assert_array_equal(together[0][: len(images)], images)
        np.testing.assert_array_equal(together[1][: len(images)], labels)
        assert np.isnan(together[1][len(images) :]).all()


def test_hosts_that_cannot_be(prepared):
    with pytest.raises(UserError, match="3 hosts can't share a batch of 8"):
        make_training_dataset(prepared, batch_size=8, seed=0, epochs=1, host=(0, 3))
    with pytest.raises(UserError, match="no host 2 among 2"):
        make_training_dataset(prepared, batch_size=8, seed=0, epochs=1, host=(2, 2))


@pytest.mark.parametrize("name", ["memory", "disk"])
def test_balanced_sampling_shows_every_pathology_as_often(prepared, name):
    dataset = make_training_dataset(
        prepared, batch_size=28, seed=0, epochs=200, cache=name, balanced=True
    )
    labels = np.concatenate([labels for _, labels in to_numpy(dataset)])
    # Three groups of 5600 / 3 draws each: Effusion, Mass and neither. A draw has a
    # deviation of at most 1/2, the mean of 5600 one of at most 0.0067.
    neither = (labels == 0).all(axis=1).mean()
    assert abs(neither - 1 / 3) < 5 * 0.0067
    # Of the Effusions, the share that also shows a Mass is that of the images.
    manifest_labels = np.array([e.labels for e in read_examples(prepared, "train")])
    effusion, mass = (manifest_labels == 1).T
    both = (effusion & mass).sum()
    expected = (both / effusion.sum() + both / mass.sum()) / 3
    assert abs((labels == 1).all(axis=1).mean() - expected) < 5 * 0.0067


def test_balanced_sampling_without_a_cache(prepared, monkeypatch):
    options = {"batch_size": 8, "seed": 0, "epochs": 1, "balanced": True}
    with pytest.raises(UserError, match="needs all images at hand"):
        make_training_dataset(prepared, **options, cache="none")
    monkeypatch.setattr(pipeline, "MEMORY_BYTES", 28 * SIZE[0] * SIZE[1] - 1)
    with pytest.raises(UserError, match="needs all images at hand"):
        make_training_dataset(prepared, **options)
    monkeypatch.setattr(pipeline, "MEMORY_BYTES", 28 * SIZE[0] * SIZE[1])
    assert len(make_training_dataset(prepared, **options)) == 3


def test_a_cache_that_there_is_not(prepared):
    with pytest.raises(UserError, match="no cache 'tape', only auto, memory"):
        make_training_dataset(prepared, batch_size=8, seed=0, epochs=1, cache="tape")


def test_decoded_once_where_it_fits_into_memory(prepared, count_decoded, monkeypatch):
    def read(size):
        monkeypatch.setattr(pipeline, "MEMORY_BYTES", size)
        dataset = make_training_dataset(prepared, batch_size=8, seed=0, epochs=5)
        assert len(to_numpy(dataset)) == 15
        decoded = len(count_decoded)
        count_decoded.clear()
        return decoded

    assert read(28 * SIZE[0] * SIZE[1]) == 28
    assert read(28 * SIZE[0] * SIZE[1] - 1) == 5 * 24


def test_the_cache_on_disk_is_used_again(prepared, count_decoded, tmp_path):
    def read(**options):
        dataset = make_training_dataset(
            prepared, batch_size=8, seed=0, epochs=1, cache="disk", **options
        )
        assert len(to_numpy(dataset)) == 3
        decoded = len(count_decoded)
        count_decoded.clear()
        return decoded

    assert (read(), read()) == (28, 0)
    assert (prepared / "cache").is_dir()
    # Another folder and another size each need a cache of their own.
    assert read(cache_folder=tmp_path / "scratch") == 28
    assert read(image_size=(10, 17)) == 28
    assert read() == 0


def test_augmentation_that_is_off_changes_nothing(prepared, cache):
    plain, off = (
        make_training_dataset(
            prepared, batch_size=8, seed=0, epochs=1, cache=cache, augmentation=config
        )
        for config in (None, AugmentationConfig())
    )
    assert read_images(to_numpy(plain)) == read_images(to_numpy(off))


def test_augmentation_keeps_labels_and_differs_by_epoch(prepared, cache):
    config = AugmentationConfig(brightness=50)
    options = {"batch_size": 28, "seed": 0, "epochs": 2, "cache": cache}
    plain = to_numpy(make_training_dataset(prepared, **options))
    changed = to_numpy(make_training_dataset(prepared, **options, augmentation=config))
    offsets = []
    for (before, labels), (after, same_labels) in zip(plain, changed, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        # Pixels far from 0 and 255 all move by one number an image, but for rounding.
        inside = (before > 60) & (before < 195)
        moved = after.astype(int) - before
        for image, used in zip(moved, inside, strict=True):
            assert np.ptp(image[used]) == 0 and abs(image[used][0]) <= 50
            offsets.append(image[used][0])
    # 56 draws of 101 values; as many alike as 30 have no chance.
    assert len(set(offsets)) > 26


@pytest.mark.parametrize("config", [None, AugmentationConfig(flip=True)])
def test_image_size(prepared, cache, config):
    dataset = make_training_dataset(
        prepared,
        batch_size=8,
        seed=0,
        epochs=1,
        cache=cache,
        image_size=(12, 17),
        augmentation=config,
    )
    assert dataset.element_spec[0].shape.as_list() == [8, 12, 17, 1]
    assert all(images.shape == (8, 12, 17, 1) for images, _ in to_numpy(dataset))


def test_a_smaller_size_is_the_mean_of_what_it_covers(prepared):
    stored = np.array([e.image for e in read_examples(prepared, "test")], float)
    # Half of 20 x 34: every pixel is the mean of 2 x 2.
    expected = np.round(stored.reshape(8, 10, 2, 17, 2).mean(axis=(2, 4)))
    size = (10, 17)
    dataset = make_dataset(prepared, "test", batch_size=8, image_size=size)
    images = to_numpy(dataset)[0][0][..., 0]
    np.testing.assert_array_equal(images, expected)
    examples = list(read_examples(prepared, "test", image_size=size))
    np.testing.assert_array_equal([e.image for e in examples], images)
    # Boxes stay in the original frame.
    assert examples[0].original_size == (24, 40)


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
