"""The paper's Table 1: accuracy and false positives of systems side by side."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

#: Rows after the systems, of predictions that look at no image.
_BASELINES = {"mean_box": "baseline: mean box", "random_map": "baseline: random map"}
_PAPER_THRESHOLDS = ("0.1", "0.3", "0.5", "0.7")


def build_table1(systems: dict[str, dict], overlap: str = "iou") -> pd.DataFrame:
    """Build the paper's table of systems, contents of `metrics.json` by name.

    There is a row for each threshold of the overlap, `"iou"` or `"iobb"`, system and
    measure (`accuracy`, `low`, `high`, `afp`), then for each baseline, those of the
    first system; a column for each boxed pathology, and their mean.

    Reference:
        Sedai et al. 2018, Table 1; Wang et al. 2017 (ChestX-ray8), Tables 3 and 4.
    """
    first = next(iter(systems.values()))
    maps = {
        name: metrics["localization"]["attention"] for name, metrics in systems.items()
    }
    maps |= {title: first["localization"][key] for key, title in _BASELINES.items()}
    rows: list[Any] = []
    for threshold in first["localization"]["attention"][overlap]:
        for name, tables in maps.items():
            table = tables[overlap][threshold]
            mean = tables["mean_accuracy"][overlap][threshold]
            for measure, end in [
                ("accuracy", "value"), ("low", "low"), ("high", "high"),
            ]:  # fmt: skip
                cells = {p: row["accuracy"][end] for p, row in table.items()}
                rows.append([threshold, name, measure, cells | {"Mean": mean[end]}])
            false = {p: row["afp"] for p, row in table.items()}
            known = [value for value in false.values() if value is not None]
            false["Mean"] = sum(known) / len(known) if known else None
            rows.append([threshold, name, "afp", false])
    keys = ["threshold", "system", "measure"]
    rows = [dict(zip(keys, row, strict=False)) | row[-1] for row in rows]
    return pd.DataFrame(rows, columns=[*keys, *first["boxed"], "Mean"])


def to_csv(systems: dict[str, dict]) -> str:
    """Return the tables for IoU and IoBB as one CSV text."""
    frames = []
    for overlap in ("iou", "iobb"):
        frame = build_table1(systems, overlap)
        frame.insert(0, "overlap", overlap)
        frames.append(frame)
    return pd.concat(frames).to_csv(index=False, float_format="%.6g")


def to_markdown(systems: dict[str, dict]) -> str:
    """Return the table for IoU in Markdown, with 95% intervals and its protocol."""
    frame = build_table1(systems)
    columns = list(frame.columns[3:])
    heads = [escape_markdown(column) for column in columns]
    parts = ["# Localization by system\n"]
    for threshold, part in frame.groupby("threshold", sort=False):
        for measure, title in [
            ("accuracy", "Localization accuracy"), ("afp", "Average false positives"),
        ]:  # fmt: skip
            lines = [
                f"## {title} at IoU > {threshold}\n",
                "| system | " + " | ".join(heads) + " |",
                "| --- |" + " --- |" * len(columns),
            ]
            for system, rows in part.groupby("system", sort=False):
                rows = rows.set_index("measure")
                cells = [_format(rows[column], measure) for column in columns]
                head = escape_markdown(str(system))
                lines.append(f"| {head} | " + " | ".join(cells) + " |")
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts + [text + "\n" for text in _list_protocols(systems)])


def escape_markdown(text: str) -> str:
    """Return a text with which no row or column ends, and nothing but itself begins."""
    return re.sub(r"([\\|<&*`$\[])", r"\\\1", " ".join(text.split()))


def to_latex(systems: dict[str, dict]) -> str:
    r"""Return the table for IoU as a LaTeX `table*`, for `\usepackage{booktabs}`.

    The highest accuracy among the systems, baselines left out, is bold in each column.
    """
    frame = build_table1(systems)
    columns = list(frame.columns[3:])
    lines = [
        r"\begin{table*}", r"\centering", r"\small",
        r"\begin{tabular}{ll" + "r" * len(columns) + "}", r"\toprule",
        "T(IoU) & System & " + " & ".join(map(_escape, columns)) + r" \\",
    ]  # fmt: skip
    for threshold in _PAPER_THRESHOLDS:
        part = frame[frame["threshold"] == threshold]
        best = part[part["system"].isin(systems) & (part["measure"] == "accuracy")]
        lines.append(r"\midrule")
        for system, rows in part.groupby("system", sort=False):
            rows = rows.set_index("measure")
            highest = best if system in systems else best[:0]
            cells = [_format_latex(rows[c], highest[c].max()) for c in columns]
            cells = [threshold, _escape(system), *cells]
            lines.append(" & ".join(cells) + r" \\")
    protocols = _escape(" ".join(_list_protocols(systems)))
    lines += [
        r"\bottomrule", r"\end{tabular}",
        r"\caption{Localization accuracy (AFP). " + protocols + "}",
        r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _list_protocols(systems: dict[str, dict]) -> list[str]:
    """Return each distinct protocol once, after the names of its systems."""
    groups = {}
    for name, metrics in systems.items():
        groups.setdefault(metrics["protocol"]["text"], []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in groups.items()]


def _format(values: pd.Series, measure: str) -> str:
    if pd.isna(values[measure]):
        return "n/a"
    if measure == "afp" or pd.isna(values["low"]):
        return f"{values[measure]:.2f}"
    return f"{values['accuracy']:.2f} [{values['low']:.2f}, {values['high']:.2f}]"


def _format_latex(values: pd.Series, best: float) -> str:
    if pd.isna(values["accuracy"]):
        return "--"
    accuracy = f"{values['accuracy']:.2f}"
    if values["accuracy"] == best:
        accuracy = rf"\textbf{{{accuracy}}}"
    return f"{accuracy} ({values['afp']:.2f})"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
               "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$"}  # fmt: skip
    special |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def write_tables(folder: Path, metrics: dict) -> None:
    """Write `localization.csv` and `classification.csv` of a `metrics.json`."""
    localization = [
        {
            "map": system, "overlap": overlap, "threshold": float(threshold),
            "pathology": pathology, **_spread(row, "accuracy"), "afp": row["afp"],
            "boxes": row["boxes"], "images": row["images"],
        }
        for system, tables in metrics["localization"].items()
        for overlap in ("iou", "iobb")
        for threshold, table in tables[overlap].items()
        for pathology, row in table.items()
    ]  # fmt: skip
    keys = ("auprc", "brier", "ece", "prevalence", "images", "positives", "reason")
    classification = [
        {"pathology": pathology, **_spread(row, "auroc"), **{k: row[k] for k in keys}}
        for pathology, row in metrics["classification"].items()
    ]
    columns = ["map", "overlap", "threshold", "pathology", "accuracy", "accuracy_low"]
    columns += ["accuracy_high", "afp", "boxes", "images"]  # also of an empty table
    for name, table in (
        ("localization", pd.DataFrame(localization, columns=columns)),
        ("classification", pd.DataFrame(classification)),
    ):
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def _spread(row: dict, name: str) -> dict[str, float | None]:
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: row[name][end] for column, end in ends.items()}
