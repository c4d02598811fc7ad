import base64
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_mscam.batch_predict.outputs import (
    Place,
    Predicted,
    _describe_maps,
    finish,
)
from keras_mscam.batch_predict.settings import Options

PICTURE = np.full((60, 40), 100, "uint8")


@pytest.fixture
def done(tmp_path, prediction):
    """Finish one image; return its line and the files there are."""

    def finish_one(name="1", path="a/1.png", **options):
        item = Predicted(path, name, (3, 7), PICTURE, prediction())
        place = Place(tmp_path, "toy", Options(**options), "toy")
        line = json.loads(finish(place, item))
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return line, sorted(str(path.relative_to(tmp_path)) for path in files)

    return finish_one


@pytest.mark.parametrize(
    ("overlays", "names"),
    [
        ("none", []),
        ("top", ["Mass"]),
        ("positive", ["Effusion", "Mass"]),
        ("all", ["Effusion", "Mass", "Nodule"]),
    ],
)
def test_overlays(done, tmp_path, overlays, names):
    line, files = done(overlays=overlays)
    assert files == [f"overlays/1.{name}.png" for name in names]
    assert sorted(line["files"].get("overlays", {})) == names
    for file in files:
        assert cv2.imread(str(tmp_path / file)).shape == (60, 40, 3)


def test_maps(done, tmp_path, prediction):
    line, _ = done(overlays="positive", maps=True)
    with np.load(tmp_path / line["files"]["maps"]) as maps:
        assert (maps["cam_block2"] == prediction().cams[2]).all()
        assert (maps["attention"] == prediction().attention).all()
        assert maps["heatmap_pathologies"].tolist() == ["Mass", "Effusion"]
        assert maps["heatmaps"].dtype == "float16"
        # By min_max, the map of ones and zeros is itself.
        assert (maps["heatmaps"][0] == prediction().cams[2][..., 1]).all()
        assert maps["relevance_weights"].tolist() == [[1, 1, 1]]
        assert maps["pathologies"].tolist() == ["Effusion", "Mass", "Nodule"]
        assert maps["original_size"].tolist() == [60, 40]
        assert maps["field"].tolist() == [0, 0, 40, 60]


def test_maps_without_positives(done, tmp_path):
    line, _ = done(overlays="none", maps=True)
    with np.load(tmp_path / line["files"]["maps"]) as maps:
        assert maps["heatmaps"].shape[0] == 0


def test_html(done, tmp_path):
    line, files = done(overlays="none", html=True)
    assert files == ["reports/1.html", "thumbnails/1.jpg"]
    assert line["files"] == {"report": files[0], "thumbnail": files[1]}
    assert cv2.imread(str(tmp_path / files[1])).shape == (60, 40, 3)


def test_path_that_is_no_text(done, tmp_path):
    """Linux takes any bytes for a name; Python keeps them as lone surrogates."""
    line, _ = done(html=True, path="a/\udcff<b>.png")
    assert line["path"] == "a/\udcff<b>.png"
    report = (tmp_path / line["files"]["report"]).read_text("utf-8")
    assert "a/?&lt;b&gt;.png" in report


def test_thumbnail_shows_the_most_probable_positive(done, tmp_path):
    def read_thumbnail(**options):
        line, _ = done(html=True, **options)
        return cv2.imread(str(tmp_path / line["files"]["thumbnail"]))

    # Nodule is drawn but not positive.
    nodule = read_thumbnail(overlays="all", pathologies=("Nodule",))
    assert np.ptp(nodule.astype(int), axis=2).max() == 0
    mass = read_thumbnail(overlays="all")
    assert np.ptp(mass.astype(int), axis=2).max() > 0
    # The index says what its colours are, whatever files there are.
    assert (read_thumbnail(overlays="none") == mass).all()


def test_maps_of_blocks_have_the_shape_of_the_field(prediction):
    # A field of 30 x 10 of the 60 x 40 pixels, in a picture of half that size.
    found = replace(prediction(), field=(5, 20, 15, 50))
    described = _describe_maps("Mass", PICTURE[::2, ::2], found)
    for block in described["blocks"]:
        data = base64.b64decode(block["map"].partition(",")[2])
        height, width, _ = cv2.imdecode(np.frombuffer(data, "uint8"), 1).shape
        assert (height, width) == (15, 5)


def test_no_dicom_of_others(done, tmp_path, monkeypatch):
    pytest.importorskip("highdicom")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    cv2.imwrite("a/1.png", PICTURE)
    line, _ = done(overlays="none", dicom=True)
    assert line["files"]["dicom"] == [] and line["warnings"] == []
    # Of one that can't have any, the reader is told why.
    (tmp_path / "a/1.png").write_bytes(b"\0" * 128 + b"DICM")
    line, _ = done(overlays="none", dicom=True, html=True)
    assert "dicom" not in line["files"]
    assert line["warnings"][0].startswith("There are no results as DICOM: ")
    report = (tmp_path / line["files"]["report"]).read_text()
    assert "There are no results as DICOM: " in report
