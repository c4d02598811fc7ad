"""The report of a run: one HTML file that needs nothing beside it."""

import base64
import io
import json

import jinja2
import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from keras_mscam.data.pipeline import Example
from keras_mscam.files import write_whole
from keras_mscam.localization.boxes import propose_boxes, scale_boxes
from keras_mscam.plots import (
    plot_case,
    plot_history,
    plot_localization,
    plot_relevance_weights,
)
from keras_mscam.run_folder import Run


def write_report(
    run: Run,
    metrics: dict,
    cases: list[tuple[str, str, str]],
    examples: dict[str, Example],
    localizer: keras.Model,
    pathologies: tuple[str, ...],
) -> None:
    """Write `report.html`.

    Args:
        run: the run; its `history.csv` is read where there is one.
        metrics: the contents of `metrics.json`.
        cases: image name, pathology and kind of each case to show.
        examples: the X-rays of the cases, by name.
        localizer: draws their maps.
        pathologies: names, in the order of the map channels.
    """
    blocks = list(metrics["localization_by_block"])
    if not blocks:
        blocks = [n.removeprefix("cam_") for n in localizer.output if "cam_" in n]
    history = _read_history(run)
    html = _template().render(
        run=run,
        config=json.loads(run.config_path.read_text()),
        metrics=metrics,
        blocks=blocks,
        boxed=_boxed_pathologies(metrics),
        cases=[
            {
                "name": name,
                "pathology": pathology.replace("_", " "),
                "kind": kind,
                "figure": _embed(
                    _draw_case(
                        examples[name], pathology, localizer, metrics, pathologies
                    ),
                    photographic=True,
                ),
            }
            for name, pathology, kind in cases
        ],
        history=None if history is None else _embed(plot_history(history)),
        epochs=0 if history is None else len(history),
        relevance=_embed(plot_relevance_weights(metrics["relevance_weights"], blocks)),
        localization=_draw_localization(metrics),
    )
    with write_whole(run.report_path) as temporary:
        temporary.write_text(html)


def _draw_case(example: Example, pathology, localizer, metrics, pathologies) -> Figure:
    column = pathologies.index(pathology)
    outputs = {
        name: keras.ops.convert_to_numpy(value)[0]
        for name, value in localizer(example.image[None, ..., None]).items()
    }
    attention = outputs["attention"][..., column]
    size = example.image.shape
    truth = [box.xyxy for box in example.boxes if box.pathology == pathology]
    return plot_case(
        example.image,
        {
            name.removeprefix("cam_"): maps[..., column]
            for name, maps in outputs.items()
            if name.startswith("cam_")
        },
        attention,
        np.array(metrics["relevance_weights"][pathology]),
        scale_boxes(np.array(truth).reshape(-1, 4), example.original_size, size),
        propose_boxes(attention, size),
        pathology,
        float(outputs["probabilities"][column]),
    )


def _draw_localization(metrics: dict) -> str | None:
    boxed = _boxed_pathologies(metrics)
    if not boxed:
        return None
    tables = {"Fused map": metrics["localization"]}
    by_block = metrics["localization_by_block"]
    if len(by_block) > 1:
        last = list(by_block)[-1]
        tables[f"Block {last.removeprefix('block')} alone"] = by_block[last]
    tables["Mean box"] = metrics["floors"]["mean_box"]
    tables["Random map"] = metrics["floors"]["random_map"]
    accuracies = {
        system: {name: table["iou"]["0.3"][name]["accuracy"] for name in boxed}
        for system, table in tables.items()
    }
    return _embed(plot_localization(accuracies))


def _boxed_pathologies(metrics: dict) -> list[str]:
    rows = metrics["localization"]["iou"]["0.3"]
    return [name for name, row in rows.items() if row["boxes"]]


def _read_history(run: Run) -> pd.DataFrame | None:
    return pd.read_csv(run.history_path) if run.history_path.is_file() else None


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_mscam", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment.get_template("report.html.jinja")


def _number(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _embed(figure: Figure, photographic: bool = False) -> str:
    """Return a figure as a data URL, as JPEG where it shows X-rays, to save bytes."""
    buffer = io.BytesIO()
    if photographic:
        kind, options = "jpeg", {"pil_kwargs": {"quality": 88}}
    else:
        kind, options = "png", {}
    figure.savefig(buffer, format=kind, facecolor="white", **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
