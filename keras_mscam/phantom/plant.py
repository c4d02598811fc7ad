"""Lesions planted in a real X-ray without findings."""

from dataclasses import replace

import cv2
import numpy as np

from keras_mscam.images.resize import resize_area
from keras_mscam.phantom.drawing import Frame, bounding_box
from keras_mscam.phantom.lesions import Lesion, draw_lesion
from keras_mscam.phantom.lungs import Tracing
from keras_mscam.phantom.patients import Finding, Visit
from keras_mscam.phantom.positioning import take_again
from keras_mscam.phantom.render import Phantom
from keras_mscam.phantom.thorax import AROUND, Chest, fit_film

# pathology: share of the phantom's density that looks as conspicuous on a real film,
# and the blur of the borders as a share of the box; both by eye, beside real lesions
_LOOKS = {
    "Atelectasis": (0.75, 0.035),
    "Infiltration": (0.75, 0.05),
    "Mass": (0.55, 0.05),
    "Nodule": (0.40, 0.08),
    "Pneumonia": (0.72, 0.05),
}
_VISIBLE = 0.3  # a pixel belongs to a lesion above this fraction of its peak
_FAINTEST = 4.0  # grey levels: what changes less at its peak is no finding


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

    Example:
        >>> from keras_mscam.phantom.lungs import trace_chest
        >>> tracing = trace_chest(image)
        >>> plant_lesions(image, tracing, sample_visit(0, 1, 0), (192, 192)).lesions
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
            new, lesion = _add(density, lesion, finding, chest, frame)
            change = film.to_grey(new) - film.to_grey(density)
            if np.abs(change).max() < _FAINTEST:
                continue
            density = new
        lesions.append(lesion)
    if density is not bare:
        change = film.to_grey(density) - film.to_grey(bare)
        picture = np.clip(np.rint(picture + change), 0, 255).astype(np.uint8)
    return Phantom(picture, tuple(lesions))


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at twice the size it is needed at: enough to be turned and zoomed."""
    return resize_area(image, (2 * size[0], 2 * size[1]))


def _add(
    density: np.ndarray, lesion: Lesion, finding: Finding, chest: Chest, frame: Frame
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
        change = share * cv2.GaussianBlur(lesion.added, (0, 0), sigma)
    box = bounding_box(change > _VISIBLE * change.max())
    return density + change, replace(lesion, box=box or lesion.box)


def _fill_with_fluid(
    density: np.ndarray, lesion: Lesion, finding: Finding, frame: Frame
) -> np.ndarray:
    """What is missing to the density of fluid, down into the recess beside the dome.

    The mask of the visible lung ends short of that recess, so the fluid spreads 3% of
    the picture down and outwards: there, only what is darker than fluid changes.
    """
    share = lesion.added / max(float(lesion.added.max()), 1e-6)
    reach = round(0.03 * frame.unit) + 1
    anchor = (reach - 1 if finding.side > 0 else 0, reach - 1)
    deep = cv2.dilate(share, np.ones((reach, reach), np.uint8), anchor=anchor)
    _, top, _, bottom = lesion.box
    deep = cv2.GaussianBlur(deep, (0, 0), max(0.035 * (bottom - top), 0.6))
    fluid = AROUND * (0.95 + 0.2 * finding.conspicuity)
    missing = np.maximum(fluid - frame.blur(density, 0.01), 0)
    return (0.70 + 0.25 * finding.conspicuity) * deep * missing


def _let_air_in(density: np.ndarray, lesion: Lesion, frame: Frame) -> np.ndarray:
    """No vessels, a little darker, and the line of the pleura."""
    line = frame.blur(np.maximum(lesion.added, 0), 0.0015)
    air = np.maximum(-lesion.added, 0)
    plain = _without_vessels(density, frame)
    return density + (plain - density) * lesion.erased - 0.3 * air + 0.6 * line


def _without_vessels(density: np.ndarray, frame: Frame) -> np.ndarray:
    """Bright structures thinner than 2.4% of the picture taken away: not the ribs."""
    side = 2 * round(0.012 * frame.unit) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(density, cv2.MORPH_OPEN, kernel)
    return np.minimum(density, frame.blur(opened, 0.006))
