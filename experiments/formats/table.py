"""Export runs in all formats, measure every variant, write export/README.md's tables.

    python experiments/formats/table.py runs/phantom-a-cnn-plus-1 runs/untrained

Accuracy is that of a trained run on its test split, speed that of the paper's network
with random weights: what it says doesn't change how long it takes. The machine should
have nothing else to do. `--work DIR` keeps what was exported and measured, for a second
call to go on from.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from keras_mscam.data.pipeline import read_examples
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.evaluation.split_outputs import predict_split
from keras_mscam.exporting.agreement import compare_outputs
from keras_mscam.exporting.export_run import export_formats
from keras_mscam.exporting.formats.conversion import FORMATS, load_variant, measure_size
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import find_formats
from keras_mscam.inference.run_folder import load_run
from keras_mscam.inference.runtimes.runtime import count_cores

import numpy as np
import tyro
from accuracy import OVERLAPS, measure_accuracy, run_all

_HERE = Path(__file__).parent
_README = _HERE.parents[1] / "export" / "README.md"
_BEGIN, _END = "<!-- tables -->", "<!-- end of tables -->"


def main(
    run: tyro.conf.Positional[Path],
    untrained: tyro.conf.Positional[Path],
    *,
    fusion: str = "standardized",
    normalization: str = "exponential",
    work: Path | None = None,
    readme: Path = _README,
) -> None:
    """Write the tables.

    Args:
        run: Trained run, with its records.
        untrained: Run of random weights; made if it is missing.
        fusion: How the trained run's blocks are fused.
        normalization: How its maps are scaled.
        work: Folder to keep exports and measurements in.
        readme: File to write the tables into, between two comments.
    """
    with tempfile.TemporaryDirectory() as temporary:
        work = work or Path(temporary)
        if not untrained.exists():
            maker = _HERE.parent / "serving" / "untrained.py"
            subprocess.run([sys.executable, maker, untrained], check=True)
        protocol = replace(
            load_run(run).config.localization,
            fusion=fusion,
            normalization=normalization,
        )
        seconds = _export(run, work / "trained", protocol)
        _export(untrained, work / "untrained", None)
        accuracies = _measure_all_accuracies(run, work / "trained", protocol)
        speeds = _measure_all_speeds(work / "untrained")
    text = "\n".join(
        [
            _BEGIN, "", *_tell_accuracies(accuracies, seconds), "",
            *_tell_speeds(speeds), "", _END,
        ]
    )  # fmt: skip
    before, _, rest = readme.read_text().partition(_BEGIN)
    readme.write_text(before + text + rest.partition(_END)[2])
    print(text)


def _export(run: Path, output: Path, maps) -> float:
    """Export in all formats, unless it is done; return the seconds that it took."""
    known = output / "seconds.json"
    if not known.is_file():
        start = time.perf_counter()
        export_formats(run, output, ["saved_model", *FORMATS], maps=maps)
        known.write_text(json.dumps(time.perf_counter() - start))
    return json.loads(known.read_text())


def _list_variants(exports: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield format, variant and path, the SavedModel first."""
    folders = find_formats(exports)
    yield "saved_model", "float32", folders["saved_model"]
    for kind, item in FORMATS.items():
        for variant in item.variants:
            yield kind, variant, folders[kind] / item.path.format(variant)


def _measure_all_accuracies(run_path: Path, exports: Path, protocol) -> dict:
    run = load_run(run_path)
    classifier = load_classifier(run)
    calibration = calibrate_run(run, classifier)
    known = predict_split(run, classifier, run.records, "test")
    found = read_examples(run.records, "test", image_size=known.image_size)
    images = np.stack([example.image for example in found])
    contract = read_contract(find_formats(exports)["saved_model"])
    expected = _run_keras(classifier, contract, images)

    def measure(kind: str, path: Path) -> dict:
        outputs = run_all(load_variant(kind, path), images)
        return {
            **asdict(compare_outputs(outputs, expected, contract)),
            **asdict(measure_accuracy(outputs, known, calibration, protocol)),
        }

    return _measure_all(exports, measure)


def _run_keras(classifier, contract, images) -> dict:
    from keras_mscam.modeling import build_localizer

    localizer = build_localizer(
        classifier,
        contract.attention_size,
        np.array(contract.fusion_weights),
        (np.array(contract.slopes), np.array(contract.intercepts)),
    )
    return run_all(lambda some: localizer.predict_on_batch(some[..., None]), images)


def _measure_all_speeds(exports: Path) -> dict:
    saved_model = find_formats(exports)["saved_model"]

    def measure(_kind: str, path: Path) -> dict:
        command = [sys.executable, _HERE / "speed.py", path, saved_model]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(result.stdout.splitlines()[-1])

    return _measure_all(exports, measure)


def _measure_all(exports: Path, measure: Callable[[str, Path], dict]) -> dict:
    """Measure every variant, but for those that were measured before."""
    measured = {}
    for kind, variant, path in _list_variants(exports):
        known = exports / f"{kind}-{variant}.json"
        if not known.is_file():
            known.write_text(json.dumps(measure(kind, path)))
        found = {"bytes": _measure_size(path), **json.loads(known.read_text())}
        print(kind, variant, found, flush=True)
        measured[kind, variant] = found
    return measured


def _measure_size(path: Path) -> int:
    """Return the bytes of a variant; of a SavedModel without examples and the like."""
    if path.is_dir():
        files = [path / "saved_model.pb", *(path / "variables").iterdir()]
        return sum(file.stat().st_size for file in files)
    return measure_size(path)


def _tell_accuracies(measured: dict, seconds: float) -> list[str]:
    images = measured["saved_model", "float32"]["images"]
    overlaps = " | ".join(f"localized, IoU > {overlap}" for overlap in OVERLAPS)
    lines = [
        f"A trained run, compared with the Keras model on all {images} images of its "
        f"test split. All formats took {seconds:.0f} s to convert and check.",
        "",
        "| format | weights | MB | probabilities, worst (mean) | maps, worst (mean) | "
        f"same positives | boxes, IoU | AUROC | {overlaps} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, variant), row in measured.items():
        boxes = "none" if row["boxes"] is None else f"{row['boxes']:.3f}"
        localized = " | ".join(f"{value:.3f}" for value in row["localization"])
        lines.append(
            f"| {kind} | {variant} | {row['bytes'] / 1e6:.2f} | "
            f"{row['probabilities']:.1e} ({row['mean_probabilities']:.1e}) | "
            f"{row['maps']:.1e} ({row['mean_maps']:.1e}) | {row['positives']:.2%} | "
            f"{boxes} | {row['auroc']:.4f} | {localized} |"
        )
    return lines


def _tell_speeds(measured: dict) -> list[str]:
    lines = [
        "The paper's network, DenseNet-121 at 256x256 for 14 pathologies, all maps, on "
        f"{count_cores()} cores ({_name_processor()}). Times over those of the "
        "SavedModel, which finds boxes too, each measured in turn with it.",
        "",
        "| format | weights | MB | of the SavedModel's time, 1 image | 32 images | "
        "ms, 1 image | ms of one of 32 | s to load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, variant), row in measured.items():
        one, many = row["1"], row.get("32", {"ratio": None, "seconds": None})
        cells = [
            kind, variant, f"{row['bytes'] / 1e6:.1f}", _round(one["ratio"], 2),
            _round(many["ratio"], 2), _round(one["seconds"], 0, 1000),
            _round(many["seconds"], 0, 1000), _round(row.get("load"), 1),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _round(value: float | None, digits: int, factor: float = 1) -> str:
    return "" if value is None else f"{factor * value:.{digits}f}"


def _name_processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    tyro.cli(main)
