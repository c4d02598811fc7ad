import keras
import numpy as np
import pytest

from keras_mscam.modeling import (
    BatchBalancedCrossEntropy,
    ClassBalancedCrossEntropy,
    MaskedBinaryCrossEntropy,
)
from keras_mscam.modeling.losses import build_loss

LOG2 = np.log(2)
ALL = [
    ClassBalancedCrossEntropy([0.9, 0.8]),
    BatchBalancedCrossEntropy(),
    MaskedBinaryCrossEntropy(),
]


def value(loss, labels, logits):
    result = loss(np.asarray(labels, "float32"), keras.ops.convert_to_tensor(logits))
    return float(keras.ops.convert_to_numpy(result))


def test_class_balanced_by_hand():
    # p = 1/2 everywhere. Row 1: 0.9 log 2 + (1 - 0.8) log 2; row 2: 0.1 + 0.8.
    loss = ClassBalancedCrossEntropy([0.9, 0.8])
    result = value(loss, [[1, 0], [0, 1]], np.zeros((2, 2), "float32"))
    assert result == pytest.approx((0.9 + 0.2 + 0.1 + 0.8) / 2 * LOG2, rel=1e-6)


def test_class_balanced_at_another_logit():
    # p = 3/4 at logit log 3: 0.9 * -log(3/4) + 0.2 * -log(1/4)
    loss = ClassBalancedCrossEntropy([0.9, 0.8])
    result = value(loss, [[1, 0]], np.full((1, 2), np.log(3), "float32"))
    assert result == pytest.approx(-0.9 * np.log(3 / 4) - 0.2 * np.log(1 / 4), rel=1e-5)


def test_batch_balanced_by_hand():
    # 1 one and 3 zeros in the matrix: beta_P = 4, beta_N = 4/3.
    # Row 1: 4 log 2 + 4/3 log 2; row 2: 2 * 4/3 log 2; mean 4 log 2.
    loss = BatchBalancedCrossEntropy()
    result = value(loss, [[1, 0], [0, 0]], np.zeros((2, 2), "float32"))
    assert result == pytest.approx(4 * LOG2, rel=1e-6)


def test_batch_balanced_of_more_positives():
    # 3 ones and 5 zeros: beta_P = 8/3, beta_N = 8/5. All log 2: 3 * 8/3 + 5 * 8/5 = 16,
    # of 4 rows.
    labels = [[1, 0], [1, 0], [1, 0], [0, 0]]
    result = value(BatchBalancedCrossEntropy(), labels, np.zeros((4, 2), "float32"))
    assert result == pytest.approx(4 * LOG2, rel=1e-6)


def test_batch_without_negatives_is_finite():
    # beta_P = 4 / 4 = 1, and no negative term: 2 log 2 a row.
    result = value(
        BatchBalancedCrossEntropy(), np.ones((2, 2)), np.zeros((2, 2), "float32")
    )
    assert result == pytest.approx(2 * LOG2, rel=1e-6)


@pytest.fixture
def half_precision():
    keras.config.set_floatx("float16")
    yield
    keras.config.set_floatx("float32")


def test_is_exact_where_half_precision_is_the_default(half_precision):
    # 0.9 isn't one of its numbers, nor is a count of 4099, which becomes 4100.
    logits = np.zeros((4099, 1), "float32")
    result = value(ClassBalancedCrossEntropy([0.9]), [[1]], logits[:1])
    assert result == pytest.approx(0.9 * LOG2, rel=1e-6)
    # beta_N = 4099 / 4098 for 4098 rows, beta_P = 4099 for one: 2 log 2, as a mean.
    labels = np.eye(4099, 1)
    result = value(BatchBalancedCrossEntropy(), labels, logits)
    assert result == pytest.approx(2 * LOG2, rel=1e-5)
    assert MaskedBinaryCrossEntropy().dtype == "float32"


def test_batch_without_positives_is_finite():
    # beta_N = 4 / 4 = 1, and no positive term: 2 log 2 a row.
    result = value(
        BatchBalancedCrossEntropy(), np.zeros((2, 2)), np.zeros((2, 2), "float32")
    )
    assert result == pytest.approx(2 * LOG2, rel=1e-6)


def test_binary_equals_keras():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, (8, 5)), rng.normal(size=(8, 5)) * 3
    # Keras takes the mean over the 5 columns, we take the sum.
    expected = 5 * float(
        keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits)
    )
    result = value(MaskedBinaryCrossEntropy(), labels, logits.astype("float32"))
    assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_exact_in_the_tails(loss, dtype):
    logits = keras.ops.cast([[1e4, -1e4]], dtype)
    magnitude = float(keras.ops.cast(logits[0, 0], "float32"))  # bfloat16: 9984
    right, wrong = value(loss, [[1, 0]], logits), value(loss, [[0, 1]], logits)
    assert right == 0
    # The loss of a wrong label is its logit's magnitude, times its factor.
    if isinstance(loss, ClassBalancedCrossEntropy):
        factors = (1 - 0.9) + 0.8
    else:
        factors = 4 if isinstance(loss, BatchBalancedCrossEntropy) else 2
    assert wrong == pytest.approx(factors * magnitude, rel=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_gradient_is_finite_in_the_tails_and_at_unknown_labels(loss):
    import tensorflow as tf

    logits = tf.constant([[1e4, -1e4], [0.0, 3.0]])
    labels = tf.constant([[0.0, 1.0], [np.nan, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        result = loss(labels, logits)
    gradient = tape.gradient(result, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[1, 0] == 0  # the unknown one


def test_unknown_labels_leave_the_loss():
    loss = ClassBalancedCrossEntropy([0.9, 0.8])
    logits = np.array([[0.0, 50.0]], "float32")
    assert value(loss, [[1, np.nan]], logits) == pytest.approx(0.9 * LOG2, rel=1e-6)
    assert value(loss, [[np.nan, np.nan]], logits) == 0


def test_unknown_labels_do_not_count_in_the_batch_balance():
    # Known: 1 one, 1 zero; beta_P = beta_N = 2; sum of the two rows 4 log 2, mean 2.
    result = value(
        BatchBalancedCrossEntropy(), [[1, np.nan], [0, np.nan]], np.zeros((2, 2), "f4")
    )
    assert result == pytest.approx(2 * LOG2, rel=1e-6)


def test_label_smoothing():
    # Smoothed by 0.2, a one is 0.9 of a one and 0.1 of a zero; p = 3/4.
    loss = MaskedBinaryCrossEntropy(label_smoothing=0.2)
    result = value(loss, [[1.0]], np.full((1, 1), np.log(3), "float32"))
    assert result == pytest.approx(-0.9 * np.log(3 / 4) - 0.1 * np.log(1 / 4), rel=1e-5)


@pytest.mark.parametrize("name", ["class_balanced", "batch_balanced", "binary"])
def test_by_name_and_serialized(name):
    loss = build_loss(name, [0.9, 0.8], label_smoothing=0.1)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.label_smoothing == loss.label_smoothing == 0.1
    assert copy.get_config() == loss.get_config()
    assert build_loss(name, [0.9, 0.8]).label_smoothing == 0
    labels, logits = [[1, 0], [0, 0]], np.array([[1.0, 2.0], [3.0, -4.0]], "float32")
    assert value(copy, labels, logits) == value(loss, labels, logits)


def test_name():
    assert MaskedBinaryCrossEntropy(name="loss").name == "loss"
    assert MaskedBinaryCrossEntropy().name.startswith("masked_binary_cross_entropy")


def test_beta_may_be_at_its_bounds():
    assert ClassBalancedCrossEntropy([0, 1]).beta == (0.0, 1.0)


@pytest.mark.parametrize("beta", [1.5, -0.1, np.nan])
def test_refuses_a_beta(beta):
    with pytest.raises(ValueError, match=r"^beta must be in \[0, 1\], but got \(0.5, "):
        ClassBalancedCrossEntropy([0.5, beta])


@pytest.mark.parametrize("smoothing", [1.0, -0.1, np.nan])
def test_refuses_a_smoothing(smoothing):
    said = rf"^label_smoothing must be in \[0, 1\), but got {smoothing}\."
    with pytest.raises(ValueError, match=said):
        MaskedBinaryCrossEntropy(label_smoothing=smoothing)


def test_refuses_a_name():
    with pytest.raises(ValueError, match=r"^Unknown loss 'focal'; choose one of \("):
        build_loss("focal", [0.5])
