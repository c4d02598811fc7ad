"""The files of export/container, as far as they can be tried without an engine."""

import fnmatch
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keras_mscam.cli.commands import COMMANDS
from keras_mscam.cli.options import parse
from keras_mscam.cli.serve import ServeOptions
from keras_mscam.serving.rest import LIVENESS_PATH

ROOT = Path(__file__).parents[2]
FILE = ROOT / "export" / "container" / "Dockerfile"
IGNORE = FILE.with_suffix(".dockerignore")
#: Of each target, its instructions with what they are given.
TARGETS: dict[str, list[tuple[str, str]]] = {}
for line in re.sub(r"\\\n", " ", FILE.read_text()).splitlines():
    word, _, rest = line.partition(" ")
    if word == "FROM":
        TARGETS[rest.split(" AS ")[1]] = []
    elif TARGETS and line and word != "#":
        [*TARGETS.values()][-1].append((word, rest.strip()))


def find_all(target, word):
    return [rest for found, rest in TARGETS[target] if found == word]


def is_sent(path):
    """Whether the builder gets a path: the last rule that fits it decides."""
    sent = True
    for rule in IGNORE.read_text().splitlines():
        if rule and not rule.startswith("#"):
            pattern = rule.removeprefix("!").removeprefix("**/")
            if fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"*/{pattern}"):
                sent = rule.startswith("!")
    return sent


def test_hadolint_finds_nothing():
    # Beside the interpreter, where it is installed with the tests.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("hadolint", path=places)
    if program is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([program, FILE], text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_is_sent():
    (first, second) = find_all("build", "COPY")
    sources = [*first.split()[:-1], *second.split()[:-1]]
    assert "keras_mscam" in sources
    for source in sources:
        assert (ROOT / source).exists() and is_sent(source)
    # Of what packaging reads, nothing is missing.
    setup = (ROOT / "setup.cfg").read_text()
    named = re.findall(r"(?:file: |license_files = )(\S+)", setup)
    assert {*named, "setup.cfg", "setup.py", "pyproject.toml"} <= {*sources}
    unsent = ("runs", "tests", ".git", "records", "keras_mscam/__pycache__")
    assert not any(map(is_sent, unsent))


def test_the_extras_are_the_packages():
    setup = (ROOT / "setup.cfg").read_text()
    for text in (FILE.read_text(), FILE.with_name("README.md").read_text()):
        for extras in re.findall(r"EXTRAS=([\w,]+)", text):
            for extra in extras.split(","):
                assert f"\n{extra} =\n" in setup


def test_nobody_runs_it_and_nothing_is_left_over():
    (user,) = find_all("base", "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert not any(find_all(target, "USER") for target in ("serve", "train"))
    installs = [run for run in find_all("build", "RUN") if "pip install" in run]
    assert installs and all("--no-cache-dir" in run for run in installs)


def test_the_entry_points_are_commands():
    assert json.loads(*find_all("train", "ENTRYPOINT")) == ["keras_mscam"]
    first, command, *arguments = json.loads(*find_all("serve", "ENTRYPOINT"))
    assert first == "keras_mscam" and command in COMMANDS
    parsed = parse("serve", [*arguments, "--max-batch-size", "8"], ServeOptions)
    assert parsed.models == Path("/models")
    assert (parsed.options.host, parsed.options.max_batch_size) == ("0.0.0.0", 8)
    ports = {str(parsed.options.rest_port), str(parsed.options.grpc_port)}
    assert {*" ".join(find_all("serve", "EXPOSE")).split()} == ports


@pytest.mark.parametrize("status", [200, 503, None])
def test_the_health_check(status):
    """The server is healthy, isn't, or isn't there."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    if status is None:
        server.shutdown()
        server.server_close()
    (check,) = find_all("serve", "HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert words[:2] == ["python", "-c"]
    code = words[2].replace(":8501/", f":{port}/")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode == 0) == (status == 200)
    assert asked == ([] if status is None else [LIVENESS_PATH])
    server.shutdown()
    server.server_close()
