"""`index.html`: all images, to sort and to filter, each with its report."""

import json
from pathlib import Path

from keras_mscam.files import write_whole
from keras_mscam.plots.style import words
from keras_mscam.predicting.summary import Summary
from keras_mscam.predicting.templates import read_template

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
