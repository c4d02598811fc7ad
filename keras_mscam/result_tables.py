"""The numbers of `metrics.json` as CSV, for whoever goes on with them elsewhere."""

from pathlib import Path

import pandas as pd

from keras_mscam.files import write_whole


def write_tables(folder: Path, metrics: dict) -> None:
    """Write `localization.csv` and `classification.csv`.

    Args:
        folder: where to.
        metrics: the contents of `metrics.json`.
    """
    for name, table in [
        ("localization", tabulate_localization(metrics)),
        ("classification", tabulate_classification(metrics)),
    ]:
        with write_whole(Path(folder) / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")


def tabulate_localization(metrics: dict) -> pd.DataFrame:
    """Return a row for each map, overlap, threshold and boxed pathology."""
    columns = ["map", "overlap", "threshold", "pathology", "accuracy", "accuracy_low"]
    columns += ["accuracy_high", "afp", "boxes", "images"]
    rows = [
        [
            system, overlap, float(threshold), pathology,
            *(row["accuracy"][end] for end in ("value", "low", "high")),
            row["afp"], row["boxes"], row["images"],
        ]
        for system, tables in metrics["localization"].items()
        for overlap in ("iou", "iobb")
        for threshold, table in tables[overlap].items()
        for pathology, row in table.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def tabulate_classification(metrics: dict) -> pd.DataFrame:
    """Return a row for each pathology."""
    rows = [
        {
            "pathology": pathology,
            "auroc": row["auroc"]["value"],
            "auroc_low": row["auroc"]["low"],
            "auroc_high": row["auroc"]["high"],
            **{key: row[key] for key in ("auprc", "brier", "ece", "prevalence")},
            "images": row["images"],
            "positives": row["positives"],
            "reason": row["reason"],
        }
        for pathology, row in metrics["classification"].items()
    ]
    return pd.DataFrame(rows)
