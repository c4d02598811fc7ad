"""A run as a folder that can be uploaded to a hub, and taken from there."""

import dataclasses
import shutil
from pathlib import Path

from keras_mscam.configs.schema import Config
from keras_mscam.exporting.model_card import write_model_card
from keras_mscam.files import compute_checksum, read_json, write_whole_folder
from keras_mscam.inference.calibrated_model import load_calibrated_model
from keras_mscam.inference.hub import CHECKSUMS
from keras_mscam.inference.run_folder import Run, load_run, write_config


def publish(run_path: Path, output: Path, name: str, license_name: str) -> Path:
    """Write what others need of a run: the model, its calibration, and a card.

    Images, records, predictions and checkpoints stay, and so do the names of folders
    on this machine. The result is itself the folder of a run.

    Args:
        run_path: a calibrated run.
        output: the folder to make.
        name: of the model, the title of its card.
        license_name: as the Hugging Face Hub names licenses, such as `apache-2.0`.

    Raises:
        UserError: the run can't be read, or the folder isn't empty.
    """
    run = load_run(run_path)
    calibrated_model = load_calibrated_model(run, name=name)
    environment = read_json(run.config_path).get("environment", {})
    with write_whole_folder(output) as folder:
        write_config(Run(folder, _leave_out_folders(run.config)), environment)
        for path in (
            run.model_path,
            run.calibration_path,
            run.relevance_weights_path,
            run.source_path,
        ):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        card = folder / "README.md"
        write_model_card(calibrated_model, run, card, license_name=license_name)
        files = sorted(folder.iterdir())
        lines = [f"{compute_checksum(path)}  {path.name}\n" for path in files]
        (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
    return Path(output)


def _leave_out_folders(config: Config) -> Config:
    """Return a configuration with the names of files and data sets alone."""
    data, model = config.data, config.model
    data = dataclasses.replace(
        data,
        path=data.path and Path(data.path.name),
        backgrounds=tuple(Path(path.name) for path in data.backgrounds),
        cache_folder=None,
    )
    model = dataclasses.replace(
        model, weights=model.weights and Path(model.weights).name
    )
    return dataclasses.replace(config, data=data, model=model)
