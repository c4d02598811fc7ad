from keras_mscam.configs.schema import LocalizationConfig, MapConfig, ShownConfig
from keras_mscam.localization.protocol import (
    SHOWN_THRESHOLDS,
    choose_shown,
    describe_maps,
    describe_protocol,
    describe_shown,
)


def test_a_threshold_that_is_given_stays():
    given = ShownConfig(shown_threshold=0.0)
    assert choose_shown(MapConfig(), given) == given


def test_without_one_it_is_that_of_the_normalization():
    for name, threshold in SHOWN_THRESHOLDS.items():
        chosen = choose_shown(MapConfig(normalization=name), ShownConfig())
        assert chosen == ShownConfig(shown_threshold=threshold)


def test_the_rule_in_words():
    rule = ShownConfig(
        shown_threshold=0.125, shown_min_area=0.0025, shown_max_area=0.5,
        shown_max_boxes=2,
    )  # fmt: skip
    said = describe_shown(rule)
    for words in ("above 0.125 ", "covers 0.25% of", "has 2 at most", "more than 50%"):
        assert words in said


def test_maps_are_scaled_to_what_is_said():
    assert describe_maps(MapConfig()).endswith(
        "scaled to 0..1 by their own minimum and maximum"
    )
    # Wang et al.'s thresholds are of 255.
    assert "scaled to 0..255 by their own" in describe_protocol(LocalizationConfig())
