"""From sampled numbers to an image: the pure function under the phantom."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.phantom.bones import draw_bones
from keras_mscam.phantom.chest import build_chest, draw_vessels
from keras_mscam.phantom.drawing import Frame, cloud
from keras_mscam.phantom.extras import add_devices, add_lookalikes, sample_extras, stamp
from keras_mscam.phantom.lesions import Lesion, draw_lesion
from keras_mscam.phantom.patients import Anatomy, Visit


@dataclass(frozen=True)
class Phantom:
    """A rendered radiograph: `(height, width)` uint8 and its lesions."""

    image: np.ndarray
    lesions: tuple[Lesion, ...]


def render_phantom(
    anatomy: Anatomy, visit: Visit, size: tuple[int, int] = (256, 256)
) -> Phantom:
    """Render one exposure of one patient, `(height, width)` pixels.

    The chest fills the shorter side; boxes of lesions are in pixels of the image. The
    same arguments give the same bytes.

    Example:
        >>> from keras_mscam.phantom import (
        ...     render_phantom, sample_anatomy, sample_visit)
        >>> anatomy, visit = sample_anatomy(0, 1), sample_visit(0, 1, 0)
        >>> render_phantom(anatomy, visit, size=(64, 64)).image.shape
        (64, 64)
    """
    zoom = 0.985 * visit.zoom
    frame = Frame(size, visit.rotation, (zoom, zoom), visit.shift)
    extras = sample_extras(visit)
    chest, density, air, body = build_chest(frame, anatomy, visit)
    density += draw_bones(frame, anatomy) * np.minimum(4 * body, 1)
    markings = draw_vessels(frame, anatomy, air)
    add_lookalikes(density, frame, anatomy, visit, chest)
    lesions = []
    for finding in visit.findings:
        # one stream a finding: dropping one leaves the others as they are
        rng = np.random.default_rng([*visit.seed, 50, *finding.pathology.encode()])
        lesion = draw_lesion(finding, chest, size, rng)
        if lesion is None:
            continue
        lesions.append(lesion)
        if lesion.added is not None:
            density += lesion.added
        if lesion.erased is not None:
            markings *= 1 - lesion.erased
    density += markings
    add_devices(density, frame, visit, extras)
    image = expose(density, frame, visit)
    stamp(image, frame, visit, extras)
    return Phantom(image, tuple(lesions))


def expose(density: np.ndarray, frame: Frame, visit: Visit) -> np.ndarray:
    """Density to 8-bit grey: scattered light, quantum noise, the film's curve.

    `grey = 4 + 242 d**gamma / (d**gamma + 0.5)`: linear in the middle, saturating where
    hardly a photon passes.
    """
    rng = np.random.default_rng([*visit.seed, 60])
    density = frame.blur(density, visit.blur)
    scatter = frame.blur(density, 0.09)
    density = 0.88 * density + 0.12 * scatter
    density += 0.02 * cloud(rng, frame.size, 0.25 * frame.unit)
    gamma = np.float32(2.3 * visit.contrast)
    power = np.maximum(density * visit.density, 0.0) ** gamma
    grey = 242 * power / (power + np.float32(0.50))
    grain = rng.standard_normal(frame.size, np.float32)
    grey += visit.noise * frame.blur(grain, 0.0015) * 1.6
    return np.clip(grey + 4, 0, 255).astype(np.uint8)
