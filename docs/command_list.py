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
INNER = {"keras_mscam-weights": ("inspect", "convert", "average", "publish")}
# The widest in which tyro does not set options in columns.
_WIDTH = "129"
_HELP = "-h, --help"
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
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
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
    printed.seek(0)
    return printed.read()


def write_markdown(help_text: str) -> str:
    """Turn what `--help` prints into Markdown: text, and a list of options."""
    help_text = re.sub(r"\{None\}\||(?<=\{)None,", "", help_text)
    above, *boxes = re.split(r"(?=╭─)", help_text)
    usage, _, text = above.partition("\n\n")
    parts = [f"```text\n{usage.removeprefix('usage: ')}\n```", text.strip()]
    for box in boxes:
        title, options = _TITLE.search(box)[1], _list_options(box)
        if options and title != "subcommands":  # they have headings of their own
            parts += [f"**{title.capitalize()}**", options]
    return "\n\n".join(parts)


def _list_options(box: str) -> str:
    """Return a definition list; what stands above a line across the box is text."""
    before, options = [], []
    for line in box.splitlines()[1:-1]:
        if more := _MORE.match(line):
            options[-1][1].append(more[1])
        elif entry := _ENTRY.match(line):
            if entry[1].startswith("─"):
                before, options = [name for name, _ in options], []
            elif options and options[-1][0].count("{") > options[-1][0].count("}"):
                options[-1][0] += entry[1]  # choices that fill more than one line
            else:
                options.append([entry[1], [entry[2]] if entry[2] else []])
    terms = [_define(name, " ".join(text)) for name, text in options if name != _HELP]
    return "\n\n".join([*before, *terms])


def _define(name: str, text: str) -> str:
    """Return a term and its definition, without what says only that there is none."""
    text = re.sub(r" [(]default: (None)?[)]$", "", text)
    return f"`{name.replace(',', ', ')}`\n: {text}"


class Commands(SphinxDirective):
    """All commands, each with a heading."""

    def run(self):
        self.env.note_reread()  # commands may have changed where the page has not
        parts = []
        for command in list_commands():
            for words in ((), *((word,) for word in INNER.get(command, ()))):
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
