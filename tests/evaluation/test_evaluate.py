"""The command `keras_mscam-evaluate`, for one run and for several."""

import errno
import html
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from keras_mscam.cli.evaluate import EvaluateOptions, main
from keras_mscam.cli.options import parse, parse_localization
from keras_mscam.configs.schema import Config, LocalizationConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.compare import compare
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.evaluation.report import _read_history
from keras_mscam.inference.run_folder import create_run, load_run

from .conftest import build, select_outputs, write_untrained


@pytest.fixture(scope="module")
def output(runs, evaluation, tmp_path_factory):
    """The two side by side; of single reports one is enough, that of `evaluation`."""
    output = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_mscam.evaluation.evaluate_run._write_report", skip)
        compare(runs, [LocalizationConfig()] * 2, output, progress=False)
    return output


def skip(*arguments):
    """Draw nothing."""


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
    def test_without_any_box_the_report_shows_no_localization(self, runs, tmp_path):
        evaluate(runs[0], split="validation", output=tmp_path, progress=False)
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "nothing can be said of localization" in report
        assert "localized at" not in report

    def test_options_change_the_protocol_and_only_the_folder_given(
        self, run_command, runs, evaluation, undrawn, tmp_path
    ):
        before = load_run(runs[0]).metrics_path.read_text()
        result = run_command(
            runs[0], "--output", tmp_path, "--threshold", "otsu", "--max-boxes", "1"
        )
        assert result.returncode == 0, result.stderr
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        report = (tmp_path / "report.html").read_text()
        assert len(metrics["warnings"]) > 1  # 120 phantoms are few
        for sentence in metrics["warnings"]:
            assert result.stderr.count(f"warning: {sentence}\n") == 1
            assert report.count(html.escape(sentence)) == 1
        assert metrics["protocol"]["threshold"] == "otsu"
        assert "Otsu" in metrics["protocol"]["text"]
        assert "A box holds a region of the heat map above 0.85" in report  # of cases
        assert load_run(runs[0]).metrics_path.read_text() == before
        # At most one box per image: no more false ones than ground-truth boxes.
        for row in metrics["localization"]["attention"]["iou"]["0.3"].values():
            assert row["afp"] <= 1

    def test_tables_say_what_the_json_says(self, runs, evaluation):
        metrics = json.loads(load_run(runs[0]).metrics_path.read_text())
        table = pd.read_csv(runs[0] / "localization.csv")
        pathology = metrics["boxed"][0]
        row = table.query(
            "map == 'attention' and overlap == 'iou' and threshold == 0.1 "
            "and pathology == @pathology"
        ).iloc[0]
        expected = metrics["localization"]["attention"]["iou"]["0.1"][pathology]
        assert row["accuracy"] == pytest.approx(expected["accuracy"]["value"], abs=1e-5)
        assert row["boxes"] == expected["boxes"]

    def test_the_report_puts_the_last_block_beside_the_fused_map(
        self, runs, evaluation
    ):
        metrics = json.loads(load_run(runs[0]).metrics_path.read_text())
        last = metrics["localization"][metrics["blocks"][-1]]["mean_accuracy"]
        report = (runs[0] / "report.html").read_text()
        assert f"last block: {last['iou']['0.3']['value']:.2f}" in report
        # This run fuses by its relevance weights, so nothing is said against them.
        assert metrics["protocol"]["fusion"] == "relevance"
        assert "all blocks weigh alike" not in report

    def test_calibration_is_of_the_model(self, runs, evaluation):
        run = load_run(runs[0])
        stale = json.loads(run.calibration_path.read_text())
        stale["model"] = "of another model"
        run.calibration_path.write_text(json.dumps(stale))
        evaluate(run.path, report=False, progress=False)
        assert json.loads(run.calibration_path.read_text())["model"] != stale["model"]

    def test_an_image_by_name(self, run_command, runs, evaluation, undrawn, tmp_path):
        name = evaluation.systems["attention"][0].name
        result = run_command(runs[0], "--images", name, "--output", tmp_path)
        assert result.returncode == 0, result.stderr
        assert name in (tmp_path / "report.html").read_text()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--images", "nobody.png"], "no image nobody.png with a ground-truth box"),
            (["--cam-thresholds", "1.5"], "cam_thresholds"),
            (
                ["--data", "nowhere"],
                "nowhere has no manifest.json; make prepared records",
            ),
        ],
    )
    def test_mistakes_are_one_sentence(
        self, run_command, runs, evaluation, arguments, message, tmp_path
    ):
        result = run_command(runs[0], "--output", tmp_path / "out", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_value_out_of_range_is_one_sentence(self, run_command):
        # Before the run is looked at, without tyro's box.
        result = run_command("nowhere", "--max-boxes", "0")
        assert result.returncode == 2
        sentence = "error: max_boxes: input should be greater than 0 (got 0)\n"
        assert result.stderr == sentence

    def test_a_split_that_the_records_lack(self, runs, tmp_path):
        with pytest.raises(UserError, match="has no split 'nowhere', only train, "):
            evaluate(runs[0], split="nowhere", output=tmp_path, progress=False)
        assert not list(tmp_path.iterdir())

    def test_another_run_is_no_place_for_results(self, runs, tmp_path):
        with pytest.raises(UserError, match=r"second is another run; give another"):
            evaluate(runs[0], output=runs[1])
        with pytest.raises(UserError, match="holds runs themselves; give another"):
            compare(runs, [LocalizationConfig()] * 2, runs[0].parent)

    def test_results_of_other_records_stay_out_of_the_run(self, runs, tmp_path):
        other = tmp_path / "records"
        shutil.copytree(load_run(runs[0]).records, other)
        with pytest.raises(UserError, match=r"its own records.*--output"):
            evaluate(runs[0], data=other, report=False, progress=False)
        metrics = evaluate(
            runs[0], data=other, output=tmp_path / "out", progress=False
        ).metrics
        assert metrics["records"] == str(other)
        assert f"test of {other}" in (tmp_path / "out" / "report.html").read_text()

    def test_no_run(self, run_command, tmp_path):
        result = run_command(tmp_path)
        assert result.returncode == 2
        assert "is not the folder of a run" in result.stderr


class TestOptions:
    OWN = (
        LocalizationConfig(threshold="tuned", max_boxes=3, afp_denominator="images"),
        LocalizationConfig(fusion="standardized", cam_thresholds=(0.5,)),
    )

    def read(self, tmp_path, *given):
        runs = []
        for number, own in enumerate(self.OWN):
            path = tmp_path / str(number)
            create_run(path, Config(localization=own))
            runs.append(str(path))
        arguments = [*runs, *given]
        options = parse("evaluate", arguments, EvaluateOptions)
        return [
            parse_localization("evaluate", arguments, options, run)
            for run in options.runs
        ]

    def test_without_any_each_run_keeps_its_own_protocol(self, tmp_path):
        assert self.read(tmp_path) == list(self.OWN)

    def test_one_changes_itself_alone_even_to_the_default(self, tmp_path):
        expected = [replace(own, threshold="fixed") for own in self.OWN]
        assert self.read(tmp_path, "--threshold", "fixed") == expected

    def test_none_takes_a_limit_away(self, tmp_path):
        assert self.read(tmp_path, "--max-boxes", "None")[0].max_boxes is None

    def test_a_flag_beside_them_is_no_option_of_the_protocol(self, tmp_path):
        assert self.read(tmp_path, "--coco") == list(self.OWN)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (("--cam-thresholds", "0.3"), "needs --threshold fixed; this is tuned"),
            (("--cam-thresholds",), "cam_thresholds"),
        ],
    )
    def test_thresholds_that_nothing_would_use(self, tmp_path, given, sentence):
        with pytest.raises(UserError, match=sentence):
            self.read(tmp_path, *given)

    def test_wangs_protocol_is_the_same_for_all(self, tmp_path):
        expected = [LocalizationConfig(min_area=0.1)] * 2
        given = ("--protocol", "wang", "--min-area", "0.1")
        assert self.read(tmp_path, *given) == expected


class TestReadOnlyRun:
    @pytest.fixture
    def locked(self, runs, tmp_path, monkeypatch):
        """A run without results; nothing can be written below it."""
        folder = tmp_path / "locked"
        folder.mkdir()
        for name in ("config.json", "model.keras", "relevance_weights.csv"):
            shutil.copy(runs[0] / name, folder)

        def refuse(path):
            if Path(path).absolute().is_relative_to(folder):
                raise OSError(errno.EROFS, "Read-only file system", str(path))

        def guard(function):
            return lambda path, *args, **kwargs: (
                refuse(path), function(path, *args, **kwargs),
            )[1]  # fmt: skip

        for owner, name in [
            (Path, "mkdir"), (Path, "unlink"), (Path, "touch"), (Path, "write_text"),
            (os, "replace"),
        ]:  # fmt: skip
            monkeypatch.setattr(owner, name, guard(getattr(owner, name)))
        return folder

    def test_results_and_predictions_go_elsewhere(
        self, locked, evaluation, tmp_path, monkeypatch
    ):
        output = tmp_path / "out"
        found = evaluate(locked, output=output, report=False, progress=False)
        assert found.metrics == evaluation.metrics
        assert {path.name[:4] for path in (output / "predictions").iterdir()} == {
            "test", "vali",
        }  # fmt: skip
        assert not (output / "calibration.json").exists()
        assert len(list(locked.iterdir())) == 3

    def test_without_output_it_is_one_sentence(self, run_command, locked):
        result = run_command(locked)
        assert result.returncode == 2
        assert "can't be written: the disk is read-only" in result.stderr
        assert "With --output DIR, results go there." in result.stderr


def test_a_full_disk_leaves_the_results_before(
    runs, evaluation, run_command, tmp_path, monkeypatch
):
    def fail(folder, metrics):
        (folder / "localization.csv").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "metrics.json").write_text("before")
    monkeypatch.setattr("keras_mscam.evaluation.evaluate_run.write_tables", fail)
    result = run_command(runs[0], "--output", tmp_path)
    assert result.returncode == 2
    assert f"{tmp_path} can't be written: the disk is full; make room." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "before"


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize(
    "name", ["model.keras", "history.csv", "relevance_weights.csv", "part-00000.npz"]
)
def test_a_file_cut_short_is_a_sentence(
    runs, evaluation, run_command, tmp_path, name, size
):
    """As a copy onto a full disk leaves it."""
    run = shutil.copytree(runs[0], tmp_path / "run")
    (run / "history.csv").write_text("epoch,loss,learning_rate,x\n" + "1,2,3,4\n" * 50)
    for path in run.rglob(name):
        os.truncate(path, size)
    result = run_command(run)
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert name in result.stderr or "pathologies are named" in result.stderr


@pytest.mark.parametrize("rows", ["", ",1,1,1\n", "inf,1,1,1\n", "1,1,1,fast\n"])
def test_losses_without_an_epoch_are_one_sentence(tmp_path, rows):
    run = create_run(tmp_path / "run", Config())
    run.history_path.write_text("epoch,loss,val_loss,learning_rate\n" + rows)
    with pytest.raises(UserError, match=r"history\.csv is damaged"):
        _read_history(run)


def test_a_description_cut_short_is_made_again(runs, evaluation, tmp_path):
    run = shutil.copytree(runs[0], tmp_path / "run")
    for path in run.rglob("predictions.json"):
        os.truncate(path, 100)
    found = evaluate(run, report=False, progress=False)
    assert found.metrics == evaluation.metrics


class TestPathologiesByName:
    def test_a_subset_in_another_order_gives_the_same_numbers(
        self, evaluation, classifier, pathologies, phantom_records, tmp_path
    ):
        columns = [6, 0, 3]
        names = [pathologies[column] for column in columns]
        run = write_untrained(
            tmp_path / "run", select_outputs(classifier, columns), names,
            phantom_records,
        )  # fmt: skip
        found = evaluate(run.path, report=False, progress=False)
        assert found.metrics["pathologies"] == names
        whole = evaluation.predictions
        np.testing.assert_array_equal(
            found.predictions.labels, whole.labels[:, columns]
        )
        np.testing.assert_allclose(
            found.predictions.logits, whole.logits[:, columns], atol=1e-5
        )
        boxed = [name for name in names if name in evaluation.metrics["boxed"]]
        assert found.metrics["boxed"] == boxed
        assert len(boxed) > 1
        for name in names:
            expected = evaluation.metrics["classification"][name]["auroc"]["value"]
            auroc = found.metrics["classification"][name]["auroc"]["value"]
            assert auroc == pytest.approx(expected)
        for name in boxed:
            expected, row = (
                item.metrics["localization"]["attention"]["iou"]["0.1"][name]
                for item in (evaluation, found)
            )
            assert row["boxes"] == expected["boxes"]
            assert row["accuracy"]["value"] == expected["accuracy"]["value"]

    def test_selecting_is_like_a_model_of_the_selected(self, evaluation):
        whole = evaluation.predictions
        names = whole.pathologies[5], whole.pathologies[2]
        chosen = whole.select(names).select(names[::-1]).select(names)
        np.testing.assert_array_equal(chosen.logits, whole.logits[:, [5, 2]])
        boxes = sorted(
            (row, whole.pathologies[column], *xyxy)
            for row, column, xyxy in zip(
                whole.box_rows, whole.box_columns, whole.box_xyxy, strict=True
            )
            if whole.pathologies[column] in names
        )
        assert boxes == sorted(
            (row, names[column], *xyxy)
            for row, column, xyxy in zip(
                chosen.box_rows, chosen.box_columns, chosen.box_xyxy, strict=True
            )
        )
        for (_, ours), (_, all_maps) in zip(
            chosen.read_maps(), whole.read_maps(), strict=True
        ):
            np.testing.assert_array_equal(ours[0], all_maps[0][..., [5, 2]])

    def test_other_names_are_refused(self, phantom_records, pathologies, tmp_path):
        # As many as the records have: by count they would match.
        names = [*pathologies[:6], "Hernia", "Fibrosis"]
        run = write_untrained(tmp_path / "run", build(8), names, phantom_records)
        with pytest.raises(UserError, match="say nothing of Hernia, Fibrosis, which"):
            evaluate(run.path, progress=False)

    def test_runs_without_a_common_pathology(
        self, runs, phantom_records, pathologies, tmp_path
    ):
        run = write_untrained(tmp_path / "run", build(1), ["Hernia"], phantom_records)
        with pytest.raises(UserError, match=r"no pathology in common: .*; Hernia"):
            compare([runs[0], run.path], [LocalizationConfig()] * 2, tmp_path / "out")


class TestSeveralRuns:
    def test_the_folder_is_complete(self, output, runs):
        names = {path.name for path in output.iterdir()}
        assert {
            "comparison.json", "table1.md", "table1.tex", "table1.csv", "report.html",
            *(run.name for run in runs),
        } <= names  # fmt: skip

    def test_what_says_nothing_is_said_once(self, output):
        report = (output / "report.html").read_text()
        assert report.count("The test split has fewer than 10 images with") == 1

    def test_only_what_both_find_is_compared(self, output, pathologies):
        comparison = json.loads((output / "comparison.json").read_text())
        for metrics in comparison["systems"].values():
            assert metrics["pathologies"] == list(pathologies[1:])

    def test_the_same_outputs_under_other_columns_do_not_differ(self, output):
        # The second run is the first without one of its outputs, in another order.
        comparison = json.loads((output / "comparison.json").read_text())
        for name, row in comparison["paired"]["first - second"]["auroc"].items():
            assert row["difference"] == pytest.approx(0, abs=1e-3) or name == "mean"

    def test_differences_are_those_of_the_single_runs(self, output, runs):
        comparison = json.loads((output / "comparison.json").read_text())
        first, second = (comparison["systems"][run.name] for run in runs)
        paired = comparison["paired"]["first - second"]
        assert set(paired["accuracy_0.3"]) == {*first["boxed"], "mean"}
        for name in first["boxed"]:
            a, b = (
                system["localization"]["attention"]["iou"]["0.3"][name]["accuracy"]
                for system in (first, second)
            )
            difference = paired["accuracy_0.3"][name]["difference"]
            assert difference == pytest.approx(a["value"] - b["value"])
        assert 0 <= paired["accuracy_0.3"]["mean"]["p_value"] <= 1

    def test_a_run_against_its_copy_differs_in_nothing(
        self, runs, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("keras_mscam.evaluation.evaluate_run._write_report", skip)
        monkeypatch.setattr("keras_mscam.evaluation.compare.write_comparison", skip)
        (tmp_path / "copy").symlink_to(runs[0])
        pair = [runs[0], tmp_path / "copy"]
        compare(pair, [LocalizationConfig()] * 2, tmp_path / "out", progress=False)
        comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
        for measure in comparison["paired"]["first - copy"].values():
            assert measure["mean"]["difference"] == 0
            assert measure["mean"]["p_value"] == 1

    def test_two_runs_of_one_name(self, runs, tmp_path):
        with pytest.raises(UserError, match="have the same name"):
            compare([runs[0], runs[0]], [LocalizationConfig()] * 2, tmp_path / "out")

    def test_a_folder_is_of_one_run_or_of_several(self, run_command, runs, output):
        result = run_command(runs[0], "--output", output)
        assert "holds a comparison of runs; give another" in result.stderr
        result = run_command(*runs, "--output", output / runs[0].name)
        assert "holds results of one run; give another" in result.stderr

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
        manifest = (load_run(runs[1]).records / "manifest.json").read_text()
        (records / "manifest.json").write_text(manifest + " ")
        config["data"]["path"] = str(records)
        (other / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="different records"):
            compare([runs[0], other], [LocalizationConfig()] * 2, tmp_path / "out")
