"""Warnings of the page against those of `keras_mscam.images.grey_values`."""

import numpy as np

from keras_mscam.images.grey_values import describe_values
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit

SPREADS = [(0, 255), (0, 100), (0, 4), (140, 255), (100, 140), (255, 0), (20, 0)]


def test_sentences_are_those_of_python(run_node):
    visit = sample_visit(8, 3, 0)
    chest = render_phantom(sample_anatomy(8, 3), visit, (96, 64)).image
    images = [low + chest / 255.0 * (high - low) for low, high in SPREADS]
    images += [np.where(chest < np.median(chest), 0, 255), np.full_like(chest, 40)]
    images = np.rint(images).astype("uint8")
    answers = run_node(
        [{"kind": "values", "pixels": i.ravel(), "size": i.shape} for i in images]
    )
    assert answers == [describe_values(image) for image in images]
    # Each of the six sentences, and none.
    assert len({sentence for answer in answers for sentence in answer}) == 6
    assert [] in answers
