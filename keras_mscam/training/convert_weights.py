"""From published weights to the folder of a run: DN-CAM without training."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from keras_mscam.configs.schema import Config, DataConfig, ModelConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.files import compute_checksum, write_whole_folder
from keras_mscam.inference.hub import fetch
from keras_mscam.inference.run_calibration import (
    Calibration,
    OperatingPoint,
    RunCalibration,
    write_calibration,
)
from keras_mscam.inference.run_folder import (
    Run,
    create_run,
    load_run,
    write_relevance_weights,
)
from keras_mscam.modeling.backbones import NORMALIZATIONS
from keras_mscam.modeling.classifier import (
    build_classifier,
    read_relevance_weights,
)
from keras_mscam.modeling.published import PublishedWeights, read_published

_BLOCK = 4


def convert(
    path: Path,
    output: Path,
    *,
    names: Sequence[str] = (),
    keep: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    normalization: str | None = None,
    data: Path | None = None,
    probability_threshold: float = 0.5,
    allow_unmatched: bool = False,
) -> Run:
    """Make a run of DN-CAM out of a classifier that was trained elsewhere.

    A network that ends in global average pooling and one dense layer *is* DN-CAM: the
    dense layer's kernel gives the class activation maps of the last block.

    Args:
        path: a file of PyTorch or safetensors, see `read_published`.
        output: the folder to make.
        names: of its outputs, in their order, "" for one to leave out; one of
            `OUTPUT_NAMES` for all of them; nothing if the file says.
        keep: those of them that the run is to have; all by default, or with `data`
            those that the records know.
        image_size: `(height, width)` that the network is to see; 224x224 by default,
            and 512x512 for TorchXRayVision's ResNet, as they were trained.
        normalization: of `NORMALIZATIONS`; as the layout of the file tells it by
            default.
        data: prepared records, on whose validation split probabilities, operating
            points and the standard deviation of maps are calibrated. Without them,
            probabilities are the network's own.
        probability_threshold: from which on a pathology is positive, where neither the
            file nor `data` says.
        allow_unmatched: whether tensors may be missing (their layers then begin at
            random) or left over.

    Returns:
        The run, which every command takes.

    Raises:
        UserError: the file, the names or the folder can't be used.

    Reference:
        Zhou et al. 2016, "Learning deep features for discriminative localization",
        section 2.
    """
    published = read_published(fetch(path))
    if not allow_unmatched:
        published.check_matched()
    outputs = published.name_outputs(names)
    pathologies = _choose(published, outputs, keep, data)
    if image_size is None:
        dense = published.backbone.startswith("densenet") or published.channels > 1
        image_size = (224, 224) if dense else (512, 512)
    normalization = normalization or published.normalization
    channels = len(NORMALIZATIONS[normalization][0])
    if channels != published.channels:
        raise UserError(
            f"{published.path} takes {published.channels} channels, and the "
            f"normalization {normalization} gives {channels}."
        )
    choices: Any = {"backbone": published.backbone, "normalization": normalization}
    model = ModelConfig(**choices, blocks=(_BLOCK,))
    config = Config(DataConfig(path=data, image_size=image_size), model)
    classifier = build_classifier(len(pathologies), image_size, **asdict(model))
    published.copy_backbone(classifier)
    published.copy_head(classifier, outputs, pathologies)
    with write_whole_folder(output) as folder:
        run = create_run(folder, config)
        classifier.save(run.model_path)
        write_relevance_weights(run, pathologies, *read_relevance_weights(classifier))
        source = {
            "file": published.path.name,
            "sha256": compute_checksum(published.path),
        }
        run.source_path.write_text(
            json.dumps(source, indent=1) + "\n", encoding="utf-8"
        )
        if data is None:
            thresholds = _find_thresholds(published, outputs, probability_threshold)
            write_calibration(
                run.calibration_path,
                _leave_uncalibrated(run, [thresholds[name] for name in pathologies],
                                    pathologies),
            )  # fmt: skip
        else:
            calibrate_run(run, classifier)
    return load_run(output)


def _choose(
    published: PublishedWeights, outputs, keep, data: Path | None
) -> tuple[str, ...]:
    outputs = [name for name in outputs if name]
    repeated = {name for name in outputs if outputs.count(name) > 1}
    repeated |= {name for name in keep if list(keep).count(name) > 1}
    unknown = [name for name in keep if name not in outputs]
    if repeated or unknown:
        raise UserError(
            f"{published.path} has no output {unknown[0]!r}; it has "
            f"{', '.join(outputs)}."
            if unknown
            else f"The name {repeated.pop()!r} is given twice."
        )
    if keep or data is None:
        return tuple(keep) or tuple(outputs)
    known = Manifest.read(data).pathologies
    left_out = [name for name in outputs if name not in known]
    if left_out:
        print(
            f"Left out, as {data} has no such labels: {', '.join(left_out)}.",
            file=sys.stderr,
        )
    chosen = tuple(name for name in outputs if name in known)
    if not chosen:
        raise UserError(
            f"{published.path} and {data} have no pathology in common: the one finds "
            f"{', '.join(outputs)}, the other has labels of {', '.join(known)}."
        )
    return chosen


def _find_thresholds(published, outputs, default: float) -> dict[str, float]:
    own = published.thresholds or [np.nan] * len(outputs)
    return {
        name: default if np.isnan(threshold) else threshold
        for name, threshold in zip(outputs, own, strict=True)
    }


def _leave_uncalibrated(run: Run, thresholds, pathologies) -> RunCalibration:
    """Take probabilities as they are, and maps as being all of one scale."""
    reason = "none, as the weights were converted without --data"
    points = [
        OperatingPoint(probability_threshold=threshold, criterion="published")
        for threshold in thresholds
    ]
    return RunCalibration(
        compute_checksum(run.model_path),
        {name: Calibration(reason=reason) for name in pathologies},
        dict(zip(pathologies, points, strict=True)),
        np.ones((1, len(pathologies))),
    )
