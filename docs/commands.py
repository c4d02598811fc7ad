"""A directive that lists every option of every command, as each says with `--help`."""

import configparser
import importlib
import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from sphinx.util.docutils import SphinxDirective

_SETUP = Path(__file__).parents[1] / "setup.cfg"
#: Commands that have commands of their own.
_INNER = {"keras_mscam-weights": ("inspect", "convert", "publish")}
# As wide as that no name of an option is broken.
_WIDTH = "1000"
_TITLE = re.compile(r"╭─ (.*?) ─+╮")
_ENTRY = re.compile(r"│ (\S.*?)(?: {2,}(\S.*?))?\s*│")
_MORE = re.compile(r"│ {2,}(\S.*?)\s*│")


def list_commands() -> dict[str, str]:
    """Return the module and function of every command that is installed."""
    setup = configparser.ConfigParser()
    setup.read(_SETUP, encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return dict(line.split(" = ") for line in lines if line)


def read_help(command: str, *words: str) -> str:
    """Return what a command prints with `--help`."""
    module, _, function = list_commands()[command].partition(":")
    main = getattr(importlib.import_module(module), function)
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [command, *words, "--help"]),
        mock.patch.dict(os.environ, {"COLUMNS": _WIDTH}),
        redirect_stdout(printed),
    ):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
    return printed.getvalue()


def write_markdown(help_text: str) -> str:
    """Turn what `--help` prints into Markdown: text, and a list of options."""
    above, *boxes = re.split(r"(?=╭─)", help_text)
    usage, _, text = above.partition("\n\n")
    parts = [f"```text\n{usage.removeprefix('usage: ')}\n```", text.strip()]
    for box in boxes:
        parts.append(f"**{_TITLE.search(box)[1].capitalize()}**")
        parts.append(_list_options(box))
    return "\n\n".join(parts)


def _list_options(box: str) -> str:
    """Return a definition list; what stands before the first option is a paragraph."""
    before, options = [], []
    for line in box.splitlines()[1:-1]:
        if more := _MORE.match(line):
            options[-1][1].append(more[1])
        elif entry := _ENTRY.match(line):
            if entry[1].startswith("─"):
                before, options = [name for name, _ in options], []
            else:
                options.append((entry[1], [entry[2]] if entry[2] else []))
    terms = [f"`{name}`\n: {' '.join(text)}" for name, text in options]
    return "\n\n".join([*before, *terms])


class Commands(SphinxDirective):
    """All commands, each with a heading."""

    def run(self):
        parts = []
        for command in list_commands():
            for words in ((), *((word,) for word in _INNER.get(command, ()))):
                parts.append(f"## {' '.join([command, *words])}")
                text = read_help(command, *words)
                has_options = "╭─" in text
                parts.append(
                    write_markdown(text) if has_options else f"```text\n{text}```"
                )
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def setup(app):
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
