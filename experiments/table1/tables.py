"""Measurements of many runs, and tables: single numbers as CSV, means as Markdown."""

import json
from pathlib import Path

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.evaluation.evaluate_run import evaluate

import pandas as pd

#: Columns of the Markdown tables, beside the mean over all boxed pathologies.
SMALL = ("Nodule", "Mass")
PROTOCOLS = ("wang", "exponential", "plus", "tuned")
BASELINES = {"mean_box": "baseline: mean box", "random_map": "baseline: random map"}


def measure_run(
    run: Path,
    protocols: dict[str, LocalizationConfig],
    data: Path | None = None,
    folder: str = "protocols",
) -> None:
    """Evaluate a run by every protocol, unless that is done.

    Args:
        run: folder of the run.
        protocols: how maps become boxes, by name.
        data: prepared records; those of the run by default.
        folder: where in the run to write, one folder per protocol.
    """
    for name, protocol in protocols.items():
        output = run / folder / name
        if not (output / "classification.csv").is_file():
            evaluate(
                run, data=data, protocol=protocol, output=output, report=False,
                progress=False,
            )  # fmt: skip


def write_tables(output: Path, stem: Path, folder: str = "protocols") -> None:
    """Write `STEM.csv` and `STEM.md` from every run in a folder that was measured.

    Args:
        output: folder of runs named `SYSTEM-seedN`.
        stem: of the files to write, without suffix.
        folder: where in a run its measurements are, one folder per protocol.
    """
    rows = [
        row
        for path in sorted(output.glob("*-seed*"))
        for protocol in PROTOCOLS
        for metrics in path.glob(f"{folder}/{protocol}/metrics.json")
        for row in read_metrics(path.name, metrics)
    ]
    table = pd.DataFrame(rows)
    table.drop(columns="text").to_csv(
        stem.with_suffix(".csv"), index=False, float_format="%.4f"
    )
    sections = [
        f"## {title}\n\n{summarize(part, measure)}\n\n{part['text'].iloc[0]}\n"
        for protocol, group in table.groupby("protocol", sort=False)
        for part in [group[group["map"].isin(["attention", *BASELINES])]]
        for measure, title in [
            ("accuracy", f"Protocol `{protocol}`: accuracy at IoU > 0.3"),
            ("afp", f"Protocol `{protocol}`: average false positives at IoU > 0.3"),
        ]
    ]
    wang = table[table["protocol"] == "wang"]
    alone = wang[wang["map"].str.startswith("block") & ~wang["system"].isin(BASELINES)]
    if len(alone):
        title = "Blocks alone, protocol `wang`: accuracy at IoU > 0.3"
        sections.append(f"## {title}\n\n{summarize(alone, 'accuracy')}\n")
    systems = wang[wang["map"] == "attention"]
    sections.append(f"## AUROC\n\n{summarize(systems, 'auroc')}\n")
    stem.with_suffix(".md").write_text("\n".join(sections))


def read_metrics(run: str, path: Path) -> list[dict]:
    """Return a row for each map and boxed pathology of one evaluation."""
    metrics = json.loads(path.read_text())
    system, seed = run.rsplit("-seed", 1)
    return [
        {
            "protocol": path.parent.name,
            "system": BASELINES.get(
                name, system if name == "attention" else f"{system}, {name} alone"
            ),
            "map": name,
            "seed": int(seed),
            "pathology": pathology,
            "boxes": row["boxes"],
            "accuracy": row["accuracy"]["value"],
            "accuracy_low": row["accuracy"]["low"],
            "accuracy_high": row["accuracy"]["high"],
            "accuracy_0.5": tables["iou"]["0.5"][pathology]["accuracy"]["value"],
            "afp": row["afp"],
            "hit_rate": tables["pointing"][pathology]["hit_rate"],
            "mean_iou": tables["mean_iou"][pathology]["mean_iou"],
            "auroc": metrics["classification"][pathology]["auroc"]["value"],
            "text": metrics["protocol"]["text"],
        }
        for name, tables in metrics["localization"].items()
        for pathology, row in tables["iou"]["0.3"].items()
    ]


def summarize(table: pd.DataFrame, measure: str) -> str:
    """Mean over seeds, and in brackets the lowest and highest, a row a system."""
    table = table.drop_duplicates(["system", "seed", "pathology"])
    cells = table.pivot(index=["system", "seed"], columns="pathology", values=measure)
    cells = cells[list(dict.fromkeys(table["pathology"]))]
    mean = cells.mean(axis=1)
    cells["Nodule and Mass"] = cells[list(SMALL)].mean(axis=1)
    cells["Mean"] = mean
    lines = [
        "| system (seeds) | " + " | ".join(cells.columns) + " |",
        "| --- |" + " --- |" * len(cells.columns),
    ]
    for system, rows in cells.groupby("system"):
        spread = [_spread(rows[column]) for column in cells]
        lines.append(f"| {system} ({len(rows)}) | " + " | ".join(spread) + " |")
    return "\n".join(lines)


def _spread(values: pd.Series) -> str:
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} [{values.min():.2f}, {values.max():.2f}]"
