"""What is made of each image."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from keras_mscam import __version__
from keras_mscam.batch_predict.journal import VERSION
from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum
from keras_mscam.images.reader import check_max_value
from keras_mscam.inference.predictor import Predictor
from keras_mscam.localization.protocol import check_shown_threshold


@dataclass(frozen=True)
class Options:
    """What is made of each image; results of other options don't go together.

    Args:
        overlays: Heat maps to draw: none, of the top or of every positive one, or all.
        pathologies: Report and draw only these.
        shown_threshold: Heat above which a region gets a box, instead of the model's.
        longest_side: Longest side of pictures at most, in pixels.
        maps: Write raw maps, maps/NAME.npz.
        html: Write a report of each image, and an index.html of all.
        dicom: Write a Structured Report and Secondary Captures of DICOM files.
        crop_borders: Look only at what lies inside of uniform borders.
        max_value: Grey value that is white, where files use fewer bits than they could,
            such as 4095; not for DICOM.
    """

    overlays: Literal["none", "top", "positive", "all"] = "top"
    pathologies: tuple[str, ...] = ()
    shown_threshold: float | None = None
    longest_side: int = 512
    maps: bool = False
    html: bool = False
    dicom: bool = False
    crop_borders: bool = False
    max_value: int | None = None

    def __post_init__(self):
        if not 1 <= self.longest_side < 2**16:  # what a JPEG file can have
            raise UserError(
                f"The longest side must be 1 to 65535 pixels, not {self.longest_side}."
            )
        if self.shown_threshold is not None:
            check_shown_threshold(self.shown_threshold)
        check_max_value(self.max_value)

    @property
    def needs_picture(self) -> bool:
        """Whether the X-ray's pixels are needed once it is predicted."""
        return self.html or self.overlays != "none"

    @property
    def writes_files(self) -> bool:
        """Whether an image has files of its own."""
        return self.needs_picture or self.maps or self.dicom

    def choose(self, positives: tuple[str, ...], pathologies: tuple[str, ...]):
        """Return which pathologies are drawn.

        Args:
            positives: of an image, by falling probability.
            pathologies: of the model, in the order in which all are to be drawn.
        """
        wanted = self.pathologies or pathologies
        if self.overlays == "all":
            return tuple(name for name in pathologies if name in wanted)
        count = {"none": 0, "top": 1, "positive": None}[self.overlays]
        return tuple(name for name in positives if name in wanted)[:count]


#: One for all pathologies, or by name.
Thresholds = float | Mapping[str, float] | None


def load_predictor(
    path: str | os.PathLike, runtime: str, thresholds: Thresholds, options: Options
) -> Predictor:
    """Load a model, with the thresholds that are wanted.

    Args:
        path: see `Predictor`.
        runtime: see `Predictor`.
        thresholds: of probabilities, instead of the model's own.
        options: pathologies that aren't among theirs are never positive; the threshold
            of boxes.

    Raises:
        UserError: the model can't be loaded, lacks a pathology, or a threshold isn't
            in [0, 1].
    """
    predictor = Predictor(path, runtime)
    contract = predictor.runtime.contract
    known = contract.pathologies
    if thresholds is None:
        asked = {}
    elif isinstance(thresholds, Mapping):
        asked = thresholds
    else:
        asked = dict.fromkeys(known, thresholds)
    for name in (*asked, *options.pathologies):
        if name not in known:
            raise UserError(
                f"The model has no pathology {name!r}; it has {', '.join(known)}."
            )
    if isinstance(thresholds, Mapping) and options.pathologies:
        for name in set(thresholds) - set(options.pathologies):
            raise UserError(
                f"There is a probability threshold of {name}, which is not among the "
                "pathologies to be reported."
            )
    for name, value in asked.items():
        if not 0 <= value <= 1:
            raise UserError(
                f"The probability threshold of {name} must be from 0 to 1, not {value}."
            )
    chosen = tuple(
        asked.get(name, value) if name in (options.pathologies or known) else None
        for name, value in contract.thresholds.items()
    )
    contract = replace(contract, probability_thresholds=chosen)
    if options.shown_threshold is not None:
        contract = replace(contract, shown_threshold=options.shown_threshold)
    predictor.runtime = replace(predictor.runtime, contract=contract)
    return predictor


def describe_plan(predictor: Predictor, options: Options) -> dict:
    """Return what results depend on, for `open_folder`."""
    runtime, contract = predictor.runtime, predictor.runtime.contract
    never = (None,) * len(contract.pathologies)  # thresholds have lines of their own
    same = replace(contract, probability_thresholds=never, shown_threshold=0)
    digest = hashlib.sha256(same.dump().encode())
    for file in _list_files(runtime.path):
        digest.update(compute_checksum(file).encode())
    return {
        "choice of thresholds or pathologies": contract.thresholds,
        "model": digest.hexdigest(),
        "runtime": runtime.name,
        VERSION: __version__,
        **{f"--{name.replace('_', '-')}": v for name, v in vars(options).items()},
        "--shown-threshold": contract.shown_threshold,
    }


def _list_files(model: Path) -> list[Path]:
    """Return the files of a model that hold its weights and its graph."""
    if (model / "model.keras").is_file():
        return [model / "model.keras"]
    if model.is_dir():
        return sorted(path for path in model.rglob("*") if path.is_file())
    beside = model.with_suffix(".bin")  # of OpenVINO
    return [model, beside] if beside.is_file() else [model]
