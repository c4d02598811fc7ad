"""The result of one image, as a terminal shows it."""

from keras_mscam.plots.style import words

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
