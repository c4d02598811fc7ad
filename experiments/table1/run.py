"""Train and measure the systems of Table 1, and ablations of the paper's, by seed.

Each seed draws (or plants) its own phantoms, splits their patients and starts the
networks; all systems of a seed see the same records. What is finished is not done
again, so the command can be broken off and repeated, and be given more seeds later. It
ends by writing tables of all that is finished beside this file.
"""

import dataclasses
import json
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import LocalizationConfig, merge_config
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import command
from keras_mscam.phantom import write_phantoms
from keras_mscam.training.train_run import train

import tyro
from tables import measure_run, write_tables  # beside this file

HERE = Path(__file__).parent
SYSTEMS = ("phantom-dn-cam", "phantom-rn-cam", "phantom", "phantom-a-cnn-plus")
#: What every run is measured by, whatever its preset says.
PROTOCOLS = {
    "wang": LocalizationConfig(),
    "exponential": LocalizationConfig(normalization="exponential"),
    "plus": LocalizationConfig(fusion="standardized", normalization="exponential"),
    "tuned": LocalizationConfig(threshold="tuned"),
}


def run(
    output: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    systems: tuple[str, ...] = SYSTEMS,
    ablations: tuple[str, ...] = (),
    backgrounds: tuple[Path, ...] = (),
    results: str = "results",
) -> None:
    """Train every system and ablation with every seed, then write the tables.

    Args:
        output: Folder for records and runs.
        seeds: Of the set, its split, the weights and the order.
        systems: Names of presets.
        ablations: Files in ablations/, each a change of the preset phantom.
        backgrounds: Folders of real X-rays to plant the lesions into.
        results: Name of the tables, without suffix.
    """
    configs = {name: PRESETS[name] for name in systems}
    for name in ablations:
        changes = json.loads((HERE / "ablations" / f"{name}.json").read_text())
        configs[f"phantom-{name}"] = merge_config(PRESETS["phantom"], changes, name)
    for seed in seeds:
        for name, config in configs.items():
            path = output / f"{name}-seed{seed}"
            if not (path / "report.html").is_file():
                records = make_records(output, config.data, seed, backgrounds)
                train(_with_seed(config, records, seed), path, resume=path.exists())
            measure_run(path, PROTOCOLS)
    write_tables(output, HERE / results)


def make_records(output: Path, data, seed: int, backgrounds) -> Path:
    """Draw and prepare the phantoms of a seed, unless they are there."""
    height, width = data.image_size
    name = f"{data.phantoms}-{height}x{width}-seed{seed}"
    records = output / f"records-{name}"
    if not records.exists():
        source = output / f"phantoms-{name}"
        if not source.exists():
            write_phantoms(
                source, data.phantoms, seed, data.image_size, backgrounds=backgrounds
            )
        prepare(source, records, image_size=data.image_size, seed=seed)
    return records


def _with_seed(config, records: Path, seed: int):
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, path=records, split_seed=seed),
        training=dataclasses.replace(config.training, seed=seed),
    )


@command
def main() -> None:
    tyro.cli(run)


if __name__ == "__main__":
    main()
