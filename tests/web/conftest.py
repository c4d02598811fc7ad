"""The built page, a loopback server at a sub-path, and Chromium."""

import functools
import http.server
import json
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.predictor import Predictor

from ..conftest import load_script

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def build():
    """The module of the command that assembles the page."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    module = load_script(REPOSITORY / "export/web/build.py")
    try:
        module.install()
    except UserError as error:
        pytest.skip(f"needs the page's libraries: {error}")
    return module


@pytest.fixture(scope="session")
def model(calibrated_model, tmp_path_factory):
    """The network of `run` as LiteRT, in float32 alone.

    Effusion is always positive, Mass is half the time, Nodule never.
    """
    from keras_mscam.exporting.formats import build_network
    from keras_mscam.exporting.formats.litert import write_float32

    folder = tmp_path_factory.mktemp("web")
    contract = calibrated_model.contract
    (folder / "litert").mkdir()
    (folder / "litert" / "contract.json").write_text(contract.dump())
    network = build_network(calibrated_model.localizer, contract)
    write_float32(network, folder / "litert", None)
    return folder


@pytest.fixture(scope="session")
def predictor(run):
    """The Keras model: what the page is compared with."""
    return Predictor(run.path)


@pytest.fixture(scope="session")
def site(model, build):
    return build.build(model / "litert", model / "site")


@pytest.fixture(scope="session")
def dicom():
    """Makes DICOM files: `make_dataset` and `to_bytes` of the tests of the reader."""
    module = load_script(REPOSITORY / "tests/images/dicom/conftest.py")
    return lambda *args, **kwargs: module._to_bytes(
        module._make_dataset(*args, **kwargs)
    )


@pytest.fixture(scope="session")
def run_node(site):
    """Run functions of the page by Node: a case is `{"kind": ..., ...}`."""

    def run(cases):
        # Node takes files for modules where a package says so.
        (site.parent / "package.json").write_text('{"type": "module"}')
        script = Path(__file__).with_name("run_cases.mjs")
        done = subprocess.run(
            ["node", script, site],
            input=json.dumps(cases, default=_to_list),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def _to_list(value):
    return list(value) if isinstance(value, bytes) else np.asarray(value).tolist()


@pytest.fixture(scope="module")
def chromium():
    """A browser for one module: where it is, asyncio's tests can't run."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"needs {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def _serve():
    """Serve a folder under a path; gives the address, and a list of what was asked."""
    servers = []

    def start(folder, prefix="/"):
        asked = []
        handler = functools.partial(_Handler, folder=folder, prefix=prefix, asked=asked)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}{prefix}", asked

    start.stop = lambda: [_stop(server) for server in servers]
    yield start
    start.stop()


serve = pytest.fixture(_serve)
serve_all = pytest.fixture(_serve, scope="module")


def _stop(server):
    server.shutdown()
    server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, folder, prefix, asked, **kwargs):
        self.prefix, self.asked = prefix, asked
        super().__init__(*args, directory=str(folder), **kwargs)

    def do_GET(self):
        self.asked.append(self.path)
        if not self.path.startswith(self.prefix):
            self.send_error(404)
            return
        self.path = "/" + self.path.removeprefix(self.prefix)
        super().do_GET()

    def log_message(self, *args):
        pass
