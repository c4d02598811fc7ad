import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.data.cache import cache_in_memory, cache_on_disk
from keras_mscam.data.manifest import Manifest, Split
from keras_mscam.errors import UserError

SIZE = (3, 5)
MANIFEST = Manifest(
    pathologies=("Effusion", "Mass"),
    image_size=SIZE,
    split_rule="paper",
    seed=0,
    splits={"train": Split(("train.tfrecord",), 70, 70, {}, {})},
    beta={},
    checksums={"train.tfrecord": "00ff"},
    sources={},
)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (70, *SIZE, 1), np.uint8)
LABELS = np.float32(RNG.choice([0, 1, np.nan], (70, 2)))


def make_decoded(count=70):
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat().take(count)


def make_nothing():
    return make_decoded(0)


def check(cache):
    np.testing.assert_array_equal(cache.images, IMAGES)
    np.testing.assert_array_equal(cache.labels, LABELS)


def test_both_hold_what_was_decoded(tmp_path):
    check(cache_in_memory(make_decoded(), 70))
    check(cache_on_disk(tmp_path / "cache", MANIFEST, SIZE, make_decoded()))
    # There it is a file, not memory, and nothing is decoded the second time.
    again = cache_on_disk(tmp_path / "cache", MANIFEST, SIZE, make_nothing())
    check(again)
    assert isinstance(again.images.base, np.memmap)


def test_other_records_have_another_cache(tmp_path):
    cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded())
    changed = dataclasses.replace(MANIFEST, checksums={"train.tfrecord": "ff00"})
    cache_on_disk(tmp_path, changed, SIZE, make_decoded())
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("file", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("size", [0, 60, -1])
def test_a_file_cut_short_is_made_anew(tmp_path, file, size):
    cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded())
    (path,) = tmp_path.glob(f"*/{file}")
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    check(cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded()))
    check(cache_on_disk(tmp_path, MANIFEST, SIZE, make_nothing()))


def test_a_folder_left_by_a_killed_process_is_replaced(tmp_path):
    cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded())
    (whole,) = (path for path in tmp_path.iterdir() if path.is_dir())
    whole.rename(tmp_path / f".{whole.name}")
    check(cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded()))
    assert not (tmp_path / f".{whole.name}").exists()


@pytest.mark.parametrize("count", [0, 69, 71])
def test_shards_that_do_not_fit_their_manifest(tmp_path, count):
    with pytest.raises(UserError, match="the 70 records"):
        cache_in_memory(make_decoded(count), 70)
    with pytest.raises(UserError, match="the 70 records"):
        cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded(count))
    # What was begun isn't taken for a cache.
    check(cache_on_disk(tmp_path, MANIFEST, SIZE, make_decoded()))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be written.*another --cache-folder"):
        cache_on_disk(tmp_path / "file" / "cache", MANIFEST, SIZE, make_decoded())
