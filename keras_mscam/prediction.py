"""What a model says of one X-ray."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True)
class Box:
    """A box that a map proposes.

    Args:
        pathology: its name.
        xyxy: `(x_min, y_min, x_max, y_max)`, half-open, in pixels of the image given.
        score: probability of the pathology times the mean heat of the region.
    """

    pathology: str
    xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities, boxes and maps of one X-ray; the same from every runtime.

    Args:
        probabilities: by pathology, calibrated; empty if the image can't be read.
        boxes: of the positive pathologies, by falling score.
        original_size: `(height, width)` of the image given, in pixels.
        attention: `(height, width, C)` the fused map, raw and signed; `None` where it
            was not asked for, as are the next two.
        cams: `(h, w, C)` raw map of each block, by its number.
        relevance_weights: `(B, C)` that the classifier learned.
        error: why the image can't be read, or `None`.
    """

    probabilities: dict[str, float]
    boxes: tuple[Box, ...] = ()
    original_size: tuple[int, int] = (0, 0)
    attention: np.ndarray | None = None
    cams: dict[int, np.ndarray] = field(default_factory=dict)
    relevance_weights: np.ndarray | None = None
    error: str | None = None

    @property
    def pathologies(self) -> tuple[str, ...]:
        """Names, in the order of the maps."""
        return tuple(self.probabilities)

    def to_dict(self) -> dict:
        """Return all but the maps as plain values for JSON."""
        return {
            "probabilities": self.probabilities,
            "boxes": [asdict(box) for box in self.boxes],
            "original_size": list(self.original_size),
            "error": self.error,
        }


def split_outputs(outputs: Mapping[str, np.ndarray]) -> list[Prediction]:
    """Turn the outputs of a signature into one prediction for each image.

    Args:
        outputs: by name, as the contract says; strings may be bytes.

    Returns:
        Predictions in the order of the images.
    """
    return [_take(outputs, row) for row in range(len(outputs["probabilities"]))]


def _take(outputs: Mapping[str, np.ndarray], row: int) -> Prediction:
    error = _text(outputs["error"][row])
    if error:
        return Prediction({}, error=error)
    names = [_text(name) for name in outputs["pathologies"][row]]
    values = outputs["probabilities"][row]
    cams = {
        int(name.removeprefix("cam_block")): np.asarray(cam[row])
        for name, cam in outputs.items()
        if name.startswith("cam_block")
    }
    height, width = outputs["original_size"][row]
    return Prediction(
        probabilities=dict(zip(names, map(float, values), strict=True)),
        boxes=_take_boxes(outputs, row, names),
        original_size=(int(height), int(width)),
        attention=_take_map(outputs, "attention", row),
        cams=dict(sorted(cams.items())),
        relevance_weights=_take_map(outputs, "relevance_weights", row),
    )


def _take_map(outputs, name: str, row: int) -> np.ndarray | None:
    return np.asarray(outputs[name][row]) if name in outputs else None


def _take_boxes(outputs, row: int, names: list[str]) -> tuple[Box, ...]:
    if "boxes" not in outputs:
        return ()
    boxes, scores = np.asarray(outputs["boxes"][row]), outputs["box_scores"][row]
    found = [
        Box(names[column], tuple(map(float, boxes[column, place])), float(score))
        for (column, place), score in np.ndenumerate(np.asarray(scores))
        if score > 0
    ]
    return tuple(sorted(found, key=lambda box: -box.score))


def _text(value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
