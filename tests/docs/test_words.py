"""Spelling, and the words of CONTRIBUTING.md, in what users read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "experiments").rglob("*.md"),
    *(path for path in ROOT.glob("export/**/*.md") if "node_modules" not in path.parts),
]
#: What is said otherwise, and how it is said. Code, such as names of files, may differ.
AVOIDED = {
    r"(drawn|true|gold|annotated) box(es)?": "ground-truth box",
    r"(proposed|suggested|detected) box(es)?": "predicted box",
    r"cut-?offs?|cut at|all levels": "threshold",
    r"floors?": "baseline",
    r"in units|units? of (its|their|the)( own)? \w*deviation": "standard deviation",
    r"(milliseconds|seconds|m?s|[KM]i?B|boxes|positives) an image": "per image",
    r"drawn (chests?|X-rays?|images?)": "synthetic radiograph",
    r"(?<!\|\x20)phantoms?(?![-,])": "synthetic radiograph",
    r"diseases?|illness(es)?": "pathology",
    r"merged (logits|maps)|fused logits": "combined logits, fused map",
    r"saliency|hot ?spots?|activation heat ?maps?": "class activation map, heat map",
}
#: `OT` is a modality of DICOM.
KNOWN = "ot"


def read_prose(page):
    """Return a page's text without code and addresses; lines stay where they are."""
    text = page.read_text(encoding="utf-8")
    for code in (r"```.*?```", r"`[^`]*`", r"\]\([^)]*\)", r"<[^>]*>"):
        text = re.sub(code, lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_words_of_the_glossary(page):
    text = read_prose(page)
    for pattern, instead in AVOIDED.items():
        pattern = pattern.replace(" ", r"\s+")
        for found in re.finditer(rf"\b({pattern})\b", text, re.IGNORECASE):
            line = text[: found.start()].count("\n") + 1
            pytest.fail(f"{page}:{line} says {found[0]!r}; say {instead!r}")


def test_spelling(tmp_path, capsys):
    codespell = pytest.importorskip("codespell_lib")
    for page in PAGES:
        copy = tmp_path / page.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(read_prose(page), encoding="utf-8")
    found = codespell.main("--ignore-words-list", KNOWN, str(tmp_path))
    assert found == 0, capsys.readouterr().out
