"""Notebooks: those that are committed, and each run on its small settings."""

import re
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs nbclient (the extra `test`)")
pytest.importorskip("ipykernel", reason="needs ipykernel (the extra `test`)")
pytest.importorskip("ipywidgets", reason="needs ipywidgets (the extra `notebooks`)")
import nbformat
from IPython.core.interactiveshell import InteractiveShell

from ..conftest import load_script

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
NAMES = (
    "from_data_to_table1", "explore_one_image", "query_the_server", "your_own_data"
)  # fmt: skip


@pytest.fixture(scope="module")
def execution():
    """The module that executes them."""
    return load_script(FOLDER / "execute.py")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_none_is_forgotten():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs(name, execution):
    """They are of the code that is there, without errors, noise, paths or weight."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.executed == execution.fingerprint(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert not re.search(r"/tmp/|/home/|/work/|/root/|WARNING|Traceback", text)
    assert len(text) < 1_000_000
    assert notebook.cells[0].cell_type == "markdown"
    assert "minute" in notebook.cells[0].source


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs(name, run, exported, tmp_path, monkeypatch):
    """In this process: a kernel of its own would import TensorFlow once more."""
    monkeypatch.setenv("KERAS_MSCAM_NOTEBOOK", "small")
    monkeypatch.setenv("KERAS_MSCAM_RUN", str(run.path))
    monkeypatch.setenv("KERAS_MSCAM_MODELS", str(exported.parents[1]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    for cell in code_cells(read(name)):
        shell.run_cell(cell.source).raise_error()
