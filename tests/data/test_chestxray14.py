import gzip
import shutil

import pytest

from keras_mscam.data.chestxray14 import read_boxes, read_chestxray14, read_labels
from keras_mscam.errors import UserError
from keras_mscam.pathologies import PATHOLOGIES

NEW_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    ("a.png", "Nodule|Effusion", 1),
    ("b.png", "No Finding", 1),
    ("c.png", "Pleural_Thickening", 2),
]


def test_reads_labels_in_canonical_order(make_folder):
    dataset = read_chestxray14(make_folder(ROWS))
    assert dataset.pathologies == ("Effusion", "Nodule", "Pleural_Thickening")
    assert [r.labels for r in dataset.records] == [(1, 1, 0), (0, 0, 0), (0, 0, 1)]
    first = dataset.records[0]
    assert (first.patient, first.age, first.sex, first.view) == ("1", 58, "M", "PA")
    assert first.path.is_file()
    assert dataset.problems == ()


def test_boxes_are_half_open_xyxy_under_canonical_names(make_folder):
    rows = [("a.png", "Infiltration", 1)]
    folder = make_folder(rows, [("a.png", "Infiltrate", 10.5, 20, 5, 7.25)])
    (box,) = read_chestxray14(folder).records[0].boxes
    assert box.pathology == "Infiltration"
    assert box.xyxy == (10.5, 20, 15.5, 27.25)  # x + w, y + h


@pytest.mark.parametrize(
    "header",
    ["Image Index,Finding Label,Bbox [x,y,w,h],,,", "Image Index,Finding Label,Bbox [x,y,w,h]"],
)
@pytest.mark.parametrize("tail", ["", ",,,"])
def test_boxes_with_and_without_trailing_commas(tmp_path, header, tail):
    path = tmp_path / "boxes.csv"
    path.write_text(f"{header}\na.png,Mass,1,2,3,4{tail}\n")
    assert list(read_boxes(path)["xyxy"]) == [(1, 2, 4, 6)]


@pytest.mark.parametrize(
    ("age", "years"),
    [("058Y", 58), ("58", 58), ("006M", 0.5), ("", None), ("x", None)],
)
def test_ages_of_both_editions(tmp_path, age, years):
    path = tmp_path / "Data_Entry_2017_v2020.csv"
    path.write_text(f"{NEW_HEADER}\na.png,Mass,0,1,{age},F,AP,9,8,0.1,0.1\n")
    table, _ = read_labels(path)
    assert table["age"].iloc[0] == years


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_marks_and_line_ends(tmp_path, newline, mark):
    path = tmp_path / "Data_Entry_2017.csv"
    text = f"{mark}{NEW_HEADER}\na.png,Mass|Nodule,0,1,058Y,F,AP,9,8,.1,.1\n"
    path.write_bytes(text.replace("\n", newline).encode())
    table, _ = read_labels(path)
    assert list(table.index) == ["a.png"]
    assert table["findings"].iloc[0] == {"Mass", "Nodule"}


def test_images_in_the_archives_folders(make_folder):
    folder = make_folder(ROWS)
    for index, name in enumerate(["a.png", "b.png", "c.png"]):
        target = folder / f"images_{index:03d}" / "images"
        target.mkdir(parents=True)
        shutil.move(folder / "images" / name, target)
    assert len(read_chestxray14(folder).records) == 3


def test_oddities_are_counted_with_an_example(make_folder):
    boxes = [("z.png", "Mass", 1, 2, 3, 4), ("a.png", "Hernia", 1, 2, 3, 4)]
    folder = make_folder([*ROWS, ROWS[0]], boxes)
    shutil.copy(folder / "images" / "a.png", folder / "images" / "extra.png")
    (folder / "images" / "b.png").unlink()
    dataset = read_chestxray14(folder)
    assert [r.name for r in dataset.records] == ["a.png", "c.png"]
    assert len(dataset.problems) == 4
    for part in ("1 repeated label rows", "a.png", "1 label rows have no image",
                 "b.png", "1 images have no label row", "extra.png",
                 "2 boxes belong to no image", "z.png"):  # fmt: skip
        assert part in " ".join(dataset.problems)


class TestRefuses:
    def test_no_folder(self, tmp_path):
        with pytest.raises(UserError, match="There is no folder"):
            read_chestxray14(tmp_path / "nowhere")

    def test_no_label_file(self, tmp_path):
        with pytest.raises(UserError, match=r"has no Data_Entry_2017\.csv"):
            read_chestxray14(tmp_path)

    def test_two_label_files(self, make_folder):
        folder = make_folder(ROWS)
        shutil.copy(folder / "Data_Entry_2017.csv", folder / "Data_Entry_2017_v2020.csv")
        with pytest.raises(UserError, match="has both"):
            read_chestxray14(folder)

    def test_unknown_label(self, make_folder):
        with pytest.raises(UserError, match="Unknown pathology 'Masss'"):
            read_chestxray14(make_folder([("a.png", "Masss", 1)]))

    def test_missing_column(self, make_folder):
        folder = make_folder(ROWS, header="Image Index,Labels,c,d,e,f,g,h,i,j,k,")
        with pytest.raises(UserError, match="no column 'Finding Labels'"):
            read_chestxray14(folder)

    def test_no_image_at_all(self, make_folder):
        folder = make_folder(ROWS)
        shutil.rmtree(folder / "images")
        with pytest.raises(UserError, match="None of the images"):
            read_chestxray14(folder)

    def test_nothing_to_learn(self, make_folder):
        with pytest.raises(UserError, match="no pathology but"):
            read_chestxray14(make_folder([("a.png", "No Finding", 1)]))

    def test_empty_label_file(self, tmp_path):
        (tmp_path / "Data_Entry_2017.csv").write_text("")
        with pytest.raises(UserError, match="Cannot read"):
            read_chestxray14(tmp_path)

    @pytest.mark.parametrize("box", [("x", 2, 3, 4), (1, 2, 0, 4), (1, 2, 3, "")])
    def test_a_row_that_is_no_box(self, make_folder, box):
        with pytest.raises(UserError, match="line 2"):
            read_chestxray14(make_folder(ROWS, [("a.png", "Nodule", *box)]))


def test_the_real_label_file(shared):
    table, problems = read_labels(
        shared / "chestxray14-labels" / "Data_Entry_2017_v2020.csv.gz"
    )
    assert problems == []
    assert len(table) == 112_120
    assert table["patient"].nunique() == 30_805
    assert frozenset().union(*table["findings"]) == set(PATHOLOGIES)


def test_the_real_box_file(shared):
    path = shared / "chestxray14-labels" / "BBox_List_2017.csv.gz"
    boxes = read_boxes(path)
    assert len(boxes) == 984
    assert boxes["name"].nunique() == 880
    assert "Infiltration" in set(boxes["pathology"])
    # One row, taken from the file by hand.
    with gzip.open(path, "rt") as file:
        name, _, x, y, w, h = file.readlines()[1].strip().split(",")[:6]
    first = boxes.iloc[0]
    assert first["name"] == name
    assert first["xyxy"][2] == pytest.approx(float(x) + float(w))
    assert first["xyxy"][3] == pytest.approx(float(y) + float(h))


def test_the_real_sample(shared):
    dataset = read_chestxray14(shared / "chestxray14-sample")
    assert len(dataset.records) == 240
    assert dataset.pathologies == PATHOLOGIES
    assert sum(len(record.boxes) for record in dataset.records) == 6
