"""What a user has set elsewhere, for Keras or all: each in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from keras_mscam import cli

BUILD = """
import keras
from keras_mscam.modeling import build_classifier, build_localizer
classifier = build_classifier(
    3, (64, 96), "small_resnet", (3, 4), pooling="lse", transition=8
)
maps = build_localizer(classifier).output
assert maps["cam_block3"].shape == (None, 4, 6, 3), maps
assert maps["cam_block4"].shape == (None, 2, 3, 3), maps
assert {weight.dtype for weight in classifier.weights} == {"float32"}
"""


def run(*arguments, settings=None, home=None, **environment):
    if settings is not None:
        (home / "keras.json").write_text(settings)
        environment["KERAS_HOME"] = str(home)
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment,
    )


def test_axes_and_number_types_are_the_packages_own(tmp_path):
    settings = {"floatx": "float16", "image_data_format": "channels_first"}
    result = run("-c", BUILD, settings=json.dumps(settings), home=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        (None, {"KERAS_BACKEND": "theano"}, "KERAS_BACKEND asks for the backend 'thea"),
        ('{"backend": "theano"}', {}, "keras.json asks for the backend 'theano'"),
        (None, {"KERAS_BACKEND": "mlx"}, "it knows tensorflow, jax, torch, openvino"),
        ("[]", {}, "keras.json must be a JSON object"),
    ],
)
def test_a_backend_that_is_not_there_is_one_sentence(
    settings, environment, message, tmp_path
):
    result = run(
        "-m", "keras_mscam.cli.evaluate", "--help",
        settings=settings, home=tmp_path, **environment,
    )  # fmt: skip
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("settings", ["{", "", '{"backend": "tensorflow"}', "{}"])
def test_other_settings_are_as_keras_takes_them(settings, tmp_path):
    code = "import keras_mscam.cli as cli; assert cli.find_problem() is None"
    result = run("-c", code, settings=settings, home=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "words", [["keras_mscam.cli.prepare"], ["keras_mscam", "prepare"]]
)
def test_names_of_files_are_utf8_in_every_locale(words, tmp_path):
    """Where it isn't, the bytes of an umlaut would be two letters, or none."""
    result = run(
        "-m", *words, str(tmp_path / "größe"), "--output", "x",
        LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
    )  # fmt: skip
    assert result.returncode == 2
    assert "gr\\xf6\\xdfe is not a folder" in result.stderr


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.find_problem() == (
        "KERAS_BACKEND asks for the backend 'torch', which is not installed; install "
        "it or choose another."
    )
