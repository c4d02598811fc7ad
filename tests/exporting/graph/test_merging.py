import numpy as np
import pytest
import tensorflow as tf
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_mscam.exporting.graph.regions import ceil_log2, find_roots, merge_nodes


@tf.function(input_signature=[tf.TensorSpec(s, tf.int32) for s in ([None], [None], [])])
def merge_compiled(first, second, count):
    return merge_nodes(first, second, count)


def merge(edges, count):
    first, second = np.array(edges, "int32").reshape(-1, 2).T
    roots, rounds = merge_compiled(first, second, count)
    return roots.numpy(), int(rounds)


def path_edges(count):
    return np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)


class TestMergeNodes:
    def test_by_hand(self):
        # 0-3, 3-1 and 2-4 are connected, 5 is alone.
        roots, _ = merge([(0, 3), (2, 4), (3, 1)], 6)
        assert roots[0] == roots[1] == roots[3]
        assert roots[2] == roots[4]
        assert len(set(roots)) == 3
        assert roots[5] == 5

    def test_no_edges(self):
        roots, rounds = merge([], 3)
        assert roots.tolist() == [0, 1, 2]
        assert rounds == 0

    def test_no_nodes(self):
        assert merge([], 0)[0].shape == (0,)

    def test_equals_another_implementation(self):
        rng = np.random.default_rng(0)
        for _ in range(100):
            count = rng.integers(2, 60)
            edges = rng.integers(0, count, (rng.integers(1, 90), 2))
            edges = edges[edges[:, 0] != edges[:, 1]]
            roots, rounds = merge(edges, count)
            matrix = coo_array((np.ones(len(edges)), edges.T), (count, count))
            _, expected = connected_components(matrix, directed=False)
            # The same partition: each label of one goes with one label of the other.
            pairs = set(zip(roots.tolist(), expected.tolist(), strict=True))
            assert len(pairs) == len(set(roots.tolist())) == expected.max() + 1
            assert rounds <= np.ceil(np.log2(count))


class TestBound:
    @pytest.mark.parametrize("power", [1, 4, 10])
    def test_the_worst_order_takes_as_many_rounds_as_there_may_be(self, power):
        # Edge i joins i and i + 1. First come the odd i + 1, then the odd multiples of
        # two, of four... like the marks of a ruler: each round can but join pairs.
        count = 2**power
        places = np.arange(1, count)
        marks = places & -places  # the largest power of two that divides
        edges = path_edges(count)[np.argsort(marks, kind="stable")]
        roots, rounds = merge(edges, count)
        assert len(set(roots)) == 1
        assert rounds == power

    @pytest.mark.parametrize("step", [1, -1])
    def test_a_long_chain_takes_one_round(self, step):
        # Each node picks its first edge: one tree as deep as the path is long.
        roots, rounds = merge(path_edges(5000)[::step], 5000)
        assert len(set(roots)) == 1
        assert rounds == 1

    def test_random_orders(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            roots, rounds = merge(rng.permutation(path_edges(1000)), 1000)
            assert len(set(roots)) == 1
            assert rounds <= 10  # 2 ** 10 = 1024


class TestFindRoots:
    @pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 1000])
    def test_the_deepest_forest_in_the_steps_allowed(self, count):
        parents = tf.maximum(tf.range(count) - 1, 0)
        assert not find_roots(parents, ceil_log2(count)).numpy().any()


def test_ceil_log2():
    values = [0, 1, 2, 3, 4, 5, 8, 9, 2**30, 2**30 + 1, 2**31 - 1]
    expected = [0, 0, 1, 2, 2, 3, 3, 4, 30, 31, 31]
    assert [int(ceil_log2(value)) for value in values] == expected
