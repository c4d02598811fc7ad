"""Tables as spreadsheets, scripts and statistics programs leave them."""

import bz2
import gzip
import io
import lzma
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_mscam.data.chestxray14 import read_chestxray14
from keras_mscam.data.csv_table import name_key, path_key
from keras_mscam.data.labels_csv import read_dataset
from keras_mscam.data.records import Box
from keras_mscam.errors import UserError

LABELS = """\
path,patient,age,view,split,Mass,Pleural Effusion
a/1.png,Ann,58,PA,train,1,0
b/2.PNG,Bob,7.5,AP,test,,1
"""
BOXES = """\
path,pathology,x_min,y_min,x_max,y_max
a/1.png,Mass,1.5,2,10.25,20
"""
ENTRIES = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position
1.png,Mass|Effusion,0,7,58,PA
2.png,No Finding,0,8,60,AP
"""
BOX_LIST = """\
Image Index,Finding Label,Bbox [x,y,w,h],,,
1.png,Mass,1.5,2,8.75,18,,,
"""


def draw(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((30, 20), np.uint8))


@pytest.fixture
def hospital(tmp_path):
    """Return a function that reads two images by the bytes of their two tables."""
    draw(tmp_path / "a" / "1.png", tmp_path / "b" / "2.PNG")

    def read(labels=LABELS, boxes=BOXES, encode=str.encode):
        (tmp_path / "labels.csv").write_bytes(encode(labels))
        (tmp_path / "boxes.csv").write_bytes(encode(boxes))
        dataset = read_dataset(tmp_path)
        return replace(dataset, tables=())

    return read


@pytest.fixture
def nih(tmp_path):
    """Return a function that reads two images in the layout of ChestX-ray14."""
    draw(tmp_path / "images" / "1.png", tmp_path / "images" / "2.png")

    def read(
        entries=ENTRIES, boxes=BOX_LIST, listed="1.png\n", test="2.png",
        encode=str.encode,
    ):  # fmt: skip
        for name, text in (
            ("Data_Entry_2017.csv", entries),
            ("BBox_List_2017.csv", boxes),
            ("train_val_list.txt", listed),
            ("test_list.txt", test),
        ):
            (tmp_path / name).write_bytes(encode(text))
        return replace(read_chestxray14(tmp_path), tables=())

    return read


def semicolons(text):
    """As Excel saves in most of Europe: decimal points become commas too."""
    return text.replace(",", ";").replace(".5", ",5").replace(".25", ",25")


def tabs_in_utf16(text):
    """As Excel saves "Unicode text"."""
    return text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16")


def quotes(text):
    """As R's write.csv quotes, but for the part of a name that has commas."""
    rows = [line.split(",") for line in text.splitlines()]
    return "\n".join(",".join(f'"{field}"' for field in row) for row in rows)


def for_excel(line, text):
    """Put a line in front of a table, not of a list."""
    return line + text if "Index" in text or "path" in text else text


FORMS = {
    "the separator, for Excel": lambda text: for_excel("sep=,\n", text).encode(),
    "semicolons, for Excel": lambda text: for_excel(
        "sep=;\r\n", semicolons(text)
    ).encode(),
    "tabs, for Excel": lambda text: for_excel(
        "sep=\t\n", text.replace(",", "\t")
    ).encode(),
    "a separator in quotes": lambda text: for_excel('\n"sep=,",,\n', text).encode(),
    "letters of no width": lambda text: (
        text.replace("path,", "path\u200b,", 1).replace("Image", "\ufeffImage")
    ).encode(),
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "big-endian UTF-16": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "tabs in UTF-16": tabs_in_utf16,
    "semicolons": lambda text: semicolons(text).encode(),
    "quotes": lambda text: quotes(text).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no last end": lambda text: text.rstrip("\n").encode(),
    "blank rows": lambda text: ("\n ,\n" + text.replace("\n", "\n\n,,\n")).encode(),
    "blanks": lambda text: text.replace(",", " , ").replace("\n", " \n ").encode(),
    "blanks before quotes": lambda text: quotes(text).replace(",", ", ").encode(),
    "upper case": lambda text: (
        text.split("\n")[0].upper() + text[text.index("\n") :]
    ).encode(),
    "empty columns": lambda text: text.replace("\n", ",,\n").encode(),
    "columns pandas named": lambda text: (
        text.replace("\n", ",Unnamed: 7,Unnamed: 8\n", 1)
        .replace("\n", ",,\n")
        .replace("Unnamed: 8,,", "Unnamed: 8")
        .encode()
    ),
    "gzip": lambda text: gzip.compress(text.encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_content_in_many_forms(hospital, nih, form):
    encode = FORMS[form]
    expected = hospital()
    first, second = expected.records
    assert first.boxes == (Box("Mass", (1.5, 2.0, 10.25, 20.0)),)
    assert (second.age, second.view, expected.problems) == (7.5, "AP", ())
    assert expected.lists == {"a/1.png": "train", "b/2.PNG": "test"}
    read = hospital(encode=encode)
    if form == "upper case":  # which is that of pathologies, but for the boxes' own
        read = replace(read, pathologies=("Mass", "Pleural Effusion"))
        boxes = (replace(first.boxes[0], pathology="MASS"),)
        expected = replace(
            expected, records=(replace(first, boxes=boxes), expected.records[1])
        )
    assert repr(read) == repr(expected)  # NaN isn't itself

    expected = nih()
    assert expected.records[0].boxes == (Box("Mass", (1.5, 2.0, 10.25, 20.0)),)
    assert expected.lists == {"1.png": "train_val", "2.png": "test"}

    def encode_but_lists(text):  # which have one column, and no header
        one = text.count(",") == 0 and form in ("upper case", "columns pandas named")
        return text.encode() if one else encode(text)

    assert repr(nih(encode=encode_but_lists)) == repr(expected)


def test_a_nameless_column_without_content_is_none(hospital):
    read = hospital(LABELS.replace("\n", ",\n"))
    assert read.pathologies == ("Mass", "Pleural Effusion")
    # A cell may have two lines in a spreadsheet.
    assert hospital(
        LABELS.replace("Pleural E", '"Pleural\nE').replace("ion\n", 'ion"\n')
    ).pathologies == ("Mass", "Pleural Effusion")
    middle = "path,patient,,Mass\na/1.png,Ann,,1\n"
    assert hospital(middle).pathologies == ("Mass",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.0", 1), ("1.00", 1), ("01", 1), ("TRUE", 1), ("True", 1),
        ("0", 0), ("0.0", 0), ("-0.0", 0), ("FALSE", 0), ("false", 0),
        ("-1", None), ("-1.0", None), ("", None), ("nan", None), ("NaN", None),
        ("NA", None), ("<NA>", None), ('""', None), ('" 1 "', 1),
    ],
)  # fmt: skip
def test_labels_that_can_be_meant(hospital, text, value):
    read = hospital(f"path,patient,Mass\na/1.png,Ann,{text}\n")
    np.testing.assert_array_equal(
        read.records[0].labels, [np.nan if value is None else value]
    )


@pytest.mark.parametrize("text", ["x", "yes", "2", "0.5", "inf", "1e3", "None", "+"])
def test_labels_that_cannot(hospital, text):
    table = f"path,patient,Hernia,Mass\n\na/1.png,Ann,1,1\nb/2.PNG,Bob,0,{text}\n"
    with pytest.raises(UserError, match=r"labels\.csv, line 4, column 'Mass': '"):
        hospital(table)


# What each is done to: the labels and the boxes of a hospital, and of ChestX-ray14.
TABLES = {
    "labels": (LABELS, "labels.csv"),
    "boxes": (BOXES, "boxes.csv"),
    "entries": (ENTRIES, "Data_Entry_2017.csv"),
    "box list": (BOX_LIST, "BBox_List_2017.csv"),
}


def spoil(table, how):
    """Change line 2 of a table."""
    header, row, *rows = table.splitlines()
    return "\n".join([*how(header, row), *rows]) + "\n"


@pytest.mark.parametrize("which", TABLES)
@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda h, r: (h.rstrip(","), r.rstrip(",") + ",9"), "line 2, column [78]: '9"),
        (lambda h, r: (h, r.rstrip(",") + ",,,,9"), "line 2, column (10|11): '9' sta"),
        (
            lambda h, r: (h, r.rstrip(",").rpartition(",")[0]),
            "line 2: it ends after [56] of [67] fields; complete the line, or remove",
        ),
        (lambda h, r: (h, r[:3]), "line 2: it ends after 1 of [67] fields"),
        (lambda h, r: (h, '"' + r), "line 2: a quoted field isn't closed"),
        (lambda h, r: (h, r.replace(",", '"",', 1).replace("", '"', 1)), "line 2"),
        (lambda h, r: (h, "," + r.partition(",")[2]), "line 2: no (path|Image Index)"),
        (lambda h, r: (h, "nan," + r.partition(",")[2]), "line 2: no (path|Image I)"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_meant(hospital, nih, which, how, message):
    table, file = TABLES[which]
    spoiled = spoil(table, how)
    read = {
        "labels": lambda: hospital(labels=spoiled),
        "boxes": lambda: hospital(boxes=spoiled),
        "entries": lambda: nih(entries=spoiled),
        "box list": lambda: nih(boxes=spoiled),
    }[which]
    with pytest.raises(UserError, match=f"{file}, {message}") as raised:
        read()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,patient,Mass,Mass", "column 4: the name 'Mass' was there before"),
        ("path,patient,Mass.1,Mass", "'Mass' was there before, as 'Mass.1'"),
        ("path,patient,Mass,Mass\u200b", "column 4: the name 'Mass' was there before"),
        (
            "path,patient,\u00d6dem,O\u0308dem",
            "column 4: the name '.*' was there before",
        ),
        ("sep=;", "no column 'path', only a/1.png,Ann,1,1"),
        ("path,patient,Mass,mass", "column 4: the name 'mass' .* as 'Mass'"),
        ("path,patient,Lung Opacity,lung__opacity ", "column 4: the name 'lung__opa"),
        ("path,patient,Mass,Mass.1", "column 4: the name 'Mass.1' .* as 'Mass'"),
        ("path,Path,Mass,Hernia", "column 2: the name 'path' was there"),
        (",path,patient,Mass", "line 2, column 1: 'a/1.png' stands in a column with"),
        ("Unnamed: 0,path,patient,Mass", "line 2, column 1: .*index=False"),
        ("path,patient,,Mass", "line 2, column 3: '1' stands in a column without"),
        ("path,patient,Mass,", "line 2, column 4: '1' stands in a column without"),
        ("path|patient|Mass|Hernia", "no column 'path', only path.patient"),
        ('"path,patient,Mass"', "no column 'path', only path,patient"),
        ("file,patient,Mass,Hernia", "no column 'path', only file, patient, Mass"),
    ],
)
def test_headers_that_cannot_be_meant(hospital, header, message):
    with pytest.raises(UserError, match=message):
        hospital(f"{header}\na/1.png,Ann,1,1\n")


def test_a_second_column_of_one_name_is_refused_in_nihs_table_too(nih):
    with pytest.raises(UserError, match="column 7: the name 'Patient ID' was there"):
        nih(ENTRIES.replace("\n", ",patient id\n", 1).replace("A\n", "A,1\n"))


def test_an_index_as_pandas_writes_it(hospital):
    table = pd.read_csv(io.StringIO(LABELS))
    with pytest.raises(UserError, match=r"column 1: '0' .* to_csv\(index=False\)"):
        hospital(table.to_csv())
    assert hospital(table.to_csv(index=False)) is not None


@pytest.mark.parametrize(
    ("number", "value"), [("nan", None), ("", None), ("NA", None), ("1e1", 10.0)]
)
def test_corners_that_can_be_meant(hospital, number, value):
    read = hospital(boxes=BOXES.replace("10.25", number))
    if value is None:
        assert read.problems == (
            "1 boxes without four numbers or without area, left out, such as a/1.png",
        )
    else:
        assert read.records[0].boxes == (Box("Mass", (1.5, 2.0, value, 20.0)),)


@pytest.mark.parametrize("number", ["zero", '"10,25"', "10px", "1.024.5"])
def test_corners_that_cannot(hospital, nih, number):
    with pytest.raises(UserError, match=r"boxes.csv, line 2, column 'x_max': .* no nu"):
        hospital(boxes=BOXES.replace("10.25", number))
    with pytest.raises(UserError, match=r"List_2017.csv, line 2, column 'width': '"):
        nih(boxes=BOX_LIST.replace("8.75", number))


def test_boxes_may_write_names_their_own_way(hospital):
    boxes = (
        "Path,Pathology,X Min,Y_MIN,x_max,y max\n"
        ".\\a\\1.PNG,pleural_effusion,1,2,3,4\n./a//1.png,MASS,1,2,3,4\n"
    )
    assert hospital(boxes=boxes).records[0].boxes == (
        Box("Pleural Effusion", (1.0, 2.0, 3.0, 4.0)),
        Box("Mass", (1.0, 2.0, 3.0, 4.0)),
    )


def test_accents_as_macos_writes_them(hospital, tmp_path):
    """One letter, or a plain one and its accent behind it."""
    one, two = "\u00e9", "e\u0301"
    draw(tmp_path / f"{two}.png", tmp_path / "b" / f"{one}.png")
    labels = f"path,patient,{one}dema\n{one}.png,Ann,1\nb/{two}.png,Bob,1\n"
    boxes = BOXES.replace("a/1", one).replace("Mass", f"{two}dema")
    read = hospital(labels, boxes)
    assert [record.path.name for record in read.records] == [f"{two}.png", f"{one}.png"]
    assert [len(record.boxes) for record in read.records] == [1, 0]
    assert f"{one}dema" in read.pathologies


def test_a_box_of_what_its_image_is_labelled_without(hospital, nih):
    kept = "boxes of a pathology that their image is labelled without, kept, such as "
    boxes = BOXES + "a/1.png,Pleural Effusion,1,2,3,4\nb/2.PNG,Mass,1,2,3,4\n"
    # Of the second image's mass nothing is known.
    assert hospital(boxes=boxes).problems == (f"1 {kept}Pleural Effusion of a/1.png",)
    boxes = BOX_LIST + "2.png,Mass,1,2,3,4,,,\n2.png,Effusion,1,2,3,4,,,\n"
    assert nih(boxes=boxes).problems == (f"2 {kept}Mass of 2.png",)


def test_paths_as_windows_writes_them_and_other_suffixes(hospital, tmp_path):
    read = hospital(LABELS.replace("a/1.png", "a\\1.PNG").replace("2.PNG", "2.png"))
    assert [record.path for record in read.records] == [
        tmp_path / "a" / "1.png",
        tmp_path / "b" / "2.PNG",
    ]
    # The table's own way remains the name, which other tables will be joined by.
    assert [record.name for record in read.records] == ["a\\1.PNG", "b/2.png"]
    again = LABELS + "./b/2.png,Bob,,,,1,1\n"
    assert hospital(again).problems == (
        "1 repeated label rows, the first of each path kept, such as ./b/2.png",
    )


def test_a_path_of_any_length_is_only_missing(hospital):
    table = LABELS + f"{'x' * 5000}.png,Eve,,,,1,1\n.,Eve,,,,1,1\n"
    assert len(hospital(table).records) == 2


def excel(text):
    """The first bytes of a workbook are those of any zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("xl/workbook.xml", text)
    return file.getvalue()


NO_TABLES = {
    "empty": (lambda t: b"", "is empty"),
    "blank": (lambda t: b"\n , ,\r\n\xa0\n".replace(b"\xa0", b"\t"), "is empty"),
    "only a mark": (lambda t: b"\xef\xbb\xbf", "is empty"),
    "workbook": (lambda t: excel(t), "is an Excel workbook or a zip archive"),
    "damaged zip": (lambda t: excel(t)[:40], "is an Excel workbook or a zip archive"),
    "old workbook": (lambda t: b"\xd0\xcf\x11\xe0" + bytes(99), "an old Excel workbo"),
    "xz": (lambda t: lzma.compress(t.encode()), "is an xz archive"),
    "bz2": (lambda t: bz2.compress(t.encode()), "is a bzip2 archive"),
    "zst": (lambda t: b"\x28\xb5\x2f\xfd" + bytes(9), "is a zst archive"),
    "gzip cut off": (lambda t: gzip.compress(t.encode())[:-5], "can't be read as a t"),
    "gzip damaged": (
        lambda t: b"\x1f\x8b\x08\0" + bytes(6) + b"\xff" * 30,
        "can't be read as a table",
    ),
    "gzip of xz": (
        lambda t: gzip.compress(lzma.compress(t.encode())),
        "is an xz archive",
    ),
    "UTF-16 without mark": (lambda t: t.encode("utf-16-le"), "isn't text"),
    "UTF-16 cut off": (lambda t: t.encode("utf-16")[:-1], "text in UTF-16; save"),
    "UTF-32": (lambda t: t.encode("utf-32"), "isn't text"),
    "a picture": (
        lambda t: cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes(),
        "line 1: it can't be read as text in UTF-8; save the table as 'CSV UTF-8'",
    ),
    "Latin-1": (
        lambda t: t.replace("Ann", "Änn").replace("2.png", "ä.png").encode("latin-1"),
        "line [123]: it can't be read as text in UTF-8; save the table as 'CSV UTF-8'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_TABLES)
def test_what_is_no_table(tmp_path, hospital, nih, kind):
    encode, message = NO_TABLES[kind]
    with pytest.raises(UserError, match=rf"labels\.csv.* {message}"):
        hospital(encode=encode)
    for file, text in (
        ("Data_Entry_2017.csv", ENTRIES),
        ("BBox_List_2017.csv", BOX_LIST.replace("Mass", "2.png")),
        ("test_list.txt", "2.png"),
    ):
        nih()
        (tmp_path / file).write_bytes(encode(text))
        with pytest.raises(UserError, match=rf"{file}.* {message}"):
            read_chestxray14(tmp_path)


def test_a_header_alone(hospital):
    with pytest.raises(UserError, match=r"labels\.csv has no rows below its header"):
        hospital(LABELS.splitlines()[0])
    # There may be no boxes, and a table may say so.
    assert hospital(boxes=BOXES.splitlines()[0]).records[0].boxes == ()


def test_a_header_alone_in_nihs_tables(nih):
    with pytest.raises(UserError, match=r"2017\.csv has no rows below its header"):
        nih(ENTRIES.splitlines()[0])
    assert nih(boxes=BOX_LIST.splitlines()[0]).records[0].boxes == ()


def test_lists_and_tables_of_chestxray14_may_name_folders(nih, tmp_path):
    read = nih(
        ENTRIES.replace("1.png", "images/1.PNG"),
        BOX_LIST.replace("1.png", "images\\1.png"),
        listed="images/1.png\r\n",
        test="\ufeffimages_002\\images\\2.PNG,\n",
    )
    assert [record.name for record in read.records] == ["1.PNG", "2.png"]
    assert read.records[0].path == tmp_path / "images" / "1.png"
    assert len(read.records[0].boxes) == 1
    assert read.lists == {"1.PNG": "train_val", "2.png": "test"}


def test_a_list_has_one_name_a_line(nih):
    with pytest.raises(
        UserError, match=r"list\.txt, line 2: '2' stands behind '2.png'"
    ):
        nih(test="3.png\n2.png,2\n")
    with pytest.raises(UserError, match=r"1\.png is in both lists"):
        nih(test="images/1.PNG")


@pytest.mark.parametrize(
    "name",
    ["labels.CSV", "Labels.csv.gz", "data_entry_2017.csv", "DATA_ENTRY_2017_v2020.CSV"],
)
def test_names_of_tables_in_any_case(tmp_path, name):
    draw(tmp_path / "a" / "1.png", tmp_path / "images" / "1.png")
    text = LABELS if "abels" in name else ENTRIES
    (tmp_path / name).write_text(text)
    assert len(read_dataset(tmp_path).records) == 1


def test_boxes_beside_a_table_that_is_given_itself(hospital, tmp_path):
    hospital()
    assert read_dataset(tmp_path / "labels.csv").records[0].boxes
    (tmp_path / "labels.csv").rename(tmp_path / "mine.csv")
    assert not read_dataset(tmp_path / "mine.csv").records[0].boxes


def test_a_folder_without_tables_says_what_it_may_have(tmp_path):
    with pytest.raises(UserError, match=r"neither labels\.csv.* Data_Entry_2017\.csv"):
        read_dataset(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder and not a table"):
        read_dataset(tmp_path / "nowhere")
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "labels.csv.gz").write_text(LABELS)
    with pytest.raises(UserError, match=r"both labels\.csv and labels\.csv\.gz"):
        read_dataset(tmp_path)


def test_keys():
    assert name_key(" Pleural_Effusion ") == name_key("pleural  effusion")
    assert name_key("Mass") != name_key("Mass 2")
    assert path_key("./a//1.PNG") == path_key("a\\1.png") == "a/1.png"
    assert path_key("A/1.png") != path_key("a/1.png")
    assert path_key(str(Path("a/b.c/D"))) == "a/b.c/D"
