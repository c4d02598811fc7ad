"""What an exported model takes and gives, in one file beside it."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from keras_mscam.errors import UserError
from keras_mscam.files import read_json
from keras_mscam.images.xray import MOST_PIXELS

#: Changes whenever a client of the older form could misread the newer one.
FORMAT = "keras_mscam contract 2"
FILE = "contract.json"
_SINGLE = ("slopes", "intercepts", "probability_thresholds", "map_scales")
_BY_BLOCK = ("relevance_weights", "fusion_weights")
_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Size = tuple[PositiveInt, PositiveInt]


@dataclass(frozen=True, config=_STRICT)
class Contract:
    """Names, sizes and thresholds of an exported model. C pathologies, B blocks.

    Args:
        name: of the model, as servers know it.
        pathologies: C names, in the order of every output.
        blocks: B numbers.
        image_size: `(height, width)` that the network sees.
        attention_size: `(height, width)` of the output `attention`.
        relevance_weights: `(B, C)` that the classifier learned.
        fusion_weights: `(B, C)` by which maps are fused.
        slopes: `(C,)` of the calibration, see `PlattScaling`.
        intercepts: `(C,)`.
        probability_thresholds: `(C,)`; a pathology is positive from there on. `None`
            for one that is never called, as no threshold is better than chance.
        normalization: `"min_max"` or `"exponential"`, see `normalize_map`.
        map_scales: `(C,)`, of the exponential.
        shown_threshold: of the normalized map; every 8-connected region above it gets
            a box, if the pathology is positive.
        shown_min_area: fraction of the map that a region must cover.
        shown_max_area: fraction of the map that a box may cover; where one would cover
            more, none is shown.
        shown_max_boxes: boxes of a pathology in an image at most, K, those of the
            highest scores.
        most_pixels: larger images are refused.
    """

    name: str
    pathologies: tuple[str, ...]
    blocks: tuple[int, ...]
    image_size: _Size
    attention_size: _Size
    relevance_weights: tuple[tuple[float, ...], ...]
    fusion_weights: tuple[tuple[float, ...], ...]
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    probability_thresholds: tuple[_Fraction | None, ...]
    normalization: Literal["min_max", "exponential"]
    map_scales: tuple[float, ...]
    shown_threshold: Annotated[float, Field(ge=0, lt=1)]
    shown_min_area: _Fraction
    shown_max_area: _Fraction
    shown_max_boxes: Annotated[int, Field(ge=1, le=100)]
    most_pixels: PositiveInt = MOST_PIXELS

    @pydantic.model_validator(mode="after")
    def _check_lengths(self) -> Self:
        count = len(self.pathologies)
        for name in ("pathologies", "blocks"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must each be there once")
        for name in _SINGLE:
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} must have {count} entries, one per pathology")
        for name in _BY_BLOCK:
            rows = getattr(self, name)
            if [len(row) for row in rows] != [count] * len(self.blocks):
                raise ValueError(
                    f"{name} must have {len(self.blocks)} rows, one per block, of "
                    f"{count} entries"
                )
        return self

    @property
    def thresholds(self) -> dict[str, float | None]:
        """`probability_thresholds` by pathology."""
        return dict(zip(self.pathologies, self.probability_thresholds, strict=True))

    @property
    def output_names(self) -> tuple[str, ...]:
        """What a network gives in every format, of each image."""
        cams = (f"cam_block{block}" for block in self.blocks)
        return ("probabilities", *cams, "attention")

    def dump(self) -> str:
        """Return the text of `contract.json`."""
        content = pydantic.TypeAdapter(Contract).dump_python(self, mode="json")
        return json.dumps({"format": FORMAT, **content}, indent=1) + "\n"


def read_contract(model: Path) -> Contract:
    """Read the contract of a folder with `saved_model.pb`, or of another format's file.

    Raises:
        UserError: there is none, or it is of another format.
    """
    model = Path(model)
    folder = model / "assets.extra" if model.is_dir() else model.parent
    path = folder / FILE
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(
            f"{model} is no export: {path} can't be read ({error.strerror}); "
            "keras_mscam-export makes one."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); export the run again."
        ) from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(
            f"{path} is of another format than {FORMAT!r}; export the run again."
        )
    try:
        return pydantic.TypeAdapter(Contract).validate_python(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"{path} is damaged ({place + ': ' if place else ''}{reason}); export the "
            "run again."
        ) from error
