"""Every command and every Python example of README and site."""

import ast
import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import tyro

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))
commands = importlib.import_module("command_list")

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "export").glob("*/README.md")),
    ROOT / "export" / "README.md",
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
BLOCK = re.compile(r"^( *)```(bash|python)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = r"(?m)(?:^|&&|;|\||\bdo) *(?:[A-Z_]+=\S* +)*keras_mscam(?:-\w+)?(?= |$)"
# Commands write down their words; every other program does nothing, and does it well.
STUBS = r"""
record() { printf '%s\0' "$@" $'\n' >>"$CALLS"; }
for name in $NAMES; do eval "$name() { record $name \"\$@\"; }"; done
command_not_found_handle() { :; }
. () { :; }
"""


def find_blocks(language, pattern):
    """Return the blocks of a language, each with its page and line for a name."""
    blocks = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found[2] == language and re.search(pattern, found[3]):
                line = text[: found.start()].count("\n") + 1
                name = f"{page.relative_to(ROOT)}:{line}"
                blocks.append(pytest.param(found[3], id=name))
    return blocks


class Parsed(BaseException):
    """A command line has been understood: the command is not to begin its work."""


def parse(options, *args, **kwargs):
    """Do as `tyro.cli`, but call no function with what was understood."""

    @functools.wraps(options)
    def stop(*args, **kwargs):
        raise Parsed

    is_class = isinstance(options, type)
    COMMAND_LINE(options if is_class else stop, *args, **kwargs)
    raise Parsed


COMMAND_LINE = tyro.cli


@pytest.mark.parametrize("code", find_blocks("bash", COMMAND))
def test_commands_are_understood(code, tmp_path, monkeypatch, capsys):
    names = commands.list_commands()
    calls = tmp_path / "calls"
    calls.touch()
    # Nothing but the shell itself runs, and it writes nowhere but here.
    assert not re.search(r">\s*/(?!dev/)", code)
    environment = {"PATH": "/nowhere", "HOME": str(tmp_path), "CALLS": str(calls)}
    environment["NAMES"] = " ".join(names)
    subprocess.run(
        [shutil.which("bash"), "-c", STUBS + code], cwd=tmp_path, env=environment,
        timeout=20, capture_output=True, check=False,
    )  # fmt: skip
    lines = calls.read_text().split("\0\n\0")[:-1]
    assert len(lines) >= len(re.findall(COMMAND, code, re.MULTILINE)) > 0
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = line.split("\0")
        module, _, function = names[words[0]].partition(":")
        monkeypatch.setattr(sys, "argv", words)
        try:
            with mock.patch.object(tyro, "cli", parse):
                getattr(importlib.import_module(module), function)()
        except Parsed:
            pass
        except SystemExit as end:
            said = capsys.readouterr().err
            assert not end.code, f"{' '.join(words)}\n{said}"


def import_installed(name):
    """Import a module; skip the test without the package of others that it is of."""
    package = name.partition(".")[0]
    if package != "keras_mscam" and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    return importlib.import_module(name)


@pytest.mark.parametrize("code", find_blocks("python", "import"))
def test_examples_can_be_imported(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = import_installed(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), ast.unparse(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                import_installed(alias.name)


@pytest.mark.parametrize("page", ["README.md", "docs/howto/open_xrays.md"])
def test_examples_run(page, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/phantom-a-cnn-plus-1").symlink_to(run.path)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200)).astype("uint8")
    cv2.imwrite("chest.png", pixels)
    codes = [block[3] for block in BLOCK.finditer((ROOT / page).read_text())]
    codes = [code for code in codes if "runs/phantom-a-cnn-plus-1" in code]
    codes = [code for code in codes if "import " in code]
    assert codes
    for code in codes:
        # Every line that only names a value must have one.
        for line in code.splitlines():
            if line.startswith(("prediction.", "maps[")):
                code += f"\nassert ({line.partition('#')[0].strip()}) is not None\n"
        exec(compile(code, page, "exec"), {})


def test_options_in_sentences_exist():
    known = set()
    for name in commands.list_commands():
        for inner in ((), *((word,) for word in commands.INNER.get(name, ()))):
            known |= set(
                re.findall(r"--[a-z][a-z-]+", commands.read_help(name, *inner))
            )
    for page in PAGES:
        if page != ROOT / "README.md" and ROOT / "docs" not in page.parents:
            continue  # scripts have options of their own
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for code in re.findall(r"`((?:--|keras_mscam)[^`]+)`", text):
            unknown = set(re.findall(r"--[a-z][a-z-]+", code)) - known
            assert not unknown, f"{page.relative_to(ROOT)}: {unknown} in `{code}`"
