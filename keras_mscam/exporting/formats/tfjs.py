"""Convert to a TF.js graph model: a folder per variant, `model.json` and its shards.

The converter is no part of this package's environment: `export/tfjs/install.sh`, in the
source tree, makes one for it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.exporting.formats import SCRATCH, export_network

#: Names the folder of another copy of `export/tfjs`.
VARIABLE = "KERAS_MSCAM_TFJS"
_PARTS = ("environment/tensorflowjs", "node_modules/@tensorflow")
_SOURCE = Path(__file__).parents[3] / "export" / "tfjs"


def find_tools() -> Path:
    """Return the folder of the converter, `export/tfjs`, or raise a `UserError`.

    Node is part of it: what isn't checked isn't exported.
    """
    folder = Path(os.environ.get(VARIABLE, _SOURCE))
    if not shutil.which("node"):
        raise UserError(
            "The format tfjs needs Node, in which converted models are checked: "
            "install nodejs and npm."
        )
    if not all((folder / part).is_dir() for part in _PARTS):
        raise UserError(
            "The converter for TF.js is missing: run export/tfjs/install.sh of the "
            "source tree once, and name its folder in the environment variable "
            f"{VARIABLE}; {folder} is none."
        )
    return folder


def write_float32(network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Convert a SavedModel of the bare network, to all variants in one process."""
    scratch = folder / SCRATCH
    export_network(network, scratch / "saved_model", "tf_saved_model")
    tools = find_tools()
    _call(
        [sys.executable, tools / "convert.py", scratch / "saved_model", scratch],
        PYTHONPATH=str(tools / "environment"),
    )
    _take("float32", folder)


def write_float16(_network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Store weights in half precision; browsers compute in float32."""
    _take("float16", folder)


def write_uint8(_network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Store weights in 8 bits, scaled by tensor; browsers compute in float32."""
    _take("uint8", folder)


def _take(variant: str, folder: Path) -> None:
    """Put a variant into its place, its outputs in the order of their names.

    The converter writes them in any order, and TF.js takes their names from another
    list, by place: maps would be taken for each other.
    """
    path = folder / SCRATCH / variant / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    names = content["userDefinedMetadata"]["structuredOutputKeys"]
    outputs = content["signature"]["outputs"]
    content["signature"]["outputs"] = {name: outputs[name] for name in names}
    path.write_text(json.dumps(content), encoding="utf-8")
    path.parent.rename(folder / variant)


def run_in_node(
    path: Path, images: np.ndarray, rounds: int = 0
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Run `model.json` in Node, on one image of uint8 `(N, height, width)` at a time.

    Returns:
        Outputs by name, and seconds of the first image in each of so many rounds.

    Raises:
        UserError: it can't be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "images.bin").write_bytes(images.astype("<f4").tobytes())
        shape = ",".join(map(str, images.shape))
        _call(["node", find_tools() / "run.mjs", path, place, shape, str(rounds)])
        found = json.loads((place / "outputs.json").read_text(encoding="utf-8"))
        outputs = {
            name: np.fromfile(place / f"{name}.bin", "<f4").reshape(shape)
            for name, shape in found["shapes"].items()
        }
    return outputs, found["seconds"]


def _call(command: list, **variables: str) -> None:
    result = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **variables},
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["it said nothing"]
        # The line of an exception; Node says its own version after it.
        is_reason = re.compile(r"[\w.]*(Error|Exception)\b").match
        reasons = list(filter(is_reason, lines)) or lines
        raise UserError(f"{command[1]} failed: {reasons[-1]}")
