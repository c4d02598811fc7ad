"""The command, killed too; what it is made of is tested in `predicting`."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.batch_predict.settings import Options
from keras_mscam.cli import predict as verb
from keras_mscam.errors import UserError
from keras_mscam.images.grey_values import DARK
from keras_mscam.inference.predictor import Predictor
from keras_mscam.localization.protocol import SHOWN_THRESHOLDS

from ..conftest import ODD_NAMES, write_run

SIZES = ((40, 30), (30, 50), (64, 96))


@pytest.fixture(scope="module")
def run(run):
    """Effusion is always positive, Mass is half the time, Nodule never."""
    return run.path


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run)


@pytest.fixture
def quick(monkeypatch, predictor):
    """Load the model once for all tests of this process."""

    def load(path, runtime="auto"):
        made = Predictor.__new__(Predictor)
        made.runtime = predictor.runtime
        return made

    monkeypatch.setattr("keras_mscam.batch_predict.settings.Predictor", load)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four images in two folders, of alike names, and three that are none."""
    monkeypatch.chdir(tmp_path)
    write("xrays/a/chest.png", 0)
    write("xrays/b/chest.png", 1)
    write("xrays/b/other.jpg", 2)
    write("xrays/c.png", 3)
    Path("xrays/bad.png").write_bytes(Path("xrays/c.png").read_bytes()[:200])
    Path("xrays/text").write_text("hello")
    Path("xrays/labels.csv").touch()
    return Path("xrays")


def write(path, seed):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    noise = cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), size[::-1])
    cv2.imwrite(str(path), noise)


def read(output):
    lines = (Path(output) / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def go(*arguments):
    """Run the command in this process; return its exit status."""
    sys.argv = ["keras_mscam-predict", *map(str, arguments)]
    try:
        verb.main()
    except SystemExit as end:
        return end.code
    return 0


def assert_same(results, expected):
    """But for how batches were cut, which changes the last digits."""
    assert [item["path"] for item in results] == [item["path"] for item in expected]
    for one, other in zip(results, expected, strict=True):
        assert one.keys() == other.keys()
        if one["status"] == "read":
            assert one["probabilities"] == pytest.approx(
                other["probabilities"], abs=1e-5
            )
        for key in ("status", "name", "stamp", "positives", "files", "error"):
            assert one.get(key) == other.get(key)


@pytest.mark.usefixtures("quick")
def test_as_the_predictor_says(run, folder, predictor):
    summary = predict(run, [folder], "out", progress=False)
    assert (summary.read, summary.refused.total()) == (4, 2)
    assert dict(summary.passed_over) == {".csv": 1, "hidden": 0}
    results = {item["path"]: item for item in read("out")}
    assert list(results) == [
        "xrays/bad.png", "xrays/c.png", "xrays/text",
        "xrays/a/chest.png", "xrays/b/chest.png", "xrays/b/other.jpg",
    ]  # fmt: skip
    for path in ("xrays/a/chest.png", "xrays/b/chest.png"):
        expected, found = predictor.predict(path), results[path]
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        assert found["positives"] == list(expected.positives)
        assert found["original_size"] == list(cv2.imread(path).shape[:2])
        boxes = [box.xyxy for box in expected.boxes]
        np.testing.assert_allclose(
            [box["xyxy"] for box in found["boxes"]], boxes, atol=1.0
        )
        (picture,) = found["files"]["overlays"].values()
        assert cv2.imread(f"out/{picture}").shape == cv2.imread(path).shape
    names = [results[f"xrays/{path}/chest.png"]["name"] for path in "ab"]
    assert names == ["chest", "chest-2"]
    assert results["xrays/text"]["error"] == "is not a PNG, JPEG or DICOM image"


def read_coco(output):
    """Return COCO's file, and its boxes by image and pathology, in their order."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(Path(output) / "predictions.coco.json")
    boxes = {
        image["file_name"]: [
            (coco.cats[a["category_id"]]["name"], a["bbox"], a["score"])
            for a in coco.imgToAnns[image["id"]]
        ]
        for image in coco.dataset["images"]
    }
    return coco.dataset, boxes


@pytest.mark.usefixtures("quick")
def test_boxes_in_cocos_json(run, folder):
    # Once there, it is kept up with further files.
    assert go(run, folder / "b", "--output", "out", "--coco") == 0
    content, boxes = read_coco("out")
    assert (list(boxes), content["info"]["folder"]) == (
        ["chest.png", "other.jpg"],
        "xrays/b",
    )
    assert go(run, folder, "--output", "out") == 0
    content, boxes = read_coco("out")
    assert content["info"]["folder"] == "xrays"
    # Names as from the folder; of what was refused there is no size, and no image.
    results = {r["path"]: r for r in read("out") if r["status"] == "read"}
    assert [f"xrays/{name}" for name in boxes] == list(results)
    for image in content["images"]:
        result = results[f"xrays/{image['file_name']}"]
        assert [image["height"], image["width"]] == result["original_size"]
        found = boxes[image["file_name"]]
        assert [(n, s) for n, _, s in found] == [
            (box["pathology"], box["score"]) for box in result["boxes"]
        ]
        expected = [box["xyxy"] for box in result["boxes"]]
        assert [[x, y, x + w, y + h] for _, (x, y, w, h), _ in found] == [
            pytest.approx(xyxy) for xyxy in expected
        ]
    assert sum(map(len, boxes.values())) > 4
    assert go(run, folder, "--output", "out", "--overwrite", "--maps") == 0
    assert not Path("out/predictions.coco.json").exists()


def test_names_of_any_script(tmp_path, folder):
    run = write_run(tmp_path / "run", names=ODD_NAMES).path
    options = "--overlays", "all", "--html", "--maps", "--coco"
    thresholds = "--probability-threshold", *(f"{name}=0" for name in ODD_NAMES)
    (folder / "\u80ba <b>.png").write_bytes((folder / "c.png").read_bytes())
    odd = os.fsencode(folder) + b"/-\xff\n.png"
    Path(os.fsdecode(odd)).write_bytes((folder / "c.png").read_bytes())
    assert go(run, folder, "--output", "out", *options, *thresholds) == 0
    for item in read("out"):
        if item["status"] == "refused":
            continue
        assert tuple(item["probabilities"]) == ODD_NAMES
        files = item["files"]["overlays"]
        assert tuple(sorted(files)) == tuple(sorted(ODD_NAMES))
        assert len(set(files.values())) == 3  # none over another one
        assert all(cv2.imread(f"out/{file}") is not None for file in files.values())
        report = Path("out", item["files"]["report"]).read_text(encoding="utf-8")
        assert "\u80ba\u708e &lt;b&gt;|&amp;&#34;&#39;$\\x$" in report
    rows = Path("out/predictions.csv").read_text("utf-8", "surrogateescape")
    assert all(f",{name}," in rows for name in ODD_NAMES[:2])
    content, boxes = read_coco("out")
    assert [category["name"] for category in content["categories"]] == list(ODD_NAMES)
    assert {"\u80ba <b>.png", "-?\n.png"} <= boxes.keys()  # it was no text


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_one_sentence_and_goes_on(
    run, folder, tmp_path, capsys, small_files
):
    arguments = run, folder, "--output", "out", "--maps"
    with small_files():
        assert go(*arguments) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "can't be written: it gets larger" in said
    assert said.endswith("Then the same command goes on.")
    assert not list(tmp_path.rglob(".*.npz"))
    assert go(*arguments) == 0
    assert len(read("out")) == 6


@pytest.mark.usefixtures("quick")
def test_dark_files_are_said_and_made_bright(run, folder, capsys):
    for path in ("a/chest.png", "b/chest.png"):
        pixels = cv2.imread(f"xrays/{path}", cv2.IMREAD_UNCHANGED)
        cv2.imwrite(f"xrays/{path}", pixels.astype("uint16") * 16)
    assert go(run, folder, "--output", "out", "--html") == 0
    assert f"2  {DARK}" in capsys.readouterr().out
    dark = [item["path"] for item in read("out") if DARK in item.get("warnings", [])]
    assert dark == ["xrays/a/chest.png", "xrays/b/chest.png"]
    with Path("out/predictions.csv").open(newline="") as file:
        assert sum(DARK in row["warnings"] for row in csv.DictReader(file)) == 2
    assert sum(DARK in path.read_text() for path in Path("out").rglob("*.html")) == 3
    assert go(run, folder, "--output", "new", "--max-value", 4080) == 0
    assert DARK not in capsys.readouterr().out
    assert go(run, folder, "--output", "new") == 2  # results don't go together
    assert "--max-value" in capsys.readouterr().err
    assert go(run, folder, "--output", "no", "--max-value", 0) == 2
    assert "The max value must be 1 or more" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_an_image_of_which_the_model_makes_nan(run, folder, predictor, monkeypatch):
    compute = predictor.runtime.run

    def overflow(images):
        outputs = {name: np.array(output) for name, output in compute(images).items()}
        outputs["probabilities"][0] = np.nan
        return outputs

    runtime = dataclasses.replace(predictor.runtime, run=overflow)
    monkeypatch.setattr(predictor, "runtime", runtime)
    summary = predict(run, [folder / "a", folder / "c.png"], "out", progress=False)
    assert (summary.read, summary.refused.total()) == (1, 1)
    (refused,) = [item for item in read("out") if item["status"] == "refused"]
    assert refused["error"] == "has no probabilities: the model gives NaN for it"
    assert "probabilities" not in refused


@pytest.mark.usefixtures("quick")
def test_table(run, folder):
    predict(run, [folder], "out", progress=False)
    with Path("out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    results = read("out")
    assert [row["path"] for row in rows] == [item["path"] for item in results]
    for row, item in zip(rows, results, strict=True):
        if item["status"] == "refused":
            assert row["error"] == item["error"] and not row["Mass"]
        else:
            assert float(row["Mass"]) == item["probabilities"]["Mass"]
            assert row["positives"] == ";".join(item["positives"])
            assert [int(row["height"]), int(row["width"])] == item["original_size"]
            assert int(row["boxes"]) == len(item["boxes"])


@pytest.mark.usefixtures("quick")
def test_only_what_is_new_or_changed_is_done(run, folder):
    predict(run, [folder], "out", progress=False)
    before = read("out")
    assert predict(run, [folder], "out", progress=False).added == 0
    assert read("out") == before
    write("xrays/a/0.png", 5)
    write("xrays/b/chest.png", 6)
    # Of the file as it was, as if another pathology had been found in it.
    for item in before:
        if item["path"] == "xrays/b/chest.png":
            old = Path("out", *item["files"]["overlays"].values())
    old.write_bytes(b"old")
    with Path("out/predictions.jsonl").open("a") as file:
        file.write('{"path": "xrays')  # killed while it wrote
    summary = predict(run, [folder, "no.png"], "out", progress=False)
    # New, changed, and one that may be there next time.
    assert summary.added == 3 and summary.read == 5
    after = {item["path"]: item for item in read("out")}
    kept = [item for item in before if item["path"] != "xrays/b/chest.png"]
    assert list(after.values())[:5] == kept
    assert after["xrays/b/chest.png"]["name"] == "chest-2"
    assert not old.exists() or old.read_bytes() != b"old"
    assert after["no.png"]["error"].startswith("cannot be opened")
    write("no.png", 7)
    assert predict(run, ["no.png"], "out", progress=False).read == 6
    assert read("out")[-1]["status"] == "read"


@pytest.mark.usefixtures("quick")
def test_what_is_out_of_reach_is_kept(run, folder):
    """As when a disk isn't there, whose files are named one by one."""
    paths = [folder / "c.png", folder / "a" / "chest.png"]
    predict(run, paths, "out", progress=False)
    before = read("out")
    folder.rename("elsewhere")
    assert predict(run, paths, "out", progress=False).added == 0
    assert read("out") == before
    assert all(
        Path("out", *item["files"]["overlays"].values()).exists() for item in before
    )


@pytest.mark.usefixtures("quick")
def test_same_names_from_another_folder(run, folder, monkeypatch):
    """Their results would take the place of those there are."""
    monkeypatch.chdir("xrays/a")
    predict(run, ["chest.png"], "../../out", progress=False)
    monkeypatch.chdir("../b")
    with pytest.raises(
        UserError, match="a different working directory, where paths start"
    ):
        predict(run, ["chest.png"], "../../out", progress=False)
    path = Path("chest.png").absolute()
    assert predict(run, [path], "../../out", progress=False).read == 2


@pytest.mark.usefixtures("quick")
def test_names_do_not_depend_on_where_a_call_was_broken_off(run, folder):
    bad = Path("xrays/bad/chest.png")
    bad.parent.mkdir()
    bad.write_text("hello")
    paths = [bad, "xrays/a/chest.png", "xrays/b/chest.png"]
    for count in (1, 2, 3):
        predict(run, paths[:count], "parts", progress=False)
    predict(run, paths, "whole", progress=False)
    names = [item.get("name") for item in read("whole")]
    assert names == [None, "chest-2", "chest-3"]  # the first was given one, too
    assert_same(read("parts"), read("whole"))


@pytest.mark.usefixtures("quick")
def test_pictures_of_the_first_call_are_no_xrays(run, folder):
    predict(run, ["**/*.png"], "out", progress=False)
    assert Path("out/overlays/c.Effusion.png").exists()
    again = predict(run, ["**/*.png"], "out", progress=False)
    assert again.added == 0 and again.passed_over["results"] == 3


@pytest.mark.usefixtures("quick")
def test_names_of_any_bytes(run, folder):
    name = os.fsdecode(b"\xff\n\r<b>'\",;%s ") + "\N{CJK UNIFIED IDEOGRAPH-80BA}" * 70
    write("c.png", 3)
    Path("c.png").rename(f"{name}.png")
    summary = predict(run, [f"{name}.png"], "out", options=Options(html=True))
    assert summary.read == 1
    (item,) = read("out")
    assert item["path"] == f"{name}.png"
    with Path("out/predictions.csv").open(errors="surrogateescape", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [f"{name}.png"]
    assert Path("out", item["files"]["report"]).exists()


@pytest.mark.usefixtures("quick")
def test_thresholds_and_pathologies(run, folder, predictor):
    image = "xrays/c.png"

    def find(**kwargs):
        predict(run, [image], "out", progress=False, overwrite=True, **kwargs)
        return set(read("out")[0]["positives"])

    assert find(probability_threshold=0.0) == {"Effusion", "Mass", "Nodule"}
    assert find(probability_threshold=1.0) == set()
    assert find(probability_threshold={"Nodule": 0.0, "Mass": 1.0}) == {
        "Effusion", "Nodule",
    }  # fmt: skip
    only = Options(pathologies=("Nodule",))
    assert find(options=only, probability_threshold=0.0) == {"Nodule"}
    with pytest.raises(UserError, match="threshold of Mass, which is not among"):
        find(options=only, probability_threshold={"Mass": 0.0})
    assert find(options=only) == set()
    for wrong, match in (
        ({"Hernia": 0.5}, "no pathology 'Hernia'; it has Effusion"),
        (1.5, "must be from 0 to 1, not 1.5"),
        (float("nan"), "must be from 0 to 1, not nan"),
    ):
        with pytest.raises(UserError, match=match):
            find(probability_threshold=wrong)


@pytest.mark.usefixtures("quick")
def test_other_options_need_another_folder(run, folder):
    predict(run, ["xrays/c.png"], "out", progress=False)
    with pytest.raises(UserError, match="a different --maps; give another --output"):
        predict(run, ["xrays/c.png"], "out", options=Options(maps=True), progress=False)
    other = Options(shown_threshold=0.5)
    with pytest.raises(UserError, match="a different --shown-threshold; give another"):
        predict(run, ["xrays/c.png"], "out", options=other, progress=False)
    own = Options(shown_threshold=SHOWN_THRESHOLDS["min_max"])  # the same results
    predict(run, ["xrays/c.png"], "out", options=own, progress=False)
    match = "a different choice of thresholds or pathologies; give"
    with pytest.raises(UserError, match=match):
        predict(run, ["xrays/c.png"], "out", probability_threshold=0.1, progress=False)


@pytest.mark.usefixtures("quick")
def test_another_threshold_of_boxes(run, folder):
    areas = []
    for threshold in (0.95, 0.85, 0.7):
        options = Options(shown_threshold=threshold)
        predict(
            run, ["xrays/c.png"], "out", options=options, progress=False, overwrite=True
        )
        boxes = read("out")[0]["boxes"]
        areas.append(max((b[2] - b[0]) * (b[3] - b[1]) for b in map(_corners, boxes)))
    # Every region grows as the threshold falls.
    assert 0 < areas[0] < areas[1] < areas[2]


def _corners(box):
    return box["xyxy"]


@pytest.mark.usefixtures("quick")
def test_batches(run, folder):
    # 6 files in batches of 4, of which the last is filled up.
    predict(run, [folder], "one", progress=False)
    predict(run, [folder], "two", batch_size=4, progress=False)
    predict(run, [folder], "three", batch_size=1, progress=False)
    assert_same(read("two"), read("one"))
    assert_same(read("three"), read("one"))


@pytest.mark.usefixtures("quick")
def test_command(run, folder, capsys, monkeypatch):
    assert go(run, "xrays/c.png", "--output", "one", "--html") == 0
    printed = capsys.readouterr().out
    assert "xrays/c.png, 40 x 30 pixels" in printed and "positive" in printed
    assert "1 image read, 0 refused." in printed and "one/index.html" in printed
    for page in ("one/index.html", "one/reports/c.html"):
        # Several runs have models of the same name.
        assert f"keras_mscam, {run.parent.name}/run" in Path(page).read_text()
    assert go(run, "xrays/a/chest.png", "--output", "one", "--html") == 0
    printed = capsys.readouterr().out
    assert "xrays/a/chest.png, " in printed and "threshold" in printed
    assert "2 images read, 0 refused." in printed
    Path(os.fsdecode(b"xrays/\xff")).write_text("hello")
    given = io.TextIOWrapper(io.BytesIO(b"xrays/c.png\nxrays/\xff\n"), "utf-8")
    monkeypatch.setattr("sys.stdin", given)
    assert go(run, "-", "--output", "two", "--strict") == 2
    printed = capsys.readouterr()
    assert "1 image read, 1 refused." in printed.out
    assert "error: 1 file was refused" in printed.err
    # What an earlier call has read or refused is no matter of this one.
    assert go(run, "xrays/c.png", "--output", "two", "--strict") == 0
    assert go(run, "xrays/text", "--output", "two") == 2
    assert "error: No file could be read." in capsys.readouterr().err
    assert go(run, "xrays/c.png", "--output", "xrays") == 2
    assert "holds something else" in capsys.readouterr().err
    for arguments in (
        ["--probability-threshold", "Mass"],
        ["--probability-threshold", "Mass=x"],
        ["--probability-threshold", "0.5", "0.6"],
    ):
        assert go(run, folder, "--output", "four", *arguments) == 2
        assert "is neither a number, as 0.5, nor pairs" in capsys.readouterr().err
    assert not Path("four").exists()


def start(run, *arguments):
    code = "import sys; from keras_mscam.cli.predict import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches all processes of a terminal.
        start_new_session=True,
    )


def wait_for_lines(process, output, count):
    path = Path(output) / "predictions.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_killed_and_interrupted(run, tmp_path, monkeypatch, request):
    """With worker processes, which there are from 200 files on."""
    monkeypatch.chdir(tmp_path)
    for number in range(230):
        name = f"{number}/chest" if number < 7 else number
        write(f"xrays/{name}.png", number)
        if number % 20 == 0:
            Path(f"xrays/{number}.gif").write_bytes(b"GIF89a")
    arguments = ("xrays", "--output", "out", "--batch-size", "8", "--workers", "2")
    process = start(run, *arguments)
    wait_for_lines(process, "out", 10)
    process.kill()
    process.communicate()
    killed = len(_whole_lines("out"))
    process = start(run, *arguments)
    wait_for_lines(process, "out", killed + 30)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on by the same command." in said and "Traceback" not in said
    assert 10 <= killed < len(read("out")) < 242
    request.getfixturevalue("quick")
    rest = predict(run, ["xrays"], "out", batch_size=8, workers=1, progress=False)
    assert 0 < rest.added < 242 - killed and rest.read == 230
    predict(run, ["xrays"], "whole", batch_size=8, workers=1, progress=False)
    assert_same(read("out"), read("whole"))
    for name in sorted(path.name for path in Path("whole/overlays").iterdir()):
        assert cv2.imread(f"out/overlays/{name}") is not None
    assert not list(Path("out").rglob(".*.png"))


def _whole_lines(output):
    data = (Path(output) / "predictions.jsonl").read_bytes()
    return data.splitlines()[: data.count(b"\n")]
