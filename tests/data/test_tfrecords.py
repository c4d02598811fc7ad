import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.data.manifest import (
    FORMAT,
    Manifest,
    Split,
    compute_beta,
    describe_split,
)
from keras_mscam.data.records import Box, Record
from keras_mscam.data.tfrecords import (
    SCHEMA,
    decode_image,
    frame_length,
    parse,
    serialize,
    write_shard,
)
from keras_mscam.errors import DiskError, UserError

PATHOLOGIES = ("Effusion", "Mass", "Hernia")
RECORD = Record(
    name="a.png",
    path=Path("nowhere/a.png"),
    patient="Zoë",
    view="PA",
    age=58.5,
    sex="F",
    labels=(1.0, 0.0, math.nan),
    boxes=(Box("Mass", (1.5, 2.0, 3.25, 4.0)), Box("Effusion", (0.0, 0.0, 9.0, 8.0))),
)
MANIFEST = Manifest(
    pathologies=("Effusion", "Mass"),
    image_size=(24, 40),
    split_rule="paper",
    seed=3,
    splits={
        "train": Split(
            shards=("train-00000-of-00001.tfrecord",),
            images=3,
            patients=2,
            positives={"Effusion": 1, "Mass": 0},
            prevalence={"Effusion": 1 / 3, "Mass": None},
        )
    },
    beta={"Effusion": 2 / 3, "Mass": 0.5},
    checksums={"rejected.csv": "00ff"},
    sources={"Data_Entry_2017.csv": "ff00"},
    rejected=1,
    problems=("1 cat, such as Tom",),
    versions={"numpy": "2"},
)


def test_a_record_comes_back_as_it_was():
    features = parse(serialize(RECORD, b"pixels", (48, 80), (24, 40), PATHOLOGIES))
    values = {key: value.numpy() for key, value in features.items()}
    assert values.keys() == SCHEMA.keys()
    assert values["image"] == b"pixels"
    assert values["original_size"].tolist() == [48, 80]
    assert values["stored_size"].tolist() == [24, 40]
    assert values["name"] == b"a.png"
    assert values["patient"].decode() == "Zoë"
    assert (values["view"], values["sex"], values["age"]) == (b"PA", b"F", 58.5)
    np.testing.assert_array_equal(values["labels"], np.float32([1, 0, np.nan]))
    assert values["box_xyxy"].tolist() == [1.5, 2.0, 3.25, 4.0, 0.0, 0.0, 9.0, 8.0]
    assert values["box_pathology"].tolist() == [1, 0]


def test_nothing_known_of_a_record():
    bare = dataclasses.replace(RECORD, age=None, view="", sex="", boxes=())
    values = parse(serialize(bare, b"", (24, 40), (24, 40), PATHOLOGIES))
    assert math.isnan(values["age"])
    assert values["box_xyxy"].shape == values["box_pathology"].shape == (0,)
    assert values["view"] == values["sex"] == b""


def test_only_the_features_asked_for():
    serialized = serialize(RECORD, b"pixels", (48, 80), (24, 40), PATHOLOGIES)
    assert parse(serialized, ("labels",)).keys() == {"labels"}


def test_serializing_repeats_itself():
    first = serialize(RECORD, b"pixels", (48, 80), (24, 40), PATHOLOGIES)
    assert first == serialize(RECORD, b"pixels", (48, 80), (24, 40), PATHOLOGIES)


def test_shards_hold_records_in_order(tmp_path):
    path = tmp_path / "x.tfrecord"
    write_shard(path, (name.encode() for name in "abc"))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path))] == [b"a", b"b", b"c"]
    write_shard(path, [])
    assert list(tf.data.TFRecordDataset(str(path))) == []


def test_a_shard_that_cannot_be_written(tmp_path):
    with pytest.raises(DiskError, match=r"x.tfrecord can't be used: it, or its folder"):
        write_shard(tmp_path / "nowhere" / "x.tfrecord", [b"a"])


def test_an_image_of_another_size_than_the_manifest_says_is_an_error():
    png = tf.io.encode_png(np.zeros((24, 40, 1), np.uint8))
    assert decode_image(png, (24, 40)).shape == (24, 40, 1)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(png, (40, 24))


def test_a_manifest_comes_back_as_it_was(tmp_path):
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="keras_mscam-prepare"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ('{"format": "kera', "can't be read"),
        ("[]", "isn't in the format"),
        ('{"name": "some web app", "icons": []}', "isn't in the format"),
        ('{"format": "keras_mscam records 99"}', "isn't in the format"),
        (json.dumps({"format": FORMAT}), "damaged at 'pathologies'"),
    ],
)
def test_foreign_and_damaged_manifests(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Manifest.read(tmp_path)


def test_a_manifest_of_wrong_types_names_the_place(tmp_path):
    content = {"format": FORMAT, **dataclasses.asdict(MANIFEST)}
    content["splits"]["train"]["images"] = "many"
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"splits\.train\.images"):
        Manifest.read(tmp_path)


def test_shard_paths(tmp_path):
    with pytest.raises(UserError, match="no split 'test', only train"):
        MANIFEST.shard_paths(tmp_path, "test")
    with pytest.raises(UserError, match="is missing"):
        MANIFEST.shard_paths(tmp_path, "train")
    path = tmp_path / "train-00000-of-00001.tfrecord"
    path.write_bytes(b"abc")
    # The SHA-256 of "abc" is an example of FIPS 180.
    checksum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    manifest = dataclasses.replace(MANIFEST, checksums={path.name: checksum})
    assert manifest.shard_paths(tmp_path, "train") == [path]
    path.write_bytes(b"abd!")
    for stranger in (manifest, MANIFEST):
        with pytest.raises(UserError, match="isn't what its manifest says"):
            stranger.shard_paths(tmp_path, "train")


def test_counts_leave_unknown_labels_out():
    labels = [(1.0, 0.0, math.nan), (1.0, math.nan, math.nan), (0.0, 0.0, math.nan)]
    records = [
        dataclasses.replace(RECORD, labels=row, patient=patient)
        for row, patient in zip(labels, "aab", strict=True)
    ]
    split = describe_split(records, PATHOLOGIES, ["x"])
    assert (split.images, split.patients, split.shards) == (3, 2, ("x",))
    assert split.positives == {"Effusion": 2, "Mass": 0, "Hernia": 0}
    # Effusion: 2 of 3 known; Mass: 0 of 2 known; Hernia: none known.
    assert split.prevalence == {"Effusion": 2 / 3, "Mass": 0.0, "Hernia": None}
    beta = compute_beta(split)
    assert beta == {"Effusion": pytest.approx(1 / 3), "Mass": 1.0, "Hernia": 0.5}


def test_a_frame_is_as_long_as_it_says(tmp_path):
    records = [b"", b"a", b"ab" * 500]
    write_shard(tmp_path / "x.tfrecord", records)
    size = (tmp_path / "x.tfrecord").stat().st_size
    assert sum(map(frame_length, records)) == size
