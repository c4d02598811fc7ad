"""`keras_mscam-evaluate`: what a run's model finds, where it looks, and a report."""

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
import tyro

from keras_mscam.classification import compute_auroc
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import Example, read_examples
from keras_mscam.errors import UserError, command
from keras_mscam.files import write_whole
from keras_mscam.localization.boxes import WANG_THRESHOLDS
from keras_mscam.localization.floors import localize_at_random, localize_by_mean_box
from keras_mscam.localization.metrics import (
    Localization,
    compute_iou,
    compute_localization,
)
from keras_mscam.modeling.classifier import read_relevance_weights
from keras_mscam.modeling.localizer import build_localizer
from keras_mscam.predictions import Predictions, predict
from keras_mscam.report import write_report
from keras_mscam.run_folder import Run, read_run

IOU_THRESHOLDS = (0.3, 0.5)
PROTOCOL = (
    "Wang et al. 2017: each raw map is scaled to 0..255 by its own minimum and maximum "
    "and cut at 60 and at 180; a box around every 8-connected region, at both levels "
    "together; a drawn box is found if a box overlaps it by IoU > T. AFP: boxes that "
    "find nothing, on images with a drawn box of that pathology, over all drawn boxes. "
    "No threshold was chosen on the evaluated boxes."
)


def evaluate(
    run_path: Path,
    *,
    data: Path | None = None,
    split: str = "test",
    progress: bool = True,
) -> dict:
    """Evaluate a run's model; write its `metrics.json` and `report.html`.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        data: prepared records; those of the run by default.
        split: which of their splits.
        progress: whether to show a bar.

    Returns:
        The contents of `metrics.json`.

    Raises:
        UserError: the folder has no model, or the records aren't made for it.
    """
    run = read_run(run_path)
    records = run.records if data is None else Path(data)
    manifest = Manifest.read(records)
    classifier = _load_classifier(run, manifest)
    localizer = build_localizer(classifier)
    predictions = predict(localizer, records, manifest, split, progress)
    metrics = compute_metrics(predictions, manifest, classifier)
    metrics = {"split": split, "images": len(predictions.names), **metrics}
    with write_whole(run.metrics_path) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    cases = choose_cases(predictions, manifest.pathologies)
    names = {name for name, _, _ in cases}
    examples = _find_examples(records, split, names, classifier.input.shape[1:3])
    write_report(run, metrics, cases, examples, localizer, manifest.pathologies)
    return metrics


def compute_metrics(
    predictions: Predictions, manifest: Manifest, classifier: keras.Model
) -> dict:
    """Compute all that stands in `metrics.json` from predictions."""
    pathologies = manifest.pathologies
    auroc = compute_auroc(
        np.array(predictions.labels), np.array(predictions.probabilities), pathologies
    )
    systems = dict(predictions.localizations)
    original_sizes = [size for _, size in predictions.boxed]
    attention = systems.pop("attention", [])
    at_random = localize_at_random(
        attention, classifier.input.shape[1:3], original_sizes
    )
    mean_box = localize_by_mean_box(attention, original_sizes)
    _, weights = read_relevance_weights(classifier)
    undefined = [name for name, value in auroc.items() if math.isnan(value)]
    return {
        "protocol": PROTOCOL,
        "cam_thresholds": list(WANG_THRESHOLDS),
        "auroc": {name: None if name in undefined else auroc[name] for name in auroc},
        "auroc_mean": _mean(v for v in auroc.values() if not math.isnan(v)),
        "localization": _table(attention, pathologies),
        "localization_by_block": {
            name.removeprefix("cam_"): _table(items, pathologies)
            for name, items in systems.items()
        },
        "floors": {
            "random_map": _table(at_random, pathologies),
            "mean_box": _table(mean_box, pathologies),
        },
        "relevance_weights": {
            name: [float(w) for w in weights[:, column]]
            for column, name in enumerate(pathologies)
        },
        "notes": [
            f"AUROC of {name} is null: the split has only one class of it."
            for name in undefined
        ],
    }


def choose_cases(
    predictions: Predictions, pathologies: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    """Choose what to show: for each pathology a typical hit and a confident miss.

    The hit is the one of median IoU among those above 0.3, not the best; the miss is
    the one of the highest probability among the others.

    Returns:
        Triples: image name, pathology, and what it is a case of.
    """
    columns = {name: column for column, name in enumerate(pathologies)}
    rows = {name: row for row, name in enumerate(predictions.names)}
    table = [
        (
            name,
            item.pathology,
            _best_iou(item),
            predictions.probabilities[rows[name]][columns[item.pathology]],
        )
        for (name, _), item in zip(
            predictions.boxed,
            predictions.localizations.get("attention", []),
            strict=True,
        )
    ]
    cases = []
    for pathology in pathologies:
        mine = [case for case in table if case[1] == pathology]
        hits = sorted((c for c in mine if c[2] > 0.3), key=lambda c: c[2])
        misses = sorted((c for c in mine if c[2] <= 0.3), key=lambda c: c[3])
        if hits:
            cases.append((hits[len(hits) // 2][0], pathology, "typical hit"))
        if misses:
            cases.append((misses[-1][0], pathology, "most confident miss"))
    return cases


def _table(items: list[Localization], pathologies) -> dict:
    by_threshold = {
        str(t): compute_localization(items, pathologies, t) for t in IOU_THRESHOLDS
    }
    means = {
        t: _mean(r["accuracy"] for r in rows.values() if r["accuracy"] is not None)
        for t, rows in by_threshold.items()
    }
    return {"iou": by_threshold, "mean_accuracy": means}


def _mean(values) -> float | None:
    values = list(values)
    return float(np.mean(values)) if values else None


def _best_iou(item: Localization) -> float:
    return float(compute_iou(item.proposed, item.truth).max(initial=0.0))


def _find_examples(
    records: Path, split: str, names: set[str], size: tuple[int, int]
) -> dict[str, Example]:
    found = {}
    if names:
        for example in read_examples(records, split, image_size=size):
            if example.name in names:
                found[example.name] = example
            if len(found) == len(names):
                break
    return found


def _load_classifier(run: Run, manifest: Manifest) -> keras.Model:
    if not run.model_path.is_file():
        raise UserError(
            f"{run.path} has no model.keras yet; train it on with "
            f"keras_mscam-train --output {run.path} --resume."
        )
    classifier = keras.saving.load_model(run.model_path)
    known = classifier.output["logits"].shape[-1]
    if known != len(manifest.pathologies):
        raise UserError(
            f"The model in {run.path} is for {known} pathologies, but the records have "
            f"{len(manifest.pathologies)}."
        )
    return classifier


@command
def main() -> None:
    """Console script `keras_mscam-evaluate`."""
    tyro.cli(_evaluate_command, prog="keras_mscam-evaluate")


def _evaluate_command(
    run: Annotated[Path, tyro.conf.Positional],
    data: Path | None = None,
    split: Literal["train", "validation", "test"] = "test",
) -> None:
    """Evaluate the model of a run; write its metrics.json and report.html.

    Args:
        run: Folder that keras_mscam-train made.
        data: Prepared records; those of the run by default.
        split: Which of their splits.
    """
    evaluate(run, data=data, split=split)
    print(f"Report: {read_run(run).report_path}")


if __name__ == "__main__":
    main()
