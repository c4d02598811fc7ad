"""What became of all files, in numbers and in sentences."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from keras_mscam.visualization.style import words

_MOST_REASONS = 8


@dataclass
class Summary:
    """What a folder of results says in all, and what the last call added.

    Args:
        folder: of results.
        read: number of images that were read.
        refused: number of files that weren't, by reason.
        positives: number of images, by pathology.
        warnings: number of images, by sentence.
        passed_over: number of files in folders that weren't tried, by kind.
        added: number of files that this call did.
        seconds: that it took for them, without loading the model.
    """

    folder: Path
    read: int = 0
    refused: Counter = field(default_factory=Counter)
    positives: Counter = field(default_factory=Counter)
    warnings: Counter = field(default_factory=Counter)
    passed_over: Counter = field(default_factory=Counter)
    added: int = 0
    seconds: float = 0.0

    def add(self, result: dict) -> None:
        """Count one line of `predictions.jsonl`."""
        if result["status"] == "refused":
            self.refused[result["error"]] += 1
            return
        self.read += 1
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
        lines.append(f"Results: {self.folder / 'predictions.csv'}")
        index = self.folder / "index.html"
        if index.exists():
            lines.append(f"Report: {index}")
        return "\n".join(lines)


def _list(title: str, counts: Counter) -> list[str]:
    """Return the most frequent, one a line."""
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
        lines.append(f"  and {more} kinds more, see predictions.csv")
    return [f"{title}:", *lines]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_BAR = 20


def describe_result(result: dict) -> str:
    """Return a small table of probabilities and boxes.

    Args:
        result: a line of `predictions.jsonl`.
    """
    if result["status"] == "refused":
        return f"{_show(result['path'])} {result['error']}."
    height, width = result["original_size"]
    lines = [f"{_show(result['path'])}, {height} x {width} pixels", ""]
    lines += result["warnings"] + [""] * bool(result["warnings"])
    lines += _list_probabilities(result)
    if result["boxes"]:
        lines += ["", *_list_boxes(result["boxes"])]
    return "\n".join([*lines, ""])


def _show(path: str) -> str:
    """Return a path as one line of text: names may hold line breaks, and any bytes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


def _list_probabilities(result: dict) -> list[str]:
    ordered = sorted(result["probabilities"].items(), key=lambda item: -item[1])
    longest = max(len(name) for name, _ in ordered)
    return [
        f"{words(name):<{longest}}  {value:.3f}  "
        f"{'#' * round(_BAR * value):<{_BAR}}"
        f"{'  positive' if name in result['positives'] else ''}".rstrip()
        for name, value in ordered
    ]


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
