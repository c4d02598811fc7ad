"""What a model says of one X-ray."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.images.xray import Frame
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import (
    Box,
    compute_heatmap,
    find_boxes,
    find_positives,
)
from keras_mscam.localization.boxes import normalize_map
from keras_mscam.localization.protocol import check_shown_threshold


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
        called: the positive pathologies, where a server says which in its place.
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
    called: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    image: np.ndarray | None = dataclasses.field(default=None, repr=False)
    heatmaps: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @property
    def pathologies(self) -> tuple[str, ...]:
        """Names, in the order of the maps."""
        return tuple(self.probabilities)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The part of the image that maps cover, half-open xyxy in its pixels."""
        return self.field or (0, 0, self.original_size[1], self.original_size[0])

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names, by falling probability."""
        return tuple(sorted(self.probabilities, key=lambda n: -self.probabilities[n]))

    @property
    def positives(self) -> tuple[str, ...]:
        """Names that reach their thresholds, most probable first."""
        if self.contract is None:
            return tuple(name for name in self.ranked if name in self.called)
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
        column = self._find_column(pathology)
        if pathology not in self.heatmaps:
            self.heatmaps[pathology] = self._fuse(column)
        return self.heatmaps[pathology]

    def _fuse(self, column: int) -> np.ndarray:
        if self.contract and self.cams:
            cams = {f"cam_block{block}": cam[None] for block, cam in self.cams.items()}
            return compute_heatmap(self.contract, cams, 0, column)
        if self.attention is None:
            raise UserError("This prediction has no maps: they were not asked for.")
        return normalize_map(self.attention[..., column])

    def _find_column(self, pathology: str) -> int:
        if pathology not in self.probabilities:
            raise UserError(
                f"The model has no pathology {pathology!r}; it has "
                f"{', '.join(self.pathologies)}."
            )
        return self.pathologies.index(pathology)

    def find_shares(self, pathology: str) -> np.ndarray:
        """Return how much every block counts in the fused map, `(B,)` on the simplex.

        The relevance weights, where maps are fused by them; all alike where each is
        divided by its own standard deviation.
        """
        fused, relevance = self._find_weights(self._find_column(pathology))
        if np.allclose(fused, relevance):
            return relevance
        return np.full(len(fused), 1 / len(fused))

    def require_contract(self) -> Contract:
        """Return the contract.

        Raises:
            UserError: there is none, as of a server's answer.
        """
        if self.contract is None:
            raise UserError(
                "Only a prediction of a Predictor, with its maps, can be explored: a "
                "server's answer doesn't hold what maps are fused and cut by."
            )
        return self.contract

    def _find_weights(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of blocks in the fused map, and those learned."""
        contract = self.require_contract()
        return (
            np.array(contract.fusion_weights)[:, column],
            np.array(contract.relevance_weights)[:, column],
        )

    def change(
        self,
        pathology: str,
        shares: Sequence[float] | np.ndarray,
        shown_threshold: float | None = None,
    ) -> "Prediction":
        """Fuse one pathology's maps by other weights, and find its boxes anew.

        The network isn't run again. Shares are divided by their sum, which puts them on
        the simplex. Where maps are divided by their standard deviations, so are these.
        Probabilities and the scale of an exponential normalization stay what they are.

        Args:
            pathology: the one to change.
            shares: B numbers of 0 or more, how much each block is to count; if all are
                0, the map points nowhere.
            shown_threshold: of its boxes, in [0, 1); the model's by default.

        Returns:
            The prediction with another contract, and with boxes of this pathology in
            place of all others, whether it is positive or not. Without `attention`,
            which was fused by the model's weights.

        Raises:
            UserError: there are no maps or no contract, no such pathology, shares that
                don't fit, or a threshold out of its range.
        """
        contract = self.require_contract()
        if not self.cams:
            raise UserError(
                "Only a prediction with its maps can be explored: this one was made "
                "without."
            )
        column = self._find_column(pathology)
        given = np.asarray(shares, float)
        blocks = len(contract.blocks)
        if given.shape != (blocks,) or not (given >= 0).all():
            raise UserError(
                f"The shares {list(shares)} must be {blocks} numbers of 0 or more, one "
                "for each block."
            )
        fused, relevance = self._find_weights(column)
        # What a block weighs when it alone counts.
        scale = 1.0 if np.allclose(fused, relevance) else fused * blocks
        weights = np.array(contract.fusion_weights)
        weights[:, column] = given / (given.sum() or 1) * scale
        if shown_threshold is None:
            shown_threshold = contract.shown_threshold
        check_shown_threshold(shown_threshold)
        contract = replace(
            contract,
            fusion_weights=tuple(map(tuple, weights.tolist())),
            shown_threshold=float(shown_threshold),
        )
        changed = replace(self, contract=contract, attention=None, heatmaps={})
        return replace(changed, boxes=changed._find_boxes(pathology))

    def _find_boxes(self, pathology: str) -> tuple[Box, ...]:
        """Find the boxes of one pathology, positive or not."""
        left, top, right, bottom = self.corners
        boxes, scores = find_boxes(
            self.require_contract(),
            {"probabilities": np.array([list(self.probabilities.values())], "float32")},
            np.array([[bottom - top, right - left]]),
            {(0, self._find_column(pathology)): self.heatmap(pathology)},
        )
        offset = [left, top, left, top]
        return list_boxes(self.pathologies, boxes[0] + offset, scores[0])

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


def apply_frame(prediction: Prediction, frame: Frame) -> Prediction:
    """Return a prediction with what a file says of its pixels."""
    return replace(
        prediction,
        original_size=frame.size,
        pixel_spacing=frame.pixel_spacing,
        spacing_plane=frame.spacing_plane,
        field=frame.field,
        warnings=(*frame.warnings, *prediction.warnings),
    )


def split_outputs(outputs: Mapping[str, np.ndarray]) -> list[Prediction]:
    """Turn the outputs of a signature, by name, into a prediction of each image."""
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
    warnings = outputs.get("warnings")
    boxes = ()
    if "boxes" in outputs:
        of_row = (np.asarray(outputs[name][row]) for name in ("boxes", "box_scores"))
        boxes = list_boxes(names, *of_row)
    called = zip(names, outputs["positives"][row], strict=True)
    return Prediction(
        probabilities=dict(zip(names, map(float, values), strict=True)),
        called=tuple(name for name, is_positive in called if is_positive),
        boxes=boxes,
        original_size=(int(height), int(width)),
        attention=_take_map(outputs, "attention", row),
        cams=dict(sorted(cams.items())),
        relevance_weights=_take_map(outputs, "relevance_weights", row),
        warnings=tuple(_text(warnings[row]).splitlines())
        if warnings is not None
        else (),
    )


def _take_map(outputs, name: str, row: int) -> np.ndarray | None:
    return np.asarray(outputs[name][row]) if name in outputs else None


def list_boxes(names: Sequence[str], boxes, scores) -> tuple[Box, ...]:
    """Return boxes `(C, K, 4)`, where their scores `(C, K)` are above 0, by score."""
    found = []
    for column, place in np.argwhere(np.asarray(scores) > 0):
        left, top, right, bottom = map(float, boxes[column, place])
        score = float(scores[column, place])
        found.append(Box(names[column], (left, top, right, bottom), score))
    return tuple(sorted(found, key=lambda box: -box.score))


def _text(value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
