"""`keras_mscam-export`: from a run to models that run elsewhere."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.config import LocalizationConfig, change_localization
from keras_mscam.errors import UserError, command
from keras_mscam.exporting.repository import OTHER_FORMATS

_SAVED_MODEL = "saved_model"


def export(run_path: Path, output: Path, **options) -> Path:
    """Export a run as the next version of a model in a TF Serving repository.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        output: the repository; made if it is missing.
        options: of `export_formats`.

    Returns:
        The folder of the version.

    Raises:
        UserError: the run can't be exported, or the export differs from it.
    """
    return export_formats(run_path, output, (_SAVED_MODEL,), **options)[_SAVED_MODEL]


def export_formats(
    run_path: Path,
    output: Path,
    formats: Sequence[str],
    *,
    name: str = "keras_mscam",
    protocol: LocalizationConfig | None = None,
    attention_size: tuple[int, int] | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Export a run in several formats, all with the number of the next version.

    The version of a format appears whole or not at all, and only after each of its
    models, loaded anew, has given the numbers of the Keras model: on phantoms, and on
    images of the run's test split. Formats that were done before one fails stay.

    Args:
        run_path: a folder that `keras_mscam-train` made.
        output: the repository; made if it is missing.
        formats: `"saved_model"` and names of `OTHER_FORMATS`, see `read_formats`.
        name: of the model, as servers know it.
        protocol: how maps become boxes; the run's own by default.
        attention_size: `(height, width)` of the fused map that is given; a quarter of
            the input's by default.
        progress: whether to say what is being done.

    Returns:
        The folders of the version, by format.

    Raises:
        UserError: there is no such format, the run can't be exported, a library is
            missing, or an export differs from the Keras model.
    """
    from keras_mscam.exporting.exportable import read_exportable
    from keras_mscam.exporting.formats import check_installed
    from keras_mscam.exporting.repository import next_common_version
    from keras_mscam.exporting.versions import export_others, export_saved_model
    from keras_mscam.run_folder import read_run

    check_name(name)
    formats = read_formats(formats)
    others = [kind for kind in formats if kind != _SAVED_MODEL]
    for kind in others:
        check_installed(kind)
    run = read_run(run_path)
    exportable = read_exportable(run, protocol, attention_size, name, progress)
    number = next_common_version(Path(output), name)
    say = functools.partial(print, flush=True) if progress else _say_nothing
    made = {}
    if _SAVED_MODEL in formats:
        made[_SAVED_MODEL] = export_saved_model(exportable, run, output, number, say)
    if others:
        saved_model = made.get(_SAVED_MODEL)
        made |= export_others(exportable, run, output, number, others, saved_model, say)
    return made


def check_name(name: str) -> None:
    """Refuse a name of a model that is no name of a folder, or no part of a URL.

    A number would be taken for a version.

    Raises:
        UserError: it is one of these, or ends as the folder of another format does.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    if not name or set(name) - allowed or name.startswith(".") or name.isdigit():
        raise UserError(
            f"{name!r} can't be a model's name: use letters, digits, _, - and dots, "
            "not digits alone."
        )
    endings = tuple(f"-{kind}" for kind in OTHER_FORMATS)
    if name.endswith(endings):
        raise UserError(
            f"{name!r} can't be a model's name: {', '.join(endings)} end the names of "
            "other formats."
        )


def read_formats(words: Sequence[str]) -> tuple[str, ...]:
    """Read names of formats, each once; a word may hold several, parted by commas.

    Raises:
        UserError: there is no such format, or none is named.

    Example:
        >>> read_formats(["saved_model,litert", "onnx"])
        ('saved_model', 'litert', 'onnx')
    """
    known = (_SAVED_MODEL, *OTHER_FORMATS)
    names = tuple(dict.fromkeys(name for word in words for name in word.split(",")))
    if not names:
        raise UserError(f"No format is named; there are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise UserError(
                f"There is no format {name!r}; there are {', '.join(known)}."
            )
    return names


def _say_nothing(text: str) -> None:
    pass


@command
def main() -> None:
    """Console script `keras_mscam-export`."""
    tyro.cli(_export_command, prog="keras_mscam-export")


def _export_command(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    formats: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (
        _SAVED_MODEL,
    ),
    name: str = "keras_mscam",
    attention_size: Annotated[
        tuple[int, int] | None, tyro.conf.arg(metavar="HEIGHT WIDTH")
    ] = None,
    protocol: Literal["own", "wang"] = "own",
    fusion: Literal["relevance", "standardized"] | None = None,
    normalization: Literal["min_max", "exponential"] | None = None,
    threshold: Literal["fixed", "tuned"] | None = None,
    cam_thresholds: tuple[float, ...] | None = None,
    min_area: float | None = None,
    max_boxes: int | None = None,
) -> None:
    """Export a run's model: for TF Serving, with boxes in its graph, and elsewhere.

    Args:
        run: Folder that keras_mscam-train made.
        output: Model repository; DIR/NAME/1 is written, or the next number, and
            DIR/NAME-litert/1 and so on.
        formats: Of saved_model, litert, onnx, openvino and tfjs.
        name: Of the model, as servers know it.
        attention_size: Of the fused map that is given; a quarter of the input's.
        protocol: Begin with what the run is configured for, or with Wang et al.'s.
        fusion: Fuse blocks by learned weights, or all alike over their deviations.
        normalization: Scale a map by minimum and maximum, or exp of deviations.
        threshold: Fixed, or tuned on the drawn boxes of the run's test split.
        cam_thresholds: Levels of a fixed threshold, of 0 to 1.
        min_area: Fraction of the map that a region must cover at least.
        max_boxes: Boxes of a pathology in an image at most; 10 by default.
    """
    from keras_mscam.run_folder import read_run

    if attention_size is not None and min(attention_size) < 1:
        raise UserError(f"The attention size {attention_size} must be positive.")
    base = (
        read_run(run).config.localization if protocol == "own" else LocalizationConfig()
    )
    changes = {
        "fusion": fusion,
        "normalization": normalization,
        "threshold": threshold,
        "cam_thresholds": cam_thresholds,
        "min_area": min_area,
        "max_boxes": max_boxes,
    }
    export_formats(
        run,
        output,
        formats,
        name=name,
        protocol=change_localization(base, changes),
        attention_size=attention_size,
    )


if __name__ == "__main__":
    main()
