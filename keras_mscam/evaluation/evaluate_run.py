"""`keras_mscam-evaluate`: what models find, where they look, and how sure that is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.evaluation.cases import (
    Case,
    choose_cases,
    choose_sheet,
    find_chosen,
    load_cases,
)
from keras_mscam.evaluation.measure import Systems, locate_all, measure
from keras_mscam.evaluation.report import write_report
from keras_mscam.evaluation.split_outputs import (
    Predictions,
    is_read_only,
    predict_split,
)
from keras_mscam.evaluation.tables import write_tables
from keras_mscam.files import write_whole
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import Run, read_run
from keras_mscam.localization.fusion import Fusion


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation of one run has found.

    Args:
        run, records, split, protocol: what was evaluated, and how maps became boxes.
        predictions: stored ones.
        systems: localizations of the fused map, of every block, and of the baselines.
        fusion: of the maps.
        metrics: the contents of `metrics.json`.
    """

    run: Run
    records: Path
    split: str
    protocol: LocalizationConfig
    predictions: Predictions
    systems: Systems
    fusion: Fusion
    metrics: dict


def evaluate(
    run_path: Path,
    *,
    data: Path | None = None,
    split: str = "test",
    protocol: LocalizationConfig | None = None,
    images: Sequence[str] = (),
    pathologies: Sequence[str] | None = None,
    output: Path | None = None,
    report: bool = True,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a run's model; write `metrics.json`, tables and `report.html`.

    Predictions are stored in the run, under `predictions/`: a second call, with another
    protocol, looks at no image again.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        data: prepared records; those of the run by default.
        split: which of their splits.
        protocol: how maps become boxes; the run's own by default.
        images: names of images for the report, in place of typical hits and misses.
        pathologies: names of those to evaluate; all of the model's by default. The
            records may hold others, which are left out.
        output: folder to write into; the run's by default. A run that can't be written
            to is evaluated too: predictions are then stored in this folder.
        report: whether to write `report.html` beside the numbers.
        progress: whether to show a bar.

    Raises:
        UserError: the folder has no model, the records lack one of its pathologies, or
            the run can't be written to and no other folder is given.
    """
    try:
        run = read_run(run_path)
        records = run.records if data is None else Path(data)
        protocol = protocol or run.config.localization
        classifier = load_classifier(run)
        calibration = calibrate_run(run, classifier, progress, output)
        predictions = predict_split(run, classifier, records, split, progress, output)
        if pathologies is not None:
            predictions = predictions.select(pathologies)
        systems, fusion = locate_all(predictions, calibration, protocol)
        numbers = measure(predictions, calibration, protocol, systems, fusion)
        metrics = {"split": split, **numbers}
        evaluation = Evaluation(
            run, records, split, protocol, predictions, systems, fusion, metrics
        )
        folder = run.path if output is None else Path(output)
        with write_whole(folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n")
        write_tables(folder, metrics)
        if report:
            _write_report(evaluation, images, folder)
        return evaluation
    except OSError as error:
        if output is None and is_read_only(error):
            raise UserError(
                f"{run_path} can't be written to: give another folder for the results "
                "by --output DIR."
            ) from error
        raise


def load_chosen(evaluation: Evaluation, chosen) -> list[Case]:
    """Read the cases of chosen localizations, see `load_cases`."""
    return load_cases(
        chosen, evaluation.predictions, evaluation.fusion, evaluation.protocol,
        evaluation.records, evaluation.split,
    )  # fmt: skip


def _write_report(evaluation: Evaluation, images: Sequence[str], folder: Path) -> None:
    boxed = evaluation.metrics["boxed"]
    attention = evaluation.systems["attention"]
    chosen = find_chosen(attention, images) or choose_cases(attention, boxed)
    sheets = {name: choose_sheet(attention, name) for name in boxed}
    flat = load_chosen(
        evaluation, [*chosen, *(pair for sheet in sheets.values() for pair in sheet)]
    )
    cases, rest = flat[: len(chosen)], iter(flat[len(chosen) :])
    sheets = {name: [next(rest) for _ in sheet] for name, sheet in sheets.items()}
    write_report(
        evaluation.run, evaluation.metrics, cases, sheets, folder / "report.html"
    )
