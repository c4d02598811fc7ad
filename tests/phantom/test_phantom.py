"""The phantom: bytes by seed, boxes, sizes, prevalence, no shortcuts, NIH's layout."""

import csv
import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.pathologies import BOXED_PATHOLOGIES
from keras_mscam.phantom import (
    render_phantom,
    sample_anatomy,
    sample_visit,
    write_phantoms,
)
from keras_mscam.phantom.extras import sample_extras
from keras_mscam.phantom.patients import Finding, sample_size

# design page: quartiles of sqrt(area) of NIH's boxes, pixels of the 1024 frame
QUARTILES = {
    "Nodule": (56, 69, 83),
    "Mass": (102, 124, 205),
    "Atelectasis": (109, 140, 205),
    "Pneumothorax": (135, 194, 271),
    "Effusion": (172, 242, 319),
    "Infiltration": (195, 244, 323),
    "Pneumonia": (201, 245, 319),
    "Cardiomegaly": (391, 423, 460),
}


def one_finding(pathology, case, size=(256, 256), conspicuity=0.6):
    """A case with just this finding: `(anatomy, visit, phantom)`."""
    rng = np.random.default_rng([case, 77])
    anatomy, visit = sample_anatomy(9, case + 1), sample_visit(9, case + 1, 0)
    finding = Finding(
        pathology, sample_size(rng, pathology), conspicuity, int(rng.choice((-1, 1)))
    )
    visit = replace(visit, findings=(finding,))
    return anatomy, visit, render_phantom(anatomy, visit, size)


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "set"
    write_phantoms(folder, 120, seed=4, size=(96, 80), workers=1, progress=False)
    return folder


def test_same_bytes_whatever_the_processes(written, tmp_path):
    write_phantoms(tmp_path, 120, seed=4, size=(96, 80), workers=2, progress=False)
    assert digests(tmp_path) == digests(written)


def test_seed_changes_everything(written, tmp_path):
    write_phantoms(tmp_path, 20, seed=5, size=(96, 80), workers=1, progress=False)
    new, old = digests(tmp_path), digests(written)
    shared = [name for name in new if name.startswith("images") and name in old]
    assert len(shared) > 5
    assert all(new[name] != old[name] for name in shared)


def test_layout_and_quirks_of_the_files(written):
    entries = read_rows(written / "Data_Entry_2017.csv")
    assert entries[0][:3] == ["Image Index", "Finding Labels", "Follow-up #"]
    # the bracketed names fall into two columns each, then the trailing empty one:
    # 7 plain + 2 + 2 + 1 = 12
    assert entries[0][7:] == [
        "OriginalImage[Width",
        "Height]",
        "OriginalImagePixelSpacing[x",
        "y]",
        "",
    ]
    assert {len(row) for row in entries} == {12}
    images = {path.name for path in (written / "images").iterdir()}
    assert len(images) == 120
    assert [row[0] for row in entries[1:]] == sorted(images)
    for name, _, follow_up, patient, age, sex, view, width, height, *_ in entries[1:]:
        assert name == f"{int(patient):08d}_{int(follow_up):03d}.png"
        assert len(age) == 4 and age.endswith("Y") and 0 < int(age[:3]) < 120
        assert sex in "MF" and view in ("PA", "AP")
        image = cv2.imread(str(written / "images" / name), cv2.IMREAD_UNCHANGED)
        assert image.dtype == np.uint8 and image.shape == (96, 80)
        assert (int(width), int(height)) == (80, 96)
    boxes = read_rows(written / "BBox_List_2017.csv")
    assert boxes[0] == [
        "Image Index",
        "Finding Label",
        "Bbox [x",
        "y",
        "w",
        "h]",
        "",
        "",
        "",
    ]
    assert {len(row) for row in boxes} == {9}
    names = {row[1] for row in boxes[1:]}
    assert "Infiltration" not in names
    assert names <= {"Infiltrate", *BOXED_PATHOLOGIES}


def test_boxes_of_a_fifth_of_the_patients_and_of_all_their_findings(written):
    entries = read_rows(written / "Data_Entry_2017.csv")[1:]
    boxes = read_rows(written / "BBox_List_2017.csv")[1:]
    labels = {row[0]: row[1].split("|") for row in entries}
    patients = {row[0].split("_")[0] for row in entries}
    boxed = {row[0].split("_")[0] for row in boxes}
    # one in five, less those without any finding
    assert 0.08 * len(patients) < len(boxed) <= np.ceil(0.2 * len(patients))
    found = Counter(
        (row[0], row[1].replace("Infiltrate", "Infiltration")) for row in boxes
    )
    assert set(found.values()) == {1}
    expected = {
        (name, label)
        for name, names in labels.items()
        if name.split("_")[0] in boxed
        for label in names
        if label != "No Finding"
    }
    assert set(found) == expected
    for row in boxes:
        x, y, w, h = map(float, row[2:6])
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= 80 and y + h <= 96


def test_exact_number_of_boxed_patients():
    from keras_mscam.phantom.write_set import _plan

    for seed in range(3):
        tasks = list(_plan(1000, seed))
        assert sum(visits for _, visits, _ in tasks) == 1000
        assert sum(boxed for *_, boxed in tasks) == pytest.approx(
            0.2 * len(tasks), abs=1
        )


@pytest.mark.parametrize("pathology", BOXED_PATHOLOGIES)
def test_box_sizes_follow_the_real_quartiles(pathology):
    rng = np.random.default_rng(0)
    drawn = [1024 * sample_size(rng, pathology) for _ in range(4000)]
    assert np.quantile(drawn, (0.25, 0.5, 0.75)) == pytest.approx(
        QUARTILES[pathology], rel=0.05
    )


@pytest.mark.parametrize("pathology", BOXED_PATHOLOGIES)
def test_rendered_boxes_keep_the_sizes(pathology):
    ratios, sizes = [], []
    for case in range(40):
        _, visit, phantom = one_finding(pathology, case)
        (x1, y1, x2, y2) = phantom.lesions[0].box
        assert 0 <= x1 < x2 <= 256 and 0 <= y1 < y2 <= 256
        size = 4 * np.sqrt((x2 - x1) * (y2 - y1))  # 256 -> 1024
        sizes.append(size)
        ratios.append(size / (1024 * visit.findings[0].size))
    assert np.median(ratios) == pytest.approx(1, abs=0.06)
    # 40 samples: the median lies within the real quartiles
    low, _, high = QUARTILES[pathology]
    assert 0.93 * low < np.median(sizes) < 1.07 * high


@pytest.mark.parametrize(  # Cardiomegaly is the heart itself: a test of its own
    "pathology", [p for p in BOXED_PATHOLOGIES if p != "Cardiomegaly"]
)
@pytest.mark.parametrize("size", [(256, 256), (200, 280), (288, 192)])
def test_the_lesion_lies_in_its_box_and_fills_it(pathology, size):
    for case in range(4):
        _, _, phantom = one_finding(pathology, case, size)
        lesion = phantom.lesions[0]
        x1, y1, x2, y2 = lesion.box
        effect = np.abs(lesion.added)
        assert effect[y1:y2, x1:x2].sum() > 0.80 * effect.sum()
        rows, columns = np.nonzero(effect > 0.5 * effect[y1:y2, x1:x2].max())
        assert rows.max() - rows.min() > 0.5 * (y2 - y1)
        assert columns.max() - columns.min() > 0.5 * (x2 - x1)


@pytest.mark.parametrize("pathology", ["Nodule", "Mass", "Effusion", "Pneumothorax"])
def test_difference_with_and_without_the_lesion(pathology):
    for case in range(4):
        anatomy, visit, phantom = one_finding(pathology, case, conspicuity=1.0)
        bare = render_phantom(anatomy, replace(visit, findings=()))
        change = np.abs(phantom.image.astype(float) - bare.image)
        change = cv2.GaussianBlur(change, (0, 0), 1.5)
        x1, y1, x2, y2 = phantom.lesions[0].box
        change[change < 1.5] = 0  # scattered light reaches all of the image
        assert change[y1:y2, x1:x2].sum() > 0.6 * change.sum()


def test_cardiomegaly_is_the_heart_and_larger_than_most_hearts():
    _, _, phantom = one_finding("Cardiomegaly", 1)
    x1, _, x2, _ = phantom.lesions[0].box
    assert x1 < 128 < x2  # across the midline
    normal = np.array([sample_anatomy(0, p).heart for p in range(500)])
    rng = np.random.default_rng(0)
    large = np.array([sample_size(rng, "Cardiomegaly") for _ in range(500)])
    above = (large[:, None] > normal).mean()
    assert 0.9 < above < 0.9999  # a continuum: the two overlap


def test_prevalence_and_correlations():
    visits = [sample_visit(1, patient, 0) for patient in range(4000)]
    sets = [{f.pathology for f in visit.findings} for visit in visits]
    for pathology in BOXED_PATHOLOGIES:
        share = np.mean([pathology in s for s in sets])
        # 0.14 (Pneumonia) to 0.18 + 0.17 * 0.08 = 0.194 (Nodule), 0.005 of error each
        assert 0.12 < share < 0.215, pathology
    # Were the bases all: 0.85 * 0.87^2 * 0.86^3 * 0.83 * 0.82 = 0.28.
    assert 0.26 < np.mean([not s for s in sets]) < 0.30
    with_heart = [s for s in sets if "Cardiomegaly" in s]
    assert np.mean(["Effusion" in s for s in with_heart]) > 0.18


def test_no_shortcut_through_markers_devices_or_exposure():
    # for every property and pathology: the mean among positives and negatives differ
    # by less than 4.5 standard errors (about 100 comparisons)
    visits = [sample_visit(2, patient, 0) for patient in range(4000)]
    extras = [sample_extras(visit) for visit in visits]
    properties = {
        "AP": [v.view == "AP" for v in visits],
        "zoom": [v.zoom for v in visits],
        "shift": [v.shift[1] for v in visits],
        "contrast": [v.contrast for v in visits],
        "density": [v.density for v in visits],
        "noise": [v.noise for v in visits],
        "leads": [e.leads for e in extras],
        "pacemaker": [bool(e.pacemaker) for e in extras],
        "port": [bool(e.port) for e in extras],
        "tube": [e.tube for e in extras],
        "marker": [e.marker.startswith("R") for e in extras],
        "portable": [e.portable for e in extras],
        "collimated": [e.collimated for e in extras],
    }
    for name, values in properties.items():
        values = np.array(values, float)
        assert values.std() > 0
        for pathology in BOXED_PATHOLOGIES:
            has = np.array(
                [any(f.pathology == pathology for f in v.findings) for v in visits]
            )
            gap = values[has].mean() - values[~has].mean()
            error = values.std() * np.sqrt(1 / has.sum() + 1 / (~has).sum())
            assert abs(gap) < 4.5 * error, (name, pathology)


def test_extras_do_not_depend_on_the_findings():
    visit = sample_visit(3, 1, 0)
    assert sample_extras(visit) == sample_extras(replace(visit, findings=()))


def test_visits_share_the_anatomy_and_differ():
    anatomy = sample_anatomy(0, 3)
    assert anatomy == sample_anatomy(0, 3)
    first, second = (
        render_phantom(anatomy, sample_visit(0, 3, k), (64, 64)).image for k in (0, 1)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("size", [(33, 32), (64, 200), (300, 90), (512, 512)])
def test_any_size(size):
    for case in range(3):
        phantom = render_phantom(
            sample_anatomy(0, case + 1), sample_visit(0, case + 1, 0), size
        )
        assert phantom.image.shape == size
        assert phantom.image.dtype == np.uint8
        assert np.ptp(phantom.image) > 100


def test_every_finding_gets_drawn_at_extremes():
    anatomy = sample_anatomy(0, 1)
    visit = sample_visit(0, 1, 0)
    for pathology in BOXED_PATHOLOGIES:
        for size in (0.02, 0.7):
            finding = Finding(pathology, size, 1.0, 1)
            phantom = render_phantom(
                anatomy, replace(visit, findings=(finding,)), (128, 128)
            )
            assert len(phantom.lesions) == 1
            x1, y1, x2, y2 = phantom.lesions[0].box
            assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 128


def test_refuses_what_would_go_wrong(tmp_path):
    target = tmp_path / "full"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="isn't empty"):
        write_phantoms(target, 2, progress=False)
    assert (target / "mine.txt").read_text() == "keep"
    with pytest.raises(UserError, match="isn't empty"):
        write_phantoms(target / "mine.txt", 2, progress=False)
    with pytest.raises(UserError, match="at least one phantom"):
        write_phantoms(tmp_path / "new", 0, progress=False)
    with pytest.raises(UserError, match="seed"):
        write_phantoms(tmp_path / "new", 2, seed=-1, progress=False)
    with pytest.raises(UserError, match="32"):
        write_phantoms(tmp_path / "new", 2, size=(8, 64), progress=False)
    assert not (tmp_path / "new").exists()


def test_nothing_half_written_after_a_failure(tmp_path, monkeypatch):
    from keras_mscam.phantom import write_set

    def fail(*task):
        raise KeyboardInterrupt

    monkeypatch.setattr(write_set, "_write_patient", fail)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "new", 4, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_imports_without_tensorflow_or_keras():
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
        "import keras_mscam.phantom"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
