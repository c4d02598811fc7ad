"""The model card: what a person reads before using an exported model."""

from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pydantic
from pydantic.dataclasses import dataclass

from keras_mscam.configs.schema import DataConfig
from keras_mscam.errors import UserError
from keras_mscam.evaluation.tables import escape_markdown
from keras_mscam.exporting.agreement import Agreement
from keras_mscam.files import read_json
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.run_folder import Run
from keras_mscam.localization.protocol import (
    SHOWN_THRESHOLDS,
    describe_maps,
    describe_shown,
)
from keras_mscam.modeling.classifier import count_networks

_KINDS = {
    "whole": "synthetic radiographs, sizes a power of 2 times the network's",
    "odd": "synthetic radiographs, other sizes",
    "run": "of the run's test split",
}
_INPUTS = {
    "overlay": "`image_bytes`, `chosen`",
    "tensor": "`image` float32",
    "tensor_uint8": "`image` uint8",
}
_COMMON = ("pathologies", "positives", "original_size", "warnings", "error")


@dataclass(frozen=True)
class _Auroc:
    value: float | None


@dataclass(frozen=True)
class _Classified:
    auroc: _Auroc


@dataclass(frozen=True)
class _Metrics:
    """What a card takes of `metrics.json`."""

    split: str
    images: int
    classification: dict[str, _Classified]


@dataclass(frozen=True)
class _Source:
    """What it takes of `source.json`, of weights that were converted."""

    file: str
    sha256: str


def write_model_card(
    calibrated_model: CalibratedModel,
    run: Run,
    path: Path,
    parities: dict[str, Agreement] | None = None,
    outputs: dict[str, dict[str, np.ndarray]] | None = None,
    license_name: str | None = None,
) -> None:
    """Write the model card of an export, or of a folder for a hub.

    Args:
        calibrated_model: what is exported.
        run: that it comes from; AUROCs are those of its `metrics.json`, if any.
        path: of the file.
        parities: of an export, by kind of images.
        outputs: of an export: by signature, the outputs on one image.
        license_name: of a folder for a hub, whose cards begin with their metadata.

    Raises:
        UserError: the run's `metrics.json` or `source.json` is damaged.
    """
    folder = resources.files("keras_mscam.exporting")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters.update(decimals=_format, plain=escape_markdown)
    template = environment.from_string(
        (folder / "model_card.md.jinja").read_text(encoding="utf-8")
    )
    contract = calibrated_model.contract
    metrics = _read(run.metrics_path, _Metrics)
    rows = metrics.classification if metrics else {}
    points = calibrated_model.calibration.operating_points
    data = run.config.data
    text = template.render(
        contract=contract,
        model=asdict(run.config.model),
        training=asdict(run.config.training),
        parameters=f"{calibrated_model.localizer.count_params():,}",
        networks=count_networks(calibrated_model.localizer),
        data=_describe_data(data),
        builtin=data.path is None and not data.backgrounds,
        metrics=metrics,
        points=points,
        aurocs={name: row.auroc.value for name, row in rows.items()},
        maps=describe_maps(calibrated_model.maps),
        shown=describe_shown(contract),
        default_threshold=SHOWN_THRESHOLDS[contract.normalization],
        signatures={
            signature: (
                _INPUTS.get(signature, "`image_bytes`"),
                sorted(values.keys() - set(_COMMON)),
            )
            for signature, values in (outputs or {}).items()
        },
        outputs=_describe_outputs(outputs or {}),
        parities=parities or {},
        license=license_name,
        source=_read(run.source_path, _Source),
        is_calibrated=calibrated_model.calibration.is_fitted,
        kinds=_KINDS,
    )
    path.write_text(text, encoding="utf-8")


def _read(path: Path, kind: type) -> Any:
    """Read a file of a run; `None` where it isn't there."""
    if not path.is_file():
        return None
    try:
        return pydantic.TypeAdapter(kind).validate_python(read_json(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged; restore it from a copy, or remove it to have a model "
            "card without what it says."
        ) from error


def _describe_data(data: DataConfig) -> str:
    if data.path is not None:
        return f"the prepared set `{data.path.name}`"
    if data.backgrounds:
        return "lesions planted in real X-rays without findings"
    return f"{data.phantoms:,} synthetic radiographs, the built-in set"


def _format(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _describe_outputs(outputs: dict[str, dict[str, np.ndarray]]) -> dict[str, tuple]:
    """Return shape and type of every output on one image, by its name."""
    firsts = {name: v[0] for values in outputs.values() for name, v in values.items()}
    return {
        name: (
            " x ".join(map(str, np.shape(value))) or "1",
            getattr(value, "dtype", np.dtype(object)).name.replace("object", "string"),
        )
        for name, value in sorted(firsts.items())
    }
