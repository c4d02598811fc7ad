import keras
import numpy as np
import pytest

from keras_mscam.modeling import ConstrainedAdam, ConvexCombination

INPUTS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 2, (8, 3)).astype("float32")


def build(policy):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(3, dtype=policy)(inputs) for _ in range(3)]
    return keras.Model(
        inputs, ConvexCombination(name="block_combination", dtype=policy)(heads)
    )


class Simplex(keras.callbacks.Callback):
    """Look at the relevance weights, and at their moving average, after every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        weights = self.model.get_layer("block_combination").relevance_weights
        self.seen.append(keras.ops.convert_to_numpy(weights))
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer.use_ema:
            index = [v is weights for v in self.model.trainable_variables].index(True)
            average = optimizer._model_variables_moving_average[index]
            self.seen.append(keras.ops.convert_to_numpy(average))


def fit(optimizer, policy="float32", epochs=6):
    model = build(policy)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, jit_compile=False)
    watch = Simplex()
    model.fit(INPUTS, LABELS, batch_size=2, epochs=epochs, verbose=0, callbacks=[watch])
    return watch.seen, model


def assert_on_simplex(seen):
    seen = np.stack(seen)
    assert (seen >= 0).all()
    np.testing.assert_allclose(seen.sum(1), 1, atol=1e-5)


# The learning rate is large, so that an unconstrained step would leave the simplex.
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_constraint_holds_after_every_step(policy):
    optimizer = ConstrainedAdam(0.05)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    seen, _ = fit(optimizer, policy)
    assert_on_simplex(seen)
    assert np.abs(seen[-1] - 1 / 3).max() > 0.05  # and they did move


def test_constraint_holds_with_gradient_accumulation():
    seen, _ = fit(ConstrainedAdam(0.05, gradient_accumulation_steps=3))
    assert_on_simplex(seen)
    np.testing.assert_array_equal(seen[0], seen[1])  # two steps gather, the third moves
    assert (seen[2] != seen[1]).any()


@pytest.mark.parametrize("frequency", [None, 5])
def test_constraint_holds_for_the_moving_average(frequency):
    optimizer = ConstrainedAdam(
        0.3, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=frequency
    )
    seen, model = fit(optimizer)
    assert_on_simplex(seen)
    final = model.get_layer("block_combination").relevance_weights
    assert_on_simplex([keras.ops.convert_to_numpy(final)])


def test_kerass_own_adam_averages_points_off_the_simplex():
    # The reason for an optimizer of our own; when this fails, it can go.
    optimizer = keras.optimizers.Adam(0.3, use_ema=True, ema_momentum=0.8)
    seen, _ = fit(optimizer)
    assert np.abs(np.stack(seen[1::2]).sum(1) - 1).max() > 1e-3


def test_same_as_adam_where_nothing_is_constrained():
    results = []
    for optimizer in (ConstrainedAdam(0.01), keras.optimizers.Adam(0.01)):
        w = keras.Variable([1.0, -2.0, 3.0])
        optimizer.build([w])
        for step in range(5):
            optimizer.apply([keras.ops.convert_to_tensor([0.5, -step, 2.0])])
        results.append(keras.ops.convert_to_numpy(w))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_variables_have_learning_rates_of_their_own():
    # Adam's first step moves every weight by its learning rate, against the sign of
    # the gradient: 0.001 * 10 for the one, 0.001 for the other.
    optimizer = ConstrainedAdam(0.001, [10.0, 1.0])
    one, other = keras.Variable([0.0]), keras.Variable([0.0])
    optimizer.build([one, other])
    optimizer.apply([keras.ops.convert_to_tensor([2.0])] * 2)
    assert float(one.numpy()[0]) == pytest.approx(-0.01, rel=1e-4)
    assert float(other.numpy()[0]) == pytest.approx(-0.001, rel=1e-4)
