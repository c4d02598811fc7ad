"""`keras_mscam`: all commands under one name, and completion of them in a shell."""

import importlib
import sys
from contextlib import suppress

from keras_mscam import __version__
from keras_mscam.errors import UserError, command

#: Modules of this folder, and the class of each that holds its options.
COMMANDS = {
    "prepare": "PrepareOptions",
    "train": "TrainOptions",
    "evaluate": "EvaluateOptions",
    "predict": "PredictOptions",
    "weights": "WeightsOptions",
    "export": "ExportOptions",
    "serve": "ServeOptions",
}
_USAGE = f"""\
keras_mscam {__version__}: which pathologies a chest X-ray shows, and where.
Research software; not a medical device, and not for diagnosis.

usage: keras_mscam COMMAND ...

  prepare SOURCE --output RECORDS        X-rays and their tables to records to train on
  train [--data RECORDS]                 train a network, and look where it looks
  evaluate RUN [RUN ...]                 measure what runs find, and where they look
  predict [MODEL] XRAY ... --output DIR  X-rays to tables, pictures and pages
  weights inspect|convert|...            published weights to a run, and back
  export RUN --output DIR                a run to a model that runs elsewhere
  serve DIR                              answer over REST and gRPC
  completion                             print what completes all this in bash

Each has a --help, and is a command of its own too: keras_mscam-train, and so on.
Without any data set at hand, begin with: keras_mscam train
With an X-ray: keras_mscam predict chest.png --html
"""
#: tyro completes `keras_mscam`; the others are completed as if they were typed so.
#: Where nothing is known, bash goes on to names of files.
_COMPLETE = f"""
_keras_mscam() {{
  if [[ $1 == *keras_mscam-* ]]; then
    COMP_WORDS=(keras_mscam "${{1##*keras_mscam-}}" "${{COMP_WORDS[@]:1}}")
    COMP_CWORD=$((COMP_CWORD + 1))
  fi
  _tyro_keras_mscam
  if [[ -z ${{COMPREPLY[*]}} ]]; then COMPREPLY=(); fi
}}
complete -o bashdefault -o default -F _keras_mscam keras_mscam \\
  keras_mscam-{{{",".join(COMMANDS)}}}
"""


@command
def main() -> None:
    """Console script `keras_mscam`, and `python -m keras_mscam`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_USAGE, end="")
    elif name == "--version":
        print(f"keras_mscam {__version__}")
    elif name == "completion":
        _print_completion()
    elif name in COMMANDS:
        sys.argv = [f"keras_mscam-{name}", *arguments]
        importlib.import_module(f"keras_mscam.cli.{name}").main()
    else:
        raise UserError(
            f"keras_mscam has no command {name!r}; it has {', '.join(COMMANDS)}."
        )


def _print_completion() -> None:
    import tyro

    options = {
        name: getattr(importlib.import_module(f"keras_mscam.cli.{name}"), kind)
        for name, kind in COMMANDS.items()
    }
    with suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            options,
            prog="keras_mscam",
            args=["--tyro-write-completion", "bash", "-"],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    print(_COMPLETE)
