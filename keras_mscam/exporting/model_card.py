"""The model card: what a person reads before using an exported model."""

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from keras_mscam.exporting.agreement import Agreement
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.run_folder import Run
from keras_mscam.localization.protocol import describe_boxes

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
_PNG_START = b"\x89PNG"
_COMMON = ("pathologies", "original_size", "error")


def write_model_card(
    calibrated_model: CalibratedModel,
    run: Run,
    parities: dict[str, Agreement],
    outputs: dict[str, dict[str, np.ndarray]],
    path: Path,
) -> None:
    """Write `model_card.md`.

    Args:
        calibrated_model: what is exported.
        run: that it comes from; AUROCs are those of its `metrics.json`, if any.
        parities: by kind of images.
        outputs: by signature, the outputs on one image.
        path: of the file.
    """
    folder = resources.files("keras_mscam.exporting")
    template = (folder / "model_card.md.jinja").read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    metrics = _read_metrics(run)
    data = run.config.data
    text = environment.from_string(template).render(
        contract=calibrated_model.contract,
        model=asdict(run.config.model),
        training=asdict(run.config.training),
        parameters=f"{calibrated_model.localizer.count_params():,}",
        data=_describe_data(run),
        builtin=data.path is None and not data.backgrounds,
        auroc="classification" in metrics,
        metrics=metrics,
        rows=[
            _describe_row(calibrated_model, name, metrics)
            for name in calibrated_model.contract.pathologies
        ],
        protocol=describe_boxes(calibrated_model.protocol),
        notes=calibrated_model.notes,
        signatures=list(_describe_signatures(outputs)),
        outputs=list(_describe_outputs(outputs)),
        parities=parities,
        kinds=_KINDS,
    )
    path.write_text(text)


def _read_metrics(run: Run) -> dict:
    try:
        return json.loads(run.metrics_path.read_text())
    except (OSError, ValueError):
        return {}


def _describe_data(run: Run) -> str:
    data = run.config.data
    if data.path is not None:
        return f"the prepared set `{data.path.name}`"
    if data.backgrounds:
        return "lesions planted in real X-rays without findings"
    return f"{data.phantoms:,} drawn chests, the built-in set"


def _describe_row(
    calibrated_model: CalibratedModel, name: str, metrics: dict
) -> dict[str, str]:
    contract: Contract = calibrated_model.contract
    column = contract.pathologies.index(name)
    point = calibrated_model.calibration.operating_points[name]
    levels = contract.cam_thresholds[column]
    table = metrics.get("classification", {}).get(name, {})
    return {
        "pathology": name,
        "threshold": _format(point.probability_threshold),
        "sensitivity": _format(point.sensitivity),
        "specificity": _format(point.specificity),
        "images": str(point.images),
        "positives": str(point.positives),
        "levels": ", ".join(f"{level:.3g}" for level in levels),
        "auroc": _format((table.get("auroc") or {}).get("value")),
    }


def _format(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _describe_signatures(outputs: dict[str, dict[str, np.ndarray]]):
    for signature, values in outputs.items():
        names = sorted(values.keys() - set(_COMMON))
        yield {
            "signature": f"`{signature}`",
            "input": _INPUTS.get(signature, "`image_bytes`"),
            "outputs": ", ".join(f"`{name}`" for name in names),
            "bytes": f"{sum(_count_bytes(value[0]) for value in values.values()):,}",
            "json": f"{sum(_count_json(value[0]) for value in values.values()):,}",
        }


def _describe_outputs(outputs: dict[str, dict[str, np.ndarray]]):
    """Describe every output once, as the first signature that has it gives it."""
    all_outputs = {}
    for values in outputs.values():
        all_outputs = {**values, **all_outputs}
    for name in sorted(all_outputs):
        value = all_outputs[name][0]
        text = isinstance(value, bytes) or value.dtype == object
        yield {
            "output": f"`{name}`",
            "shape": " x ".join(map(str, np.shape(value))) or "1",
            "type": "string" if text else str(value.dtype),
            "bytes": f"{_count_bytes(value):,}",
            "json": f"{_count_json(value):,}",
        }


def _count_bytes(value: np.ndarray | bytes) -> int:
    value = np.asarray(value, object if isinstance(value, bytes) else None)
    return sum(map(len, value.flat)) if value.dtype == object else value.nbytes


def _count_json(value: np.ndarray | bytes) -> int:
    """Return the length of a value in JSON; pictures are in base64."""
    value = np.asarray(value, object if isinstance(value, bytes) else None)
    if value.dtype == object:
        return sum(map(_count_string, value.flat))
    # The digits that tell a float32 from its neighbours, in quotes, which numbers lack.
    text = json.dumps(value.astype(str).tolist(), separators=(",", ":"))
    return len(text) - 2 * value.size


def _count_string(value: bytes) -> int:
    if value.startswith(_PNG_START):
        return len('{"b64":""},') + 4 * -(-len(value) // 3)
    return len(value) + 3
