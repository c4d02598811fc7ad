"""Several runs side by side on the same images: Table 1, Figure 2, paired tests."""

import json
import os.path
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.evaluate_run import (
    COMPARISON,
    Evaluation,
    choose_cases,
    evaluate,
    find_chosen,
    load_chosen,
)
from keras_mscam.evaluation.measure import HIT
from keras_mscam.evaluation.paired import PairedDifference, compare_auroc, compare_ratio
from keras_mscam.evaluation.report import write_comparison
from keras_mscam.evaluation.split_outputs import read_pathologies
from keras_mscam.evaluation.tables import to_csv, to_latex, to_markdown
from keras_mscam.files import compute_checksum, write_together
from keras_mscam.inference.run_folder import find_records, is_run, load_run
from keras_mscam.localization.accuracy import count_localizations


def compare(
    runs: Sequence[Path],
    protocols: Sequence[LocalizationConfig],
    output: Path,
    *,
    data: Path | None = None,
    split: str = "test",
    images: Sequence[str] = (),
    coco: bool = False,
    progress: bool = True,
) -> Path:
    """Evaluate several runs on the same images and set them side by side.

    They are compared on the pathologies that all of them were trained to find, matched
    by name; the first run with each of the others.

    Args:
        runs: folders that `keras_mscam-train` made, of different names.
        protocols: of each run.
        output: folder for `comparison.json`, `table1.md`, `.tex` and `.csv`,
            `report.html`, and a folder for each run.
        data: prepared records; by default those that all of the runs were trained on.
        split, images, coco, progress: as of `evaluate`.

    Returns:
        Path of the report.

    Raises:
        UserError: two runs have one name, or no pathology in common, or records of
            their own and no `data` is given; the folder holds results of one run; or
            anything that `evaluate` raises.
    """
    names = [os.path.basename(os.path.abspath(run)) for run in runs]
    if len(set(names)) < len(names):
        raise UserError(f"Two of the runs have the same name: {', '.join(names)}.")
    output = Path(output)
    if (output / "metrics.json").exists():
        raise UserError(f"{output} holds results of one run; give another --output.")
    if any(is_run(output / name) for name in names):
        raise UserError(f"{output} holds runs themselves; give another --output.")
    if data is None:
        _check_records(runs)
    shared = _find_shared(runs)
    evaluations = {
        name: evaluate(
            run, data=data, split=split, protocol=protocol, images=images,
            pathologies=shared, output=output / name, coco=coco,
            progress=progress,
        )
        for name, run, protocol in zip(names, runs, protocols, strict=True)
    }  # fmt: skip
    comparison = {
        "systems": {name: item.metrics for name, item in evaluations.items()},
        "paired": {
            f"{names[0]} - {name}": _compare_pair(
                evaluations[names[0]], evaluations[name]
            )
            for name in names[1:]
        },
    }
    texts = {
        COMPARISON: json.dumps(comparison, indent=1, allow_nan=False) + "\n",
        "table1.md": to_markdown(comparison["systems"]),
        "table1.tex": to_latex(comparison["systems"]),
        "table1.csv": to_csv(comparison["systems"]),
    }
    cases = _load_same_cases(evaluations, images)
    with write_together(output) as place:
        for name, text in texts.items():
            (place / name).write_text(text, encoding="utf-8")
        write_comparison(place, comparison, cases)
    return output / "report.html"


def _check_records(runs: Sequence[Path]) -> None:
    manifests = set()
    for run in runs:
        records = find_records(load_run(run))
        manifests.add(compute_checksum(records / "manifest.json"))
    if len(manifests) > 1:
        raise UserError(
            "The runs were trained on different records; give those to compare them on "
            "by --data DIR."
        )


def _find_shared(runs: Sequence[Path]) -> list[str]:
    """Find the pathologies that all runs have, in the order of the first."""
    first, *others = [read_pathologies(load_run(run)) for run in runs]
    shared = [name for name in first if all(name in other for other in others)]
    if not shared:
        found = "; ".join(", ".join(names) for names in (first, *others))
        raise UserError(f"The runs have no pathology in common: {found}.")
    return shared


def _load_same_cases(evaluations: dict[str, Evaluation], images) -> dict[str, list]:
    """Load the same images for every system: the cases of the first."""
    first = next(iter(evaluations.values()))
    attention = first.systems["attention"]
    chosen = find_chosen(attention, images)
    chosen = chosen or choose_cases(attention, first.metrics["boxed"])
    keys = [(item.name, item.pathology) for item, _ in chosen]
    cases = {}
    for name, evaluation in evaluations.items():
        items = {(i.name, i.pathology): i for i in evaluation.systems["attention"]}
        pairs = [
            (items[key], kind) for key, (_, kind) in zip(keys, chosen, strict=True)
        ]
        cases[name] = load_chosen(evaluation, pairs)
    return cases


def _compare_pair(first: Evaluation, second: Evaluation) -> dict:
    one, other = first.predictions, second.predictions
    auroc = compare_auroc(one.labels, one.logits, other.logits, one.patients)
    return {
        "accuracy_0.3": _compare_accuracy(first, second),
        "auroc": _name(one.pathologies, *auroc),
    }


def _compare_accuracy(first: Evaluation, second: Evaluation) -> dict:
    boxed = first.metrics["boxed"]
    tables = []
    for evaluation in (first, second):
        # Images without a box come in the order of each model's pathologies.
        items = sorted(
            evaluation.systems["attention"], key=lambda i: (i.name, i.pathology)
        )
        counts = count_localizations(items, (HIT,))
        belongs = counts.pathology[:, None] == np.array(boxed)
        tables.append((counts.found * belongs, counts.boxes[:, None] * belongs))
    if not boxed:
        return {}
    one, other = tables
    return _name(boxed, *compare_ratio(one, other, counts.patient))


def _name(names, differences: Sequence[PairedDifference], mean) -> dict:
    keys = ("difference", "low", "high", "p_value")
    items = {**dict(zip(names, differences, strict=True)), "mean": mean}
    return {
        name: {key: getattr(item, key) for key in keys}
        | ({"reason": item.reason} if item.reason else {})
        for name, item in items.items()
    }
