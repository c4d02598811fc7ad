"""Which X-rays become backgrounds, whose they are, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.images.grey_values import DARK
from keras_mscam.phantom.backgrounds import read_backgrounds


def names(found):
    return sorted(b.path.name for patient in found.patients for b in patient)


def test_a_folder_with_a_label_table(write_labelled):
    rows = [(f"{p:08d}_000.png", "No Finding", p, "AP") for p in range(1, 8)]
    rows[1] = ("00000002_000.png", "Mass", 2, "PA")
    rows[2] = ("00000003_000.png", "No Finding", 3, "LL")
    rows[6] = ("00000001_001.png", "No Finding", 1, "PA")  # again patient 1
    rows += [(f"{p:08d}_000.png", "No Finding", p, "PA") for p in (8, 9)]
    found = read_backgrounds([write_labelled(rows)], workers=1)
    patients = {p[0].patient: [b.path.name for b in p] for p in found.patients}
    assert patients[1] == ["00000001_000.png", "00000001_001.png"]
    assert set(patients) == {1, 4, 5, 6, 8, 9}
    first = next(p[0] for p in found.patients if p[0].patient == 4)
    assert (first.view, first.age, first.sex) == ("AP", 58, "F")
    assert any("1 X-rays that are not frontal" in p for p in found.problems)


def test_plain_files_are_patients_of_their_own_unless_named_as_nih_names_them(
    write_plain,
):
    files = ["00000007_000.png", "00000007_001.png", "00000004_000.png"]
    folder = write_plain([*files, "a.png", "b,c.jpg", "z.png", ".hidden.png"])
    (folder / "notes.txt").write_text("not an image")
    found = read_backgrounds([folder], workers=1)
    patients = {p[0].patient: sorted(b.path.name for b in p) for p in found.patients}
    assert patients[7] == files[:2]
    # numbers above 7, in the order of the names
    assert patients[8] == ["a.png"] and patients[9] == ["b,c.jpg"]
    assert patients[10] == ["z.png"] and len(patients) == 5


def test_several_folders_share_their_patients(write_labelled, write_plain):
    rows = [(f"{p:08d}_000.png", "No Finding", p, "PA") for p in range(1, 6)]
    labelled = write_labelled(rows)
    plain = write_plain(["00000001_001.png", "00000002_000.png", "x.png"])
    found = read_backgrounds([labelled, plain], workers=1)
    assert sorted([len(p) for p in found.patients if p[0].patient in (1, 2)]) == [
        1,
        2,
    ]  # 2 of patient 1; the second file of patient 2 has the name of the first
    assert any("1 X-rays of a name that another has" in p for p in found.problems)
    again = read_backgrounds([plain, labelled], workers=1)
    order = [p[0].patient for p in found.patients]
    assert order == [p[0].patient for p in again.patients]


def test_patients_without_a_number_are_told_apart_by_their_names(write_labelled):
    rows = [(f"x{k}.png", "No Finding", f"H{k % 5}", "PA") for k in range(10)]
    found = read_backgrounds([write_labelled(rows)], workers=1)
    patients = {p[0].patient: [b.path.name for b in p] for p in found.patients}
    assert patients == {k + 1: [f"x{k}.png", f"x{k + 5}.png"] for k in range(5)}


def test_what_can_not_be_used_is_counted_and_named(write_plain, noise):
    folder = write_plain([f"x{k}.png" for k in range(6)])
    whole = (folder / "x0.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    cv2.imwrite(str(folder / "noise.png"), noise)
    found = read_backgrounds([folder], workers=1)
    assert names(found) == [f"x{k}.png" for k in range(6)]
    assert {name for name, _ in found.refused} == {
        "half.png", "empty.png", "noise.png",
    }  # fmt: skip
    text = " ".join(found.problems)
    assert text.count("1 X-rays not used as backgrounds") == 3
    assert all(name in text for name in ("half.png", "empty.png", "noise.png"))


def test_too_few(write_plain, tmp_path):
    with pytest.raises(UserError, match="4 patients, and 5 at least"):
        read_backgrounds([write_plain([f"x{k}.png" for k in range(4)])], workers=1)
    with pytest.raises(UserError, match="no X-ray without findings"):
        (tmp_path / "none").mkdir()
        read_backgrounds([tmp_path / "none"], workers=1)
    with pytest.raises(UserError, match="not a folder"):
        read_backgrounds([Path("nowhere")], workers=1)


def test_a_folder_of_unusable_images_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "grey"
    folder.mkdir()
    for k in range(6):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((64, 48), 99, np.uint8))
    with pytest.raises(UserError, match=r"0 patients.*6 X-rays.*hardly any contrast"):
        read_backgrounds([folder], workers=1)


def test_all_are_ill(write_labelled):
    folder = write_labelled([("00000001_000.png", "Mass", 1, "PA")])
    with pytest.raises(UserError, match="no X-ray without findings"):
        read_backgrounds([folder], workers=1)


def test_the_most_to_look_at(write_plain):
    folder = write_plain([f"x{k}.png" for k in range(10)])
    few = read_backgrounds([folder], most=6, seed=1, workers=1)
    other = read_backgrounds([folder], most=6, seed=2, workers=1)
    assert len(names(few)) == len(names(other)) == 6
    assert names(few) != names(other)


def test_few_images_are_those_of_five_patients_at_least(write_labelled):
    rows = [
        (f"{p:08d}_{k:03d}.png", "No Finding", p, "PA")
        for p in range(1, 7)
        for k in range(4)
    ]
    found = read_backgrounds([write_labelled(rows)], most=8, workers=1)
    # The first 8 are of 2 patients; one of each of the 6, and a second one of two.
    assert sorted(len(patient) for patient in found.patients) == [1, 1, 1, 1, 2, 2]


def test_dark_backgrounds_are_said_and_made_bright(write_plain, xrays):
    folder = write_plain([f"x{k}.png" for k in range(6)])
    for place in range(6):
        dark = xrays[place].astype("uint16") * 16
        cv2.imwrite(str(folder / f"x{place}.png"), dark)
    # Lungs aren't found in so little light, and a sentence says what helps.
    with pytest.raises(UserError) as caught:
        read_backgrounds([folder], workers=1)
    assert f'6 backgrounds with the warning "{DARK}"' in str(caught.value)
    bright = read_backgrounds([folder], workers=1, max_value=16 * 255)
    assert bright.problems == ()
    (background,) = next(p for p in bright.patients if p[0].path.name == "x0.png")
    np.testing.assert_array_equal(background.read(), xrays[0])


def test_dicom_files_never_end_this_process(tmp_path, monkeypatch):
    """As their decoders may, however few the files and the workers are."""
    asked = []

    def record(function, jobs, workers, died, apart):
        asked.append(apart)
        return [died] * len(jobs)

    monkeypatch.setattr("keras_mscam.phantom.backgrounds.map_in_order", record)
    for suffix in (".png", ".dcm"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        (folder / f"1{suffix}").touch()
        with pytest.raises(UserError, match="decoder crashed"):
            read_backgrounds([folder], workers=1)
    assert asked == [False, True]
