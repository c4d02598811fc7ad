from collections import Counter

import numpy as np
import tensorflow as tf

from keras_mscam.data.order import draw_balanced, group_by_pathology, permute

NAN = np.nan
#: Nobody has the third pathology, image 3 has no label that is known.
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [NAN, NAN, 0], [1, 0, NAN]])


def key(number):
    return tf.constant(number, tf.int64)


def test_permutations_are_uniform():
    # 1500 permutations of 3: each of the 6 is expected 250 times, with a standard
    # deviation of sqrt(1500 / 6 * 5 / 6) = 14.4.
    seen = Counter(tuple(permute(3, 5, key(k)).numpy()) for k in range(1500))
    assert len(seen) == 6
    assert all(abs(count - 250) < 5 * 14.4 for count in seen.values())


def test_groups():
    groups = [group.tolist() for group in group_by_pathology(LABELS)]
    assert groups == [[0, 1, 4], [1], [2, 3]]
    assert len(group_by_pathology(LABELS[:2])) == 2  # all show something


def test_balanced_draws_have_the_frequencies_of_their_arithmetic():
    drawn = draw_balanced(group_by_pathology(LABELS), 30000, 1, key(2)).numpy()
    # A third of the draws to each group: 1/9 for each of three, 1/3 for one, 1/6 for
    # each of two; image 1 is in two groups, 1/9 + 1/3.
    expected = np.array([1 / 9, 4 / 9, 1 / 6, 1 / 6, 1 / 9])
    found = np.bincount(drawn, minlength=5) / 30000
    deviation = np.sqrt(expected * (1 - expected) / 30000)
    assert (abs(found - expected) < 5 * deviation).all()


def test_draws_depend_on_seed_and_key_alone():
    groups = group_by_pathology(LABELS)

    def draw(seed, number):
        return draw_balanced(groups, 50, seed, key(number)).numpy().tolist()

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3) and draw(1, 2) != draw(2, 2)
