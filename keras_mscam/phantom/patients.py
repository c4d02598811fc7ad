"""Who is X-rayed, how, and with which findings: the sampled numbers, no pixels."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.pathologies import BOXED_PATHOLOGIES

MAX_VISITS = 5
# P(pathology) and what other findings, sampled before it, add to it. More frequent than
# in any hospital, so that a network meets enough of each within minutes.
_PREVALENCE: dict[str, tuple[float, dict[str, float]]] = {
    "Cardiomegaly": (0.15, {}),
    "Effusion": (0.13, {"Cardiomegaly": 0.14}),
    "Atelectasis": (0.13, {"Effusion": 0.14}),
    "Pneumonia": (0.14, {}),
    "Infiltration": (0.14, {"Pneumonia": 0.14}),
    "Mass": (0.17, {}),
    "Nodule": (0.18, {"Mass": 0.08}),
    "Pneumothorax": (0.14, {}),
}
# sqrt(box area) in pixels of the 1024 frame at the quantiles below: the quartiles of
# NIH's BBox_List_2017.csv, tails cut at its 10th and 90th percentile.
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES: dict[str, tuple[float, ...]] = {
    "Atelectasis": (85, 109, 140, 205, 290),
    "Cardiomegaly": (360, 391, 423, 460, 495),
    "Effusion": (110, 172, 242, 319, 400),
    "Infiltration": (155, 195, 244, 323, 440),
    "Mass": (80, 102, 124, 205, 330),
    "Nodule": (44, 56, 69, 83, 100),
    "Pneumonia": (160, 201, 245, 319, 430),
    "Pneumothorax": (85, 135, 194, 271, 370),
}


@dataclass(frozen=True)
class Anatomy:
    """What stays the same from visit to visit. Factors are relative to the mean."""

    sex: str
    age: int
    width: float
    height: float
    fat: float
    arms: float  # 0 raised, 1 hanging
    heart: float  # sqrt of the area of the heart's box, frame units, no cardiomegaly
    heart_aspect: float
    knob: float
    dome: float
    dome_difference: float
    rib_phase: float
    rib_spacing: float
    spine_bend: float
    breast: float
    vessels: float
    seed: tuple[int, ...]  # of the random details: ribs, vessels


@dataclass(frozen=True)
class Finding:
    """One pathology to draw."""

    pathology: str  # one of `BOXED_PATHOLOGIES`
    size: float  # square root of the area of its box, frame units
    conspicuity: float  # 0 (just visible) to 1 (obvious)
    side: int  # -1 the patient's right lung (left in the image), 1 the left lung


@dataclass(frozen=True)
class Visit:
    """One exposure of one patient."""

    view: str  # "PA" or "AP"
    rotation: float
    zoom: float
    shift: tuple[float, float]
    inspiration: float
    contrast: float
    density: float
    noise: float
    blur: float
    findings: tuple[Finding, ...]
    seed: tuple[int, ...]  # of the random details: positions, markers, devices


def sample_anatomy(seed: int, patient: int) -> Anatomy:
    """The fixed anatomy of a patient, a function of `(seed, patient)` only."""
    rng = np.random.default_rng([seed, patient])
    sex = "F" if rng.random() < 0.45 else "M"
    return Anatomy(
        sex=sex,
        age=int(np.clip(rng.normal(48, 17), 16, 92)),
        width=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.12)),
        height=float(np.clip(rng.normal(1.0, 0.07), 0.82, 1.15)),
        fat=float(np.clip(rng.gamma(6, 1 / 6), 0.35, 2.2)),
        arms=float(rng.random()),
        heart=float(np.clip(rng.normal(0.325, 0.026), 0.26, 0.40)),
        heart_aspect=float(np.exp(rng.normal(0.21, 0.09))),
        knob=float(rng.uniform(0.6, 1.5)),
        dome=float(rng.normal(0.0, 0.018)),
        dome_difference=float(np.clip(rng.normal(0.022, 0.012), -0.005, 0.05)),
        rib_phase=float(rng.uniform(-0.5, 0.5)),
        rib_spacing=float(rng.normal(1.0, 0.06)),
        spine_bend=float(rng.normal(0, 0.008)),
        breast=float(np.clip(rng.gamma(3, 0.33), 0.2, 2.2)) if sex == "F" else 0.0,
        vessels=float(rng.uniform(0.6, 1.2)),
        seed=(seed, patient, 1_000),
    )


def sample_pathologies(rng: np.random.Generator) -> tuple[str, ...]:
    """The pathologies of one image, correlated as in `_PREVALENCE`."""
    present: set[str] = set()
    for pathology, (base, raises) in _PREVALENCE.items():
        chance = base + sum(more for other, more in raises.items() if other in present)
        if rng.random() < chance:
            present.add(pathology)
    return tuple(p for p in BOXED_PATHOLOGIES if p in present)


def sample_size(rng: np.random.Generator, pathology: str) -> float:
    """A box size in frame units with the quartiles of the real box file."""
    logs = np.log(SIZES[pathology])
    return float(np.exp(np.interp(rng.random(), _QUANTILES, logs)) / 1024)


def sample_visit(seed: int, patient: int, visit: int) -> Visit:
    """One exposure, a function of `(seed, patient, visit)` only.

    View, positioning, exposure and the seed of markers and devices are drawn without
    looking at the findings, so that none of them tells a label.
    """
    rng = np.random.default_rng([seed, patient, visit])
    view = "AP" if rng.random() < 0.38 else "PA"
    portable = view == "AP"
    findings = tuple(
        Finding(
            pathology,
            sample_size(rng, pathology),
            float(rng.random()),
            -1 if rng.random() < 0.52 else 1,
        )
        for pathology in sample_pathologies(rng)
    )
    return Visit(
        view=view,
        rotation=float(rng.normal(0, 2.6 if portable else 1.3)),
        zoom=float(np.clip(rng.normal(1.03, 0.055), 0.86, 1.13)),
        shift=(
            float(np.clip(rng.normal(0, 0.018), -0.045, 0.045)),
            float(np.clip(rng.normal(0.0, 0.022), -0.05, 0.05)),
        ),
        inspiration=float(rng.normal(-0.25 if portable else 0.1, 0.4)),
        contrast=float(np.clip(rng.normal(0.85 if portable else 1.0, 0.13), 0.6, 1.3)),
        density=float(np.exp(rng.normal(0, 0.2))),
        noise=float(rng.uniform(0.4, 1.8)),
        blur=float(rng.uniform(0.0, 0.0022)),
        findings=findings,
        seed=(seed, patient, visit, 1),
    )


def count_visits(seed: int, patient: int) -> int:
    """How often a patient comes: 1 to `MAX_VISITS`, mostly once or twice."""
    rng = np.random.default_rng([seed, patient, 2_000])
    return int(rng.choice(MAX_VISITS, p=(0.36, 0.26, 0.18, 0.12, 0.08))) + 1
