"""Reports: HTML files that need nothing beside them."""

import base64
import io
import os.path
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from keras_mscam.errors import UserError
from keras_mscam.evaluation.tables import build_table1
from keras_mscam.files import read_file, read_json
from keras_mscam.inference.run_folder import Run
from keras_mscam.visualization import case_figures, charts
from keras_mscam.visualization.case_figures import Case
from keras_mscam.visualization.style import read_template

_BASELINES = {"mean_box": "Mean box (baseline)", "random_map": "Random map (baseline)"}


def write_report(
    run: Run,
    networks: int,
    is_calibrated: bool,
    metrics: dict,
    cases: list[Case],
    sheets: dict[str, list[Case]],
    shown: str,
    path: Path,
) -> None:
    """Write the report of one run as HTML.

    It says how many `networks` the run averages, if more than one, and whether
    probabilities are calibrated; it shows `metrics.json`, the losses of `history.csv`
    where there is one, cases one by one, and by pathology those to show together;
    `shown` says which boxes these have.
    """
    history = _read_history(run)
    name = os.path.basename(os.path.abspath(run.path))
    alone = {name: metrics}
    html = read_template("report.html.jinja", **_FILTERS).render(
        name=name,
        networks=networks,
        is_calibrated=is_calibrated,
        config=read_json(run.config_path),
        metrics=metrics,
        fused=metrics["localization"]["attention"],
        titles=_title(metrics),
        baselines=list(_BASELINES),
        shown=shown,
        cases=[
            (case, _embed(case_figures.plot_case(case), photographic=True))
            for case in cases
        ],
        sheets=[
            (
                name,
                len(sheet),
                _embed(case_figures.plot_contact_sheet(sheet), photographic=True),
            )
            for name, sheet in sheets.items()
            if sheet
        ],
        history=None if history is None else _embed(charts.plot_history(history)),
        epochs=0 if history is None else int(history["epoch"].max()),
        relevance=_embed(
            charts.plot_relevance_weights(
                metrics["relevance_weights"], metrics["blocks"]
            )
        ),
        localization=_draw_localization(metrics) if metrics["boxed"] else None,
        froc=_embed(charts.plot_froc(alone)),
        roc=_embed(charts.plot_roc(alone)),
        reliability=_embed(charts.plot_reliability(alone)),
    )
    _write(path, html)


def _read_history(run: Run) -> pd.DataFrame | None:
    if not run.history_path.is_file():
        return None
    try:
        history = pd.read_csv(io.BytesIO(read_file(run.history_path, 2**24)))
        kinds = {"epoch": int, "loss": float, "val_loss": float}
        if "learning_rate" in history:
            kinds["learning_rate"] = float
        history = history.astype(kinds)
        if history.empty:
            raise ValueError("it has no epoch")
        return history
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{run.history_path} is damaged; restore it from a copy, or remove it to "
            "have a report without the losses."
        ) from error


def write_comparison(
    folder: Path, comparison: dict, cases_by_system: dict[str, list[Case]]
) -> None:
    """Write `report.html` of a `comparison.json`, and `figure2.png` and `.pdf`.

    The cases of the systems are the same in the same order.
    """
    systems = comparison["systems"]
    first = next(iter(systems.values()))
    figure2 = None
    if any(cases_by_system.values()):
        figure = case_figures.plot_figure2(cases_by_system)
        figure2 = _embed(figure, photographic=True)
        for kind in ("png", "pdf"):
            (folder / f"figure2.{kind}").write_bytes(_draw(figure, kind))
    html = read_template("comparison.html.jinja", **_FILTERS).render(
        comparison=comparison,
        systems=list(systems),
        first=first,
        warnings=dict.fromkeys(w for s in systems.values() for w in s["warnings"]),
        boxed=first["boxed"],
        rows=_collect_rows(systems),
        figure2=figure2,
        froc=_embed(charts.plot_froc(systems)),
        roc=_embed(charts.plot_roc(systems)),
        reliability=_embed(charts.plot_reliability(systems)),
    )
    _write(folder / "report.html", html)


def _write(path: Path, html: str) -> None:
    # A name need not be text. What can't be written as such is shown as `?`.
    path.write_text(html, encoding="utf-8", errors="replace")


def _title(metrics: dict) -> dict[str, str]:
    blocks = {
        name: f"Block {name.removeprefix('block')} alone" for name in metrics["blocks"]
    }
    return {"attention": "Fused", **blocks, **_BASELINES}


def _draw_localization(metrics: dict) -> str:
    systems, blocks = ["attention", "mean_box", "random_map"], metrics["blocks"]
    if len(blocks) > 1:
        systems.insert(1, blocks[-1])
    titles = _title(metrics)
    accuracies = {
        titles[system]: {
            name: row["accuracy"]["value"]
            for name, row in metrics["localization"][system]["iou"]["0.3"].items()
        }
        for system in systems
    }
    return _embed(charts.plot_localization(accuracies))


def _collect_rows(systems: dict[str, dict]) -> dict:
    """Return `{threshold: {system: {pathology: {"accuracy", "afp"}}}}`."""
    rows = {}
    for _, line in build_table1(systems).iterrows():
        row = rows.setdefault(line["threshold"], {}).setdefault(line["system"], {})
        for name in line.index[3:]:
            value = None if pd.isna(line[name]) else line[name]
            row.setdefault(name, {})[line["measure"]] = value
    return rows


def _number(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _interval(values: dict, digits: int = 2, key: str = "value", sign: str = "") -> str:
    if values[key] is None:
        return "n/a"
    text = f"{values[key]:{sign}.{digits}f}"
    if values["low"] is None:
        return text
    low, high = (f"{values[end]:{sign}.{digits}f}" for end in ("low", "high"))
    return f"{text} [{low}, {high}]"


def _difference(values: dict, digits: int = 2) -> str:
    return _interval(values, digits, "difference", "+")


def _p_value(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else _number(value, 3)


def _embed(figure: Figure, photographic: bool = False) -> str:
    """Return a figure as a data URL, as JPEG where it shows X-rays, to save bytes."""
    kind, options = "png", {}
    if photographic:
        kind, options = "jpeg", {"pil_kwargs": {"quality": 88}}
    data = base64.b64encode(_draw(figure, kind, **options)).decode()
    return f"data:image/{kind};base64,{data}"


def _draw(figure: Figure, kind: str, **options) -> bytes:
    # In memory: Pillow does not say why it can't write a file.
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, facecolor="white", **options)
    return buffer.getvalue()


_FILTERS = {
    "number": _number, "interval": _interval, "difference": _difference,
    "p_value": _p_value,
}  # fmt: skip
