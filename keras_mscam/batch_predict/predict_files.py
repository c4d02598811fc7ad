"""`keras_mscam-predict`: what X-rays show, and where, as tables and pages."""

import os
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from keras_mscam.batch_predict.discovery import find_files, read_stdin
from keras_mscam.batch_predict.index import COCO, Summary, write_boxes, write_tables
from keras_mscam.batch_predict.journal import (
    Journal,
    drop_lines,
    open_folder,
    read_lines,
    remove_pictures,
)
from keras_mscam.batch_predict.outputs import Place
from keras_mscam.batch_predict.settings import (
    Options,
    Thresholds,
    describe_plan,
    load_predictor,
)
from keras_mscam.batch_predict.stream import stream
from keras_mscam.errors import UserError
from keras_mscam.files import Names, stamp
from keras_mscam.inference.run_folder import PRETRAINED
from keras_mscam.parallel.cluster import Engine, find_workers


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
    engine: Engine = "local",
    coco: bool = False,
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
            `predictions.jsonl` and `predictions.csv`, a line per image, and
            what `options` ask for.
        options: what is made of each image.
        probability_threshold: one for all pathologies or by name, instead of the
            model's own.
        runtime: see `Predictor`.
        batch_size: images that the network takes at once.
        workers: processes that read, and as many that draw; `None` takes one per
            processor. Fewer than 200 files are done in this process, but for DICOM.
            With `engine="ray"`, see `Cluster`.
        engine: what does the work, see `find_workers`: this machine, or the nodes of a
            Ray cluster, which find model, files and `output` under the same paths.
        coco: write all boxes in COCO's JSON too, `predictions.coco.json`. Once there,
            it is written anew by every call.
        overwrite: replace results of another model or other options.
        progress: whether to show a bar with rate and time left.

    Returns:
        A summary of all results in the folder.

    Raises:
        UserError: the model can't be loaded, there are no files, or `output` holds
            something else, is in use or can't be written; or as `find_workers`.
        KeyboardInterrupt: Ctrl-C; the same call goes on.

    Example:
        >>> summary = predict("runs/phantom-1", ["xrays/"], "results")
        >>> summary.read, summary.refused, summary.positives["Mass"]
    """
    options, output = options or Options(), Path(output)
    if batch_size < 1:
        raise UserError(f"The batch size must be 1 or more, not {batch_size}.")
    if options.dicom:
        from keras_mscam.dicom_results import write_results  # noqa: F401 (is it there?)

    processes = find_workers(engine, workers)
    found = find_files(paths, output, read_stdin())
    predictor = load_predictor(model, runtime, probability_threshold, options)
    contract = predictor.runtime.contract
    plan = describe_plan(predictor, options)
    if not all(map(os.path.isabs, found.files)):
        plan["working directory, where paths start"] = os.getcwd()
    with open_folder(output, plan, overwrite):
        todo, names = _find_todo(found.files, output, contract.pathologies)
        # Runs in several folders have models of the same name.
        where = Path(*Path(model).absolute().parts[-2:])
        if Path(model) == PRETRAINED:
            where = "the small network of the package"
        title = f"{contract.name}, {where}"
        place = Place(output, contract.name, options, title)
        lines = stream(todo, names, predictor, place, batch_size, processes)
        start = time.monotonic()
        with (
            closing(Journal(output)) as journal,
            closing(lines),
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
        if coco or (output / COCO).exists():
            write_boxes(output, contract.pathologies)
        summary = Summary(
            output,
            asked=frozenset(found.files),
            passed_over=found.passed_over,
            thresholds=contract.thresholds,
            added=len(todo),
            seconds=seconds,
        )
        write_tables(summary, contract.pathologies, title, options.html)
    return summary


def _find_todo(
    files: list[str], output: Path, pathologies: tuple[str, ...]
) -> tuple[list[str], Names]:
    """Return files that aren't done, or were changed since, and the names left."""
    wanted, done, changed, taken, refused = set(files), set(), set(), [], []
    for result in read_lines(output, pathologies):
        path = result["path"]
        if path in wanted and not _is_done(result):
            changed.add(path)
            remove_pictures(output, result)
            continue
        done.add(path)
        if "name" in result:
            taken.append(result["name"])
        else:
            refused.append(Path(path).stem)
    if changed:
        drop_lines(output, changed)
    names = Names(taken)
    for stem in refused:  # were given names, too
        names.find(stem)
    return [path for path in files if path not in done], names


def _is_done(result: dict) -> bool:
    # Who may open a file can change without a trace in the file.
    if result.get("error", "").startswith("cannot be opened"):
        return False
    now = stamp(result["path"])
    # What was read of a file that is out of reach now is all there is of it.
    return now is None or result["stamp"] == list(now)
