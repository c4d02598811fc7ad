import keras
import numpy as np
import pytest

from keras_mscam.modeling import ClassActivationMap, ConvexCombination, UnitSimplex

to_numpy = keras.ops.convert_to_numpy


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(2, 5, 7, 6)).astype("float32")


def build_head(features, **kwargs):
    head = ClassActivationMap(3, **kwargs)
    head.build(features.shape)
    head.bias.assign([0.5, -1.0, 2.0])
    return head


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


class TestConvexCombination:
    def test_starts_as_the_mean(self):
        layer = ConvexCombination()
        combined = layer([np.full((1, 2), value, "float32") for value in (1, 2, 6)])
        np.testing.assert_allclose(to_numpy(combined), [[3, 3]], rtol=1e-6)

    def test_weighs_each_pathology_on_its_own(self):
        layer = ConvexCombination()
        tensors = [np.array([[1.0, 10.0]]), np.array([[3.0, 20.0]])]
        layer(tensors)
        layer.relevance_weights.assign([[0.25, 1.0], [0.75, 0.0]])
        # 0.25 * 1 + 0.75 * 3 = 2.5; 1 * 10 + 0 * 20 = 10
        np.testing.assert_allclose(to_numpy(layer(tensors)), [[2.5, 10.0]])

    def test_serves_maps_with_the_weights_of_logits(self):
        layer = ConvexCombination()
        layer([np.zeros((1, 2))] * 2)
        layer.relevance_weights.assign([[0.25, 1.0], [0.75, 0.0]])
        maps = [np.full((1, 4, 6, 2), 1.0), np.full((1, 4, 6, 2), 3.0)]
        combined = to_numpy(layer(maps))
        assert combined.shape == (1, 4, 6, 2)
        np.testing.assert_allclose(combined[..., 0], 2.5)
        np.testing.assert_allclose(combined[..., 1], 1.0)

    @pytest.mark.parametrize(
        ("shapes", "said"),
        [
            ([(1, 2), (1, 3)], r"tensors of one shape, but got \[\(1, 2\), \(1, 3\)\]"),
            ((1, 2), r"a list of tensors, one for each block, but got .* \(1, 2\)"),
        ],
    )
    def test_refuses_what_is_no_list_of_one_shape(self, shapes, said):
        with pytest.raises(ValueError, match=f"^ConvexCombination takes {said}"):
            ConvexCombination().build(shapes)

    def test_one_block_takes_all(self):
        layer = ConvexCombination()
        assert to_numpy(layer([np.array([[3.0, 4.0]])])).tolist() == [[3, 4]]

    def test_the_last_axis_is_that_of_pathologies(self):
        layer = ConvexCombination()
        layer.build([(None, 5, 7, 2)] * 3)
        assert [v.name for v in layer.weights] == ["relevance_weights"]
        assert layer.variable.shape == (3, 2)

    def test_takes_shapes_as_lists(self):
        layer = ConvexCombination("softmax")
        layer.build([[None, 2]] * 3)
        assert [v.name for v in layer.weights] == ["relevance_logits"]
        assert layer.compute_output_shape([(None, 2)] * 3) == (None, 2)

    def test_computes_in_single_precision(self, half_precision):
        combined = ConvexCombination()([np.ones((1, 2), "float16")] * 3)
        assert keras.backend.standardize_dtype(combined.dtype) == "float32"

    @pytest.mark.parametrize("constraint", [None, keras.constraints.NonNeg()])
    def test_other_constraints_are_an_option(self, constraint):
        layer = ConvexCombination(relevance_weights_constraint=constraint)
        copy = ConvexCombination.from_config(layer.get_config())
        assert type(copy.relevance_weights_constraint) is type(constraint)
        copy.build([(None, 2)] * 3)
        assert type(copy.variable.constraint) is type(constraint)

    def test_only_learned_weights_are_kept_on_the_simplex(self):
        for parametrization, kind in [("projection", UnitSimplex), ("uniform", None)]:
            layer = ConvexCombination(parametrization)
            layer.build([(None, 2)] * 3)
            assert (kind is None) == (layer.variable.constraint is None)
            assert len(layer.trainable_variables) == (kind is not None)
            assert layer.relevance_weights_constraint.axis == 0

    @pytest.mark.parametrize("parametrization", ["projection", "softmax", "uniform"])
    def test_every_parametrization_starts_as_the_mean(self, parametrization):
        layer = ConvexCombination(parametrization)
        combined = layer([np.full((1, 2), value, "float32") for value in (1, 2, 6)])
        np.testing.assert_allclose(to_numpy(combined), [[3, 3]], rtol=1e-6)
        copy = ConvexCombination.from_config(layer.get_config())
        assert copy.parametrization == parametrization

    def test_softmax_weights_are_the_softmax_of_their_variable(self):
        layer = ConvexCombination("softmax")
        layer([np.zeros((1, 1))] * 2)
        layer.trainable_variables[0].assign([[np.log(3.0)], [0.0]])
        # 3 / (3 + 1) and 1 / 4
        weights = to_numpy(layer.relevance_weights)
        np.testing.assert_allclose(weights, [[0.75], [0.25]], rtol=1e-6)
        combined = layer([np.array([[8.0]]), np.array([[4.0]])])
        np.testing.assert_allclose(to_numpy(combined), [[7.0]], rtol=1e-6)

    def test_uniform_weights_are_not_trained(self):
        layer = ConvexCombination("uniform")
        layer([np.zeros((1, 2))] * 3)
        assert layer.trainable_variables == []

    def test_refuses_an_unknown_parametrization(self):
        said = r"^parametrization must be one of \(.*\), but got 'sigmoid'\.$"
        with pytest.raises(ValueError, match=said):
            ConvexCombination("sigmoid")


class TestClassActivationMap:
    def test_map_is_the_linear_projection_of_features(self, features):
        head = build_head(features)
        _, cam = head(features)
        expected = np.einsum("bhwj,jc->bhwc", features, to_numpy(head.kernel))
        np.testing.assert_allclose(to_numpy(cam), expected, atol=1e-5)

    def test_logit_is_gap_then_dense(self, features):
        # The paper's order of operations: pool the features, then one dense layer.
        head = build_head(features)
        logits, _ = head(features)
        expected = features.mean((1, 2)) @ to_numpy(head.kernel) + to_numpy(head.bias)
        np.testing.assert_allclose(to_numpy(logits), expected, atol=1e-5)

    def test_lse_pools_features_before_the_kernel(self, features):
        # Wang et al.: x_p = log(mean(exp(r x))) / r of every feature, then one layer.
        head = build_head(features, pooling="lse", sharpness=3.0)
        logits, cam = map(to_numpy, head(features))
        pooled = np.log(np.exp(3.0 * features).mean((1, 2))) / 3.0
        expected = pooled @ to_numpy(head.kernel) + to_numpy(head.bias)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        linear = np.einsum("bhwj,jc->bhwc", features, to_numpy(head.kernel))
        np.testing.assert_allclose(cam, linear, atol=1e-5)

    def test_max_pools_features_before_the_kernel(self, features):
        head = build_head(features, pooling="max")
        logits, _ = map(to_numpy, head(features))
        expected = features.max((1, 2)) @ to_numpy(head.kernel) + to_numpy(head.bias)
        np.testing.assert_allclose(logits, expected, atol=1e-5)

    def test_lse_map_is_log_mean_exp_of_the_map(self, features):
        head = build_head(features, pooling="lse_map", sharpness=3.0)
        logits, cam = map(to_numpy, head(features))
        expected = np.log(np.exp(3.0 * cam).mean((1, 2))) / 3.0 + to_numpy(head.bias)
        np.testing.assert_allclose(logits, expected, atol=1e-5)

    def test_lse_lies_between_mean_and_maximum(self, features):
        for sharpness, bound in [(1e-3, "gap"), (1e3, "max")]:
            lse = build_head(features, pooling="lse", sharpness=sharpness)
            other = build_head(features, pooling=bound)
            other.kernel.assign(lse.kernel)
            np.testing.assert_allclose(
                to_numpy(lse(features)[0]), to_numpy(other(features)[0]), atol=3e-2
            )

    def test_pcam_is_the_mean_weighted_by_probability(self, features):
        head = build_head(features, pooling="pcam")
        logits, cam = map(to_numpy, head(features))
        bias = to_numpy(head.bias)
        p = sigmoid(cam + bias)
        expected = (p * cam).sum((1, 2)) / p.sum((1, 2)) + bias
        np.testing.assert_allclose(logits, expected, atol=1e-5)

    def test_pcam_of_features_equals_pcam_of_the_map(self, features):
        # Ye et al. pool the features by the probabilities, then apply the kernel.
        head = build_head(features, pooling="pcam")
        logits, cam = map(to_numpy, head(features))
        kernel, bias = to_numpy(head.kernel), to_numpy(head.bias)
        p = sigmoid(cam + bias)
        p /= p.sum((1, 2), keepdims=True)
        pooled = np.einsum("bhwc,bhwj->bcj", p, features)
        expected = np.einsum("bcj,jc->bc", pooled, kernel) + bias
        np.testing.assert_allclose(logits, expected, atol=1e-5)

    @pytest.mark.parametrize("pooling", ["gap", "max", "lse", "lse_map", "pcam"])
    def test_stays_finite_in_the_extremes(self, pooling):
        head = ClassActivationMap(1, pooling=pooling)
        head.build((1, 4, 4, 1))
        head.kernel.assign([[1.0]])
        for value in (-1e4, 1e4):
            logits, _ = head(np.full((1, 4, 4, 1), value, "float32"))
            np.testing.assert_allclose(to_numpy(logits), [[value]], rtol=1e-5)

    @pytest.mark.parametrize("pooling", ["gap", "max", "lse", "lse_map", "pcam"])
    def test_batches_of_a_size_that_the_graph_does_not_know(self, features, pooling):
        inputs = keras.Input(features.shape[1:])
        head = ClassActivationMap(3, pooling=pooling)
        model = keras.Model(inputs, head(inputs))
        logits, _ = model.predict(
            np.tile(features, (3, 1, 1, 1)), batch_size=4, verbose=0
        )
        expected, _ = head(features)
        np.testing.assert_allclose(logits[-2:], to_numpy(expected), atol=1e-5)

    @pytest.mark.parametrize("pooling", ["gap", "max", "lse"])
    def test_features_may_be_pooled_before(self, features, pooling):
        head = build_head(features, pooling=pooling, sharpness=3.0)
        pooled = head.pool_features(features.astype("float16"))
        assert head.pools_features and pooled.shape == (2, 1, 1, 6)
        assert keras.backend.standardize_dtype(pooled.dtype) == "float32"
        # Half precision has 11 bits; the features are up to 4.
        np.testing.assert_allclose(
            to_numpy(head(pooled)[0]), to_numpy(head(features)[0]), atol=1e-2
        )

    def test_maps_are_pooled_after_the_kernel(self):
        for pooling in ("lse_map", "pcam"):
            assert not ClassActivationMap(3, pooling=pooling).pools_features

    def test_copies_of_its_configuration(self):
        head = ClassActivationMap(3, pooling="lse", sharpness=3.0, name="head")
        copy = ClassActivationMap.from_config(head.get_config())
        assert (copy.pathologies, copy.pooling, copy.sharpness) == (3, "lse", 3.0)
        assert copy.name == "head"
        default = ClassActivationMap(3)
        assert (default.pooling, default.sharpness) == ("gap", 10.0)  # Wang et al.

    def test_computes_in_single_precision(self, features, half_precision):
        logits, cam = ClassActivationMap(3)(features.astype("float16"))
        for output in (logits, cam):
            assert keras.backend.standardize_dtype(output.dtype) == "float32"

    def test_starts_after_glorot(self):
        head = ClassActivationMap(3)
        head.build((None, None, None, 997))
        assert [v.name for v in head.weights] == ["kernel", "bias"]
        kernel = np.abs(to_numpy(head.kernel))
        # Uniform between -l and l, l = sqrt(6 / (997 + 3)) = 0.0775.
        assert 0.07 < kernel.max() < 0.0775
        assert kernel.mean() == pytest.approx(0.0387, abs=0.002)
        assert to_numpy(head.bias).tolist() == [0, 0, 0]

    def test_shapes(self):
        head = ClassActivationMap(3)
        expected = (None, 3), (None, 5, 7, 3)
        assert head.compute_output_shape((None, 5, 7, 6)) == expected

    @pytest.mark.parametrize("kwargs", [{"pooling": "mean"}, {"sharpness": 0.0}])
    def test_refuses(self, kwargs):
        name, value = next(iter(kwargs.items()))
        with pytest.raises(ValueError, match=f"^{name} must be .* but got '?{value}"):
            ClassActivationMap(3, **kwargs)
