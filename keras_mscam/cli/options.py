"""Command lines read into dataclasses, whose docstrings are the help."""

import dataclasses
import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import tyro

from keras_mscam.configs.schema import LocalizationConfig, describe
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import load_run

Options = TypeVar("Options")


def parse(command: str, arguments: list[str], defaults: Options) -> Options:
    """Read a command line over defaults, an instance of a dataclass.

    Raises:
        UserError: a value out of its range.
        SystemExit: `--help`, an option that there isn't, or a word for a number.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                type(defaults),
                prog=command,
                args=arguments,
                default=defaults,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as end:
        # Of values out of range tyro makes several lines in a box, and exits.
        reason = end
        while reason := reason.__context__:
            if isinstance(reason, pydantic.ValidationError):
                raise UserError(describe(reason)) from None
        sys.stderr.write(said.getvalue())
        raise


def parse_localization(
    command: str, arguments: list[str], options: Any, run: Path
) -> LocalizationConfig:
    """Return how maps of a run become boxes: its own way, but for what is given.

    `options` have the fields `protocol`, `"own"` or `"wang"`, and `localization`.
    """
    own = LocalizationConfig()
    if options.protocol == "own":
        own = load_run(run).config.localization
    defaults = dataclasses.replace(options, localization=own)
    return parse(command, arguments, defaults).localization
