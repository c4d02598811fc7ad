import io

import pandas as pd
import pytest

from keras_mscam.evaluation.tables import (
    build_table1,
    escape_markdown,
    to_csv,
    to_latex,
    to_markdown,
)


def interval(value):
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def tables(mass, nodule):
    thresholds = ("0.1", "0.3", "0.5", "0.7")
    rows = {
        "Mass": {"accuracy": interval(mass), "afp": 0.75, "boxes": 9, "images": 9},
        "Nodule": {"accuracy": interval(nodule), "afp": 0.25, "boxes": 9, "images": 9},
    }
    known = [value for value in (mass, nodule) if value is not None]
    mean = interval(sum(known) / len(known))
    both = dict.fromkeys(thresholds, rows)
    return {
        "iou": both, "iobb": both,
        "mean_accuracy": {o: dict.fromkeys(thresholds, mean) for o in ("iou", "iobb")},
    }  # fmt: skip


@pytest.fixture
def systems():
    def system(mass, nodule, text):
        return {
            "boxed": ["Mass", "Nodule"],
            "protocol": {"text": text},
            "localization": {
                "attention": tables(mass, nodule),
                "mean_box": tables(0.2, 0.1),
                "random_map": tables(0.3, 0.1),
            },
        }

    return {
        "A-CNN": system(0.5, 0.3, "Cut at 60 & 180."),
        "DN_CAM": system(0.4, None, "Cut at 60 & 180."),
        "plus": system(0.6, 0.2, "Cut elsewhere."),
    }


def test_cells_are_the_numbers_given(systems):
    frame = build_table1(systems).set_index(["threshold", "system", "measure"])
    assert frame.loc[("0.3", "A-CNN", "accuracy"), "Mass"] == 0.5
    assert frame.loc[("0.3", "A-CNN", "low"), "Nodule"] == pytest.approx(0.25)
    assert frame.loc[("0.3", "A-CNN", "accuracy"), "Mean"] == 0.4
    assert frame.loc[("0.3", "A-CNN", "afp"), "Mean"] == 0.5  # (0.75 + 0.25) / 2
    assert frame.loc[("0.7", "baseline: random map", "accuracy"), "Mass"] == 0.3


def test_signs_of_markdown_in_names():
    assert escape_markdown("a|b <i> `$x$` *y* [z]\\") == (
        r"a\|b \<i> \`\$x\$\` \*y\* \[z]\\"
    )


def test_markdown(systems):
    text = to_markdown(systems)
    section = text.split("## Localization accuracy at IoU > 0.3")[1]
    assert (
        "| A-CNN | 0.50 [0.45, 0.55] | 0.30 [0.25, 0.35] | 0.40 [0.35, 0.45] |"
        in section
    )
    assert "| DN_CAM | 0.40 [0.35, 0.45] | n/a |" in section
    # Each protocol once, with the names of its systems.
    assert text.count("Cut at 60 & 180.") == 1
    assert "A-CNN, DN_CAM: Cut at 60 & 180." in text
    assert "plus: Cut elsewhere." in text


def test_latex_is_escaped_and_the_best_system_is_bold(systems):
    text = to_latex(systems)
    lines = [line for line in text.splitlines() if line.startswith("0.3 & ")]
    # The means are all 0.40: each of them is the highest.
    assert lines == [
        r"0.3 & A-CNN & 0.50 (0.75) & \textbf{0.30} (0.25) & \textbf{0.40} (0.50) \\",
        r"0.3 & DN\_CAM & 0.40 (0.75) & -- & \textbf{0.40} (0.50) \\",
        r"0.3 & plus & \textbf{0.60} (0.75) & 0.20 (0.25) & \textbf{0.40} (0.50) \\",
        r"0.3 & baseline: mean box & 0.20 (0.75) & 0.10 (0.25) & 0.15 (0.50) \\",
        r"0.3 & baseline: random map & 0.30 (0.75) & 0.10 (0.25) & 0.20 (0.50) \\",
    ]
    assert r"60 \& 180" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_csv_has_both_overlaps(systems):
    frame = pd.read_csv(io.StringIO(to_csv(systems)))
    assert set(frame["overlap"]) == {"iou", "iobb"}
    assert len(frame) == 2 * 4 * 5 * 4  # overlaps, thresholds, rows, measures
