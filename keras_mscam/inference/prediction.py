"""What a model says of one X-ray."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import Box, compute_heatmap, find_positives
from keras_mscam.inference.what_if import change_prediction, find_shares
from keras_mscam.localization.boxes import normalize_map


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
        pixel_spacing: millimetres between pixels of the image given, `(down, across)`,
            or `None`.
        spacing_plane: where those millimetres were measured, see `xray.Frame`.
        warnings: sentences on what a reader should know of the image.
        field: the part of the image that the network saw and that maps cover,
            half-open xyxy in its pixels; `None` for all of it.
        contract: of the model, which `heatmap` needs; `None` of a server's answer.
        image: uint8 `(height, width)`, the X-ray, which figures are drawn on; `None`
            where many are predicted, or by a server.
        heatmaps: fused so far, by pathology; `heatmap` adds those that are asked for.
    """

    probabilities: dict[str, float]
    boxes: tuple[Box, ...] = ()
    original_size: tuple[int, int] = (0, 0)
    attention: np.ndarray | None = dataclasses.field(default=None, repr=False)
    cams: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    relevance_weights: np.ndarray | None = dataclasses.field(default=None, repr=False)
    error: str | None = None
    pixel_spacing: tuple[float, float] | None = None
    spacing_plane: str | None = None
    warnings: tuple[str, ...] = ()
    field: tuple[int, int, int, int] | None = None
    contract: Contract | None = dataclasses.field(default=None, repr=False)
    image: np.ndarray | None = dataclasses.field(default=None, repr=False)
    heatmaps: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @property
    def pathologies(self) -> tuple[str, ...]:
        """Names, in the order of the maps."""
        return tuple(self.probabilities)

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names, by falling probability."""
        return tuple(sorted(self.probabilities, key=lambda n: -self.probabilities[n]))

    @property
    def positives(self) -> tuple[str, ...]:
        """Names above their threshold, most probable first; none without a contract."""
        if self.contract is None:
            return ()
        values = np.array([list(self.probabilities.values())])
        positive = find_positives(self.contract, values)[0]
        is_positive = dict(zip(self.probabilities, positive, strict=True))
        return tuple(name for name in self.ranked if is_positive[name])

    def heatmap(self, pathology: str) -> np.ndarray:
        """Return the fused map as boxes are cut from it, fused once a prediction.

        Args:
            pathology: name of any, positive or not.

        Returns:
            float32 `(height, width)` in [0, 1], over `field`, at the size that the
            network sees. Without a contract, the map is scaled by its own minimum and
            maximum, at the size of `attention`.

        Raises:
            UserError: the model has no such pathology, or maps were not asked for.
        """
        if pathology not in self.probabilities:
            raise UserError(
                f"The model has no pathology {pathology!r}; it has "
                f"{', '.join(self.pathologies)}."
            )
        if pathology not in self.heatmaps:
            self.heatmaps[pathology] = self._fuse(self.pathologies.index(pathology))
        return self.heatmaps[pathology]

    def _fuse(self, column: int) -> np.ndarray:
        if self.contract and self.cams:
            cams = {f"cam_block{block}": cam[None] for block, cam in self.cams.items()}
            return compute_heatmap(self.contract, cams, 0, column)
        if self.attention is None:
            raise UserError("This prediction has no maps: they were not asked for.")
        return normalize_map(self.attention[..., column])

    def find_shares(self, pathology: str) -> np.ndarray:
        """Return each block's share in the fused map, see `what_if.find_shares`."""
        return find_shares(self.contract, pathology)

    def change(
        self, pathology: str, shares: Sequence[float], cam_thresholds=None
    ) -> "Prediction":
        """Return the prediction under other shares; see `what_if.change_prediction`."""
        return change_prediction(self, pathology, shares, cam_thresholds)

    def plot(self, pathology: str | None = None, **options):
        """Show the X-ray, the fused map and its boxes, and what each block says.

        Args:
            pathology: name; the most probable by default.
            options: `image`, `truth` and `width` of `visualization.plot_prediction`.

        Returns:
            A matplotlib figure.

        Raises:
            UserError: there is no such pathology, no maps, or no image.
        """
        from keras_mscam.visualization import plot_prediction

        return plot_prediction(self, pathology, **options)

    def _repr_html_(self) -> str:
        from keras_mscam.visualization.prediction_figures import render_card

        return render_card(self)

    def to_dict(self) -> dict:
        """Return all but the maps and the image as plain values for JSON."""
        return {
            "probabilities": self.probabilities,
            "boxes": [asdict(box) for box in self.boxes],
            "original_size": list(self.original_size),
            "pixel_spacing": list(self.pixel_spacing) if self.pixel_spacing else None,
            "spacing_plane": self.spacing_plane,
            "warnings": list(self.warnings),
            "field": list(self.field) if self.field else None,
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
