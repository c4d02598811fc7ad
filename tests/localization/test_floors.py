import numpy as np

from keras_mscam.localization.floors import localize_at_random, localize_by_mean_box
from keras_mscam.localization.metrics import Localization, compute_localization


def item(pathology, patient, truth):
    truth = np.array([truth], float)
    return Localization(pathology, patient, truth, np.zeros((0, 4)))


def test_mean_box_of_other_patients_by_hand():
    items = [
        item("Mass", "1", [0, 0, 10, 20]),
        item("Mass", "1", [90, 90, 99, 99]),  # the same patient: not for patient 1
        item("Mass", "2", [20, 40, 30, 60]),  # in a frame of twice the height
        item("Mass", "3", [30, 0, 50, 20]),
        item("Nodule", "4", [1, 1, 2, 2]),  # another pathology
    ]
    sizes = [(100, 100), (100, 100), (200, 100), (100, 100), (100, 100)]
    result = localize_by_mean_box(items, sizes)
    # Patients 2 and 3, relative: (.2, .2, .3, .3) and (.3, 0, .5, .2); their mean.
    np.testing.assert_allclose(result[0].proposed, [[25, 10, 40, 25]])
    np.testing.assert_allclose(result[1].proposed, [[25, 10, 40, 25]])
    # For patient 2, of (0, 0, .1, .2), (.9, .9, .99, .99), (.3, 0, .5, .2), the mean
    # (.4, .3, .53, .4633), in a frame of 200 by 100.
    np.testing.assert_allclose(result[2].proposed, [[40, 60, 53, 92.6667]], rtol=1e-5)


def test_a_single_patient_has_no_mean_box():
    result = localize_by_mean_box([item("Mass", "1", [0, 0, 1, 1])], [(9, 9)])
    assert compute_localization(result, ("Mass",), 0.3)["Mass"]["accuracy"] is None


def test_random_maps_repeat_with_their_seed():
    items = [item("Mass", str(i), [0, 0, 10, 20]) for i in range(5)]
    sizes = [(64, 96)] * 5
    one, same, other = (
        localize_at_random(items, (64, 96), sizes, seed=seed) for seed in (1, 1, 2)
    )
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.proposed, b.proposed)
        assert len(a.proposed)
        assert (a.proposed >= 0).all()
        assert (a.proposed <= [96, 64, 96, 64]).all()
    assert any(
        a.proposed.shape != b.proposed.shape or (a.proposed != b.proposed).any()
        for a, b in zip(one, other, strict=True)
    )
