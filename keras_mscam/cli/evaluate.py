"""`keras_mscam-evaluate`: what models find, where they look, and how sure that is."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.errors import UserError, command
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.run_folder import read_run


@command
def main() -> None:
    """Console script `keras_mscam-evaluate`."""
    tyro.cli(_evaluate_command, prog="keras_mscam-evaluate")


def _evaluate_command(
    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")
    ],
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    split: Literal["train", "validation", "test"] = "test",
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (),
    protocol: Literal["own", "wang"] = "own",
    fusion: Literal["relevance", "standardized"] | None = None,
    normalization: Literal["min_max", "exponential"] | None = None,
    threshold: Literal["fixed", "otsu", "tuned", "oracle"] | None = None,
    cam_thresholds: tuple[float, ...] | None = None,
    min_area: float | None = None,
    max_boxes: int | None = None,
    afp_denominator: Literal["all", "pathology", "images"] | None = None,
) -> None:
    """Evaluate the models of runs: one for itself, or several side by side.

    Args:
        runs: Folders that keras_mscam-train made; the first is tested against each.
        data: Prepared records; those of the runs by default.
        split: Which of their splits.
        output: Where to write; by default into the run. Several runs need it.
        images: Images to show, in place of typical hits and confident misses.
        protocol: Begin with what each run is configured for, or with Wang et al.'s.
        fusion: Fuse blocks by learned weights, or all alike over their deviations.
        normalization: Scale a map by minimum and maximum, or exp of deviations.
        threshold: Fixed, Otsu's, tuned on other patients' boxes, or on the same.
        cam_thresholds: Levels of a fixed threshold, of 0 to 1.
        min_area: Fraction of the map that a region must cover at least.
        max_boxes: Boxes of the highest scores that are kept.
        afp_denominator: What false positives are averaged over.
    """
    from keras_mscam.configs.schema import change_localization
    from keras_mscam.evaluation.compare import compare

    changes = {
        "fusion": fusion,
        "normalization": normalization,
        "threshold": threshold,
        "cam_thresholds": cam_thresholds,
        "min_area": min_area,
        "max_boxes": max_boxes,
        "afp_denominator": afp_denominator,
    }
    if not runs:
        raise UserError("Give one run at least: keras_mscam-evaluate RUN.")
    protocols = [
        change_localization(
            read_run(run).config.localization
            if protocol == "own"
            else LocalizationConfig(),
            changes,
        )
        for run in runs
    ]
    if len(runs) > 1:
        if output is None:
            raise UserError("Several runs are compared in a folder: give --output DIR.")
        report = compare(runs, protocols, output, data=data, split=split, images=images)
    else:
        evaluate(
            runs[0], data=data, split=split, protocol=protocols[0], images=images,
            output=output,
        )  # fmt: skip
        report = (output or runs[0]) / "report.html"
    print(f"Report: {report}")


if __name__ == "__main__":
    main()
