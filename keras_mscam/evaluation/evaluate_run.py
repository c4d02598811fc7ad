"""`keras_mscam-evaluate`: one run on a split, its numbers, and cases to look at."""

import json
import os.path
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError, explain_disk
from keras_mscam.evaluation.boxes_json import TRUTH, write_coco_files
from keras_mscam.evaluation.calibration import calibrate, calibrate_run
from keras_mscam.evaluation.localize import localize, map_fused
from keras_mscam.evaluation.measure import HIT, Systems, locate_all, measure
from keras_mscam.evaluation.report import write_report
from keras_mscam.evaluation.split_outputs import Predictions, predict_split
from keras_mscam.evaluation.tables import write_tables
from keras_mscam.files import write_together
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.hub import is_reference
from keras_mscam.inference.run_calibration import RunCalibration
from keras_mscam.inference.run_folder import (
    Run,
    find_records,
    is_prepared,
    is_run,
    load_run,
)
from keras_mscam.localization.accuracy import Localization
from keras_mscam.localization.boxes import compute_iou, scale_boxes
from keras_mscam.localization.fusion import Fusion
from keras_mscam.localization.protocol import choose_shown, describe_shown
from keras_mscam.modeling.classifier import count_networks
from keras_mscam.visualization.case_figures import Case

#: Of a folder of several runs, see `compare`.
COMPARISON = "comparison.json"
#: A localization, and what it is a case of.
Chosen = tuple[Localization, str]


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation of one run has found."""

    # what was evaluated, and how maps became boxes
    run: Run
    records: Path
    split: str
    protocol: LocalizationConfig
    networks: int  # that the run's model averages, or 1
    predictions: Predictions  # stored ones
    # localizations of the fused map, of every block, and of the baselines
    systems: Systems
    fusion: Fusion  # of the maps
    metrics: dict  # the contents of `metrics.json`


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
    coco: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a run's model; write `metrics.json`, tables and `report.html`.

    Predictions are stored in the run, under `predictions/`: a second call, with another
    protocol, looks at no image again.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        data: prepared records; those of the run by default. Results on others need an
            `output`.
        split: which of their splits.
        protocol: how maps become boxes; the run's own by default.
        images: names of images for the report, in place of typical hits and misses.
        pathologies: names of those to evaluate; all of the model's by default. The
            records may hold others, which are left out.
        output: folder to write into; the run's by default. A run that can't be written
            to is evaluated too: predictions are then stored in this folder. Numbers,
            tables and report appear together or not at all.
        report: whether to write `report.html` beside the numbers.
        coco: whether to write the boxes beside them, see `write_coco_files`. Once
            there, they are written anew by every evaluation into the folder.
        progress: whether to show a bar.

    Raises:
        UserError: the folder has no model, the records lack one of its pathologies, or
            the results would replace those of another run or of the run's own records.
        DiskError: the results can't be written.
    """
    if output is None and is_reference(run_path):
        raise UserError(
            "The hub's cache is no place for results: give another folder by "
            "--output DIR."
        )
    folder = Path(run_path if output is None else output)
    if (folder / COMPARISON).exists():
        raise UserError(f"{folder} holds a comparison of runs; give another --output.")
    if output is not None and is_run(folder) and not _is_same(folder, run_path):
        raise UserError(f"{folder} is another run; give another --output.")
    then = "With --output DIR, results go there." if output is None else ""
    with explain_disk(folder, then):
        run = load_run(run_path)
        records = find_records(run) if data is None else Path(data)
        if is_run(folder) and is_prepared(run.records):
            _check_own(run, records)
        protocol = protocol or run.config.localization
        classifier = load_classifier(run)
        calibration = calibrate_run(run, classifier, progress, output)
        predictions = predict_split(run, classifier, records, split, progress, output)
        if pathologies is not None:
            predictions = predictions.select(pathologies)
        systems, fusion = locate_all(predictions, calibration, protocol)
        numbers = measure(predictions, calibration, protocol, systems, fusion, split)
        metrics = {"split": split, "records": os.path.abspath(records), **numbers}
        evaluation = Evaluation(
            run, records, split, protocol, count_networks(classifier), predictions,
            systems, fusion, metrics,
        )  # fmt: skip
        for sentence in metrics["warnings"]:
            warnings.warn(sentence, stacklevel=2)
        with write_together(folder) as place:
            text = json.dumps(metrics, indent=1, allow_nan=False)
            (place / "metrics.json").write_text(text + "\n", encoding="utf-8")
            write_tables(place, metrics)
            if report:
                _write_report(evaluation, calibration, images, place)
            if coco or (folder / TRUTH).exists():
                write_coco_files(place, predictions, systems["attention"])
    return evaluation


def _is_same(folder: Path, run_path: Path | str) -> bool:
    return os.path.realpath(folder) == os.path.realpath(run_path)


def _check_own(run: Run, records: Path) -> None:
    if not _is_same(records, run.records):
        raise UserError(
            f"{run.path} holds the results of its own records, {run.records}: give a "
            "folder for those of others by --output DIR."
        )


def _write_report(
    evaluation: Evaluation,
    calibration: RunCalibration,
    images: Sequence[str],
    folder: Path,
) -> None:
    boxed, protocol = evaluation.metrics["boxed"], evaluation.protocol
    predictions = evaluation.predictions
    rule = choose_shown(protocol, evaluation.run.config.shown)
    probabilities = calibrate(
        calibration.calibrations, predictions.logits, predictions.pathologies
    )
    # Cases are what a person is shown; tables alone follow the protocol.
    shown = localize(
        predictions, evaluation.fusion, protocol, probabilities, False, rule
    )
    chosen = find_chosen(shown, images) or choose_cases(shown, boxed)
    sheets = {name: choose_sheet(shown, name) for name in boxed}
    flat = load_chosen(
        evaluation, [*chosen, *(pair for sheet in sheets.values() for pair in sheet)]
    )
    cases, rest = flat[: len(chosen)], iter(flat[len(chosen) :])
    sheets = {name: [next(rest) for _ in sheet] for name, sheet in sheets.items()}
    write_report(
        evaluation.run,
        evaluation.networks,
        calibration.is_fitted,
        evaluation.metrics,
        cases,
        sheets,
        describe_shown(rule),
        folder / "report.html",
    )


def choose_cases(
    localizations: Sequence[Localization], pathologies: Sequence[str]
) -> list[Chosen]:
    """Choose a typical hit and a confident miss of each pathology.

    The hit is the one of median IoU among those above 0.3, not the best; the miss is
    the one of the highest probability among the others.
    """
    cases = []
    for pathology in pathologies:
        mine = [item for item in localizations if _shows(item, pathology)]
        hits = sorted((i for i in mine if best_iou(i) > HIT), key=best_iou)
        misses = [item for item in mine if best_iou(item) <= HIT]
        if hits:
            cases.append((hits[len(hits) // 2], "typical hit"))
        if misses:
            surest = max(misses, key=lambda item: item.probability)
            cases.append((surest, "most confident miss"))
    return cases


def choose_sheet(
    localizations: Sequence[Localization], pathology: str, most: int = 24
) -> list[Chosen]:
    """Choose images of one pathology, evenly spread from the best hit to the worst."""
    mine = [item for item in localizations if _shows(item, pathology)]
    mine.sort(key=best_iou, reverse=True)
    places = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).astype(int))
    return [(mine[p], "hit" if best_iou(mine[p]) > HIT else "miss") for p in places]


def find_chosen(
    localizations: Sequence[Localization], names: Sequence[str]
) -> list[Chosen]:
    """Find the images that a user has named, with every pathology that has a box.

    Raises:
        UserError: an image has no ground-truth box, or isn't in the split.
    """
    chosen = []
    for name in names:
        mine = [item for item in localizations if item.name == name and len(item.truth)]
        if not mine:
            raise UserError(
                f"There is no image {name} with a ground-truth box in the split."
            )
        chosen += [(item, "chosen") for item in mine]
    return chosen


def load_chosen(evaluation: Evaluation, chosen: Sequence[Chosen]) -> list[Case]:
    """Read the images and maps of chosen localizations, in their order."""
    predictions, size = evaluation.predictions, evaluation.predictions.image_size
    rows = {name: row for row, name in enumerate(predictions.names.tolist())}
    keys = [
        (rows[item.name], predictions.pathologies.index(item.pathology))
        for item, _ in chosen
    ]
    images = _read_images(evaluation, {row for row, _ in keys})
    fused = {
        (item.row, item.column): item
        for item in map_fused(
            lambda item: item, predictions, evaluation.fusion, evaluation.protocol,
            set(keys),
        )
    }  # fmt: skip
    blocks = [f"block{block}" for block in predictions.blocks]
    return [
        Case(
            name=item.name,
            pathology=item.pathology,
            kind=kind,
            image=images[key[0]],
            cams=dict(zip(blocks, fused[key].cams, strict=True)),
            heatmap=fused[key].heatmap,
            relevance_weights=predictions.relevance_weights[:, key[1]],
            truth=scale_boxes(item.truth, item.image_size, size),
            predicted=scale_boxes(item.predicted, item.image_size, size),
            probability=item.probability,
            iou=best_iou(item),
        )
        for (item, kind), key in zip(chosen, keys, strict=True)
    ]


def best_iou(item: Localization) -> float:
    """Return the highest IoU of any predicted with any ground-truth box."""
    return float(compute_iou(item.predicted, item.truth).max(initial=0.0))


def _shows(item: Localization, pathology: str) -> bool:
    return item.pathology == pathology and len(item.truth) > 0


def _read_images(evaluation: Evaluation, rows: set[int]) -> dict[int, np.ndarray]:
    if not rows:
        return {}
    size, first = evaluation.predictions.image_size, min(rows)
    stream = read_examples(
        evaluation.records, evaluation.split, image_size=size, first=first
    )
    numbered = zip(range(first, max(rows) + 1), stream, strict=False)
    return {row: example.image for row, example in numbered if row in rows}
