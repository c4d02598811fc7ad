"""Command lines read into dataclasses, whose docstrings are the help."""

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, TypeVar, cast

import pydantic
import tyro

from keras_mscam import __version__
from keras_mscam.configs.schema import LocalizationConfig, describe_invalid
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import load_run

Options = TypeVar("Options")


def parse(
    command: str,
    arguments: list[str],
    kind: type[Options],
    default: Options | None = None,
) -> Options:
    """Read a command line into a dataclass, over its defaults or those of an instance.

    Raises:
        UserError: a value out of its range.
        SystemExit: `--help`, `--version`, an option that there isn't, or a word for a
            number.
    """
    if arguments == ["--version"]:
        print(f"keras_mscam {__version__}")
        raise SystemExit
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            options = tyro.cli(
                kind,
                prog=command,
                args=arguments,
                default=default,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
            return cast(Options, options)
    except SystemExit as end:
        # Of values out of range tyro makes several lines in a box, and exits.
        reason = end
        while reason := reason.__context__:
            if isinstance(reason, pydantic.ValidationError):
                raise UserError(describe_invalid(reason)) from None
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
    # Of the rest the kind's own defaults, as over a flag that is set there is none.
    default = type(options)(localization=own)
    given = parse(command, arguments, type(options), default).localization
    if given.threshold != "fixed" and given.cam_thresholds != own.cam_thresholds:
        raise UserError(
            f"--cam-thresholds needs --threshold fixed; this is {given.threshold}."
        )
    return given
