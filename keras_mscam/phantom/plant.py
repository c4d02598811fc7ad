"""Lesions planted in a real X-ray without findings."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from keras_mscam.images.resize import resize_area
from keras_mscam.phantom.chest import Chest, Lung
from keras_mscam.phantom.drawing import (
    Frame,
    bounding_box,
    move_about_middle,
    turn,
)
from keras_mscam.phantom.lesions import VISIBLE, Lesion, draw_lesion
from keras_mscam.phantom.lung_template import SIZE
from keras_mscam.phantom.lungs import Tracing, outline_of
from keras_mscam.phantom.patients import Finding, Visit
from keras_mscam.phantom.render import Phantom

# pathology: share of the phantom's density that looks as conspicuous on a real film,
# and the blur of the borders as a share of the box; both by eye, beside real lesions
_LOOKS = {
    "Atelectasis": (0.75, 0.035),
    "Infiltration": (0.75, 0.05),
    "Mass": (0.55, 0.05),
    "Nodule": (0.40, 0.08),
    "Pneumonia": (0.72, 0.05),
}
_FAINTEST = 4.0  # grey levels: what changes less at its peak is no finding
# Densities of the phantom, which lesions are given in: lung, and what is around it.
_LUNG, _AROUND = 0.45, 1.05
_BLACK, _WHITE = 4.0, 246.0
_OVERSAMPLING = 2  # of a picture while it is turned: bilinear steps blur


def plant_lesions(
    image: np.ndarray, tracing: Tracing, visit: Visit, size: tuple[int, int]
) -> Phantom:
    """Take a real X-ray again and plant the findings of a visit in it.

    The film's grey is turned into density, lesions add to it, and it is turned back:
    `grey + film(density + lesion) - film(density)`, so a pixel without lesion stays
    what it was. An effusion fills up to the density of the heart; in a pneumothorax the
    vessels vanish, and the edge of the lung appears; Cardiomegaly is a warp of the
    picture, see `widen_heart`.

    Args:
        image: uint8 X-ray without findings, of any size.
        tracing: `trace_chest` of it.
        visit: findings and the seed of everything else.
        size: `(height, width)` of the result in pixels.

    Returns:
        The picture and its lesions, boxes tight around what a lesion changes by more
        than 0.3 of its peak. A finding that would be invisible, such as fluid behind an
        opaque breast, is left out. The same arguments give the same bytes.
    """
    picture, chest = take_again(image, tracing, visit, size)
    frame = Frame(size)
    film = fit_film(picture, chest)
    bare = density = film.to_density(picture)
    lesions = []
    for finding in visit.findings:
        # behind real ribs and vessels the faintest of the phantom's could not be seen
        finding = replace(finding, conspicuity=0.15 + 0.85 * finding.conspicuity)
        # one stream a finding, as in `render_phantom`
        rng = np.random.default_rng([*visit.seed, 50, *finding.pathology.encode()])
        lesion = draw_lesion(finding, chest, size, rng)
        if lesion is None:
            continue
        if lesion.added is not None:
            new, lesion = _add(density, lesion, finding, frame)
            change = film.to_grey(new) - film.to_grey(density)
            if np.abs(change).max() < _FAINTEST:
                continue
            density = new
        lesions.append(lesion)
    if density is not bare:
        change = film.to_grey(density) - film.to_grey(bare)
        picture = np.clip(np.rint(picture + change), 0, 255).astype(np.uint8)
    return Phantom(picture, tuple(lesions))


def _add(
    density: np.ndarray, lesion: Lesion, finding: Finding, frame: Frame
) -> tuple[np.ndarray, Lesion]:
    """Density with a lesion, and the lesion with the box of what it changes."""
    if finding.pathology == "Pneumothorax":
        return _let_air_in(density, lesion, frame), lesion
    if finding.pathology == "Effusion":
        change = _fill_with_fluid(density, lesion, finding, frame)
    else:
        share, softness = _LOOKS[finding.pathology]
        x1, y1, x2, y2 = lesion.box
        sigma = max(softness * np.sqrt((x2 - x1) * (y2 - y1)), 0.5)
        change = share * cv2.GaussianBlur(np.asarray(lesion.added), (0, 0), sigma)
    box = bounding_box(change > VISIBLE * change.max())
    return density + change, replace(lesion, box=box or lesion.box)


def _fill_with_fluid(
    density: np.ndarray, lesion: Lesion, finding: Finding, frame: Frame
) -> np.ndarray:
    """What is missing to the density of fluid, down into the recess beside the dome.

    The mask of the visible lung ends short of that recess, so the fluid spreads 3% of
    the picture down and outwards: there, only what is darker than fluid changes.
    """
    added = np.asarray(lesion.added)
    share = added / max(float(added.max()), 1e-6)
    reach = round(0.03 * frame.unit) + 1
    anchor = (reach - 1 if finding.side > 0 else 0, reach - 1)
    deep = cv2.dilate(share, np.ones((reach, reach), np.uint8), anchor=anchor)
    _, top, _, bottom = lesion.box
    deep = cv2.GaussianBlur(deep, (0, 0), max(0.035 * (bottom - top), 0.6))
    fluid = _AROUND * (0.95 + 0.2 * finding.conspicuity)
    missing = np.maximum(fluid - frame.blur(density, 0.01), 0)
    return (0.70 + 0.25 * finding.conspicuity) * deep * missing


def _let_air_in(density: np.ndarray, lesion: Lesion, frame: Frame) -> np.ndarray:
    """No vessels, a little darker, and the line of the pleura."""
    added = np.asarray(lesion.added)
    line = frame.blur(np.maximum(added, 0), 0.0015)
    air = np.maximum(-added, 0)
    plain = _without_vessels(density, frame)
    return density + (plain - density) * lesion.erased - 0.3 * air + 0.6 * line


def _without_vessels(density: np.ndarray, frame: Frame) -> np.ndarray:
    """Bright structures thinner than 2.4% of the picture taken away: not the ribs."""
    side = 2 * round(0.012 * frame.unit) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(density, cv2.MORPH_OPEN, kernel)
    return np.minimum(density, frame.blur(opened, 0.006))


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
    """The curve through the median grey of a picture's lungs and that of its heart.

    Under it they are as dense as the phantom's.
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
    gamma = float(np.clip((odds[1] - odds[0]) / np.log(_AROUND / _LUNG), 0.8, 4.0))
    return Film(gamma, float(_LUNG / np.exp(odds[0] / gamma)))


def take_again(
    image: np.ndarray, tracing: Tracing, visit: Visit, size: tuple[int, int]
) -> tuple[np.ndarray, Chest]:
    """Position and expose a real X-ray anew, without mirroring it; see `plant_lesions`.

    Turned by 2.5, shifted by 2% and zoomed by 5% (standard deviations, cut at 6
    degrees, 4%, and 0.94 to 1.15), what is missing at the borders repeated from them;
    gamma and contrast changed by 10%, brightness by 8 grey levels; the heart wider or
    narrower by 5%, or as wide as Cardiomegaly asks.

    uint8 of shape `size`, and its chest in its pixels. The visit's findings decide on
    the heart alone, its seed on everything else.
    """
    rng = np.random.default_rng([*visit.seed, 70])
    matrix = _sample_matrix(rng, size)
    moves = sample_heart(rng, tracing, visit)
    ratio = np.array(size[::-1]) / SIZE
    x, y = _look_up(matrix, ratio, size)
    x = widen_heart(x, y, tracing, moves)
    picture = resize_area(_sample(image, x, y, cv2.BORDER_REPLICATE), size)
    x, y = (cv2.resize(v, size[::-1], interpolation=cv2.INTER_AREA) for v in (x, y))
    lungs = []
    for lung in tracing.to_chest().lungs:
        mask = _sample(lung.mask, x, y, cv2.BORDER_CONSTANT)
        hilum = matrix[:, :2] @ (lung.hilum * ratio) + matrix[:, 2]
        lungs.append(Lung(lung.side, mask, outline_of(mask), hilum))
    heart = _move_box(widen_box(tracing, moves), matrix, ratio)
    right, left = lungs
    return _expose(rng, picture), Chest(min(size), (right, left), heart)


def _sample_matrix(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """`(2, 3)`: from the picture stretched to `size` to where it is moved."""
    angle = np.clip(rng.normal(0, 2.5), -6, 6)
    zoom = np.exp(np.clip(rng.normal(0.03, 0.05), -0.06, 0.14))
    shift = np.clip(rng.normal(0, 0.02, 2), -0.04, 0.04) * min(size)
    return move_about_middle(turn(angle) * zoom, shift, size)


def _look_up(
    matrix: np.ndarray, ratio: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a picture twice as large, its place before the move."""
    inverse = cv2.invertAffineTransform(matrix) / ratio[:, None]
    rows, columns = (
        (np.arange(n * _OVERSAMPLING, dtype=np.float32) + 0.5) / _OVERSAMPLING
        for n in size
    )
    (a, b, c), (d, e, f) = inverse.astype(np.float32)
    rows = rows[:, None]
    return a * columns + b * rows + c, d * columns + e * rows + f


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray, border: int) -> np.ndarray:
    """An image at places given in pixels of the tracing."""
    height, width = image.shape
    half = np.float32(0.5)
    x = x * np.float32(width / SIZE) - half
    y = y * np.float32(height / SIZE) - half
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border)


def _expose(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    contrast = np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))
    brightness = np.clip(rng.normal(0, 8), -20, 20)
    gamma = np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))
    levels = 255 * (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    levels = (levels - 128) * np.float32(contrast) + 128 + np.float32(brightness)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[picture]


def _move_box(
    box: tuple[float, float, float, float], matrix: np.ndarray, ratio: np.ndarray
) -> tuple[float, float, float, float]:
    """A box moved and zoomed, not turned: around what a turned heart still fills."""
    x1, y1, x2, y2 = box
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) * ratio
    half = np.array([x2 - x1, y2 - y1]) / 2 * ratio * np.linalg.norm(matrix[:, 0])
    center = matrix[:, :2] @ middle + matrix[:, 2]
    x1, y1, x2, y2 = map(float, (*(center - half), *(center + half)))
    return x1, y1, x2, y2


def sample_heart(
    rng: np.random.Generator, tracing: Tracing, visit: Visit
) -> tuple[float, float]:
    """How far the heart's right and left borders move outwards, pixels of the tracing.

    Every heart is changed a little, so that a warp by itself tells no label. With the
    finding Cardiomegaly, the heart gets 0.56 to 0.68 of the chest's width, and grows by
    12% at least; most of it goes to the left, as in life. No border moves farther than
    55% of the way to the chest's wall.
    """
    change = float(np.clip(rng.normal(0.0, 0.05), -0.1, 0.1))
    more = float(rng.random())
    x1, _, x2, _ = tracing.heart
    chest = np.ptp(tracing.outlines[..., 0])
    for finding in visit.findings:
        if finding.pathology == "Cardiomegaly":
            ratio = 0.56 + 0.10 * finding.conspicuity + 0.02 * more
            change = float(np.clip(ratio * chest / (x2 - x1) - 1, 0.12, 0.55))
    sides = zip(*_halves(tracing), (0.75, 1.25), strict=True)
    right, left = (min(h * part * change, 0.55 * (wall - h)) for h, wall, part in sides)
    return right, left


def widen_heart(
    x: np.ndarray, y: np.ndarray, tracing: Tracing, moves: tuple[float, float]
) -> np.ndarray:
    """Where to look for what a warped picture shows at `(x, y)`: the new `x`.

    The shift grows from the spine to the heart's new border, and falls to nothing at
    the chest's wall; it is full in the lower half of the heart, and nothing at the hila
    and in the abdomen. All are pixels of the tracing, `moves` from `sample_heart`.
    """
    _, y1, _, y2 = tracing.heart
    height = max(y2 - y1, 1.0)
    weight = _ease((y - y1 + 0.05 * height) / (0.6 * height))
    weight = weight * _ease(1 - (y - y2) / (0.45 * height))
    middle = tracing.hila[:, 0].mean()
    shift = np.zeros_like(x)
    sides = zip((-1, 1), *_halves(tracing), moves, strict=True)
    for side, half, wall, move in sides:
        away = (x - middle) * side
        border = half + move
        rise = _ease(away / border)
        fall = np.clip((wall - away) / (wall - border), 0, 1)
        shift += side * move * np.where(away < border, rise, fall) * (away > 0)
    return (x - shift * weight).astype(np.float32)


def widen_box(
    tracing: Tracing, moves: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The box of the heart once its borders have moved, pixels of the tracing."""
    _, y1, _, y2 = tracing.heart
    middle = float(tracing.hila[:, 0].mean())
    (right, left), _ = _halves(tracing)
    return middle - right - moves[0], y1, middle + left + moves[1], y2


def _halves(tracing: Tracing) -> tuple[list[float], list[float]]:
    """From the middle to the heart's borders and to the walls; right side first."""
    middle = tracing.hila[:, 0].mean()
    x1, _, x2, _ = tracing.heart
    halves = [max(middle - x1, 4.0), max(x2 - middle, 4.0)]
    reaches = [np.abs(outline[:, 0] - middle).max() for outline in tracing.outlines]
    walls = [max(r, 1.5 * h) for r, h in zip(reaches, halves, strict=True)]
    return [float(h) for h in halves], [float(w) for w in walls]


def _ease(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
