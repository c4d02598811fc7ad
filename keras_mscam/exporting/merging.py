"""Connected components of a graph in a bounded number of TensorFlow's operations."""

import tensorflow as tf


def merge_nodes(first: tf.Tensor, second: tf.Tensor, count: tf.Tensor):
    """Find which nodes are connected: Boruvka's algorithm.

    In every round each tree that has edges to others picks the one of smallest index,
    and hangs below the tree at its other end. Two trees that picked the same edge are
    the only loop that can arise; the one of smaller index becomes the root. Each tree
    joins another, so their number falls to half or less: there are at most
    `ceil(log2 count)` rounds of at most `ceil(log2 count) + 1` steps in `find_roots`.

    Args:
        first: `(E,)` int32, one end of every edge, in [0, count).
        second: `(E,)` int32, the other end, not the same.
        count: int32, how many nodes there are.

    Returns:
        `(count,)` int32, the root of every node: equal where they are connected. And
        int32, the number of rounds.
    """
    most = ceil_log2(count)

    def join(roots, first, second, rounds):
        parents = find_roots(_hang(first, second, count), most)
        first, second = tf.gather(parents, first), tf.gather(parents, second)
        apart = tf.where(first != second)[:, 0]
        first, second = tf.gather(first, apart), tf.gather(second, apart)
        return tf.gather(parents, roots), first, second, rounds + 1

    some = tf.TensorShape([None])
    roots, _, _, rounds = tf.while_loop(
        lambda roots, first, second, rounds: tf.size(first) > 0,
        join,
        (tf.range(count), first, second, tf.constant(0)),
        (some, some, some, tf.TensorShape([])),
        maximum_iterations=most,
    )
    return roots, rounds


def _hang(first: tf.Tensor, second: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return the parent of every node; a root is its own."""
    own, edges = tf.range(count), tf.range(tf.size(first))
    picked = tf.math.unsorted_segment_min(
        tf.concat([edges, edges], 0), tf.concat([first, second], 0), count
    )
    alone = picked >= tf.size(first)  # what the minimum over no edge is
    ends = tf.gather(first + second, tf.where(alone, 0, picked))
    parents = tf.where(alone, own, ends - own)
    loop = (tf.gather(parents, parents) == own) & (own < parents)
    return tf.where(loop, own, parents)


def find_roots(parents: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Follow the pointers of a forest; each step doubles how far they reach.

    Args:
        parents: `(nodes,)` int32; a root points to itself.
        most: steps after which all have arrived, `ceil(log2 depth)`. There may be one
            more, which finds that nothing changes.

    Returns:
        `(nodes,)` int32, the root of every node.
    """

    def step(parents, _):
        further = tf.gather(parents, parents)
        return further, tf.reduce_any(further != parents)

    roots, _ = tf.while_loop(
        lambda _, moved: moved,
        step,
        (parents, tf.constant(True)),
        maximum_iterations=most + 1,
    )
    return roots


def ceil_log2(count: tf.Tensor) -> tf.Tensor:
    """Return `ceil(log2 count)`, of 0 too: how many powers of two are smaller."""
    powers = tf.bitwise.left_shift(1, tf.range(31))
    return tf.reduce_sum(tf.cast(powers < count, tf.int32))
