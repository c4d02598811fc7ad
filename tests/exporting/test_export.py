"""The command `keras_mscam-export`, and what it writes, loaded without Keras."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from keras_mscam.cli.export import main
from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError
from keras_mscam.exporting import agreement
from keras_mscam.exporting.agreement import check_export, run_reference
from keras_mscam.exporting.export_run import export
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.predictor import Predictor
from keras_mscam.inference.runtimes.tensorflow_keras import load_signatures

from ..conftest import ODD_NAMES

# A process in which neither Keras nor this package can be imported.
ALONE = """
import sys
sys.modules["keras"] = sys.modules["keras_mscam"] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
image = tf.io.read_file(sys.argv[1] + "/assets.extra/examples/grey.png")
outputs = model.signatures["boxes"](image_bytes=image[None])
print("probabilities", outputs["probabilities"][0].numpy().tolist())
"""


@pytest.fixture
def run_command(monkeypatch, capfd):
    """Run the command in this process; return its status, output and errors."""

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras_mscam-export", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        return status or 0, *capfd.readouterr()

    return run_command


def test_what_is_written(exported):
    assert exported.name == "1" and exported.parent.name == "keras_mscam"
    files = {
        str(path.relative_to(exported))
        for path in exported.rglob("*") if path.is_file()
    }  # fmt: skip
    extra = {name for name in files if name.startswith("assets.extra/")}
    assert {f"assets.extra/{name}" for name in (
        "contract.json", "manifest.json", "model_card.md",
        "tf_serving_warmup_requests", "examples/grey.png",
        "examples/request.json", "examples/response.json",
    )} == extra  # fmt: skip
    assert "saved_model.pb" in files
    manifest = json.loads((exported / "assets.extra" / "manifest.json").read_text())
    assert manifest["checksums"].keys() == files - {"assets.extra/manifest.json"}


def test_it_needs_tensorflow_alone(exported):
    result = subprocess.run(
        [sys.executable, "-c", ALONE, exported], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.partition("probabilities ")[2])
    place = exported / "assets.extra" / "examples" / "response.json"
    expected = json.loads(place.read_text())["predictions"][0]["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_names_of_any_script(make_run, tmp_path):
    run = make_run(names=ODD_NAMES)
    exported = export(run.path, tmp_path / "models", progress=False)
    extra = exported / "assets.extra"
    answer = json.loads((extra / "examples" / "response.json").read_text())
    assert tuple(answer["predictions"][0]["pathologies"]) == ODD_NAMES
    prediction = Predictor(exported).predict(extra / "examples" / "grey.png")
    assert prediction.pathologies == ODD_NAMES
    card = (extra / "model_card.md").read_text(encoding="utf-8")
    assert "\n| \u80ba\u708e \\<b>\\|\\&\"'\\$\\\\x\\$ | none |" in card


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    run_command, run, tmp_path, small_files
):
    with small_files():
        status, _, errors = run_command(run.path, "--output", tmp_path / "out")
    assert status == 2
    assert f"{tmp_path}/out/keras_mscam/1 can't be written: it gets larger" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []


def test_the_parity_that_was_met_is_written_down(exported):
    manifest = json.loads((exported / "assets.extra" / "manifest.json").read_text())
    assert manifest["parity"]["whole"]["images"] == 4
    assert manifest["parity"]["whole"]["probabilities"] <= 1e-5
    card = (exported / "assets.extra" / "model_card.md").read_text()
    assert "| Nodule | none |" in card
    assert "not for diagnosis" in card
    assert "This model was trained on synthetic radiographs" in card
    assert "{{" not in card


def test_a_model_that_says_something_else_is_refused(
    calibrated_model, run, exported, monkeypatch
):
    def run_wrongly(*arguments):
        outputs = run_reference(*arguments)
        return {**outputs, "probabilities": 0.999 * outputs["probabilities"]}

    signatures = load_signatures(exported)
    check_export(calibrated_model, run, signatures)
    monkeypatch.setattr(agreement, "run_reference", run_wrongly)
    with pytest.raises(UserError, match=r"differs .* probability .* not exported"):
        check_export(calibrated_model, run, signatures)


def test_the_command_writes_the_next_version(run_command, make_run, tmp_path):
    protocol = LocalizationConfig(fusion="standardized", normalization="exponential")
    run = make_run(localization=protocol, blocks=(3, 4))
    (tmp_path / "chest" / "6").mkdir(parents=True)
    status, output, errors = run_command(
        run.path, "--output", tmp_path, "--name", "chest", "--shown-max-boxes", "2",
        "--attention-size", "8", "8", "--shown-threshold", "0.5",
    )  # fmt: skip
    assert status == 0, errors
    version = tmp_path / "chest" / "7"
    assert output.splitlines()[-1] == f"Exported: {version}"
    contract = read_contract(version)
    assert contract.shown_max_boxes == 2
    assert contract.attention_size == (8, 8)
    assert contract.name == "chest"
    assert contract.shown_threshold == 0.5
    assert contract.normalization == "exponential"  # of the run, as is the fusion
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text())
    assert manifest["parity"]["whole"]["positives"] == 1.0


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["missing", "--output", "OUT"], "missing is not the folder of a run"),
        (["RUN", "--output", "OUT", "--name", "../x"], "can't be a model's name"),
        (["RUN", "--output", "OUT", "--attention-size", "0", "4"], "must be positive"),
        (["RUN", "--output", "OUT", "--shown-threshold", "1"], "less than 1 (got 1"),
        (["RUN", "--output", "OUT", "--shown-min-area", "2"], "shown_min_area: input"),
        (["RUN", "--output", "OUT", "--shown-max-boxes", "101"], "equal to 100 (got"),
        (["RUN", "--output", "FILE"], "can't be written: a file is where"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    run_command, run, tmp_path, options, sentence
):
    (tmp_path / "file").touch()
    places = {"RUN": run.path, "OUT": tmp_path / "out", "FILE": tmp_path / "file"}
    status, _, errors = run_command(*[places.get(option, option) for option in options])
    assert status == 2
    assert sentence in errors
    assert re.search(r"^error: [^\n]*\n\Z", errors, re.MULTILINE)
    assert "Traceback" not in errors and "─" not in errors  # nor a box of tyro's
    assert not (tmp_path / "out").exists()


def test_a_run_without_calibration_or_records_is_a_sentence(make_run, tmp_path):
    run = make_run()
    run.calibration_path.unlink()
    with pytest.raises(UserError, match=r"has no calibration\.json"):
        export(run.path, tmp_path / "models", progress=False)
