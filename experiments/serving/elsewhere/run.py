"""Does an export need TensorFlow alone, and which?

    python experiments/serving/elsewhere/run.py EXPORT RUN --images DIR

Loads the export in environments of their own: the current TensorFlow with Keras taken
out, and TensorFlow 2.15. Neither has this package. What they make of real X-rays is
compared with what the run's Keras model, OpenCV's resampling and OpenCV's regions make
of them here. Writes `results.md` beside this file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_mscam.errors import UserError, command
from keras_mscam.exporting.agreement import compare_outputs, run_reference
from keras_mscam.inference.calibrated_model import convert_to_float32, load_classifier
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import find_formats
from keras_mscam.inference.run_folder import load_run
from keras_mscam.modeling import build_localizer

import numpy as np
import tyro

HERE = Path(__file__).parent
#: Packages of each environment, and what is taken out again.
ENVIRONMENTS = {
    "TensorFlow 2.21 without Keras": (["tensorflow==2.21.*"], ["keras"]),
    "TensorFlow 2.15": (["tensorflow==2.15.1", "numpy<2"], ["keras"]),
}


def run(
    export: tyro.conf.Positional[Path],
    run: tyro.conf.Positional[Path],
    images: Path,
    most: int = 240,
    environments: Path | None = None,
) -> None:
    """Compare, and write the table.

    Args:
        export: What keras_mscam-export made of the run.
        run: The run.
        images: Folder of PNG and JPEG files.
        most: Images at most.
        environments: Where environments are kept; a temporary place by default.
    """
    export = find_formats(export)["saved_model"]
    contract = read_contract(export)
    paths = sorted(p for p in images.iterdir() if p.suffix in (".png", ".jpg"))[:most]
    if not paths:
        raise UserError(f"{images} has no PNG or JPEG file.")
    localizer = build_localizer(
        convert_to_float32(load_classifier(load_run(run))),
        contract.attention_size,
        np.array(contract.fusion_weights),
        (np.array(contract.slopes), np.array(contract.intercepts)),
    )
    expected = run_in_parts(localizer, contract, paths)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (wanted, unwanted) in ENVIRONMENTS.items():
            place = (environments or Path(temporary)) / name.replace(" ", "-")
            python = make_environment(place, wanted, unwanted)
            found = run_there(python, export, paths, Path(temporary))
            versions = str(found.pop("versions"))
            parity = compare_outputs(found, expected, contract)
            rows.append((name, versions, parity))
    write_table(rows, contract)


def run_in_parts(localizer, contract, paths: list[Path], part: int = 32) -> dict:
    """Return the reference's outputs of all images."""
    parts = [
        run_reference(
            localizer, contract, [p.read_bytes() for p in paths[start : start + part]]
        )
        for start in range(0, len(paths), part)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def make_environment(path: Path, wanted: list[str], unwanted: list[str]) -> Path:
    """Make an environment, unless it is there; return its Python."""
    python, done = path / "bin" / "python", path / "done"
    if not done.is_file():
        base = shutil.which("python3.11")
        if base is None:
            raise UserError("There is no python3.11 on the PATH; install it.")
        shutil.rmtree(path, ignore_errors=True)
        call(base, "-m", "venv", path)
        call(python, "-m", "pip", "install", "-q", *wanted)
        call(python, "-m", "pip", "uninstall", "-q", "-y", *unwanted)
        done.touch()
    return python


def run_there(python: Path, export: Path, paths: list[Path], place: Path) -> dict:
    """Run the export in another environment; return its outputs."""
    names, result = place / "names.txt", place / "outputs.npz"
    names.write_text("\n".join(str(path.resolve()) for path in paths))
    # -E: what is on PYTHONPATH here isn't for that environment.
    call(python, "-E", HERE / "elsewhere.py", export.resolve(), names, result)
    with np.load(result) as content:
        return dict(content)


def call(*words) -> None:
    """Run a program that must succeed."""
    words = [str(word) for word in words]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if subprocess.run(words, env=quiet, stdout=sys.stderr).returncode:
        raise UserError(f"{' '.join(words[:4])} failed; see above.")


def write_table(rows, contract) -> None:
    """Write `results.md`."""
    size = "x".join(map(str, contract.image_size))
    lines = [
        f"{rows[0][2].images} real X-rays, network of {size} pixels. Worst "
        "differences from the Keras model; mean IoU of the highest boxes.",
        "",
        "| environment | versions | probabilities | maps, of their range | positives | "
        "boxes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, versions, parity in rows:
        lines.append(
            f"| {name} | {versions} | {parity.probabilities:.1e} | {parity.maps:.1e} | "
            f"{parity.positives:.2%} | {parity.boxes:.4f} |"
        )
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    command(lambda: tyro.cli(run))()
