import numpy as np
from sklearn.cluster import KMeans

from keras_mscam.localization.boxes import find_boxes
from keras_mscam.localization.thresholds import (
    FOLDS,
    GRID,
    find_fold,
    fixed_thresholds,
    otsu_thresholds,
    tuned_thresholds,
)


def test_fixed_levels_are_the_same_for_all():
    rule = fixed_thresholds((0.2, 0.7))
    assert rule("Mass", "1", np.zeros((2, 2))) == (0.2, 0.7)


def test_otsu_parts_two_groups_as_two_means_do():
    """Otsu's criterion is that of k-means with two clusters in one dimension."""
    rng = np.random.default_rng(0)
    heatmap = np.clip(
        np.concatenate([rng.normal(0.2, 0.05, 300), rng.normal(0.7, 0.1, 100)]), 0, 1
    ).reshape(20, 20)
    (threshold,) = otsu_thresholds("Mass", "1", heatmap)
    clusters = KMeans(2, n_init=5, random_state=0).fit(heatmap.reshape(-1, 1))
    high = clusters.labels_ == clusters.cluster_centers_.argmax()
    assert np.mean((heatmap.ravel() > threshold) == high) > 0.99


def test_otsu_of_two_values_keeps_the_higher():
    heatmap = np.zeros((4, 5))
    heatmap[1, 1:3] = 1
    (threshold,) = otsu_thresholds("Mass", "1", heatmap)
    assert find_boxes(heatmap, threshold).xyxy.tolist() == [[1, 1, 3, 2]]


def test_otsu_of_a_map_that_points_nowhere_cuts_nothing():
    (threshold,) = otsu_thresholds("Mass", "1", np.zeros((4, 4)))
    assert len(find_boxes(np.zeros((4, 4)), threshold).xyxy) == 0


def peaked(threshold):
    """IoUs of a box that is found best at one threshold."""
    return [float(abs(candidate - threshold) < 1e-9) for candidate in GRID]


def of_different_folds():
    patients = [str(number) for number in range(50)]
    first = patients[0]
    other = next(p for p in patients if find_fold(p) != find_fold(first))
    return first, other


def test_a_patient_is_cut_where_the_others_are_met_best():
    first, other = of_different_folds()
    ious = np.array([peaked(0.3), peaked(0.8)])
    rule = tuned_thresholds(ious, ["Mass", "Mass"], [first, other], oracle=False)
    assert rule("Mass", first, None) == (0.8,)
    assert rule("Mass", other, None) == (0.3,)


def test_an_oracle_looks_at_the_evaluated_boxes_themselves():
    first, other = of_different_folds()
    ious = np.array([peaked(0.3), np.zeros(len(GRID))])
    rule = tuned_thresholds(ious, ["Mass", "Mass"], [first, other], oracle=True)
    assert rule("Mass", first, None) == (0.3,)


def test_a_pathology_without_others_boxes_is_cut_in_the_middle():
    rule = tuned_thresholds(np.array([peaked(0.3)]), ["Mass"], ["7"], oracle=False)
    assert rule("Mass", "7", None) == (0.5,)
    assert rule("Nodule", "7", None) == (0.5,)


def test_folds_are_of_similar_size():
    counts = np.bincount([find_fold(f"{p:08d}") for p in range(5000)], minlength=FOLDS)
    assert counts.min() > 850  # 1000 expected each, deviation 28
