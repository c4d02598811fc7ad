"""`keras_mscam-weights`: from published weights to maps."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from keras_mscam.cli.options import parse
from keras_mscam.configs.choices import Normalization
from keras_mscam.errors import command

_NAME = "keras_mscam-weights"
_Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")]
_File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class InspectOptions:
    """Say what a file of weights holds: architecture, outputs, what is left over."""

    file: _File
    """Of PyTorch (.pt, .pth, .pth.tar) or safetensors."""


@dataclass(frozen=True)
class ConvertOptions:
    """Make a run of a published classifier, without training: DN-CAM.

    keras_mscam-predict, -evaluate, -export and -train --weights take it. Its own
    preprocessing is part of the model.
    """

    path: _File
    """Of PyTorch (.pt, .pth, .pth.tar) or safetensors."""
    output: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder to make."""
    names: Annotated[_Names, tyro.conf.arg(name="pathologies")] = ()
    """Names of its outputs, in their order, '' for one to leave out; or chestxray14,
    chexpert or torchxrayvision for all. Needed where the file does not name them."""
    keep: _Names = ()
    """Outputs that the run is to have; by default all, or those in --data."""
    image_size: Annotated[
        tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None,
        tyro.conf.arg(metavar="HEIGHT WIDTH"),
    ] = None
    """Size of the network's input; 224 224, or 512 512 for TorchXRayVision's ResNet."""
    normalization: Normalization | None = None
    """How grey values are normalized, if not as the file's layout tells."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="RECORDS")] = None
    """Prepared records: their validation split calibrates probabilities and maps."""
    probability_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability threshold where neither the file nor --data gives one."""
    allow_unmatched: bool = False
    """Take what fits where tensors are missing or left over."""


@dataclass(frozen=True)
class AverageOptions:
    """Make a run whose network is the average of several, block by block.

    It takes the time of all. They must find the same pathologies on images of one size
    and by the same blocks, and should have one split: what calibrates must be new to
    all.
    """

    run_paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint=""),
    ]
    """Folders that keras_mscam-train made."""
    output: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder to make."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="RECORDS")] = None
    """Prepared records to calibrate on, instead of the first run's."""


@dataclass(frozen=True)
class PublishOptions:
    """Write what others need of a run: model, calibration, model card, checksums.

    No image, no table of patients and no name of a folder goes with it. Upload DIR
    (hf upload OWNER/NAME DIR), and others take it by --weights hf://OWNER/NAME.
    """

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder that keras_mscam-train or keras_mscam-weights convert made."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder to make."""
    license_name: Annotated[str, tyro.conf.arg(name="license")]
    """License of the published run, as the Hub names it, such as apache-2.0."""
    name: str = "keras_mscam"
    """Title of the model card."""


@dataclass(frozen=True)
class WeightsOptions:
    """From published weights to maps."""

    work: (
        Annotated[InspectOptions, tyro.conf.subcommand("inspect")]
        | Annotated[ConvertOptions, tyro.conf.subcommand("convert")]
        | Annotated[AverageOptions, tyro.conf.subcommand("average")]
        | Annotated[PublishOptions, tyro.conf.subcommand("publish")]
    )


@command
def main() -> None:
    """Console script `keras_mscam-weights`."""
    work = parse(_NAME, sys.argv[1:] or ["--help"], WeightsOptions).work
    if isinstance(work, InspectOptions):
        _inspect(work)
    elif isinstance(work, ConvertOptions):
        _convert(work)
    elif isinstance(work, AverageOptions):
        _average(work)
    else:
        _publish(work)


def _inspect(options: InspectOptions) -> None:
    from keras_mscam.modeling.published import read_published

    print(read_published(options.file).describe())


def _convert(options: ConvertOptions) -> None:
    from keras_mscam.training.convert_weights import convert

    run = convert(**vars(options))
    print(f"Run: {run.path}. Maps: keras_mscam-predict {run.path} XRAY --output DIR")


def _average(options: AverageOptions) -> None:
    from keras_mscam.training.average_runs import average

    run = average(**vars(options))
    print(f"Run: {run.path}. What it finds: keras_mscam-evaluate {run.path}")


def _publish(options: PublishOptions) -> None:
    from keras_mscam.exporting.publish import publish

    folder = publish(**vars(options))
    print(f"{folder} is ready. Upload it: hf upload OWNER/NAME {folder}")


if __name__ == "__main__":
    main()
