"""The documentation site: built without a warning, and whole without a network."""

import html
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"
)
#: What a page, a style sheet or a script loads by itself, from another host.
FROM_ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|source|video)[^>]*\ssrc=["']?(?:https?:)?//"""
    r"""|<link[^>]*rel=["'](?:stylesheet|preload|icon)[^>]*href=["'](?:https?:)?//"""
    r"""|<link[^>]*href=["'](?:https?:)?//[^>]*rel=["'](?:stylesheet|preload|icon)"""
    r"""|@import\s|url\(["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("sphinx", "furo", "myst_nb", "sphinx_copybutton"):
        pytest.importorskip(
            name, reason=f"the site needs {name}: pip install '.[docs]'"
        )
    from sphinx.cmd.build import build_main

    folder = tmp_path_factory.mktemp("site")
    output, warned = folder / "html", folder / "warnings.txt"
    options = ["-q", "-w", str(warned), "-c", str(ROOT / "docs")]
    # A link to a file or heading that isn't there is a warning, too.
    assert build_main([*options, str(ROOT), str(output)]) == 0
    assert warned.read_text(encoding="utf-8") == ""
    return output


def test_every_page_of_the_repository_is_there(site):
    first = (site / "index.html").read_text(encoding="utf-8")
    pages = [*ROOT.glob("*.md")]
    pages += (ROOT / "docs").rglob("*.md")
    pages += (ROOT / "experiments").glob("*/README.md")
    pages += (ROOT / "experiments" / "notebooks").glob("*.ipynb")
    for page in pages:
        built = page.relative_to(ROOT).with_suffix(".html")
        assert (site / built).is_file(), f"{page} is not part of the site"
        if page.name != "README.md" or page.parent != ROOT:
            assert f'href="{built}"' in first, f"{page} is not in the table of contents"
    assert "Nodule" in (site / "searchindex.js").read_text(encoding="utf-8").title()


def test_nothing_comes_from_elsewhere(site):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            found = FROM_ELSEWHERE.search(text)
            assert not found, f"{path.relative_to(site)} loads {found[0]}"


def test_every_option_is_listed(site):
    page = (site / "docs" / "reference" / "commands.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    # One of each command, and the last of a long list of choices.
    for option in (
        "--verify ", "--checkpoint-steps INT", "resnet152_v1_5}", "--flip",
        "--afp-denominator ", "--attention-size HEIGHT WIDTH", "--crop-borders",
        "--token-file ", "--allow-unmatched", "--license ",
    ):  # fmt: skip
        assert option in text
    assert "{None" not in text
    assert "•" not in text  # of a list of commands


def test_formulas_need_no_script(site):
    page = (site / "docs" / "method.html").read_text(encoding="utf-8")
    assert page.count("<math ") >= 8
    assert "MathJax.js" not in page
    assert "mathjax@" not in page


def test_pictures_of_the_readme_are_small():
    for path in (ROOT / "docs" / "figures").iterdir():
        assert path.stat().st_size < 200_000


def test_results_of_the_readme_are_those_of_the_experiments():
    known = "".join(
        (ROOT / "experiments" / name / "README.md").read_text(encoding="utf-8")
        for name in ("real", "table1")
    )
    table = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("## How well it does")[1]
    )
    numbers = re.findall(r"\d\.\d\d(?: \[[^]]*\])?", table.split("\n## ")[0])
    assert len(numbers) > 20
    assert [number for number in numbers if number not in known] == []
