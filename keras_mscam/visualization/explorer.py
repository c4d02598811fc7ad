"""One prediction to play with in Jupyter: its blocks, their weights, its boxes."""

import html
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.images.resize import choose_shape
from keras_mscam.visualization.overlay import draw_overlay
from keras_mscam.visualization.prediction_figures import choose_image, choose_pathology
from keras_mscam.visualization.style import MOST_ALPHA, words

if TYPE_CHECKING:
    from keras_mscam.inference.prediction import Prediction

_SIDE = 512  # of the picture, in pixels
_SHOWN = 380  # the same, on the page
_STEP = 0.01  # of weights and thresholds


class Explorer:
    """Show a prediction with controls; what they ask for is shown at once.

    They are the pathology, which blocks count and how much, the threshold of boxes and
    how far the map hides the X-ray. The maps of the blocks are fused and thresholded
    anew, the network isn't asked again; probabilities stay what they are.

    Args:
        prediction: of `Predictor.predict`.
        pathology: shown first; the most probable by default.
        image: uint8 `(height, width)`, for a prediction that doesn't hold its own.

    Attributes:
        prediction: as the controls have it now.

    Raises:
        UserError: the prediction has no maps, contract or image, or ipywidgets isn't
            installed.

    Example:
        >>> Explorer(Predictor("run").predict("chest.png"))
    """

    def __init__(
        self,
        prediction: "Prediction",
        pathology: str | None = None,
        image: np.ndarray | None = None,
    ):
        try:
            import ipywidgets
        except ImportError as error:
            raise UserError(
                "The explorer needs ipywidgets: pip install 'keras_mscam[notebooks]'."
            ) from error
        self._widgets = ipywidgets
        self._image = choose_image(prediction, image)
        self._original = self.prediction = prediction
        pathology = pathology or choose_pathology(prediction)
        # Says in a sentence what is missing, before anything is shown.
        blocks = len(prediction.cams)
        prediction.change(pathology, np.ones(blocks))
        self._is_setting = False
        self._build(pathology)
        self.reset()

    def reset(self, *_) -> None:
        """Put blocks, weights, threshold and opacity back to the model's."""
        contract = self._original.require_contract()
        self._is_setting = True
        self._shares = self._original.find_shares(self.pathology.value)
        for box, slider, share in zip(
            self.blocks, self.weights, self._shares, strict=True
        ):
            box.value, slider.value = True, round(float(share), 2)
        # A browser sends what is between two steps of a slider back, rounded.
        self.threshold.value = round(contract.shown_threshold, 2)
        self.opacity.value = MOST_ALPHA
        self._is_setting = False
        self._show()

    def draw(self) -> np.ndarray:
        """Draw what is shown: uint8 RGB `(height, width, 3)`."""
        alpha = round(self.opacity.value, 2)
        name, shape = self.pathology.value, self._choose_shape()
        return draw_overlay(self._image, self.prediction, name, shape, alpha)

    def _choose_shape(self) -> tuple[int, int]:
        return choose_shape(self._image.shape, self._original.pixel_spacing, _SIDE)

    def _build(self, pathology: str) -> None:
        make = self._widgets
        narrow = make.Layout(width="auto")
        probabilities = self._original.probabilities
        options = [
            (f"{words(name)}, {probabilities[name]:.2f}", name)
            for name in self._original.ranked
        ]
        self.pathology = make.Dropdown(
            options=options, value=pathology, description="Pathology"
        )
        self.blocks = [
            make.Checkbox(
                value=True, description=f"Block {block}", indent=False, layout=narrow
            )
            for block in self._original.cams
        ]
        self.weights = [_slide(make, "weight") for _ in self.blocks]
        self.shares = [make.Label() for _ in self.blocks]
        self.threshold = _slide(make, "Threshold", most=0.99)
        self.opacity = _slide(make, "Opacity")
        self.reset_button = make.Button(description="As the model has it")
        height, width = self._choose_shape()
        shown = make.Layout(
            width=f"{round(_SHOWN * width / max(height, width))}px", height="auto",
            flex="0 0 auto", align_self="flex-start",
        )  # fmt: skip
        self.picture = make.Image(format="png", layout=shown)
        self.text = make.HTML()
        self.pathology.observe(self.reset, "value")
        for control in (*self.blocks, *self.weights, self.threshold, self.opacity):
            control.observe(self._show, "value")
        self.reset_button.on_click(self.reset)
        rows = zip(self.blocks, self.weights, self.shares, strict=True)
        controls = make.VBox([
            self.pathology, *map(make.HBox, rows),
            self.threshold, self.opacity, self.reset_button, self.text,
        ])  # fmt: skip
        self.widget = make.HBox(
            [self.picture, controls], layout=make.Layout(flex_flow="row wrap")
        )

    def _show(self, *_) -> None:
        if self._is_setting:
            return
        # The model's own values, where nobody moved a slider.
        values = np.array([slider.value for slider in self.weights])
        counted = np.where(_is_moved(values, self._shares), values, self._shares)
        counted = counted * [block.value for block in self.blocks]
        own = self._original.require_contract().shown_threshold
        threshold = self.threshold.value
        threshold = threshold if _is_moved(threshold, own) else own
        self.prediction = self._original.change(
            self.pathology.value, counted, threshold
        )
        total = counted.sum()
        for label, value in zip(self.shares, counted, strict=True):
            label.value = f"counts {value / total if total else 0:.2f}"
        self.picture.value = cv2.imencode(".png", self.draw()[..., ::-1])[1].tobytes()
        self.text.value = self._describe()

    def _describe(self) -> str:
        name = self.pathology.value
        called = "positive" if name in self._original.positives else "not positive"
        boxes = self.prediction.boxes
        count = f"{len(boxes)} box" + "es" * (len(boxes) != 1)
        lines = [f"{html.escape(words(name))}: {called}; {count}"]
        for box in boxes[:5]:
            corners = "{:.0f}, {:.0f} to {:.0f}, {:.0f}".format(*box.xyxy)
            lines.append(f"{corners}; score {box.score:.2f}")
        lines += [f"⚠ {html.escape(w)}" for w in self._original.warnings]
        return "<br>".join(lines)

    def _repr_mimebundle_(self, **options):
        return self.widget._repr_mimebundle_(**options)


def _is_moved(values, own):
    """Return which sliders are elsewhere than the nearest step to the model's value."""
    return np.abs(values - own) > _STEP / 2 + 1e-9


def _slide(make, description: str, most: float = 1.0):
    return make.FloatSlider(
        min=0, max=most, step=_STEP, description=description, readout_format=".2f"
    )
