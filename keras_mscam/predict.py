"""`keras_mscam-predict`: what X-rays show, and where, as tables and pages."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from keras_mscam.errors import UserError, command
from keras_mscam.predicting.finding import find_files, stamp
from keras_mscam.predicting.finishing import Place
from keras_mscam.predicting.journal import (
    Journal,
    drop_lines,
    open_folder,
    read_lines,
    remove_files,
)
from keras_mscam.predicting.model import (
    Thresholds,
    describe_plan,
    load_predictor,
    name_model,
)
from keras_mscam.predicting.naming import Names
from keras_mscam.predicting.options import Options, Overlays
from keras_mscam.predicting.stream import stream
from keras_mscam.predicting.summary import Summary
from keras_mscam.predicting.tables import CSV, write_tables
from keras_mscam.predicting.terminal import describe_result


def predict(
    model: str | os.PathLike,
    paths: Iterable[str | os.PathLike],
    output: str | os.PathLike,
    *,
    options: Options | None = None,
    probability_threshold: Thresholds = None,
    runtime: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Summary:
    """Predict X-rays and write what they show into a folder.

    It may be killed at any time: the same call goes on, loses nothing and does nothing
    twice. A file is done again if its size or time of change is another, or if it
    couldn't be opened. What is known of a file that is no longer there is kept.

    Args:
        model: run or export, see `Predictor`.
        paths: files, folders, patterns, `-` for the standard input: see `find_files`.
        output: folder of results, new or of an earlier call with the same model and
            options and, if paths are relative, from the same working directory:
            `predictions.jsonl` and `predictions.csv`, a line an image, and
            what `options` ask for.
        options: what is made of each image.
        probability_threshold: one for all pathologies or by name, instead of the
            model's own.
        runtime: see `Predictor`.
        batch_size: images that the network takes at once.
        workers: processes that read, and as many that draw; `None` takes one a
            processor. Fewer than 200 files are done in this process, but for DICOM.
        overwrite: replace results of another model or other options.
        progress: whether to show a bar with rate and time left.

    Returns:
        A summary of all results in the folder.

    Raises:
        UserError: the model can't be loaded, there are no files, or `output` holds
            something else, is in use or can't be written.
        KeyboardInterrupt: Ctrl-C; the same call goes on.

    Example:
        >>> summary = predict("runs/phantom-1", ["xrays/"], "results")
        >>> summary.read, summary.refused, summary.positives["Mass"]
    """
    options, output = options or Options(), Path(output)
    for value, name in ((batch_size, "batch size"), (workers, "number of workers")):
        if value is not None and value < 1:
            raise UserError(f"The {name} must be 1 or more, not {value}.")
    if options.dicom:
        from keras_mscam.dicom_results import write_results  # noqa: F401 (is it there?)
    found = find_files(paths, output, _read_stdin())
    predictor = load_predictor(model, runtime, probability_threshold, options)
    contract = predictor.runtime.contract
    plan = describe_plan(model, predictor, options)
    if not all(map(os.path.isabs, found.files)):
        plan["working directory, where paths start"] = os.getcwd()
    with open_folder(output, plan, overwrite):
        todo, names = _find_todo(found.files, output)
        title = name_model(model, contract)
        place = Place(output, contract.name, options, title)
        start = time.monotonic()
        with (
            closing(Journal(output)) as journal,
            closing(
                stream(todo, names, predictor, place, batch_size, workers)
            ) as lines,
            tqdm(
                total=len(found.files),
                initial=len(found.files) - len(todo),
                desc="Predicting",
                unit="image",
                # Into a log file a line every now and then, on a terminal a live bar.
                mininterval=0.1 if sys.stderr.isatty() else 15,
                disable=not progress,
            ) as bar,
        ):
            for line in lines:
                journal.append(line)
                bar.update()
        seconds = time.monotonic() - start
        summary = write_tables(output, contract.pathologies, title, options.html)
    summary.passed_over = found.passed_over
    summary.added, summary.seconds = len(todo), seconds
    return summary


def _read_stdin() -> Iterator[str]:
    """Give the lines of the standard input, as Python has names that are no text."""
    yield from map(os.fsdecode, sys.stdin.buffer)


def _find_todo(files: list[str], output: Path) -> tuple[list[str], Names]:
    """Return files that aren't done, or were changed since, and the names left."""
    wanted, done, changed, taken = set(files), set(), set(), []
    for result in read_lines(output):
        path = result["path"]
        if path in wanted and not _is_done(result):
            changed.add(path)
            remove_files(output, result)
            continue
        done.add(path)
        if "name" in result:
            taken.append(result["name"])
    if changed:
        drop_lines(output, changed)
    return [path for path in files if path not in done], Names(taken)


def _is_done(result: dict) -> bool:
    # Who may open a file can change without a trace in the file.
    if result.get("error", "").startswith("cannot be opened"):
        return False
    now = stamp(result["path"])
    # What was read of a file that is out of reach now is all there is of it.
    return now is None or result["stamp"] == list(now)


def _parse_thresholds(values: tuple[str, ...]) -> Thresholds:
    """Read `0.5`, or `Mass=0.3 Nodule=0.2`."""
    if not values:
        return None
    try:
        if len(values) == 1 and "=" not in values[0]:
            return float(values[0])
        pairs = (value.split("=") for value in values)
        return {name: float(value) for name, value in pairs}
    except ValueError:
        raise UserError(
            f"--probability-threshold {' '.join(values)} is neither a number, as 0.5, "
            "nor pairs, as Mass=0.3 Nodule=0.2."
        ) from None


def _predict(
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    paths: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH [PATH ...]")
    ],
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    overlays: Overlays = Options.overlays,
    pathologies: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")
    ] = (),
    probability_threshold: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NUMBER | NAME=NUMBER ...")
    ] = (),
    longest_side: int = Options.longest_side,
    crop_borders: tyro.conf.FlagCreatePairsOff[bool] = False,
    maps: tyro.conf.FlagCreatePairsOff[bool] = False,
    html: tyro.conf.FlagCreatePairsOff[bool] = False,
    dicom: tyro.conf.FlagCreatePairsOff[bool] = False,
    runtime: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    strict: tyro.conf.FlagCreatePairsOff[bool] = False,
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """Say of X-rays what they show, and where.

    Broken off, it goes on where it was when it is given the same command. It exits
    with 0, with 2 if nothing could be read.

    Args:
        model: Folder of a run, or an export.
        paths: Files, folders or patterns; - reads paths, one a line, from a pipe.
        output: Folder of results.
        overlays: Heat maps to draw: none, of the top or of every positive one, or all.
        pathologies: Call and draw only these.
        probability_threshold: Instead of the model's: one, or Mass=0.3 Nodule=0.2.
        longest_side: Of pictures at most, in pixels.
        crop_borders: Look only at what lies inside of uniform borders.
        maps: Write raw maps, maps/NAME.npz.
        html: Write a report of each image, and an index.html of all.
        dicom: Write a Structured Report and Secondary Captures of DICOM files.
        runtime: What runs the model; auto takes the fastest that is installed.
        batch_size: Images that the network takes at once.
        workers: Processes that read, and as many that draw; one a processor by default.
        strict: Exit with 2 if any file was refused, when all are done.
        overwrite: Replace results of another model or other options.
    """
    options = Options(
        overlays, pathologies, longest_side, maps, html, dicom, crop_borders
    )
    summary = predict(
        model,
        paths,
        output,
        options=options,
        probability_threshold=_parse_thresholds(probability_threshold),
        runtime=runtime,
        batch_size=batch_size,
        workers=workers,
        overwrite=overwrite,
    )
    if summary.read + summary.refused.total() == 1:
        print(describe_result(next(read_lines(output))))
    print(summary.describe())
    if not summary.read:
        raise UserError("No file could be read.")
    if strict and summary.refused:
        count = summary.refused.total()
        files = "1 file was" if count == 1 else f"{count} files were"
        raise UserError(f"{files} refused, see {output / CSV}.")


@command
def main() -> None:
    """Console script `keras_mscam-predict`."""
    try:
        tyro.cli(_predict, prog="keras_mscam-predict")
    except KeyboardInterrupt:
        print("Go on by the same command.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
