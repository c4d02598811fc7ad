"""`keras_mscam` in front of the other commands, and their completion in bash."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_mscam import __version__
from keras_mscam.cli.commands import COMMANDS, main

ROOT = Path(__file__).parents[2]
#: Runs `keras_mscam`, and says on standard error what slow libraries that took.
CODE = """
import sys
from keras_mscam.cli.commands import main
sys.argv[0] = "keras_mscam"
try:
    main()
finally:
    slow = {"tensorflow", "keras", "tyro"} & set(sys.modules)
    print(*sorted(slow), file=sys.stderr)
"""


def run(*arguments):
    """Run the command in another process; return what it printed, and imported."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], text=True, capture_output=True,
        cwd=ROOT, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr.split()


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command in this process: status, and what it printed and complained."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras_mscam", *arguments])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    return call


def test_the_version_needs_no_library():
    assert run("--version") == (f"keras_mscam {__version__}\n", [])


def test_every_command_is_installed_and_shown(call):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    places = {f"keras_mscam-{name}": f"{name}:main" for name in COMMANDS}
    places["keras_mscam"] = "commands:main"
    assert sorted(scripts) == sorted(
        f"{name} = keras_mscam.cli.{place}" for name, place in places.items()
    )
    shown = call()
    assert shown == call("--help") == call("-h")
    lines = shown[1].splitlines()
    assert shown[0] == 0 and len(lines) < 24 and max(map(len, lines)) <= 88
    assert all(f"\n  {name} " in shown[1] for name in COMMANDS)


def test_a_command_is_called_with_its_arguments(call):
    assert call("train", "--version") == (0, f"keras_mscam {__version__}\n", "")
    status, shown, _ = call("weights")
    assert status == 0 and shown.startswith("usage: keras_mscam-weights")
    status, _, said = call("evaluate")
    assert (status, said) == (
        2,
        "error: Give one run at least: keras_mscam-evaluate RUN.\n",
    )
    status, _, said = call("prepare", "x", "--strikt")
    assert status == 2 and "--strikt" in said


def test_a_command_that_there_is_not(call):
    status, shown, said = call("trian", "--help")
    assert (status, shown) == (2, "")
    assert said.startswith("error: keras_mscam has no command 'trian'; it has prepare,")


@pytest.fixture(scope="module")
def completions(tmp_path_factory):
    """Return what tells how bash completes words, in a folder with an `xray.png`."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    folder = tmp_path_factory.mktemp("completion")
    script, imported = run("completion")
    assert imported == ["tyro"]  # no options wait for TensorFlow
    (folder / "completion").write_text(script)
    (folder / "xray.png").touch()

    def complete(*words):
        code = f"""
        source ./completion
        complete -p {words[0]} || exit 1
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _keras_mscam "$1"
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        python = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-c", code, "bash", *words], text=True, capture_output=True,
            cwd=folder, env={"PATH": python}, check=True,
        )  # fmt: skip
        registered, *found = done.stdout.splitlines()
        assert (
            registered
            == f"complete -o bashdefault -o default -F _keras_mscam {words[0]}"
        )
        return sorted(filter(None, found))

    return complete


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("keras_mscam", "ex"), ["export"]),
        (("keras_mscam", "train", "--learning"), ["--learning-rate"]),
        (("keras_mscam-train", "--learning"), ["--learning-rate"]),
        (
            ("keras_mscam-train", "--preset", "paper-"),
            ["paper-a-cnn-plus", "paper-dn-cam", "paper-rn-cam"],
        ),
        (("keras_mscam-evaluate", "RUN", "--threshold", "o"), ["oracle", "otsu"]),
        (
            ("keras_mscam-predict", "RUN", "a.png", "--ov"),
            ["--overlays", "--overwrite"],
        ),
        (("keras_mscam-predict", "RUN", "a.png", "--output", "xr"), ["xray.png"]),
        # Nothing of its own: then bash completes names of files.
        (("keras_mscam-predict", "RUN", "xr"), []),
        (("keras_mscam-prepare", "--bo"), ["--boxes"]),
        (("keras_mscam-export", "RUN", "--att"), ["--attention-size"]),
        (("keras_mscam-serve", "--rest"), ["--rest-port"]),
        (("keras_mscam-weights", "con"), ["convert"]),
        (("keras_mscam-weights", "convert", "--normal"), ["--normalization"]),
    ],
)
def test_completion(completions, words, expected):
    assert completions(*words) == expected
