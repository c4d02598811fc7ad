"""Files that are whole, their names, and disks that refuse them."""

import errno
import os
import pickle
import subprocess

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.errors import DiskError, explain_disk
from keras_mscam.files import (
    Names,
    hold_lock,
    name_files,
    write_together,
    write_whole,
    write_whole_folder,
)


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestNames:
    def test_names_differ(self):
        names = Names(["taken", "chest-3"])
        texts = ["chest", "CHEST", "chest", "taken", "chest-2"]
        # chest-3 was taken before; the last one's own name has gone to the second.
        assert [names.find(text) for text in texts] == [
            "chest", "CHEST-2", "chest-4", "taken-2", "chest-2-2",
        ]  # fmt: skip

    def test_safe_as_file_names(self):
        names = Names()
        assert names.find("x y:z*") == "x_y_z"
        assert names.find("../../x") == "x"
        assert names.find("....") == "image"
        assert names.find("größe") == "größe"
        assert len(names.find("x" * 300)) == 100
        # File systems count bytes: at most 255, with all that is added to the name.
        name = Names().find("\N{CJK UNIFIED IDEOGRAPH-80BA}" * 83)
        assert name == "\N{CJK UNIFIED IDEOGRAPH-80BA}" * 33
        # A dot at the beginning would hide it; bytes that are no text have no letters.
        assert names.find(".\udcff") == "image-2"

    def test_marks_belong_to_their_letters(self):
        """ "é" may be "e" and an accent; vowels of Hindi are marks."""
        names = Names(["caf\u00e9"])
        assert names.find("cafe\u0301") == "caf\u00e9-2"
        pneumonia = "\u0928\u094d\u092f\u0942\u092e\u094b\u0928\u093f\u092f\u093e"
        assert names.find(pneumonia) == pneumonia

    def test_pathologies_that_look_alike(self):
        names = ["Nodule/Mass", "Nodule Mass", "nodule_mass", "..", "a.b", "x" * 300]
        assert name_files(names) == {
            "Nodule/Mass": "Nodule_Mass",
            "Nodule Mass": "Nodule_Mass-2",
            "nodule_mass": "nodule_mass-3",
            "..": "image",
            "a.b": "a_b",
            "x" * 300: "x" * 100,
        }


def write_records(path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(bytes(10_000))


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.random.default_rng(0).random(10_000)


def write_saved_model(path):
    module = tf.Module()
    module.x = tf.Variable(tf.random.normal((10_000,)))
    tf.saved_model.save(module, str(path))


def write_network(path):
    network = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
    network.save(path.with_suffix(".keras"))


WRITERS = {
    "Python": lambda path: path.write_bytes(bytes(10_000)),
    "NumPy": lambda path: np.savez(path, x=np.zeros(10_000)),
    "TFRecord": write_records,
    "HDF5": write_hdf5,
    "SavedModel": write_saved_model,
    "Keras": write_network,
}


class TestDisks:
    @pytest.mark.parametrize("library", WRITERS)
    def test_a_library_that_meets_a_full_disk(self, library, tmp_path, small_files):
        with (
            small_files(),
            pytest.raises(
                DiskError, match=r"x.* can't be written: it gets larger .* Go!"
            ),
            explain_disk(tmp_path / "x", "Go!"),
        ):
            WRITERS[library](tmp_path / "x")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
    @pytest.mark.parametrize("library", WRITERS)
    def test_a_disk_that_is_really_full(self, library, tmp_path):
        mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(tmp_path)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        try:
            with (
                pytest.raises(
                    DiskError, match=r"x.* can't be written: the disk is full"
                ),
                explain_disk(tmp_path / "x"),
            ):
                WRITERS[library](tmp_path / "x")
        finally:
            subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)

    def test_the_word_on_how_to_go_on_is_the_outer_one(self, tmp_path):
        with (
            pytest.raises(DiskError) as outer,
            explain_disk(tmp_path, "With --resume."),
            explain_disk(tmp_path, "Again."),
        ):
            (tmp_path / "file").touch()
            (tmp_path / "file" / "x").mkdir()
        assert str(outer.value) == (
            f"{tmp_path}/file/x can't be written: a file is where a folder should be; "
            "give another. With --resume."
        )
        # Worker processes send it.
        assert str(pickle.loads(pickle.dumps(outer.value))) == str(outer.value)

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            # OpenVINO, pydantic and TensorFlow.
            (RuntimeError("basic_ios::clear: iostream error"), "the disk may be full"),
            (ValueError("surrogates not allowed"), "a name is no text in UTF-8"),
            (ValueError("Error converting unicode string"), "a name is no text"),
        ],
    )
    def test_words_of_libraries(self, error, sentence):
        with pytest.raises(DiskError, match=sentence), explain_disk("x"):
            raise error

    @pytest.mark.parametrize("name", ["there is/no file", ".1/hidden"])
    def test_the_file_that_tensorflow_names(self, name, tmp_path):
        records = tf.data.TFRecordDataset(str(tmp_path / name))
        with pytest.raises(DiskError) as found, explain_disk(tmp_path / "x"):
            next(iter(records))
        shown = tmp_path / ("x" if name.startswith(".") else name)
        assert str(found.value).startswith(f"{shown} can't be used")

    def test_a_defect_is_none_of_the_disks(self, tmp_path):
        with pytest.raises(ZeroDivisionError), explain_disk(tmp_path):
            _ = 1 / 0

    def test_a_long_name(self, tmp_path):
        with (
            pytest.raises(DiskError, match="the name is too long; give a shorter one"),
            write_whole(tmp_path / ("x" * 300)) as temporary,
        ):
            temporary.touch()


class TestWhole:
    def test_nothing_half_written_is_left(self, tmp_path, small_files):
        (tmp_path / "x").write_text("before")
        with (
            small_files(),
            pytest.raises(DiskError),
            write_whole(tmp_path / "x") as temporary,
        ):
            temporary.write_bytes(bytes(10_000))
        assert list_names(tmp_path) == ["x"]
        assert (tmp_path / "x").read_text() == "before"
        with (
            small_files(),
            pytest.raises(DiskError),
            write_whole_folder(tmp_path / "y") as folder,
        ):
            (folder / "a").touch()
            (folder / "b").write_bytes(bytes(10_000))
        assert list_names(tmp_path) == ["x"]

    def test_files_appear_together(self, tmp_path, small_files):
        for name in "ac":
            (tmp_path / name).write_text("before")
        with (
            small_files(),
            pytest.raises(DiskError),
            write_together(tmp_path) as folder,
        ):
            (folder / "a").write_text("now")
            (folder / "b").write_bytes(bytes(10_000))
        assert list_names(tmp_path) == ["a", "c"]
        assert (tmp_path / "a").read_text() == "before"
        with write_together(tmp_path) as folder:
            (folder / "a").write_text("now")
            (folder / "b").write_text("now")
        assert list_names(tmp_path) == ["a", "b", "c"]
        texts = [(tmp_path / name).read_text() for name in "abc"]
        assert texts == ["now", "now", "before"]

    def test_a_folder_in_the_place_of_a_file(self, tmp_path):
        (tmp_path / "a").write_text("before")
        (tmp_path / "b").mkdir()
        with (
            pytest.raises(DiskError, match="a folder is where a file should be"),
            write_together(tmp_path) as folder,
        ):
            for name in "ab":
                (folder / name).write_text("now")
        assert (tmp_path / "a").read_text() == "before"

    def test_what_a_killed_process_of_the_same_number_has_left(self, tmp_path):
        """In a container, numbers of processes repeat."""
        (tmp_path / f".{os.getpid()}" / "old").mkdir(parents=True)
        (tmp_path / f".x.{os.getpid()}" / "old").mkdir(parents=True)
        with write_together(tmp_path) as folder:
            (folder / "new").touch()
        with write_whole_folder(tmp_path / "x") as folder:
            (folder / "new").touch()
        assert list_names(tmp_path) == ["new", "x"]
        assert list_names(tmp_path / "x") == ["new"]


def test_a_disk_without_locks_is_warned_of(tmp_path, monkeypatch):
    def lock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", lock)
    with (
        pytest.warns(UserWarning, match=f"{tmp_path} is on a disk without locks"),
        hold_lock(tmp_path / "lock", "at it"),
    ):
        assert (tmp_path / "lock").exists()
