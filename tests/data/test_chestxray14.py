import gzip
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_mscam.data.archives import read_members
from keras_mscam.data.chestxray14 import read_chestxray14, read_tables
from keras_mscam.data.records import Box
from keras_mscam.errors import UserError
from keras_mscam.pathologies import PATHOLOGIES

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HEADER_V2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def needs(folder):
    return pytest.mark.skipif(
        not (DATA / folder).is_dir(), reason=f"needs {DATA / folder}"
    )


def write_labels(directory, lines, name="Data_Entry_2017_v2020.csv"):
    text = "\n".join([HEADER_V2020, *lines]) + "\n"
    (directory / name).write_text(text)


def write_boxes(directory, lines, header="Image Index,Finding Label,Bbox [x,y,w,h],,,"):
    (directory / "BBox_List_2017.csv").write_text("\n".join([header, *lines]) + "\n")


ROWS = [
    "a.png,Mass|Edema,0,7,57,M,AP,2682,2749,0.143,0.143",
    "b.png,No Finding,0,8,60,F,PA,2682,2749,0.143,0.143",
    "c.png,Infiltration,1,7,58,M,PA,2682,2749,0.143,0.143",
]


@needs("chestxray14-labels")
def test_the_full_tables_have_their_published_counts():
    dataset = read_tables(DATA / "chestxray14-labels")
    boxed = [record for record in dataset.records if record.boxes]
    assert len(dataset.records) == 112_120
    assert len({record.patient for record in dataset.records}) == 30_805
    assert sum(len(record.boxes) for record in boxed) == 984
    assert len(boxed) == 880
    assert len({record.patient for record in boxed}) == 726
    assert dataset.pathologies == PATHOLOGIES
    assert dataset.problems == ()
    assert Counter(record.sex for record in dataset.records).keys() == {"F", "M"}
    # Wang et al. 2017, Table 1 and its later release: 111 images of Hernia... counted
    # here by another reader than ours: the lines of the file that name it.
    with gzip.open(
        DATA / "chestxray14-labels" / "Data_Entry_2017_v2020.csv.gz"
    ) as file:
        hernia = sum(b"Hernia" in line for line in file)
    position = PATHOLOGIES.index("Hernia")
    assert sum(record.labels[position] for record in dataset.records) == hernia
    # There is one box an image and pathology, always of a pathology of its labels.
    for record in boxed:
        named = [box.pathology for box in record.boxes]
        assert len(set(named)) == len(named)
        assert all(record.labels[PATHOLOGIES.index(name)] for name in named)


@needs("chestxray14-sample")
def test_the_sample_is_read_without_a_problem():
    dataset = read_chestxray14(DATA / "chestxray14-sample")
    assert len(dataset.records) == 240
    assert dataset.problems == ()
    assert sum(len(record.boxes) for record in dataset.records) == 6
    assert all(record.path.is_file() for record in dataset.records)
    first = next(r for r in dataset.records if r.name == "00004296_000.png")
    # x 731.43, y 753.10, w 119.20, h 93.19 in the file.
    expected = (731.428571, 753.100529, 850.624339, 846.289947)
    assert first.boxes[0].pathology == "Atelectasis"
    assert first.boxes[0].xyxy == pytest.approx(expected)


def test_labels_follow_the_order_of_the_pathologies_that_occur(tmp_path):
    write_labels(tmp_path, ROWS)
    dataset = read_tables(tmp_path)
    # Of the fourteen, in their order: Infiltration, Mass, Edema.
    assert dataset.pathologies == ("Infiltration", "Mass", "Edema")
    assert [r.labels for r in dataset.records] == [(0, 1, 1), (0, 0, 0), (1, 0, 0)]
    first = dataset.records[0]
    assert (first.name, first.patient, first.view) == ("a.png", "7", "AP")
    assert (first.age, first.sex, first.boxes) == (57, "M", ())


def test_the_edition_of_2017_has_a_trailing_column_and_units_of_age(toy):
    dataset = read_chestxray14(toy(patients=3))
    assert [record.age for record in dataset.records] == [58] * 6
    assert dataset.problems == ()
    assert dataset.pathologies == ("Effusion", "Mass")


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("058Y", 58),
        ("58", 58),
        ("006M", 0.5),
        ("014D", 14 / 365.25),
        ("002W", 14 / 365.25),
        ("414", None),  # a slip in the edition of 2017
        ("120", 120),
        ("", None),
        ("old", None),
        ("-3", None),
    ],
)
def test_ages(tmp_path, text, age):
    write_labels(tmp_path, [f"a.png,Mass,0,7,{text},M,AP,1,1,1,1"])
    (record,) = read_tables(tmp_path).records
    assert record.age == (None if age is None else pytest.approx(age))


def test_byte_order_mark_crlf_blank_lines_and_gzip_change_nothing(tmp_path):
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    plain.mkdir()
    odd.mkdir()
    write_labels(plain, ROWS)
    text = "\ufeff" + "\r\n".join([HEADER_V2020, "", *ROWS, "", ""])
    with gzip.open(odd / "Data_Entry_2017_v2020.csv.gz", "wb") as file:
        file.write(text.encode())
    expected = [(r.name, r.labels, r.patient) for r in read_tables(plain).records]
    assert [(r.name, r.labels, r.patient) for r in read_tables(odd).records] == expected


@pytest.mark.parametrize(
    ("header", "end"),
    [
        ("Image Index,Finding Label,Bbox [x,y,w,h],,,", ""),
        ("Image Index,Finding Label,Bbox [x,y,w,h],,,", ",,,"),
        ("Image Index,Finding Label,Bbox [x,y,w,h]", ""),
        ("Image Index,Finding Label,Bbox [x,y,w,h]", ",,,"),
        ("Image Index,Finding Label,x,y,w,h", ""),
        ("Image Index,Finding Label,Bbox,,,", ""),
    ],
)
def test_every_form_of_the_box_file(tmp_path, header, end):
    write_labels(tmp_path, ROWS)
    rows = [f"a.png,Mass,10.5,20,30,40{end}", f"c.png,Infiltrate,1,2,3,4{end}"]
    write_boxes(tmp_path, rows, header)
    dataset = read_tables(tmp_path)
    assert dataset.problems == ()
    # xyxy is (x, y, x + w, y + h).
    assert dataset.records[0].boxes == (Box("Mass", (10.5, 20.0, 40.5, 60.0)),)
    assert dataset.records[2].boxes == (Box("Infiltration", (1.0, 2.0, 4.0, 6.0)),)


def test_boxes_that_belong_nowhere_are_counted(tmp_path):
    write_labels(tmp_path, ROWS)
    rows = [
        "z.png,Mass,1,2,3,4",  # no such row
        "a.png,Hernia,1,2,3,4",  # a pathology that no image is labelled with
        "a.png,Fracture,1,2,3,4",  # none of the fourteen
        "a.png,Mass,1,2,0,4",  # no area
        "a.png,Mass,1,2,3,nan",
        "a.png,Mass,1,2,3,",
        "a.png,Mass,1,2,inf,4",
        "a.png,Mass,1,2,3,4",
        "a.png,Mass,1,2,3,4",  # repeated
    ]
    write_boxes(tmp_path, rows)
    dataset = read_tables(tmp_path)
    assert dataset.records[0].boxes == (Box("Mass", (1.0, 2.0, 4.0, 6.0)),)
    assert dataset.problems == (
        "1 boxes on images without a label row, left out, such as z.png",
        "1 boxes of a pathology that no image is labelled with, left out, such as "
        "Hernia of a.png",
        "1 boxes of an unknown pathology, left out, such as 'Fracture' of a.png",
        "4 boxes without four numbers or without area, left out, such as a.png",
        "1 repeated boxes, left out, such as a.png",
    )


def test_rows_without_image_and_images_without_row_are_counted(toy):
    directory = toy(patients=3)
    images = directory / "images"
    (images / "00000001_000.png").rename(images / "stranger.png")
    (images / "notes.txt").write_text("no image")
    dataset = read_chestxray14(directory)
    assert len(dataset.records) == 5
    assert dataset.problems == (
        "1 label rows without an image file, such as 00000001_000.png",
        "1 image files without a label row, such as stranger.png",
    )


def test_pathologies_are_those_of_the_file_whichever_images_are_there(toy):
    directory = toy(patients=3)
    for path in sorted((directory / "images").iterdir())[1:]:
        path.unlink()
    assert read_chestxray14(directory).pathologies == ("Effusion", "Mass")


@pytest.mark.parametrize(
    "folders",
    [
        ["."],
        ["images_001/images", "images_002/images"],
        ["images_001"],
        ["images/images"],
        ["images/images_001/images", "images/images_002", "images_003"],
        ["IMAGES"],
    ],
)
def test_every_place_for_images(toy, folders):
    directory = toy(patients=3)
    for number, path in enumerate(sorted((directory / "images").iterdir())):
        folder = directory / folders[number % len(folders)]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    dataset = read_chestxray14(directory)
    assert len(dataset.records) == 6
    assert all(record.path.is_file() for record in dataset.records)
    assert dataset.problems == ()


def test_suffixes_in_upper_case_and_folders_behind_links(toy, tmp_path):
    directory = toy(patients=3)
    for path in (directory / "images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    (directory / "images").rename(tmp_path / "elsewhere")
    (directory / "images_001").mkdir()
    (directory / "images_001" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(directory / "images_001")
    dataset = read_chestxray14(directory)
    assert len(dataset.records) == 6
    assert dataset.problems == ()
    assert dataset.records[0].name == "00000000_000.png"
    assert dataset.records[0].path.name == "00000000_000.PNG"


def test_of_two_images_of_a_name_the_first_folder_counts(toy):
    directory = toy(patients=3)
    folder = directory / "images_001" / "images"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "00000000_000.png"), np.zeros((20, 20), np.uint8))
    dataset = read_chestxray14(directory)
    assert dataset.records[0].path == directory / "images" / "00000000_000.png"
    assert len(dataset.problems) == 1


def pack(directory, archive, paths, inside="images"):
    """Move files into an archive, beside the hidden files that a Mac would add."""
    hidden = directory / "._junk.png"
    hidden.write_bytes(b"junk")
    names = [(path, f"{inside}/{path.name}") for path in [*paths, hidden]]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.mkdir(inside)
            for path, name in names:
                zipped.write(path, name)
    else:
        mode = "w" if archive.suffix == ".tar" else "w:gz"
        with tarfile.open(archive, mode) as tar:
            tar.add(directory / "images", inside, recursive=False)
            for path, name in names:
                tar.add(path, name)
    for path, _ in names:
        path.unlink()


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".zip"])
def test_images_still_in_archives(toy, suffix):
    directory = toy(patients=3)
    images = sorted((directory / "images").iterdir())
    contents = {path.name: path.read_bytes() for path in images}
    pack(directory, directory / f"images_002{suffix}", images[:2])
    (directory / "images" / "images").mkdir()
    pack(directory, directory / "images" / "images" / f"1{suffix}", images[2:5])
    dataset = read_chestxray14(directory)
    assert dataset.problems == ()
    assert len(dataset.records) == 6
    for record in dataset.records[:5]:
        read = read_members(record.path.archive, [record.path.position])
        assert list(read) == [contents[record.name]]
    assert dataset.records[5].path == images[5]


def test_archives_are_left_closed_when_all_images_lie_outside(toy):
    directory = toy(patients=3)
    (directory / "images_001.tar.gz").write_bytes(b"not even an archive")
    assert len(read_chestxray14(directory).records) == 6


def test_an_image_in_two_archives(toy):
    directory = toy(patients=3)
    images = sorted((directory / "images").iterdir())
    contents = images[0].read_bytes()
    pack(directory, directory / "images_001.zip", images[:1])
    images[0].write_bytes(contents)
    pack(directory, directory / "images_002.zip", images[:2])
    dataset = read_chestxray14(directory)
    assert dataset.records[0].path.archive.name == "images_001.zip"
    assert [problem.split(",")[0] for problem in dataset.problems] == [
        "1 image files of a name that another has already"
    ]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
@pytest.mark.parametrize("part", [0, 10, 0.5])
def test_an_incomplete_download_is_found_at_once(toy, suffix, part):
    directory = toy(patients=3)
    archive = directory / f"images_001{suffix}"
    pack(directory, archive, sorted((directory / "images").iterdir())[:4])
    data = archive.read_bytes()
    archive.write_bytes(data[: int(part * len(data)) if part < 1 else part])
    with pytest.raises(UserError, match=r"damaged or incomplete .* download it again"):
        read_chestxray14(directory)


def test_the_last_bytes_of_a_compressed_tar_are_missed(toy):
    directory = toy(patients=3)
    archive = directory / "images_001.tar.gz"
    pack(directory, archive, sorted((directory / "images").iterdir())[:4])
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_chestxray14(directory)


def test_an_archive_that_changed_is_refused(toy):
    directory = toy(patients=3)
    archive = directory / "images_001.zip"
    pack(directory, archive, sorted((directory / "images").iterdir())[:4])
    with pytest.raises(UserError, match="member 99 is no longer there"):
        list(read_members(archive, [0, 99]))


def test_published_lists(toy):
    directory = toy(patients=3)
    # Without a final newline, as NIH's; with a byte-order mark and CRLF, as editors'.
    (directory / "train_val_list.txt").write_bytes(
        b"\xef\xbb\xbf00000000_000.png\r\n00000000_001.png"
    )
    with gzip.open(directory / "test_list.txt.gz", "wt") as file:
        file.write("00000002_000.png\n\n00000002_001.png\n")
    dataset = read_tables(directory)
    assert dataset.lists == {
        "00000000_000.png": "train_val",
        "00000000_001.png": "train_val",
        "00000002_000.png": "test",
        "00000002_001.png": "test",
    }
    assert [path.name for path in dataset.tables] == [
        "Data_Entry_2017.csv",
        "BBox_List_2017.csv",
        "train_val_list.txt",
        "test_list.txt.gz",
    ]
    (directory / "train_val_list.txt").write_text("00000002_000.png")
    with pytest.raises(UserError, match=r"00000002_000\.png is in both lists"):
        read_tables(directory)


def test_repeated_rows_keep_the_first(tmp_path):
    write_labels(tmp_path, [*ROWS, "a.png,Hernia,0,9,57,M,AP,1,1,1,1"])
    dataset = read_tables(tmp_path)
    assert len(dataset.records) == 3
    assert dataset.records[0].patient == "7"
    assert dataset.pathologies == ("Infiltration", "Mass", "Edema")
    assert dataset.problems == (
        "1 repeated label rows, the first of each name kept, such as a.png",
    )


@pytest.mark.parametrize(
    "labels", ["Mass|Fracture", "", "Mass|", "No Finding|Mass", "mass"]
)
def test_unknown_labels_name_their_row(tmp_path, labels):
    write_labels(tmp_path, [*ROWS, f"d.png,{labels},0,9,57,M,AP,1,1,1,1"])
    with pytest.raises(UserError, match=r"line 5(: no Find| \(d\.png\))"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    "row", ["d.png,Mass,0,,57,M", ",Mass,0,9,57,M", "d.png,Mass,0"]
)
def test_a_row_without_name_or_patient_is_refused(tmp_path, row):
    write_labels(tmp_path, [row + "," * (10 - row.count(","))])
    with pytest.raises(UserError, match=r"line 2: no (Image Index|Patient ID); compl"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (HEADER_V2020.encode(), "no rows"),
        (b"a,b\n1,2\n", "no column 'Image Index'"),
        (b"\xff\xfe\x00\x01", "no column"),
        (b"," * 40 + b"\n" + b"," * 50, "empty"),
    ],
)
def test_files_that_are_no_label_file(tmp_path, content, message):
    (tmp_path / "Data_Entry_2017.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_tables(tmp_path)


def test_a_damaged_archive_is_refused(tmp_path):
    data = gzip.compress("\n".join([HEADER_V2020, *ROWS]).encode())
    (tmp_path / "Data_Entry_2017.csv.gz").write_bytes(data[:60])
    with pytest.raises(UserError, match="can't be read"):
        read_tables(tmp_path)


def test_a_label_file_in_place_of_the_box_file_is_refused(tmp_path):
    write_labels(tmp_path, ROWS)
    write_boxes(tmp_path, ROWS, HEADER_V2020)
    with pytest.raises(UserError, match="doesn't begin with"):
        read_tables(tmp_path)


def test_nothing_usable(tmp_path, toy):
    with pytest.raises(UserError, match="is not a folder"):
        read_chestxray14(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no Data_Entry_2017\.csv"):
        read_chestxray14(tmp_path)
    directory = toy(patients=1)
    write_labels(directory, ROWS)
    with pytest.raises(UserError, match="keep the one"):
        read_chestxray14(directory)
    (directory / "Data_Entry_2017.csv").unlink()
    with pytest.raises(UserError, match="none of the 3 images"):
        read_chestxray14(directory)


def test_reading_needs_no_tensorflow(monkeypatch, toy):
    directory = toy(patients=3)
    for name in [name for name in sys.modules if name.startswith("keras_mscam")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    from keras_mscam.data import chestxray14, manifest, splits  # noqa: F401

    assert len(chestxray14.read_chestxray14(directory).records) == 6
