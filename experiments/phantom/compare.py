"""Compare presets on the built-in set, over several seeds.

    python experiments/phantom/compare.py --output /tmp/phantom --seeds 0 1 2

Each seed draws a set of its own, splits it and starts the networks; all presets of a
seed see the same records. A finished run is not done again, so the command can be
broken off and repeated, and be given more seeds or presets later. It ends by writing
`results.csv` and `results.md`, of all that is finished, beside this file.
"""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import tyro

from keras_mscam.config import merge_config
from keras_mscam.data.phantom import write_phantoms
from keras_mscam.errors import command
from keras_mscam.prepare import prepare
from keras_mscam.presets import PRESETS
from keras_mscam.train import train

HERE = Path(__file__).parent
ALL = ("phantom", "phantom-last-block", "phantom-pcam")


def compare(
    output: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    presets: tuple[str, ...] = ALL,
    suffix: str = "",
    config: Path | None = None,
) -> None:
    """Train every preset with every seed, then write the tables.

    Args:
        output: Folder for records and runs.
        seeds: Of the set, its split, the weights and the order.
        presets: Names of presets.
        suffix: Distinguishes runs of a preset that --config changes.
        config: JSON file over each preset, for ablations.
    """
    changes = {} if config is None else json.loads(config.read_text())
    for seed in seeds:
        for preset in presets:
            path = output / f"{preset}{suffix}-seed{seed}"
            if (path / "report.html").is_file():
                continue
            base = merge_config(PRESETS[preset], changes, str(config))
            records = _records(output, base.data, seed)
            base = dataclasses.replace(
                base,
                data=dataclasses.replace(base.data, path=records, split_seed=seed),
                training=dataclasses.replace(base.training, seed=seed),
            )
            train(base, path, resume=path.exists())
    write_tables(output)


def write_tables(output: Path) -> None:
    """Write a long table of all finished runs, and their means as Markdown."""
    table = pd.concat(_read_run(path) for path in sorted(output.glob("*-seed*")))
    table.to_csv(HERE / "results.csv", index=False, float_format="%.4f")
    sections = [
        f"### {title}\n\n{_summarize(table, measure)}\n"
        for measure, title in [
            ("accuracy_0.3", "Localization accuracy at IoU > 0.3"),
            ("accuracy_0.5", "Localization accuracy at IoU > 0.5"),
            ("afp_0.3", "Average false positives at IoU > 0.3"),
            ("auroc", "AUROC"),
        ]
    ]
    (HERE / "results.md").write_text("\n".join(sections))


def _records(output: Path, data, seed: int) -> Path:
    height, width = data.image_size
    name = f"{data.phantoms}-{height}x{width}-seed{seed}"
    records = output / f"records-{name}"
    if not records.exists():
        source = output / f"phantoms-{name}"
        if not source.exists():
            write_phantoms(source, data.phantoms, seed, data.image_size)
        prepare(source, records, image_size=data.image_size, seed=seed)
    return records


def _read_run(path: Path) -> pd.DataFrame:
    if not (path / "report.html").is_file():
        return pd.DataFrame()
    metrics = json.loads((path / "metrics.json").read_text())
    system, seed = path.name.rsplit("-seed", 1)
    maps = {system: metrics["localization"]}
    by_block = metrics["localization_by_block"]
    for block, localization in by_block.items() if len(by_block) > 1 else ():
        maps[f"{system}, {block} alone"] = localization
    for floor, localization in metrics["floors"].items():
        maps[f"floor: {floor}"] = localization
    rows = []
    for name, localization in maps.items():
        for pathology, row in localization["iou"]["0.3"].items():
            rows.append(
                {
                    "system": name,
                    "seed": int(seed),
                    "pathology": pathology,
                    "boxes": row["boxes"],
                    "accuracy_0.3": row["accuracy"],
                    "accuracy_0.5": localization["iou"]["0.5"][pathology]["accuracy"],
                    "afp_0.3": row["afp"],
                    "auroc": metrics["auroc"][pathology] if name == system else None,
                }
            )
    return pd.DataFrame(rows)


def _summarize(table: pd.DataFrame, measure: str) -> str:
    """Mean over seeds, and in brackets the lowest and highest, a row a system."""
    table = table.drop_duplicates(["system", "seed", "pathology"])
    cells = table.pivot(index=["system", "seed"], columns="pathology", values=measure)
    cells = cells[list(dict.fromkeys(table["pathology"]))].dropna(how="all")
    cells["Nodule and Mass"] = (cells["Nodule"] + cells["Mass"]) / 2
    cells["Mean"] = cells.drop(columns="Nodule and Mass").mean(axis=1)
    lines = [
        "| system | " + " | ".join(cells.columns) + " |",
        "| --- |" + " --- |" * len(cells.columns),
    ]
    for system, rows in cells.groupby("system"):
        spread = [
            f"{rows[column].mean():.2f} [{rows[column].min():.2f}, "
            f"{rows[column].max():.2f}]"
            for column in cells
        ]
        lines.append(f"| {system} ({len(rows)}) | " + " | ".join(spread) + " |")
    return "\n".join(lines)


@command
def main() -> None:
    tyro.cli(compare)


if __name__ == "__main__":
    main()
