"""What is made of all results at the end: a table, an index, a summary."""

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from keras_mscam.files import write_whole
from keras_mscam.predicting.index import IndexPages
from keras_mscam.predicting.journal import read_lines
from keras_mscam.predicting.summary import Summary

CSV = "predictions.csv"
_BEFORE = ("path", "status", "height", "width")
_AFTER = ("positives", "boxes", "warnings", "error")


def write_tables(
    folder: Path, pathologies: tuple[str, ...], model: str, html: bool
) -> Summary:
    """Write `predictions.csv` and, if asked for, the index of the reports.

    Both are made from `predictions.jsonl`, which is read once, line by line.

    Args:
        folder: of results.
        pathologies: of the model; each has a column of probabilities.
        model: what the index calls the model.
        html: whether to write the index.

    Returns:
        A summary of all results.
    """
    summary = Summary(folder)
    pages = IndexPages(folder, pathologies, model) if html else None
    with ExitStack() as stack:
        temporary = stack.enter_context(write_whole(folder / CSV))
        file = stack.enter_context(
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        )
        table = csv.writer(_LineFeeds(file), lineterminator="\r\n")
        table.writerow([*_BEFORE, *pathologies, *_AFTER])
        for result in read_lines(folder):
            summary.add(result)
            table.writerow(_tabulate(result, pathologies))
            if pages:
                pages.add(result)
    if pages:
        pages.close(summary)
    return summary


class _LineFeeds:
    """Rows that end with a line feed.

    Python 3.11 and 3.12 quote of carriage return and line feed, which both may be in
    the name of a file, only what rows end with.
    """

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def _tabulate(result: dict, pathologies: tuple[str, ...]) -> list:
    if result["status"] == "refused":
        empty = [""] * (2 + len(pathologies) + 3)
        return [result["path"], result["status"], *empty, result["error"]]
    return [
        result["path"],
        result["status"],
        *result["original_size"],
        *(result["probabilities"][name] for name in pathologies),
        ";".join(result["positives"]),
        len(result["boxes"]),
        " ".join(result["warnings"]),
        "",
    ]
