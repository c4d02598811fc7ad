"""Execute the notebooks of this folder anew, with their readable settings.

python experiments/notebooks/execute.py explore_one_image.ipynb
"""

import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def execute(path: Path, folder: Path, timeout: int = 1800) -> nbformat.NotebookNode:
    """Execute a notebook in another folder, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.clear()
    # Kernels start where they are told to, not where this package may lie.
    source = str(HERE.parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [source, os.environ.get("PYTHONPATH")])
    )
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(folder)}}, store_widget_state=False,
    )  # fmt: skip
    client.execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [item for item in cell.outputs if not _is_greeting(item)]
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3", "language": "python", "name": "python3"
        },
        "language_info": {"name": "python"},
        "executed": fingerprint(notebook),
    }  # fmt: skip
    return notebook


def _is_greeting(output: nbformat.NotebookNode) -> bool:
    """Whether TensorFlow greets, below Python, where %%capture doesn't reach."""
    if output.get("name") != "stderr":
        return False
    lines = output.text.splitlines()
    known = r"$|WARNING: All log|[EIW]\d{4} |To enable the following instructions"
    return all(re.match(known, line) for line in lines)


def fingerprint(notebook: nbformat.NotebookNode) -> str:
    """Return a checksum of the code, by which stale outputs are found.

    Where the package's modules lie makes no difference to outputs, and none here.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    code = re.sub(r"^(from [\w.]+ )?import (\([^)]*\)|.*)\n", "", code, flags=re.M)
    code = re.sub(r"\bkeras_mscam\.[a-z_.]+", "keras_mscam", code)
    return hashlib.sha256(code.encode()).hexdigest()


def main() -> None:
    names = sys.argv[1:] or sorted(path.name for path in HERE.glob("*.ipynb"))
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(HERE / name, Path(folder))
        nbformat.write(notebook, HERE / name)
        print(name, (HERE / name).stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
