"""The model card: what a person reads before using an exported model."""

from dataclasses import asdict
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from keras_mscam.configs.schema import DataConfig
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

_KINDS = {
    "whole": "phantoms, sizes a power of 2 times the network's",
    "odd": "phantoms, other sizes",
    "run": "of the run's test split",
}
_INPUTS = {
    "overlay": "`image_bytes`, `chosen`",
    "tensor": "`image` float32",
    "tensor_uint8": "`image` uint8",
}
_COMMON = ("pathologies", "positives", "original_size", "warnings", "error")


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
    """
    folder = resources.files("keras_mscam.exporting")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters.update(decimals=_format, plain=escape_markdown)
    template = environment.from_string(
        (folder / "model_card.md.jinja").read_text(encoding="utf-8")
    )
    contract = calibrated_model.contract
    metrics = _read_json(run.metrics_path)
    points = calibrated_model.calibration.operating_points
    table = metrics.get("classification", {})
    data = run.config.data
    text = template.render(
        contract=contract,
        model=asdict(run.config.model),
        training=asdict(run.config.training),
        parameters=f"{calibrated_model.localizer.count_params():,}",
        data=_describe_data(data),
        builtin=data.path is None and not data.backgrounds,
        auroc="classification" in metrics,
        metrics=metrics,
        points=points,
        aurocs={
            name: (table.get(name, {}).get("auroc") or {}).get("value")
            for name in contract.pathologies
        },
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
        source=_read_json(run.source_path),
        is_calibrated=any(point.images for point in points.values()),
        kinds=_KINDS,
    )
    path.write_text(text, encoding="utf-8")


def _read_json(path: Path) -> dict:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def _describe_data(data: DataConfig) -> str:
    if data.path is not None:
        return f"the prepared set `{data.path.name}`"
    if data.backgrounds:
        return "lesions planted in real X-rays without findings"
    return f"{data.phantoms:,} drawn chests, the built-in set"


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
