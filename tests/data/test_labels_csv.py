import cv2
import numpy as np
import pytest

from keras_mscam.data.labels_csv import read_dataset, read_labels_csv
from keras_mscam.data.records import Box
from keras_mscam.errors import UserError

TABLE = """\
Path,Patient,Age,Sex,View,Pleural Effusion,Lung Opacity,No Finding
a/1.png,Ann,58,F,PA,1,0,0
a/2.png,Ann,058Y,F,LATERAL,1.0,-1,0
b/3.jpg,Bob,,,,0.0,,1
b/4.png,Eve,7M,M,AP,,-1.0,
"""
BOXES = """\
path,pathology,x_min,y_min,x_max,y_max
a/1.png,Pleural Effusion,1,2,10.5,20
b/3.jpg,Lung Opacity,0,0,5,5
"""


@pytest.fixture
def hospital(tmp_path):
    """Four images of three people, in two folders, with labels.csv and boxes.csv."""
    for name in ("a/1.png", "a/2.png", "b/3.jpg", "b/4.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.zeros((30, 20), np.uint8))
    (tmp_path / "labels.csv").write_text(TABLE)
    (tmp_path / "boxes.csv").write_text(BOXES)
    return tmp_path


def test_every_column(hospital):
    dataset = read_dataset(hospital)
    assert dataset.pathologies == ("Pleural Effusion", "Lung Opacity")
    assert dataset.problems == ()
    records = dataset.records
    assert [record.name for record in records] == [
        "a/1.png", "a/2.png", "b/3.jpg", "b/4.png",
    ]  # fmt: skip
    assert [record.patient for record in records] == ["Ann", "Ann", "Bob", "Eve"]
    assert [record.age for record in records] == [58, 58, None, 7 * (1 / 12)]
    assert [record.sex for record in records] == ["F", "F", "", "M"]
    assert [record.view for record in records] == ["PA", "LATERAL", "", "AP"]
    nan = np.nan
    np.testing.assert_array_equal(
        [record.labels for record in records], [[1, 0], [1, nan], [0, nan], [nan, nan]]
    )
    assert records[0].boxes == (Box("Pleural Effusion", (1.0, 2.0, 10.5, 20.0)),)
    assert records[2].boxes == (Box("Lung Opacity", (0.0, 0.0, 5.0, 5.0)),)
    assert records[0].path == hospital / "a/1.png"
    assert [path.name for path in dataset.tables] == ["labels.csv", "boxes.csv"]


def test_a_person_is_one_however_the_name_is_written(hospital):
    # A letter with an accent, a letter and an accent, and a blank of no width.
    people = iter(["Jos\xe9", "Jose\u0301", "Jos\xe9\u200b"])
    rows = TABLE.splitlines()
    rows = [rows[0], *(r.replace(r.split(",")[1], next(people)) for r in rows[1:4])]
    (hospital / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    assert {r.patient for r in read_dataset(hospital).records} == {"Jos\xe9"}


def test_a_table_elsewhere_and_no_boxes(hospital):
    (hospital / "labels.csv").rename(hospital / "mine.csv")
    dataset = read_dataset(hospital / "mine.csv")
    assert len(dataset.records) == 4
    assert not any(record.boxes for record in dataset.records)


def test_byte_order_mark_crlf_and_blanks(hospital):
    text = TABLE.replace(",", " , ").replace("\n", "\r\n")
    (hospital / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_dataset(hospital).records[0].patient == "Ann"
    assert read_dataset(hospital).pathologies == ("Pleural Effusion", "Lung Opacity")


def test_splits(hospital):
    lines = TABLE.splitlines()
    splits = ["Split", "train", "train", "", "test"]
    rows = [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]
    (hospital / "labels.csv").write_text("\n".join(rows))
    dataset = read_dataset(hospital)
    assert dataset.lists == {"a/1.png": "train", "a/2.png": "train", "b/4.png": "test"}
    assert dataset.pathologies == ("Pleural Effusion", "Lung Opacity")


def test_what_is_left_out_is_counted(hospital):
    cv2.imwrite(str(hospital / "a" / "stranger.png"), np.zeros((9, 9), np.uint8))
    (hospital / "labels.csv").write_text(
        TABLE + "a/1.png,Ann,1,F,PA,0,0,0\nc/5.png,Joe,1,M,PA,1,1,0\n"
    )
    (hospital / "boxes.csv").write_text(
        BOXES
        + "zzz.png,Lung Opacity,0,0,5,5\n"
        + "a/1.png,Mass,0,0,5,5\n"
        + "a/1.png,Lung Opacity,0,0,0,5\n"
        + "a/1.png,Lung Opacity,0,,1,5\n"
        + "b/3.jpg,Lung Opacity,0,0,5,5\n"
    )
    dataset = read_dataset(hospital)
    assert len(dataset.records) == 4
    assert dataset.records[0].labels == (1.0, 0.0)
    assert dataset.problems == (
        "1 label rows without an image file, such as c/5.png",
        f"1 image files without a label row, such as {hospital}/a/stranger.png",
        "1 repeated label rows, the first of each path kept, such as a/1.png",
        "1 boxes on images without a label row, left out, such as zzz.png",
        "1 boxes of a pathology without a column of labels, left out, such as "
        "Mass of a/1.png",
        "2 boxes without four numbers or without area, left out, such as a/1.png",
        "1 repeated boxes, left out, such as b/3.jpg",
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "labels.csv is empty"),
        ("path,patient,Mass\n", "no rows"),
        ("path,Mass\na/1.png,1\n", "no column 'patient', only path, Mass"),
        ("file,patient,Mass\na/1.png,1,1\n", "no column 'path'"),
        ("path,patient\na/1.png,1\n", "no column of labels"),
        ("path,patient,Mass\na/1.png,1,yes\n", "line 2, column 'Mass': 'yes' is no la"),
        ("path,patient,AP/PA,Mass\na/1.png,1,AP,1\n", "column 'AP/PA': 'AP' is no lab"),
        ("path,patient,Mass\na/1.png,1,2\n", "'2' is no label"),
        ("path,patient,Mass\na/1.png,1,0_1\n", "'0_1' is no label"),
        ("path,patient,Mass\na/1.png,,1\n", "line 2: no patient"),
        ("path,patient,Mass\n,7,1\n", "line 2: no path"),
        (
            "path,Path,patient,Mass\na/1.png,a/1.png,7,1\n",
            "line 1, column 2: the name 'path' was there",
        ),
        ("path,patient,Mass\nnowhere.png,7,1\n", "none of its 1 images is there"),
        (
            "path,patient,Mass,split\na/1.png,7,1,dev\n",
            "line 2: the split 'dev' isn't one of train",
        ),
    ],
)
def test_a_table_that_cannot_be_used(hospital, table, message):
    (hospital / "labels.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_labels_csv(hospital / "labels.csv")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,pathology,x_min,y_min,x_max\na/1.png,Mass,1,1,2\n", "no column 'y_max'"),
        ("path,x_min\na/1.png,1\n", "no column 'pathology'"),
    ],
)
def test_boxes_that_cannot_be_used(hospital, table, message):
    (hospital / "boxes.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_dataset(hospital)


def test_boxes_beside_chestxray14(toy, hospital):
    with pytest.raises(UserError, match="BBox_List_2017"):
        read_dataset(toy(), boxes=hospital / "boxes.csv")
