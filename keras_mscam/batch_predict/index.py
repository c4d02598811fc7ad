"""All results at the end: `predictions.csv`, and `index.html` to sort and filter."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from keras_mscam.batch_predict.journal import read_lines
from keras_mscam.batch_predict.summary import Summary
from keras_mscam.files import write_whole
from keras_mscam.visualization.style import read_template, words

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


#: Images of a page: 2 MB, which a browser sorts and filters at once. More go on
#: `index-2.html` and so on.
PAGE = 20_000


class IndexPages:
    """Pages of an index, written one by one: few images are in memory.

    Args:
        folder: of results; thumbnails and reports lie in it.
        pathologies: of the model.
        model: what to call the model.
    """

    def __init__(self, folder: Path, pathologies: tuple[str, ...], model: str):
        self._folder, self._pathologies, self._model = folder, pathologies, model
        self._rows: list[list] = []
        self._stored: list[Path] = []

    def add(self, result: dict) -> None:
        """Add one line of `predictions.jsonl`."""
        if len(self._rows) == PAGE:
            self._store()
        self._rows.append(self._describe(result))

    def close(self, summary: Summary) -> None:
        """Write the pages."""
        self._store()
        count = len(self._stored)
        for number, rows in enumerate(self._stored, 1):
            html = read_template("index.html.jinja").render(
                model=self._model,
                summary=summary,
                refused=summary.refused.total(),
                pathologies=[words(name) for name in self._pathologies],
                data=rows.read_text(),
                number=number,
                pages=[_name(other) for other in range(1, count + 1)],
                page_size=PAGE,
            )
            rows.unlink()
            with write_whole(self._folder / _name(number)) as temporary:
                temporary.write_text(html, "utf-8", errors="replace")
        for old in self._folder.glob("index-*.html"):
            if old.name not in map(_name, range(1, count + 1)):
                old.unlink()

    def _store(self) -> None:
        """Put the rows of a page aside until it is known how many pages there are."""
        path = self._folder / f".index-{len(self._stored)}.0.json"
        path.write_text(_dump(self._rows))
        self._stored.append(path)
        self._rows = []

    def _describe(self, result: dict) -> list:
        """Return what a page needs, in short: thousandths, and numbers of positives."""
        if result["status"] == "refused":
            return [result["path"], "", [], [], result["error"]]
        probabilities = [
            round(1000 * result["probabilities"][name]) for name in self._pathologies
        ]
        positives = [self._pathologies.index(name) for name in result["positives"]]
        note = " ".join(result["warnings"])
        return [result["path"], result["name"], probabilities, positives, note]


def _name(number: int) -> str:
    return "index.html" if number == 1 else f"index-{number}.html"


def _dump(rows: list) -> str:
    """Return JSON that is safe inside of `<script>`."""
    text = json.dumps(rows, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
