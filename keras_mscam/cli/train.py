"""`keras_mscam-train`: a preset, a file over it, and options over both."""

import dataclasses
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keras_mscam.cli.options import parse
from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    LocalizationConfig,
    ModelConfig,
    ShownConfig,
    TrainingConfig,
    read_config,
)
from keras_mscam.errors import DiskError, UserError, command, explain_disk
from keras_mscam.inference.run_folder import is_run, load_run
from keras_mscam.training.machines import Machines
from keras_mscam.training.stop import Terminated
from keras_mscam.training.train_run import train

_NAME = "keras_mscam-train"


@command
def main() -> None:
    """Console script `keras_mscam-train`."""
    options = parse_options(sys.argv[1:])
    output = options.output
    assert output is not None
    try:
        with explain_disk(output):
            run = train(options.config, output, options.resume, options.machines)
    except DiskError as error:
        if not is_run(output):
            raise
        go_on = f"Then {_NAME} --output {output} --resume goes on."
        raise DiskError(error.args[0], go_on) from error
    except Terminated:
        sys.exit(128 + signal.SIGTERM)  # as of a process that it ended
    if run is not None:  # of several hosts, the first says it
        print(f"Report: {run.report_path}")


@dataclass(frozen=True)
class TrainOptions:
    """Train a classifier of chest pathologies, and look where it looks.

    Without any option, the built-in set is drawn and A-CNN+ is trained on it; the
    preset `phantom` is the paper's A-CNN. With --data, X-rays take the place of the
    built-in set; presets whose names begin with phantom are small enough for two CPU
    cores there, too. What isn't given is as in the preset, whose values are shown here:
    for those of another, give its name by --preset, too.
    """

    preset: Literal[tuple(PRESETS)] = (  # ty: ignore[invalid-type-form]
        "phantom-a-cnn-plus"
    )
    """Configuration to start from."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """JSON file over the preset, such as another run's config.json."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Folder of the run; runs/PRESET-1 and so on by default."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --output where it was stopped."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = dataclasses.field(
        default_factory=AugmentationConfig
    )
    machines: Machines = dataclasses.field(default_factory=Machines)

    # Of preset and file; `keras_mscam-evaluate` and `-export` have their options.
    localization: tyro.conf.Suppress[LocalizationConfig] = dataclasses.field(
        default_factory=LocalizationConfig
    )
    shown: tyro.conf.Suppress[ShownConfig] = dataclasses.field(
        default_factory=ShownConfig
    )

    @property
    def config(self) -> Config:
        return Config(
            self.data, self.model, self.training, self.augmentation,
            self.localization, self.shown,
        )  # fmt: skip


def parse_options(arguments: list[str]) -> TrainOptions:
    """Parse a command line; what it leaves out comes from its file, then its preset.

    Args:
        arguments: those of the command, without its name.

    Raises:
        UserError: a value out of its range, a file that can't be used, or a preset for
            X-rays without any.
        SystemExit: `--help`, or an option that there isn't.
    """
    # Help is left to the second pass, where the preset and the file are known, whose
    # values are the defaults.
    without_help = [word for word in arguments if word not in ("-h", "--help")]
    first = parse(_NAME, without_help, TrainOptions)
    base = PRESETS[first.preset]
    if first.resume:
        if first.output is None:
            raise UserError("--resume needs the --output of the run to go on with.")
        if any(word.split("=")[0] == "--preset" for word in arguments):
            raise UserError("--preset begins a run: leave it out, or --resume.")
        base = load_run(first.output).config
    if first.config_file is not None:
        base = read_config(first.config_file, base)
    options = parse(_NAME, arguments, TrainOptions, TrainOptions(**vars(base)))
    if options.data.path is None and options.preset in _NEEDED:
        name, what = _NEEDED[options.preset]
        if not getattr(options.data, name):
            raise UserError(f"--preset {options.preset} needs {what}.")
    if options.output is None:
        options = dataclasses.replace(options, output=_next_output(options.preset))
    return options


#: What these presets need; without it they would train on the built-in set.
_NEEDED = {
    "planted": ("backgrounds", "--backgrounds, folders of X-rays without findings"),
    "real": ("path", "--data, a folder of X-rays or of prepared records"),
}


def _next_output(preset: str) -> Path:
    """Return the first free `runs/PRESET-N`."""
    number = 1
    while os.path.lexists(f"runs/{preset}-{number}"):
        number += 1
    return Path(f"runs/{preset}-{number}")


if __name__ == "__main__":
    main()
