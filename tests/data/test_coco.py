"""Boxes in COCO's JSON: as written, by pycocotools; as read, by hand."""

import gzip
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from keras_mscam.data.coco import Marked, read_coco, write_coco
from keras_mscam.data.labels_csv import read_dataset
from keras_mscam.data.pipeline import read_examples
from keras_mscam.data.preparation import prepare
from keras_mscam.data.records import Box
from keras_mscam.errors import UserError

NAMES = ("Mass", '肺炎 <b>/"x"')
IMAGES = [("a/1.png", (30, 20)), ("b/1.png", (30, 20)), ("ü 3.png", (9, 7))]
BOXES = [
    Marked(0, NAMES[1], (1.5, 2, 10.5, 20), 0.25),
    Marked(2, NAMES[0], (0, 0, 7, 9), 0.5),
]


def test_pycocotools_loads_what_is_written(tmp_path):
    write_coco(tmp_path / "x.json", NAMES, iter(IMAGES), iter(BOXES), {"a": "b"})
    coco = COCO(tmp_path / "x.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(NAMES)
    images = coco.loadImgs(coco.getImgIds())
    assert [(i["file_name"], (i["height"], i["width"])) for i in images] == IMAGES
    (first,) = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    # Left, top, 10.5 - 1.5 = 9 wide, 20 - 2 = 18 high.
    assert first["bbox"] == [1.5, 2, 9, 18]
    assert (first["area"], first["score"], first["category_id"]) == (9 * 18, 0.25, 2)
    assert coco.getAnnIds(imgIds=[2]) == []
    assert coco.dataset["info"] == {"a": "b"}
    results = coco.loadRes(coco.dataset["annotations"])
    assert results.getAnnIds() == [1, 2]


def test_a_folder_whose_name_is_no_text(tmp_path):
    path = tmp_path / "x.json"
    write_coco(path, NAMES, IMAGES, BOXES, {"folder": "d\udce9 ü"})
    assert COCO(path).dataset["info"] == {"folder": "d? ü"}
    assert len(read_coco(path)[1]) == 2


def test_a_round_trip_and_an_empty_one(tmp_path):
    path = tmp_path / "x.json"
    write_coco(path, NAMES, IMAGES, BOXES)
    images = [name for name, _ in IMAGES]
    boxes = [
        ("a/1.png", Box(NAMES[1], (1.5, 2, 10.5, 20), (30, 20))),
        ("ü 3.png", Box(NAMES[0], (0, 0, 7, 9), (9, 7))),
    ]
    assert read_coco(path) == (images, boxes)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_coco(path) == (images, boxes)
    write_coco(path, [], [], [])
    assert read_coco(path) == ([], [])
    assert COCO(path).getImgIds() == []


def write_json(path, boxes, images=(), categories=(), **more):
    """Write a file as tools do: `boxes` of (image, category, bbox)."""
    content = {
        "images": [
            {"id": number, "file_name": name, **fields}
            for number, name, fields in images
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": box}
            for n, (image, category, box) in enumerate(boxes)
        ],
    }
    path.write_text(json.dumps(content | more))


@pytest.fixture
def hospital(tmp_path):
    """Three images 30 high and 20 wide, two of them with the same file name."""
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((30, 20), np.uint8))
    (tmp_path / "labels.csv").write_text(
        "path,patient,Mass,Lung Opacity\na/1.png,1,1,0\nb/1.png,2,,1\nb/2.png,3,0,1\n"
    )
    return tmp_path


def read_boxes(hospital):
    dataset = read_dataset(hospital)
    boxes = {record.name: record.boxes for record in dataset.records if record.boxes}
    return boxes, dataset.problems


def test_boxes_of_a_tool_beside_labels(hospital):
    size = {"height": 30, "width": 20}
    write_json(
        hospital / "boxes.json",
        [(7, 3, [1, 2, 9, 18]), (8, 4, [0, 0, 5, 5]), (9, 4, [0, 0, 5, 5])],
        # As it is; as Label Studio has it, from a folder above; without its folder.
        [
            (7, "a\\1.PNG", size),
            (8, "/data/local-files/?d=X%20rays/b/1.png", {}),
            (9, "2.png", {"height": 0, "width": 0}),
        ],
        [(3, "mass"), (4, "lung_opacity")],
    )
    boxes, problems = read_boxes(hospital)
    assert boxes == {
        "a/1.png": (Box("Mass", (1, 2, 10, 20), (30, 20)),),
        "b/1.png": (Box("Lung Opacity", (0, 0, 5, 5)),),
        "b/2.png": (Box("Lung Opacity", (0, 0, 5, 5)),),
    }
    assert problems == ()
    assert read_dataset(hospital).tables == (
        hospital / "labels.csv",
        hospital / "boxes.json",
    )


def test_what_cannot_be_used_is_counted(hospital):
    nan = float("nan")
    write_json(
        hospital / "boxes.json",
        [
            (1, 1, [1, 2, 9, 18]),  # of one of two images
            (2, 1, [1, 2, 9, 18]),
            (5, 1, [1, 2, 9, 18]),  # of no image that is listed
            (3, 9, [1, 2, 9, 18]),
            (3, 2, [1, 2, 9, 18]),
            (3, 1, []),
            (3, 1, None),
            (3, 1, [1, nan, 9, 18]),
            (3, 1, [1, 2, -9, 18]),
        ],
        [(1, "1.png", {}), (2, "c/2.png", {}), (3, "b/2.png", {})],
        [(1, "Mass"), (2, "Fracture")],
    )
    boxes, problems = read_boxes(hospital)
    assert boxes == {}
    assert problems == (
        "3 boxes on images without a label row, left out, such as 1.png",
        "2 boxes of a pathology without a column of labels, left out, such as "
        "category 9 of b/2.png",
        "4 boxes without four numbers or without area, left out, such as b/2.png",
    )


def test_two_paths_do_not_mean_one_image(hospital):
    (hospital / "b/2.png").rename(hospital / "2.png")
    labels = hospital / "labels.csv"
    labels.write_text(labels.read_text().replace("b/2.png", "2.png"))
    box = [1, 2, 9, 18]
    for name in ("x/2.png", "y/2.png", "2.png"):
        images = [(1, name, {})]
        write_json(hospital / "boxes.json", [(1, 1, box)], images, [(1, "Mass")])
        assert list(read_boxes(hospital)[0]) == ["2.png"]
    for other in ("y/2.png", "2.png"):
        images = [(1, "x/2.png", {}), (2, other, {})]
        write_json(
            hospital / "boxes.json", [(1, 1, box), (2, 1, box)], images, [(1, "Mass")]
        )
        assert len(read_boxes(hospital)[0].get("2.png", ())) == (other == "2.png")
        # The other one needs no box.
        write_json(hospital / "boxes.json", [(1, 1, box)], images, [(1, "Mass")])
        assert read_boxes(hospital)[0] == {}


def test_boxes_drawn_on_a_turned_image(hospital):
    write_json(
        hospital / "boxes.json",
        [(1, 1, [1, 1, 3, 3])],
        [(1, "a/1.png", {"height": 20, "width": 30})],
        [(1, "Mass")],
    )
    manifest = prepare(
        hospital, hospital / "records", split="test", workers=1, progress=False
    )
    said = "1 boxes drawn on a turned copy of their image, probably misplaced"
    assert manifest.problems[0] == f"{said}, such as a/1.png"


def test_boxes_drawn_at_another_size(hospital):
    # Squashed to 60 x 60: across 3 pixels for one of the 20, down 2 for one of the 30.
    write_json(
        hospital / "boxes.json",
        [(1, 1, [6, 10, 30, 20]), (1, 1, [54, 50, 30, 20]), (1, 1, [66, 0, 9, 9])],
        [(1, "a/1.png", {"height": 60, "width": 60})],
        [(1, "Mass")],
    )
    manifest = prepare(
        hospital, hospital / "records", split="test", workers=1, progress=False
    )
    assert manifest.problems[:3] == (
        "3 boxes drawn on an image of another size, scaled to that of theirs, such as "
        "a/1.png",
        "1 boxes that stick out of their image, cut off at its edge, such as a/1.png",
        "1 boxes that lie outside of their image, left out, such as a/1.png",
    )
    first = next(iter(read_examples(hospital / "records", "test")))
    found = [box.xyxy for box in first.boxes]
    np.testing.assert_allclose(found, [[2, 5, 12, 15], [18, 25, 20, 30]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON: EOF while parsing"),
        ("", "is no JSON"),
        ("[]", "isn't COCO's JSON"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]', "isn't COCO's"),
        ('{"images": [], "annotations": []}', "categories: field required"),
        (
            '{"images": [{"id": 1}], "annotations": [], "categories": []}',
            "images.0.file_name: field required",
        ),
        (
            '{"images": [], "categories": [], "annotations": [{"image_id": 1, '
            '"category_id": 1, "bbox": "all"}]}',
            "annotations.0.bbox: input should be a valid array",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a", "width": Infinity}], '
            '"annotations": [], "categories": []}',
            "images.0.width: input should be a finite number",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], '
            '"annotations": [], "categories": []}',
            "has two images of one id",
        ),
    ],
)
def test_what_is_no_coco(hospital, text, message):
    (hospital / "boxes.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_dataset(hospital)


def test_one_file_of_boxes_at_a_time(hospital):
    (hospital / "boxes.csv").touch()
    (hospital / "boxes.json").touch()
    with pytest.raises(UserError, match=r"both boxes\.csv and boxes\.json"):
        read_dataset(hospital)
