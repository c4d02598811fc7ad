import zlib

import numpy as np
import tensorflow as tf

from keras_mscam.exporting.graph.headers import compute_crc32


def test_it_is_that_of_zlib():
    compute = tf.function(
        compute_crc32,
        input_signature=[tf.TensorSpec([None], tf.uint8)],
        autograph=False,
    )
    rng = np.random.default_rng(0)
    for length in [*range(4, 40), 255, 256, 257, 12345, 100_000]:
        data = rng.integers(0, 256, length, np.uint8)
        assert compute(data).numpy() == zlib.crc32(data.tobytes())
    assert compute(np.zeros(1000, np.uint8)).numpy() == zlib.crc32(bytes(1000))
