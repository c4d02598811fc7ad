"""From several runs to one, whose network is their average."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import calibrate_on
from keras_mscam.evaluation.split_outputs import predict_split, read_pathologies
from keras_mscam.files import compute_checksum, write_whole_folder
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_calibration import write_calibration
from keras_mscam.inference.run_folder import (
    Run,
    create_run,
    find_records,
    load_run,
    write_relevance_weights,
)
from keras_mscam.modeling.classifier import (
    average_classifiers,
    read_relevance_weights,
)
from keras_mscam.modeling.localizer import get_cams


def average(run_paths: Sequence[Path], output: Path, data: Path | None = None) -> Run:
    """Make a run whose network is the average of several, see `average_classifiers`.

    Its settings are those of the first run. It is calibrated on a validation split,
    which tells the truth only of patients that no network was trained on: of runs with
    the same split.

    Args:
        run_paths: two runs at least, such as trainings with several seeds.
        output: the folder to make.
        data: prepared records whose validation split calibrates; by default those of
            the first run.

    Raises:
        UserError: they can't be read, are fewer than two or of different pathologies,
            image sizes or blocks, or there are no records.
    """
    runs = [load_run(path) for path in run_paths]
    if len(runs) < 2:
        raise UserError("An average is that of two runs at least.")
    records = find_records(runs[0]) if data is None else data
    Manifest.read(records)  # says so if there is none
    classifiers = [load_classifier(run) for run in runs]
    pathologies = read_pathologies(runs[0])
    expected = _describe(runs[0], classifiers[0])
    for run, classifier in zip(runs[1:], classifiers[1:], strict=True):
        for what, value in _describe(run, classifier).items():
            if value != expected[what]:
                raise UserError(
                    f"{run.path} has other {what} than {runs[0].path}: {value}, not "
                    f"{expected[what]}."
                )
    classifier = average_classifiers(classifiers)
    with write_whole_folder(output) as folder:
        config = runs[0].config
        config = replace(config, data=replace(config.data, path=records))
        run = create_run(folder, config)
        classifier.save(run.model_path)
        write_relevance_weights(run, pathologies, *read_relevance_weights(classifier))
        if runs[0].source_path.is_file():
            shutil.copyfile(runs[0].source_path, run.source_path)
        validation = predict_split(run, classifier, records, "validation")
        calibration = calibrate_on([validation], compute_checksum(run.model_path))
        write_calibration(run.calibration_path, calibration)
    return load_run(output)


def _describe(run: Run, classifier) -> dict:
    """Return what has to be the same in all, as an error calls it."""
    shapes = {name: cam.shape[1:3] for name, cam in get_cams(classifier).items()}
    return {
        "pathologies": ", ".join(read_pathologies(run)),
        "image sizes": "x".join(map(str, classifier.input.shape[1:3])),
        "blocks": ", ".join(name.removeprefix("cam_block") for name in shapes),
        "sizes of maps": ", ".join("x".join(map(str, s)) for s in shapes.values()),
    }
