"""The boxes of an evaluation, read and measured by pycocotools."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import read_examples
from keras_mscam.evaluation.boxes_json import PREDICTED, TRUTH, write_coco_files
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.evaluation.measure import HIT
from keras_mscam.localization.detection import compute_average_precision


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    write_coco_files(folder, evaluation.predictions, evaluation.systems["attention"])
    return folder


@pytest.fixture(scope="module")
def files(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(folder / TRUTH), COCO(folder / PREDICTED)


def test_the_ground_truth_is_that_of_the_records(files, phantom_records):
    truth, predicted = files
    names = Manifest.read(phantom_records).pathologies
    examples = list(read_examples(phantom_records, "test"))
    assert len(truth.imgs) == len(examples)
    for example, image in zip(examples, truth.dataset["images"], strict=True):
        assert image["file_name"] == example.name
        assert (image["height"], image["width"]) == example.original_size
        found = sorted(
            (names[a["category_id"] - 1], *a["bbox"])
            for a in truth.imgToAnns[image["id"]]
        )
        sides = [(box.pathology, *box.xyxy) for box in example.boxes]
        expected = sorted((p, x, y, r - x, b - y) for p, x, y, r, b in sides)
        assert [row[0] for row in found] == [row[0] for row in expected]
        np.testing.assert_allclose(
            [row[1:] for row in found], [row[1:] for row in expected], rtol=1e-6
        )
    assert predicted.dataset["images"] == truth.dataset["images"]
    assert predicted.dataset["categories"] == truth.dataset["categories"]


@pytest.mark.parametrize("overlap", [0.05, HIT])
def test_the_average_precision_is_that_of_cocoeval(files, evaluation, overlap):
    truth, predicted = files
    with contextlib.redirect_stdout(io.StringIO()):
        results = truth.loadRes(predicted.dataset["annotations"])
        evaluator = COCOeval(truth, results, "bbox")
        evaluator.params.iouThrs = np.array([overlap])
        evaluator.params.maxDets = [1, 10, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
    # Thresholds, recalls, categories, areas, limits of boxes.
    precisions = evaluator.eval["precision"][0, :, :, 0, -1].mean(axis=0)
    names = [category["name"] for category in truth.dataset["categories"]]
    items = evaluation.systems["attention"]
    rows = compute_average_precision(items, evaluation.metrics["boxed"], overlap)
    found = {name: row["average_precision"] for name, row in rows.items()}
    expected = {name: precisions[names.index(name)] for name in rows}
    assert found == pytest.approx(expected, abs=1e-9)
    assert overlap == HIT or np.mean([value > 0 for value in found.values()]) > 0.5


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the few images
def test_the_files_are_written_on_demand(evaluation, tmp_path):
    run = evaluation.run.path
    evaluate(run, output=tmp_path, report=False, coco=True, progress=False)
    first = {name: (tmp_path / name).read_text() for name in (TRUTH, PREDICTED)}
    assert all(json.loads(text)["images"] for text in first.values())
    assert not (run / TRUTH).exists()
    # By another protocol they don't stay what they were.
    other = LocalizationConfig(cam_thresholds=(0.5,))
    evaluate(run, output=tmp_path, protocol=other, report=False, progress=False)
    assert (tmp_path / TRUTH).read_text() == first[TRUTH]
    assert (tmp_path / PREDICTED).read_text() != first[PREDICTED]


def test_the_recipe(folder, evaluation, capsys):
    page = Path(__file__).parents[2] / "experiments" / "annotation" / "README.md"
    section = page.read_text().split("## pycocotools\n")[1]
    code = section.split("```python\n")[1].split("```")[0]
    exec(code.replace("runs/paper", str(folder)), {})
    printed = capsys.readouterr().out.split("[")[-1].rstrip("]\n").split()
    rows = evaluation.metrics["localization"]["attention"]["average_precision"]
    names = evaluation.predictions.pathologies
    expected = [rows[name]["average_precision"] for name in names if name in rows]
    found = [float(value) for value in printed]
    assert [value for value in found if value >= 0] == pytest.approx(expected, abs=1e-6)
