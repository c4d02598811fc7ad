"""What a training run is told: frozen, typed, checked, the same from every source."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from tyro.conf import arg

from keras_mscam.configs.choices import (
    Backbone,
    Combination,
    Loss,
    Normalization,
    Pooling,
    Taps,
)
from keras_mscam.errors import UserError
from keras_mscam.files import read_json

_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
_Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _check_blocks(blocks: tuple[int, ...]) -> tuple[int, ...]:
    if not blocks or list(blocks) != sorted(set(blocks)):
        raise ValueError("must be rising numbers out of 1, 2, 3, 4")
    return blocks


@dataclass(frozen=True, config=_STRICT)
class DataConfig:
    """What to train on."""

    path: Annotated[Path | None, arg(name="data", metavar="DIR")] = None
    """Prepared records, ChestX-ray14 folder or labels.csv; else, the built-in set."""
    phantoms: Annotated[PositiveInt, arg(metavar="IMAGES")] = 4000
    """Images of the built-in set."""
    backgrounds: Annotated[tuple[Path, ...], arg(metavar="DIR [DIR ...]")] = ()
    """Plant its lesions in the X-rays without findings of these folders."""
    image_size: Annotated[
        tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]],
        arg(metavar="HEIGHT WIDTH"),
    ] = (256, 256)
    """Size at which the network sees images; smaller records keep their own size."""
    max_value: PositiveInt | None = None
    """Grey value that is white, where files use fewer bits than they could."""
    split_seed: _Seed = 0
    """Seed of the split by patient, and of the built-in set."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Hold decoded training images; auto is memory up to 2 GiB, else none."""
    cache_folder: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the disk cache; by default, cache in the prepared records."""


@dataclass(frozen=True, config=_STRICT)
class ModelConfig:
    """What to train."""

    backbone: Backbone = "densenet121"
    """Network whose blocks are read."""
    blocks: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4)], ...],
        pydantic.AfterValidator(_check_blocks),
    ] = (2, 3, 4)
    """Blocks that get a head; 2 3 4 is the paper's, 4 alone is DN-CAM."""
    taps: Taps = "activated"
    """Read a block after or before its closing BN and ReLU."""
    pooling: Pooling = "gap"
    """Mean; maximum or Log-Sum-Exp of features; Log-Sum-Exp or PCAM of maps."""
    transition: PositiveInt | None = None
    """Features of Wang et al.'s transition layer before each head; none by default."""
    combination: Combination = "projection"
    """How relevance weights stay on the simplex; uniform doesn't learn them."""
    weights: str | None = None
    """Start from another run, imagenet, a file of PyTorch, or hf://OWNER/NAME."""
    normalization: Normalization | None = None
    """How grey values are normalized; by default as the weights or backbone expect."""
    batch_norm_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of BN's moving averages kept in a step; 0.9 for short runs."""


@dataclass(frozen=True, config=_STRICT)
class TrainingConfig:
    """How to train it."""

    loss: Loss = "class_balanced"
    """Sedai et al.'s loss, Wang et al.'s W-CEL, or plain cross entropy."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every label that is moved to one half."""
    auxiliary_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of each block's own loss beside that of the combined logits."""
    head_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs that first train the heads alone, on features computed once."""
    epochs: Annotated[int, Field(ge=0)] = 30
    """Passes over the training split."""
    batch_size: PositiveInt = 32
    """Images in a step, those of all devices together."""
    gradient_accumulation_steps: PositiveInt = 1
    """Steps whose gradients are averaged before the weights change."""
    gradient_checkpointing: bool = False
    """Hold fewer features of the backbone: half the memory, more time per step."""
    balanced_sampling: bool = False
    """Sample every pathology equally often; meant for --loss binary, as the other
    losses balance too. Not in --head-epochs."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's learning rate."""
    relevance_learning_rate: PositiveFloat = 1.0
    """Learning-rate multiplier of the relevance weights."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning-rate multiplier from the heads to block 4, and from block to block."""
    frozen_batch_norm: bool = False
    """Leave the backbone's batch normalization as it starts."""
    schedule: Literal["plateau", "cosine"] = "plateau"
    """Lower the learning rate on a plateau, or along a cosine to 0 at the last step."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs in which the rate of a cosine first rises from 0; parts of one count."""
    plateau_patience: PositiveInt = 3
    """Epochs without a better validation loss before the rate falls to a tenth."""
    early_stopping: PositiveInt | None = None
    """Stop after that many epochs without a better validation loss."""
    batch_norm_images: Annotated[int, Field(ge=0)] = 0
    """Training images for BN statistics before validation; 0 keeps moving averages."""
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Keras dtype policy; auto is a mixed one on a GPU or TPU that is fast at it."""
    seed: _Seed = 0
    """Seed of the weights and of the order of images."""
    deterministic: bool = False
    """Bit-equal results from the same seed on the same machine, a little slower."""
    skip_batches: Annotated[int, Field(ge=0)] = 0
    """Batches of an epoch to skip whose loss isn't finite; one more stops the run."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Minutes of training that are lost at most when a run is killed."""
    checkpoint_steps: PositiveInt | None = None
    """Steps that are lost at most; by default, only minutes count."""


@dataclass(frozen=True, config=_STRICT)
class AugmentationConfig:
    """How much training images are changed at random; by default, not at all."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees of rotation at most, either way."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of height and width to shift by at most, either way."""
    zoom: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Scale by 1 + ZOOM at most, or by its inverse; 0.1 is 0.91 to 1.1."""
    brightness: Annotated[float, Field(ge=0, le=255)] = 0.0
    """Grey levels, of 255, to add or subtract at most."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Part of the contrast to add or take away at most; 0.1 is 0.9 to 1.1."""
    noise: Annotated[float, Field(ge=0, le=255)] = 0.0
    """Standard deviation of the noise at most, in grey levels."""
    flip: bool = False
    """Mirror half of the images, which moves the heart to the wrong side."""


@dataclass(frozen=True, config=_STRICT)
class MapConfig:
    """How the maps of the blocks become one heat map."""

    fusion: Literal["relevance", "standardized"] = "relevance"
    """Fuse maps by relevance weights, or equally, each over its standard deviation."""
    normalization: Literal["min_max", "exponential"] = "min_max"
    """Scale a map by its minimum and maximum, or by exp(map - maximum)."""


#: Thresholds of Wang et al. 2017, 60 and 180 out of 255, on the scale 0 to 1.
WANG_THRESHOLDS = (60 / 255, 180 / 255)


@dataclass(frozen=True, config=_STRICT)
class LocalizationConfig(MapConfig):
    """How maps are judged by ground-truth boxes."""

    threshold: Literal["fixed", "otsu", "tuned", "oracle"] = "fixed"
    """Fixed, Otsu's, tuned on other patients' boxes, or oracle: on the same boxes."""
    cam_thresholds: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], ...],
        Field(min_length=1),
        arg(help_behavior_hint=""),
    ] = WANG_THRESHOLDS
    """Fixed thresholds, all together; Wang et al.'s by default, 60/255 and 180/255."""
    min_area: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of the map that a region must cover at least."""
    max_boxes: PositiveInt | None = None
    """Boxes of the highest scores that are kept; all by default."""
    afp_denominator: Literal["all", "pathology", "images"] = "all"
    """Average false positives over all ground-truth boxes, its own, or its images."""


@dataclass(frozen=True, config=_STRICT)
class ShownConfig:
    """Which boxes a person is shown of a positive pathology; no table follows this.

    Of two boxes, of which one lies in the other, the one with the lower score is left
    out.
    """

    shown_threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Heat above which a region gets a box; by default 0.85 where maps are scaled
    by minimum and maximum, 0.35 where by exp(map - maximum)."""
    shown_min_area: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Fraction of the map that a region must cover, 0.001 being a centimetre square."""
    shown_max_area: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of the map that a box may cover: with a larger one, none is shown."""
    shown_max_boxes: Annotated[int, Field(ge=1, le=100)] = 3
    """Boxes of a pathology at most, those of the highest scores."""


@dataclass(frozen=True, config=_STRICT)
class Config:
    """A whole run: what to train on, what to train, how to train it, how to look."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = dataclasses.field(
        default_factory=AugmentationConfig
    )
    localization: LocalizationConfig = dataclasses.field(
        default_factory=LocalizationConfig
    )
    shown: ShownConfig = dataclasses.field(default_factory=ShownConfig)


_ADAPTER = pydantic.TypeAdapter(Config)


def merge_config(base: Config, changes: dict, source: str) -> Config:
    """Return `base` with the entries of a nested dictionary in place of its own.

    Args:
        base: the configuration to start from.
        changes: `{section: {key: value}}`, sections and keys those of `Config`.
        source: where the changes come from, for the error.

    Raises:
        UserError: an unknown section or key, or a value of a wrong type or range.

    Example:
        >>> merge_config(Config(), {"training": {"epochs": 3}}, "here").training.epochs
        3
    """
    values = json.loads(dump_config(base))
    for section, entries in changes.items():
        if section not in values or not isinstance(entries, dict):
            raise UserError(
                f"{source}: unknown section {section!r}; the sections are "
                f"{', '.join(values)}, each an object of its own."
            )
        values[section].update(entries)
    try:
        return _ADAPTER.validate_python(values)
    except pydantic.ValidationError as error:
        raise UserError(f"{source}: {describe_invalid(error)}") from error


def read_config(path: Path, base: Config) -> Config:
    """Read a configuration file, or a run's `config.json`, over a base.

    Args:
        path: a JSON file of any part of the configuration. The section `environment`,
            which a run adds to its own, is passed over.
        base: what holds where the file is silent.

    Raises:
        UserError: no such file, no JSON object, or as `merge_config`.
    """
    try:
        changes = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot read the configuration {path}: {reason}.") from error
    if not isinstance(changes, dict):
        raise UserError(f"The configuration {path} must be a JSON object.")
    changes.pop("environment", None)
    return merge_config(base, changes, str(path))


def dump_config(config: Config) -> str:
    """Return a configuration as JSON text that `read_config` takes back."""
    return _ADAPTER.dump_json(config, indent=2).decode()


def describe_invalid(error: pydantic.ValidationError) -> str:
    """Say in one line which values are wrong and why."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: "
        f"{item['msg'].lower().removeprefix('value error, ')}"
        f" (got {item['input']!r})"
        for item in error.errors()
    )
