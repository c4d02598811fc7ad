"""Planted lesions: where they are, and that nothing else changes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_mscam.pathologies import BOXED_PATHOLOGIES
from keras_mscam.phantom import plant as plant_module
from keras_mscam.phantom import sample_visit
from keras_mscam.phantom.lungs import trace_chest
from keras_mscam.phantom.patients import Finding, sample_size
from keras_mscam.phantom.plant import Film, fit_film, plant_lesions, take_again

LESIONS = [name for name in BOXED_PATHOLOGIES if name != "Cardiomegaly"]


@pytest.fixture(scope="module")
def traced(xrays):
    return [(image, trace_chest(image)) for image in xrays[:4]]


def plant(traced, case, pathology, size=(192, 192), conspicuity=0.6):
    """Image, lesion and the same image without it."""
    image, tracing = traced[case % len(traced)]
    rng = np.random.default_rng([case, 5])
    finding = Finding(
        pathology, sample_size(rng, pathology), conspicuity, int(rng.choice((-1, 1)))
    )
    visit = replace(sample_visit(2, 1, case), findings=(finding,))
    phantom = plant_lesions(image, tracing, visit, size)
    bare = plant_lesions(image, tracing, replace(visit, findings=()), size)
    assert bare.lesions == ()
    return phantom, bare.image, finding


@pytest.mark.parametrize("pathology", LESIONS)
@pytest.mark.parametrize("size", [(192, 192), (160, 224), (256, 200)])
def test_the_box_is_tight_around_what_changes(traced, pathology, size):
    for case in range(4):
        phantom, bare, _ = plant(traced, case, pathology, size)
        (lesion,) = phantom.lesions
        x1, y1, x2, y2 = lesion.box
        assert 0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0]
        change = np.abs(phantom.image.astype(int) - bare)
        inside = change[y1:y2, x1:x2]
        assert inside.sum() > 0.8 * change.sum()
        # not only noise: at least 8 grey levels somewhere
        assert inside.max() >= 8
        # what changes clearly reaches all four sides, give or take a sixth of the box
        rows, columns = np.nonzero(change > 0.2 * inside.max())
        assert rows.min() - y1 < (y2 - y1) / 6 and y2 - rows.max() - 1 < (y2 - y1) / 6
        assert columns.min() - x1 < (x2 - x1) / 6
        assert x2 - columns.max() - 1 < (x2 - x1) / 6


@pytest.mark.parametrize("pathology", LESIONS)
def test_nothing_changes_far_from_the_lesion(traced, pathology):
    for case in range(4):
        phantom, bare, _ = plant(traced, case, pathology, conspicuity=1.0)
        x1, y1, x2, y2 = phantom.lesions[0].box
        # a soft border may be as wide as the lesion itself, and at least 4 pixels
        dx, dy = max(x2 - x1, 4), max(y2 - y1, 4)
        away = np.ones(bare.shape, bool)
        away[max(y1 - dy, 0) : y2 + dy, max(x1 - dx, 0) : x2 + dx] = False
        assert np.array_equal(phantom.image[away], bare[away])


def test_lesions_brighten_and_a_pneumothorax_does_not(traced):
    for pathology in LESIONS:
        changes = []
        for case in range(4):
            phantom, bare, _ = plant(traced, case, pathology, conspicuity=1.0)
            x1, y1, x2, y2 = phantom.lesions[0].box
            change = phantom.image.astype(float) - bare
            changes.append(change[y1:y2, x1:x2].mean())
        if pathology == "Pneumothorax":
            assert max(changes) < 0
        else:
            assert min(changes) > 3


def test_more_conspicuous_is_brighter(traced):
    for pathology in ("Nodule", "Mass", "Effusion", "Pneumonia"):
        peaks = []
        for conspicuity in (0.0, 0.5, 1.0):
            phantom, bare, _ = plant(traced, 1, pathology, conspicuity=conspicuity)
            peaks.append((phantom.image.astype(int) - bare).max())
        assert peaks[0] < peaks[1] < peaks[2]
        assert peaks[0] >= 10  # not invisible


def test_box_sizes_are_those_asked_for(traced):
    ratios = {pathology: [] for pathology in LESIONS}
    for pathology in LESIONS:
        for case in range(12):
            phantom, _, finding = plant(traced, case, pathology)
            x1, y1, x2, y2 = phantom.lesions[0].box
            extent = np.sqrt((x2 - x1) * (y2 - y1))
            ratios[pathology].append(extent / (192 * finding.size))
    for pathology, values in ratios.items():
        assert np.median(values) == pytest.approx(1, abs=0.12), pathology


def test_cardiomegaly_widens_the_heart_and_little_else(traced):
    for case in range(4):
        phantom, bare, _ = plant(traced, case, "Cardiomegaly", (256, 256))
        (lesion,) = phantom.lesions
        image, tracing = traced[case % 4]
        visit = sample_visit(2, 1, case)
        bare_visit = replace(visit, findings=())
        _, chest = take_again(image, tracing, bare_visit, (256, 256))
        x1, _, x2, _ = lesion.box
        # 12% more at least, less what a narrower heart in `bare` (by 10%) adds to it
        assert x2 - x1 > 1.05 * (chest.heart[2] - chest.heart[0])
        walls = [lung.outline[:, 0] for lung in chest.lungs]
        ratio = (x2 - x1) / (walls[1].max() - walls[0].min())
        assert ratio > 0.5  # of the chest's width; normal is below a half
        assert walls[0].min() < x1 and x2 < walls[1].max()
        # above the hila nothing moves
        top = int(chest.heart[1] - 0.1 * 256)
        assert np.array_equal(phantom.image[:top], bare[:top])


def test_positions_and_exposures_differ_but_no_image_is_mirrored(traced):
    image, tracing = traced[0]
    pictures, sides = [], []
    for number in range(12):
        visit = replace(sample_visit(3, 1, number), findings=())
        picture, chest = take_again(image, tracing, visit, (128, 128))
        pictures.append(picture)
        sides.append([lung.hilum[0] for lung in chest.lungs])
    assert len({picture.tobytes() for picture in pictures}) == 12
    assert all(right < left for right, left in sides)
    spread = np.std([picture.mean() for picture in pictures])
    assert 1 < spread < 30


def test_masks_move_with_the_picture(traced):
    # a picture that is bright exactly in the lungs stays so when it is taken again
    _, tracing = traced[1]
    lungs = np.maximum(*(lung.mask for lung in tracing.to_chest().lungs))
    painted = np.where(lungs > 0.5, 200, 40).astype(np.uint8)
    for number in range(4):
        visit = sample_visit(3, 1, number)
        picture, chest = take_again(painted, tracing, visit, (200, 160))
        found = np.maximum(*(lung.mask for lung in chest.lungs)) > 0.5
        bright = picture > (float(picture.min()) + float(picture.max())) / 2
        assert (found & bright).sum() / (found | bright).sum() > 0.97


def test_findings_change_neither_position_nor_exposure(traced):
    # a label must not be told by how a picture is taken: corners are far from lesions
    image, tracing = traced[0]
    visit = sample_visit(3, 1, 5)
    findings = tuple(Finding(p, 0.2, 0.5, 1) for p in BOXED_PATHOLOGIES)
    pictures = [
        plant_lesions(image, tracing, replace(visit, findings=f), (160, 160)).image
        for f in ((), findings)
    ]
    assert np.array_equal(pictures[0][:16], pictures[1][:16])
    assert np.array_equal(pictures[0][-8:], pictures[1][-8:])


def test_the_same_twice(traced):
    first, second = (plant(traced, 2, "Mass")[0] for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.lesions[0].box == second.lesions[0].box


def test_what_would_not_be_seen_is_neither_planted_nor_labelled(traced, monkeypatch):
    monkeypatch.setattr(plant_module, "_FAINTEST", 300.0)  # more than grey has levels
    for pathology in LESIONS:
        phantom, bare, _ = plant(traced, 1, pathology)
        assert phantom.lesions == ()
        assert np.array_equal(phantom.image, bare)


def test_film_there_and_back():
    film = Film(gamma=2.0, speed=1.0)
    # p = d**2; d = 1: 4 + 242 / 1.5 = 165.33; d = 0.5: 4 + 242 * 0.25 / 0.75 = 84.67
    density = np.float32([1.0, 0.5])
    assert film.to_grey(density) == pytest.approx([165.333, 84.667], abs=1e-2)
    grey = np.arange(6, 245, dtype=np.uint8)
    assert film.to_grey(film.to_density(grey)) == pytest.approx(grey, abs=0.01)
    clipped = film.to_density(np.uint8([0, 255]))
    assert np.isfinite(clipped).all() and clipped[0] < 0.1 and clipped[1] > 5


def test_film_of_a_picture_gives_the_densities_of_lung_and_heart(traced):
    image, tracing = traced[0]
    chest = tracing.to_chest()
    film = fit_film(image, chest)
    lungs = np.maximum(*(lung.mask for lung in chest.lungs)) > 0.5
    density = film.to_density(cv2.resize(image, (256, 256)))
    # the phantom's lung and heart, in the units of its lesions
    assert np.median(density[lungs]) == pytest.approx(0.45, abs=0.02)
