"""The command `keras_mscam-evaluate`, for one run and for several."""

import json
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from keras_mscam.cli.evaluate import main
from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import LocalizationConfig, merge_config
from keras_mscam.errors import UserError
from keras_mscam.evaluation.compare import compare
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.run_folder import read_run
from keras_mscam.training.train_run import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory, phantom_records):
    """Two systems of one epoch on the same records."""
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for preset in ("phantom", "phantom-rn-cam"):
        config = merge_config(
            PRESETS[preset],
            {
                "data": {"path": str(phantom_records), "image_size": [64, 96]},
                "training": {"epochs": 1, "batch_size": 16},
            },
            "the test",
        )
        train(config, folder / preset)
        paths.append(folder / preset)
    return paths


@pytest.fixture(scope="module")
def output(runs, tmp_path_factory):
    """The two side by side."""
    output = tmp_path_factory.mktemp("comparison")
    compare(runs, [LocalizationConfig()] * 2, output, progress=False)
    return output


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run the command in this process: another would import TensorFlow first."""

    def run(*arguments):
        words = ["keras_mscam-evaluate", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return SimpleNamespace(returncode=code, stderr=capsys.readouterr().err)

    return run


class TestOneRun:
    def test_options_change_the_protocol_and_only_the_folder_given(
        self, run_command, runs, tmp_path
    ):
        before = read_run(runs[0]).metrics_path.read_text()
        result = run_command(
            runs[0], "--output", tmp_path, "--threshold", "otsu", "--max-boxes", "1"
        )
        assert result.returncode == 0, result.stderr
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        assert metrics["protocol"]["threshold"] == "otsu"
        assert "Otsu" in metrics["protocol"]["text"]
        assert read_run(runs[0]).metrics_path.read_text() == before
        # At most one box an image: no more false ones than drawn ones.
        for row in metrics["localization"]["attention"]["iou"]["0.3"].values():
            assert row["afp"] <= 1

    def test_tables_say_what_the_json_says(self, runs):
        metrics = json.loads(read_run(runs[0]).metrics_path.read_text())
        table = pd.read_csv(runs[0] / "localization.csv")
        pathology = metrics["boxed"][0]
        row = table.query(
            "map == 'attention' and overlap == 'iou' and threshold == 0.1 "
            "and pathology == @pathology"
        ).iloc[0]
        expected = metrics["localization"]["attention"]["iou"]["0.1"][pathology]
        assert row["accuracy"] == pytest.approx(expected["accuracy"]["value"], abs=1e-5)
        assert row["boxes"] == expected["boxes"]

    def test_calibration_is_of_the_model(self, runs):
        run = read_run(runs[0])
        stale = json.loads(run.calibration_path.read_text())
        stale["model"] = "of another model"
        run.calibration_path.write_text(json.dumps(stale))
        evaluate(run.path, report=False, progress=False)
        assert json.loads(run.calibration_path.read_text())["model"] != stale["model"]

    def test_an_image_by_name(self, run_command, runs, tmp_path):
        name = evaluate(runs[0], report=False, progress=False).systems["attention"][0]
        result = run_command(runs[0], "--images", name.name, "--output", tmp_path)
        assert result.returncode == 0, result.stderr
        assert name.name in (tmp_path / "report.html").read_text()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--images", "nobody.png"], "no image nobody.png with a ground-truth box"),
            (["--cam-thresholds", "1.5"], "cam_thresholds"),
            (["--data", "nowhere"], "nowhere holds no prepared records"),
        ],
    )
    def test_mistakes_are_one_sentence(
        self, run_command, runs, arguments, message, tmp_path
    ):
        result = run_command(runs[0], "--output", tmp_path / "out", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr

    def test_no_run(self, run_command, tmp_path):
        result = run_command(tmp_path)
        assert result.returncode == 2
        assert "is not the folder of a run" in result.stderr


class TestSeveralRuns:
    def test_the_folder_is_complete(self, output, runs):
        names = {path.name for path in output.iterdir()}
        assert {
            "comparison.json", "table1.md", "table1.tex", "table1.csv", "report.html",
            *(run.name for run in runs),
        } <= names  # fmt: skip

    def test_differences_are_those_of_the_single_runs(self, output, runs):
        comparison = json.loads((output / "comparison.json").read_text())
        first, second = (comparison["systems"][run.name] for run in runs)
        paired = comparison["paired"]["phantom - phantom-rn-cam"]
        assert set(paired["accuracy_0.3"]) == {*first["boxed"], "mean"}
        for name in first["boxed"]:
            a, b = (
                system["localization"]["attention"]["iou"]["0.3"][name]["accuracy"]
                for system in (first, second)
            )
            difference = paired["accuracy_0.3"][name]["difference"]
            assert difference == pytest.approx(a["value"] - b["value"])
        assert 0 <= paired["accuracy_0.3"]["mean"]["p_value"] <= 1

    def test_a_run_against_its_copy_differs_in_nothing(self, runs, tmp_path):
        (tmp_path / "copy").symlink_to(runs[0])
        pair = [runs[0], tmp_path / "copy"]
        compare(pair, [LocalizationConfig()] * 2, tmp_path / "out", progress=False)
        comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
        for measure in comparison["paired"]["phantom - copy"].values():
            assert measure["mean"]["difference"] == 0
            assert measure["mean"]["p_value"] == 1

    def test_two_runs_of_one_name(self, runs, tmp_path):
        with pytest.raises(UserError, match="have the same name"):
            compare([runs[0], runs[0]], [LocalizationConfig()] * 2, tmp_path / "out")

    def test_several_need_a_folder(self, run_command, runs):
        result = run_command(*runs)
        assert result.returncode == 2
        assert "give --output DIR" in result.stderr

    def test_runs_of_different_records_need_data(self, runs, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        config = json.loads((runs[1] / "config.json").read_text())
        records = tmp_path / "records"
        records.mkdir()
        manifest = (read_run(runs[1]).records / "manifest.json").read_text()
        (records / "manifest.json").write_text(manifest + " ")
        config["data"]["path"] = str(records)
        (other / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="different records"):
            compare([runs[0], other], [LocalizationConfig()] * 2, tmp_path / "out")
