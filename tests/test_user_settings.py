"""What a user has set elsewhere, for Keras or all: each in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

import keras_mscam
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
assert keras.config.epsilon() == 1e-7
assert keras.config.max_epochs() is keras.config.max_steps_per_epoch() is None
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


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"image_data_format": "channels_first"}, marks=pytest.mark.slow),
        pytest.param({"floatx": "float64"}, marks=pytest.mark.slow),
        {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1},
    ],
)
def test_axes_and_number_types_are_the_packages_own(settings, tmp_path):
    result = run(
        "-c", BUILD, settings=json.dumps(settings), home=tmp_path,
        KERAS_MAX_EPOCHS="1", KERAS_MAX_STEPS_PER_EPOCH="1",
    )  # fmt: skip
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


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ({"floatx": "bfloat16"}, {}, "sets 'floatx' to 'bfloat16', and Keras takes"),
        ({"floatx": None}, {}, "sets 'floatx' to None"),
        ({"image_data_format": []}, {}, "sets 'image_data_format' to []"),
        ({"epsilon": "1e-7"}, {}, "sets 'epsilon' to no fraction"),
        ({"epsilon": 1}, {}, "sets 'epsilon' to no fraction"),
        ({"backend": None}, {}, "asks for the backend None"),
        ({"nnx_enabled": True}, {}, "needs flax"),
        ({}, {"KERAS_NNX_ENABLED": "TRUE"}, "needs flax"),
        ({}, {"KERAS_MAX_EPOCHS": "ten"}, "KERAS_MAX_EPOCHS must be a whole number"),
        ({}, {"KERAS_MAX_STEPS_PER_EPOCH": ""}, "must be a whole number"),
    ],
)
def test_what_keras_would_end_with(
    monkeypatch, tmp_path, settings, environment, message
):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for name, value in {"KERAS_HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    assert message in cli.find_problem()


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


@pytest.mark.parametrize(
    ("flags", "before", "settings", "advised"),
    [
        ("fpu avx avx2 fma", "tensorflow", {}, True),
        ("fpu avx avx2 fma", "json", {}, False),
        ("fpu avx avx2 fma", "tensorflow", {"TF_ENABLE_ONEDNN_OPTS": "0"}, False),
        ("fpu avx2 avx512f avx512_vnni", "tensorflow", {}, False),
        ("Features : fp asimd sve", "tensorflow", {}, False),
    ],
)
def test_what_turns_onednn_on_too_late(
    monkeypatch, tmp_path, flags, before, settings, advised
):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(sys, "modules", {before: json})
    monkeypatch.setattr(os, "environ", settings)
    assert keras_mscam._lacks_onednn(tmp_path / "cpuinfo") is advised
    assert not keras_mscam._lacks_onednn(tmp_path / "missing")


def test_the_package_turns_onednn_on():
    code = "import os, keras_mscam; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    inherited = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    for given, expected in [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")]:
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            env=inherited | given,
        )  # fmt: skip
        assert result.stdout.strip() == expected
