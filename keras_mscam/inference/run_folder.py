"""The folder of a training run: what is in it, under which name."""

import csv
import dataclasses
import io
import json
import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_mscam.configs.schema import Config, dump_config, read_config
from keras_mscam.errors import UserError
from keras_mscam.files import (
    check_is_free,
    find_versions,
    read_file,
    write_json,
    write_whole,
)
from keras_mscam.inference.hub import fetch

_PACKAGES = ("keras_mscam", "keras", "tensorflow", "jax", "numpy")

#: A run that comes with the package; its README.md is the model card.
PRETRAINED = Path(__file__).with_name("pretrained")


def _inside(name: str) -> property:
    return property(lambda run: run.path / name)


@dataclass(frozen=True)
class Run:
    """A run's folder and its configuration."""

    path: Path  # the folder
    config: Config  # the resolved configuration, as in `config.json`

    @property
    def records(self) -> Path:
        """Prepared records: those given as `--data`, else made inside the run."""
        given = self.config.data.path
        # Of published runs the name alone is known, not where they are.
        is_there = given and given.is_absolute() and is_prepared(given)
        return given if is_there else self.path / "records"

    config_path = _inside("config.json")
    model_path = _inside("model.keras")
    history_path = _inside("history.csv")
    beta_path = _inside("beta.csv")
    relevance_weights_path = _inside("relevance_weights.csv")
    metrics_path = _inside("metrics.json")
    calibration_path = _inside("calibration.json")
    predictions = _inside("predictions")
    report_path = _inside("report.html")
    source_path = _inside("source.json")
    lock_path = _inside(".lock")
    checkpoints = _inside("checkpoints")
    tensorboard = _inside("tensorboard")


def is_prepared(path: Path | None) -> bool:
    """Whether a folder holds prepared records, known by their manifest."""
    return path is not None and (path / "manifest.json").is_file()


def find_records(run: Run) -> Path:
    """Return the prepared records of a run.

    Raises:
        UserError: they aren't there.
    """
    if not is_prepared(run.records):
        given = f", {run.config.data.path}," if run.config.data.path else ""
        raise UserError(
            f"The records of {run.path}{given} are not there: give some by --data DIR."
        )
    return run.records


def locate_folders(config: Config) -> Config:
    """Return a configuration that means the same in every working directory."""
    data, weights = config.data, config.model.weights
    data = dataclasses.replace(
        data,
        path=data.path and data.path.absolute(),
        backgrounds=tuple(path.absolute() for path in data.backgrounds),
        cache_folder=data.cache_folder and data.cache_folder.absolute(),
    )
    if weights and weights != "imagenet" and os.path.exists(weights):
        weights = os.path.abspath(weights)
    model = dataclasses.replace(config.model, weights=weights)
    return dataclasses.replace(config, data=data, model=model)


def create_run(path: Path, config: Config) -> Run:
    """Start a run: make its folder and write `config.json`, with absolute paths.

    Raises:
        UserError: the folder holds something already.
    """
    path = Path(path)
    check_is_free(
        path,
        "choose another --output, or go on with the run in it by "
        f"--output {path} --resume",
    )
    run = Run(path, locate_folders(config))
    write_config(run)
    return run


def discard_empty_run(run: Run) -> None:
    """Remove the folder of a run that came to nothing but its configuration."""
    if not set(run.path.iterdir()) - {run.config_path, run.lock_path}:
        for path in run.path.iterdir():
            path.unlink()
        with suppress(OSError):  # NFS keeps a file that is open, under another name
            run.path.rmdir()


def write_config(run: Run, environment: dict | None = None) -> None:
    """Write `config.json`: the configuration, and the environment of its training.

    That is the present one by default.
    """
    content = json.loads(dump_config(run.config))
    content["environment"] = (
        describe_environment() if environment is None else environment
    )
    write_json(run.config_path, content)


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, known by its configuration."""
    return (Path(path) / "config.json").is_file()


def load_run(path: str | os.PathLike) -> Run:
    """Open the folder of a run.

    Or of one published as `hf://owner/name` or `kaggle://owner/model/keras/name`.

    Raises:
        UserError: the folder isn't a run's, its configuration can't be read, or it
            can't be downloaded.
    """
    path = fetch(path)
    if not is_run(path):
        raise UserError(
            f"{path} is not the folder of a run: it has no config.json. "
            "keras_mscam-train makes one."
        )
    return Run(path, read_config(path / "config.json", Config()))


def describe_environment() -> dict:
    """Return Python, platform, package versions, Keras backend and commit."""
    import keras

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": keras.backend.backend(),
        "versions": dict.fromkeys(_PACKAGES) | find_versions(_PACKAGES),
        "commit": _commit(),
    }


def write_beta(run: Run, beta: dict[str, float]) -> None:
    """Write `beta.csv`: the fraction of zeros of each pathology in training."""
    table = pd.DataFrame({"pathology": list(beta), "beta": list(beta.values())})
    with write_whole(run.beta_path) as temporary:
        table.to_csv(temporary, index=False)


def read_names(path: Path) -> tuple[str, ...]:
    """Return the column `pathology` of a table, in which `NA` is a name too.

    Raises:
        UserError: the table can't be read.
    """
    try:
        text = read_file(path, 2**20).decode()
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = tuple(row["pathology"] for row in rows)
        given = [name for name in names if name != ""]  # an output may have none
        if None in names or not names or len(set(given)) < len(given):
            raise ValueError("a name is missing, or there twice")
        return names
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(
            f"{path}, which names the pathologies of the run, can't be read: {error}"
        ) from error


def write_relevance_weights(run: Run, pathologies, blocks, weights) -> None:
    """Write `relevance_weights.csv`: a row per pathology, a column per block."""
    columns = {f"block{block}": row for block, row in zip(blocks, weights, strict=True)}
    table = pd.DataFrame({"pathology": list(pathologies), **columns})
    with write_whole(run.relevance_weights_path) as temporary:
        table.to_csv(temporary, index=False)


def _commit() -> str | None:
    """Return the commit of a source checkout, `None` for an installed package."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
