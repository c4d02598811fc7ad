import pytest

from keras_mscam.batch_predict.settings import Options
from keras_mscam.errors import UserError

ALL = ("Effusion", "Mass", "Nodule")


@pytest.mark.parametrize(
    ("overlays", "pathologies", "chosen"),
    [
        ("none", (), ()),
        ("top", (), ("Mass",)),
        ("positive", (), ("Mass", "Effusion")),
        ("all", (), ALL),
        ("top", ("Effusion",), ("Effusion",)),
        ("positive", ("Nodule",), ()),
        ("all", ("Nodule", "Mass"), ("Mass", "Nodule")),
    ],
)
def test_choice(overlays, pathologies, chosen):
    options = Options(overlays, pathologies)
    assert options.choose(("Mass", "Effusion"), ALL) == chosen


def test_longest_side():
    with pytest.raises(UserError, match="1 to 65535 pixels, not 0"):
        Options(longest_side=0)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_threshold_of_boxes(threshold):
    with pytest.raises(UserError, match="from 0 to below 1, not"):
        Options(shown_threshold=threshold)
