import json
import os
import re
import subprocess
import sys

import pytest

from keras_mscam.batch_predict import index
from keras_mscam.batch_predict.index import Summary, write_tables

NAMES = ("Mass", "Pleural_Thickening")


@pytest.fixture
def write(tmp_path):
    """Write an index; return the data of each page."""

    def write(*results):
        lines = "".join(json.dumps(result) + "\n" for result in results)
        (tmp_path / "predictions.jsonl").write_text(lines)
        write_tables(Summary(tmp_path), NAMES, "toy", html=True)
        paths = sorted(
            tmp_path.glob("index*.html"), key=lambda path: (len(path.name), path)
        )
        return [read(path.read_text()) for path in paths]

    return write


def read(html):
    text = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)


def result(path, **kwargs):
    return {
        "path": path,
        "status": "read",
        "stamp": [3, 7],
        "original_size": [60, 40],
        "boxes": [],
        "files": {},
        "name": path.split(".")[0],
        "probabilities": {"Mass": 0.1234, "Pleural_Thickening": 1.0},
        "positives": ["Pleural_Thickening"],
        "warnings": ["It is lateral."],
        **kwargs,
    }


def test_rows(write):
    refused = {"path": "b", "status": "refused", "stamp": None, "error": "is empty"}
    assert write(result("a.png"), refused) == [
        [
            ["a.png", "a", [123, 1000], [1], "It is lateral."],
            ["b", "", [], [], "is empty"],
        ]
    ]


def test_path_is_no_markup(write, tmp_path):
    path = "</script><script>alert('1')</script>&amp;\udcff"
    ((row,),) = write(result(path, name="x"))
    assert row[0] == path
    assert "alert(" in (tmp_path / "index.html").read_text()
    assert "<script>alert" not in (tmp_path / "index.html").read_text()


def test_page_is_utf_8(tmp_path):
    """As it says of itself, whatever the locale."""
    code = (
        "from pathlib import Path; "
        "from keras_mscam.batch_predict.index import Summary, write_tables; "
        r"write_tables(Summary(Path()), (), '\xdcbung', html=True)"
    )
    (tmp_path / "predictions.jsonl").touch()
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = os.environ | ascii_only
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "<h1>Predictions of Übung</h1>" in html


def test_pages(write, monkeypatch, tmp_path):
    monkeypatch.setattr(index, "PAGE", 2)
    (tmp_path / "index-7.html").touch()  # of more results, once
    pages = write(*(result(f"{number}.png") for number in range(5)))
    assert [[row[0] for row in page] for page in pages] == [
        ["0.png", "1.png"], ["2.png", "3.png"], ["4.png"],
    ]  # fmt: skip
    links = re.findall(r'href="(index[^"]*)"', (tmp_path / "index-2.html").read_text())
    assert links == ["index.html", "index-3.html"]
    assert sorted(path.name for path in tmp_path.glob("*.html")) == [
        "index-2.html", "index-3.html", "index.html",
    ]  # fmt: skip


def test_no_image(write):
    assert write() == [[]]
