"""All results at the end: a table, pages to sort and filter, and sentences."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keras_mscam import __version__
from keras_mscam.batch_predict.journal import read_lines
from keras_mscam.data.coco import Marked, write_coco
from keras_mscam.errors import escape_unprintable
from keras_mscam.files import write_whole
from keras_mscam.visualization.style import read_template, words

CSV, COCO = "predictions.csv", "predictions.coco.json"
#: Images of a page: 2 MB, which a browser sorts and filters at once. More go on
#: `index-2.html` and so on.
PAGE = 20_000
_MOST_REASONS = 8
_BAR = 20


@dataclass
class Summary:
    """What a folder of results says in all, and what the last call added."""

    folder: Path
    read: int = 0  # images
    refused: Counter = field(default_factory=Counter)  # files, by reason
    positives: Counter = field(default_factory=Counter)  # images, by pathology
    warnings: Counter = field(default_factory=Counter)  # images, by sentence
    passed_over: Counter = field(default_factory=Counter)  # files not tried, by kind
    asked: frozenset[str] = frozenset()  # files of the last call
    asked_read: int = 0  # images among them
    asked_refused: int = 0
    only: dict | None = None  # what is known of the file, if that had one
    thresholds: dict = field(default_factory=dict)  # by pathology, `None` for never
    added: int = 0  # files that the last call did
    seconds: float = 0.0  # that they took, without loading the model

    def add(self, result: dict) -> None:
        """Count one line of `predictions.jsonl`."""
        is_asked = result["path"] in self.asked
        if is_asked and len(self.asked) == 1:
            self.only = result
        if result["status"] == "refused":
            self.refused[result["error"]] += 1
            self.asked_refused += is_asked
            return
        self.read += 1
        self.asked_read += is_asked
        self.positives.update(result["positives"])
        self.warnings.update(result["warnings"])

    def describe(self) -> str:
        """Return the lines that are printed at the end."""
        count = _count(self.read, "image")
        lines = [f"{count} read, {self.refused.total()} refused."]
        lines += _list("Refused", self.refused)
        lines += _list(
            "Positive", Counter({words(k): n for k, n in self.positives.items()})
        )
        lines += _list("Warnings", self.warnings)
        lines += _list("Passed over", self.passed_over)
        if self.added and self.seconds:
            rate = self.added / self.seconds
            lines.append(
                f"{_count(self.added, 'file')} in {_time(self.seconds)}, "
                f"{rate:.1f} a second."
            )
        lines.append(f"Results: {self.folder / CSV}")
        for title, name in (("Boxes", COCO), ("Report", "index.html")):
            if (self.folder / name).exists():
                lines.append(f"{title}: {self.folder / name}")
        return "\n".join(lines)


def _list(title: str, counts: Counter) -> list[str]:
    """Return the most frequent, one per line."""
    counts = +counts
    if not counts:
        return []
    width = len(str(max(counts.values())))
    lines = [
        f"  {count:>{width}}  {name}"
        for name, count in counts.most_common(_MOST_REASONS)
    ]
    more = len(counts) - _MOST_REASONS
    if more > 0:
        lines.append(f"  and {more} kinds more, see {CSV}")
    return [f"{title}:", *lines]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def write_tables(
    summary: Summary, pathologies: tuple[str, ...], model: str, html: bool
) -> None:
    """Write `predictions.csv` and, if asked for, the index of the reports.

    Both, and the counts of the summary, are made from `predictions.jsonl`, which is
    read once, line by line.
    """
    rows = []  # of the index, 200 bytes per image
    before, after = ("path", "status"), ("positives", "boxes", "warnings", "error")
    with (
        write_whole(summary.folder / CSV) as temporary,
        temporary.open(
            "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file,
    ):
        file.write(_join([*before, "height", "width", *pathologies, *after]))
        for result in read_lines(summary.folder):
            summary.add(result)
            file.write(_join(_tabulate(result, pathologies)))
            if html:
                rows.append(_describe_row(result, pathologies))
    if html:
        _write_pages(summary, pathologies, model, rows)


def _join(row: list) -> str:
    """Return a row of a table, which ends with a line feed.

    Python 3.11 and 3.12 quote of carriage return and line feed, which both may be in
    the name of a file, only what rows end with.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"


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


def write_boxes(folder: Path, pathologies: tuple[str, ...]) -> None:
    """Write `predictions.coco.json`: the images that were read, and their boxes.

    Names of images begin behind the folder that all are in, which is told as `folder`:
    tools look for images below one.
    """
    try:
        shared = os.path.commonpath(
            {os.path.dirname(result["path"]) for result in _read_images(folder)}
        )
    except ValueError:  # no image, or of some the path from the root, of some not
        shared = ""

    def shorten(path: str) -> str:
        return os.path.relpath(path, shared) if shared else path

    write_coco(
        folder / COCO,
        pathologies,
        (
            (shorten(result["path"]), result["original_size"])
            for result in _read_images(folder)
        ),
        (
            Marked(place, box["pathology"], box["xyxy"], box["score"])
            for place, result in enumerate(_read_images(folder))
            for box in result["boxes"]
        ),
        {"description": f"Predictions of keras_mscam {__version__}", "folder": shared},
    )


def _read_images(folder: Path) -> Iterator[dict]:
    return (line for line in read_lines(folder) if line["status"] == "read")


def _describe_row(result: dict, pathologies: tuple[str, ...]) -> str:
    """Return what a page needs, in short: thousandths, and numbers of positives.

    It is JSON that is safe inside of `<script>`.
    """
    if result["status"] == "refused":
        row = [result["path"], "", [], [], result["error"]]
    else:
        probabilities = [
            round(1000 * result["probabilities"][name]) for name in pathologies
        ]
        positives = [pathologies.index(name) for name in result["positives"]]
        note = " ".join(result["warnings"])
        row = [result["path"], result["name"], probabilities, positives, note]
    text = json.dumps(row, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _write_pages(
    summary: Summary, pathologies: tuple[str, ...], model: str, rows: list[str]
) -> None:
    """Write an index of rows, and remove pages of more results that there were once."""
    starts = range(0, max(len(rows), 1), PAGE)
    names = ["index.html", *(f"index-{n}.html" for n in range(2, len(starts) + 1))]
    for number, (name, start) in enumerate(zip(names, starts, strict=True), 1):
        html = read_template("index.html.jinja").render(
            model=model,
            summary=summary,
            refused=summary.refused.total(),
            pathologies=[words(name) for name in pathologies],
            data=f"[{','.join(rows[start : start + PAGE])}]",
            number=number,
            pages=names,
            page_size=PAGE,
        )
        with write_whole(summary.folder / name) as temporary:
            temporary.write_text(html, "utf-8", errors="replace")
    for old in summary.folder.glob("index-*.html"):
        if old.name not in names:
            old.unlink()


def describe_result(result: dict, thresholds: dict) -> str:
    """Return a line of `predictions.jsonl` as a small table for the terminal.

    Args:
        result: the line.
        thresholds: from where on each pathology is positive, `None` for never.
    """
    if result["status"] == "refused":
        return f"{escape_unprintable(result['path'])} {result['error']}."
    height, width = result["original_size"]
    lines = [f"{escape_unprintable(result['path'])}, {height} x {width} pixels", ""]
    lines += result["warnings"] + [""] * bool(result["warnings"])
    lines += _list_probabilities(result, thresholds)
    if result["boxes"]:
        lines += ["", *_list_boxes(result["boxes"])]
    found = {box["pathology"] for box in result["boxes"]}
    without = [words(name) for name in result["positives"] if name not in found]
    if without:
        lines += ["", f"No box of {', '.join(without)}: no place stands out."]
    return "\n".join([*lines, ""])


def _list_probabilities(result: dict, thresholds: dict) -> list[str]:
    ordered = sorted(result["probabilities"].items(), key=lambda item: -item[1])
    longest = max(len(name) for name, _ in ordered)
    lines = [f"{'':<{longest}}  probability  threshold"]
    for name, value in ordered:
        threshold = thresholds.get(name)
        from_where = "never" if threshold is None else f"{threshold:.3f}"
        line = f"{words(name):<{longest}}  {value:>11.3f}  {from_where:>9}"
        line += f"  {'#' * round(_BAR * value):<{_BAR}}"
        called = "  positive" if name in result["positives"] else ""
        lines.append(f"{line}{called}".rstrip())
    return lines


def _list_boxes(boxes: list[dict]) -> list[str]:
    longest = max(len("Box of"), *(len(box["pathology"]) for box in boxes))
    corners = [[f"{value:.0f}" for value in box["xyxy"]] for box in boxes]
    header = f"{'Box of':<{longest}}" + "".join(
        f"{name:>8}" for name in ("left", "top", "right", "bottom", "score")
    )
    has_size = all("millimetres" in box for box in boxes)
    lines = [header + ("   width x height" if has_size else "")]
    for box, corner in zip(boxes, corners, strict=True):
        line = f"{words(box['pathology']):<{longest}}"
        line += "".join(f"{value:>8}" for value in corner) + f"{box['score']:>8.3f}"
        if has_size:
            size = box["millimetres"]
            line += f"   {size['width']:.0f} x {size['height']:.0f} mm"
        lines.append(line)
    return lines
