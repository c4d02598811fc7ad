import pytest

from keras_mscam.data.manifest import Split
from keras_mscam.data.split_gaps import (
    describe_gaps,
    describe_missing_boxes,
    describe_split_gaps,
    knows_a_label,
)


def make_split(images, **counts):
    """Counts are (with, without) of each pathology."""
    positives = {name: count[0] for name, count in counts.items()}
    prevalence = {n: p / (p + q) if p + q else None for n, (p, q) in counts.items()}
    return Split(("x.tfrecord",), images, images, positives, prevalence)


def test_a_sentence_for_each_kind_with_the_names():
    positives = {"A": 0, "B": 0, "C": 30, "D": 9, "E": 10, "F": 0}
    negatives = {"A": 0, "B": 40, "C": 0, "D": 90, "E": 10, "F": 0}
    assert describe_gaps("test", positives, negatives) == (
        "The test split has no known label of A, F: their classification can't be "
        "measured.",
        "The test split has no image with B: their classification can't be measured.",
        "The test split has no image without C: their classification can't be "
        "measured.",
        "The test split has fewer than 10 images with, or without, D (9): their "
        "classification is measured with much uncertainty.",
    )
    # What a split is used for decides on what can't be done.
    (sentence,) = describe_gaps("train", {"A": 0}, {"A": 9}, use="validation")
    assert sentence.startswith("The train split has no image with A: no threshold")


def test_nothing_to_say():
    assert describe_gaps("validation", {"A": 10}, {"A": 10}) == ()
    assert describe_missing_boxes("test", {"A": 10}) == ()
    assert describe_split_gaps({"train": make_split(40, A=(20, 20))}) == ()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((0, 0), "no known label of A"),
        ((0, 40), "no image with A"),
        ((40, 0), "no image without A"),
        ((37, 3), "without, A (3)"),
        ((3, 37), "without, A (3)"),
    ],
)
def test_counts_of_a_manifest(counts, words):
    # Of 60 images the labels of 20 are unknown.
    (sentence,) = describe_split_gaps({"validation": make_split(60, A=counts)})
    assert words in sentence and sentence.count("validation") == 1
    assert knows_a_label(make_split(60, A=counts)) == (counts != (0, 0))


def test_a_split_of_no_image():
    splits = {"train": make_split(40, A=(20, 20)), "test": make_split(0, A=(0, 0))}
    assert describe_split_gaps(splits) == ()


def test_boxes():
    assert describe_missing_boxes("test", {"A": 0, "B": 3, "C": 12}) == (
        "The test split has no ground-truth box of A: their localization can't be "
        "measured.",
        "The test split has fewer than 10 ground-truth boxes of B (3): their "
        "localization is measured with much uncertainty.",
    )
    (sentence,) = describe_missing_boxes("test", {"A": 0, "B": 0})
    assert "no ground-truth box: localization can't" in sentence
