"""Where lungs and heart lie in an image, and its grey as density and back."""

from dataclasses import dataclass

import numpy as np

# Densities of the phantom, which lesions are given in: lung, and what is around it.
_LUNG, AROUND = 0.45, 1.05
_BLACK, _WHITE = 4.0, 246.0


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


@dataclass(frozen=True)
class Film:
    """The curve of `render.expose` fitted to one picture.

    `grey = 4 + 242 p / (p + 0.5)`, `p = (density / speed)**gamma`.
    """

    gamma: float
    speed: float

    def to_density(self, grey: np.ndarray) -> np.ndarray:
        """Grey levels to density; what is all but black or white is clipped."""
        span = _WHITE - _BLACK
        share = np.clip((grey.astype(np.float32) - _BLACK) / span, 0.008, 0.992)
        power = 0.5 * share / (1 - share)
        return np.float32(self.speed) * power ** np.float32(1 / self.gamma)

    def to_grey(self, density: np.ndarray) -> np.ndarray:
        """Density to grey levels, not rounded."""
        relative = np.maximum(density, 0) * np.float32(1 / self.speed)
        power = relative ** np.float32(self.gamma)
        return _BLACK + (_WHITE - _BLACK) * power / (power + np.float32(0.5))


def fit_film(image: np.ndarray, chest: Chest) -> Film:
    """The curve under which a picture's lungs are as dense as the phantom's.

    Args:
        image: uint8 `(height, width)`.
        chest: its chest.

    Returns:
        The curve through the median grey of the lungs and that of the heart.
    """
    lungs = np.maximum(chest.lungs[0].mask, chest.lungs[1].mask) > 0.5
    x1, y1, x2, y2 = (round(v) for v in chest.heart)
    heart = np.zeros_like(lungs)
    heart[max(y1, 0) : max(y2, 1), max(x1, 0) : max(x2, 1)] = True
    heart &= ~lungs
    dark = float(np.median(image[lungs])) if lungs.any() else 80.0
    bright = float(np.median(image[heart])) if heart.any() else 180.0
    odds = []
    for grey in (dark, max(bright, dark + 20)):
        share = np.clip((grey - _BLACK) / (_WHITE - _BLACK), 0.03, 0.95)
        odds.append(np.log(0.5 * share / (1 - share)))
    gamma = float(np.clip((odds[1] - odds[0]) / np.log(AROUND / _LUNG), 0.8, 4.0))
    return Film(gamma, float(_LUNG / np.exp(odds[0] / gamma)))
