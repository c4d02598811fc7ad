"""`keras_mscam-evaluate`: what models find, where they look, and how sure that is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.cases import choose_cases, choose_sheet, find_chosen, load_cases
from keras_mscam.config import LocalizationConfig
from keras_mscam.errors import UserError, command
from keras_mscam.files import write_whole
from keras_mscam.localization.fusion import Fusion
from keras_mscam.measure import Systems, locate_all, measure
from keras_mscam.predictions import Predictions
from keras_mscam.report import write_report
from keras_mscam.result_tables import write_tables
from keras_mscam.run_folder import Run, read_run
from keras_mscam.run_model import load_calibration, load_classifier, predict_split


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation of one run has found.

    Args:
        run: the run.
        records: prepared records that it was evaluated on.
        split: which of their splits.
        protocol: how maps became boxes.
        predictions: stored ones.
        systems: localizations of the fused map, of every block, and of the floors.
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
        output: folder to write into; the run's by default.
        report: whether to write `report.html` beside the numbers.
        progress: whether to show a bar.

    Raises:
        UserError: the folder has no model, or the records aren't made for it.
    """
    run = read_run(run_path)
    records = run.records if data is None else Path(data)
    protocol = protocol or run.config.localization
    classifier = load_classifier(run)
    calibration = load_calibration(run, classifier, progress)
    predictions = predict_split(run, classifier, records, split, progress)
    systems, fusion = locate_all(predictions, calibration, protocol)
    metrics = {
        "split": split,
        **measure(predictions, calibration, protocol, systems, fusion),
    }
    evaluation = Evaluation(
        run, records, split, protocol, predictions, systems, fusion, metrics
    )
    folder = run.path if output is None else Path(output)
    _write_numbers(evaluation.metrics, folder)
    if report:
        _write_report(evaluation, images, folder)
    return evaluation


def load_chosen(evaluation: Evaluation, chosen) -> list:
    """Read the cases of chosen localizations, see `load_cases`."""
    return load_cases(
        chosen,
        evaluation.predictions,
        evaluation.fusion,
        evaluation.protocol,
        evaluation.records,
        evaluation.split,
    )


def _write_numbers(metrics: dict, folder: Path) -> None:
    with write_whole(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    write_tables(folder, metrics)


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


@command
def main() -> None:
    """Console script `keras_mscam-evaluate`."""
    tyro.cli(_evaluate_command, prog="keras_mscam-evaluate")


def _evaluate_command(
    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")
    ],
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    split: Literal["train", "validation", "test"] = "test",
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (),
    protocol: Literal["own", "wang"] = "own",
    fusion: Literal["relevance", "standardized"] | None = None,
    normalization: Literal["min_max", "exponential"] | None = None,
    threshold: Literal["fixed", "otsu", "tuned", "oracle"] | None = None,
    cam_thresholds: tuple[float, ...] | None = None,
    min_area: float | None = None,
    max_boxes: int | None = None,
    afp_denominator: Literal["all", "pathology", "images"] | None = None,
) -> None:
    """Evaluate the models of runs: one for itself, or several side by side.

    Args:
        runs: Folders that keras_mscam-train made; the first is tested against each.
        data: Prepared records; those of the runs by default.
        split: Which of their splits.
        output: Where to write; by default into the run. Several runs need it.
        images: Images to show, in place of typical hits and confident misses.
        protocol: Begin with what each run is configured for, or with Wang et al.'s.
        fusion: Fuse blocks by learned weights, or all alike over their deviations.
        normalization: Scale a map by minimum and maximum, or exp of deviations.
        threshold: Fixed, Otsu's, tuned on other patients' boxes, or on the same.
        cam_thresholds: Levels of a fixed threshold, of 0 to 1.
        min_area: Fraction of the map that a region must cover at least.
        max_boxes: Boxes of the highest scores that are kept.
        afp_denominator: What false positives are averaged over.
    """
    from keras_mscam.compare import compare
    from keras_mscam.config import change_localization

    changes = {
        "fusion": fusion,
        "normalization": normalization,
        "threshold": threshold,
        "cam_thresholds": cam_thresholds,
        "min_area": min_area,
        "max_boxes": max_boxes,
        "afp_denominator": afp_denominator,
    }
    if not runs:
        raise UserError("Give one run at least: keras_mscam-evaluate RUN.")
    protocols = [
        change_localization(
            read_run(run).config.localization
            if protocol == "own"
            else LocalizationConfig(),
            changes,
        )
        for run in runs
    ]
    if len(runs) > 1:
        if output is None:
            raise UserError("Several runs are compared in a folder: give --output DIR.")
        report = compare(runs, protocols, output, data=data, split=split, images=images)
    else:
        target = runs[0] if output is None else output
        evaluate(
            runs[0], data=data, split=split, protocol=protocols[0], images=images,
            output=target,
        )  # fmt: skip
        report = target / "report.html"
    print(f"Report: {report}")


if __name__ == "__main__":
    main()
