"""Where lungs and heart lie in an image: all that a lesion needs to know of it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lung:
    """One lung as a lesion sees it. A real X-ray's lung can be given in this form.

    Args:
        side: -1 left in the image (the patient's right), 1 right in the image.
        mask: `(height, width)` float 0..1, the lung that is visible: not behind
            heart or diaphragm.
        outline: `(n, 2)` pixels, polygon of the half chest.
        hilum: `(2,)` pixels.
    """

    side: int
    mask: np.ndarray
    outline: np.ndarray
    hilum: np.ndarray


@dataclass(frozen=True)
class Chest:
    """What lesions need to know of a chest: lungs, heart, scale.

    Args:
        unit: pixels that correspond to 1024 pixels of ChestX-ray14.
        lungs: the one on the left of the image first.
        heart: box `(x1, y1, x2, y2)`, pixels.
    """

    unit: int
    lungs: tuple[Lung, Lung]
    heart: tuple[float, float, float, float]

    def lung(self, side: int) -> Lung:
        return self.lungs[0] if side < 0 else self.lungs[1]
