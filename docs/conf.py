"""The documentation site, of the Markdown files of the whole repository.

    sphinx-build -W -c docs . docs/_build/html

The README is its first page. Links between files are the same on the site and in the
repository, and the site loads nothing from elsewhere.
"""

import json
import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from keras_mscam import __version__  # noqa: E402

project = "keras_mscam"
copyright = "the authors of keras_mscam, Apache-2.0"
release = __version__
root_doc = "README"
extensions = [
    "command_list",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
# Everything else at the top level may hold anything, environments and runs too.
_PAGES = sorted(path.stem for path in ROOT.glob("*.md") if path.stem != root_doc)
_READ = {
    "docs",
    "experiments",
    "export",
    "keras_mscam",  # the card of the network that comes with it
    *(f"{page}.md" for page in (root_doc, *_PAGES)),
}
exclude_patterns = [
    *(path.name for path in ROOT.iterdir() if path.name not in _READ),
    "docs/_build",
    "**/node_modules",
    "**/.ipynb_checkpoints",
]
suppress_warnings = ["toc.not_included"]  # tables that one page alone links to

smartquotes = False  # of --option it would make a dash, of '' a pair of quotes

html_theme = "furo"
html_title = f"keras_mscam {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
templates_path = []

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_ipywidgets_js = {}
copybutton_exclude = ".linenos, .gp, .go"

default_role = "code"  # of docstrings, which write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # they stand in the signature
napoleon_custom_sections = ["Input shape", "Output shape", ("Reference", "notes_style")]
napoleon_use_rtype = False

#: The table of contents: captions, and pages below them.
_CONTENTS = {
    "Begin": ["docs/method", "docs/tutorials", "docs/howto/index"],
    "Look up": [
        "docs/reference/commands",
        "docs/reference/python",
        "docs/reference/files",
        "experiments/README",
        "docs/limits",
        "keras_mscam/inference/pretrained/README",
        *_PAGES,
    ],
}
#: Pages whose own links are the pages below them.
_LISTS = ("docs/tutorials", "docs/howto/index", "experiments/README")


def _complete(app, name, source):
    """Give a page what stands in no Markdown: contents, attached pictures, a title."""
    if name == root_doc:
        for caption, pages in _CONTENTS.items():
            source[0] += _write_contents(pages, caption)
    elif name in _LISTS:
        links = re.findall(r"\]\(([^)#]+)\.(?:md|ipynb)\)", source[0])
        source[0] += _write_contents(links)
    elif name.startswith("experiments/notebooks/"):
        for cell in json.loads(source[0])["cells"]:
            for file, kinds in cell.get("attachments", {}).items():
                ((kind, data),) = kinds.items()
                uri = f"data:{kind};base64,{data}"
                source[0] = source[0].replace(f"attachment:{file}", uri)
    elif source[0].startswith("## "):
        source[0] = f"# {name}\n\n{source[0]}"  # tables of results


def _write_contents(pages, caption="Contents"):
    options = f":hidden:\n:caption: {caption}\n\n"
    return "\n```{toctree}\n" + options + "\n".join(pages) + "\n```\n"


def _write_first_page(app, error):
    """Let the folder itself open as the README."""
    if error is None and app.builder.format == "html":
        page = Path(app.outdir, f"{root_doc}.html").read_text(encoding="utf-8")
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def _write_math(translator, node):
    """Write a formula as MathML, which browsers show without a script."""
    is_block = node.tagname == "math_block"
    mathml = tex2mathml(node.astext(), as_block=is_block)
    translator.body.append(
        f'<div class="formula">{mathml}</div>' if is_block else mathml
    )
    raise SkipNode


def setup(app):
    app.connect("source-read", _complete)
    app.connect("build-finished", _write_first_page)
    app.add_html_math_renderer("mathml", (_write_math, None), (_write_math, None))
