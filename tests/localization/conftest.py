import numpy as np
import pytest

from keras_mscam.localization.accuracy import Localization

SIZE = (24, 40)  # height, width


def draw_boxes(rng, count):
    """Integer boxes; one in ten is the whole image, one in ten touches its corner."""
    height, width = SIZE
    boxes = np.zeros((count, 4))
    for row in range(count):
        x, y = rng.integers(0, width - 1), rng.integers(0, height - 1)
        right, bottom = rng.integers(x + 1, width + 1), rng.integers(y + 1, height + 1)
        kind = rng.integers(10)
        boxes[row] = [x, y, right, bottom]
        if kind == 0:
            boxes[row] = [0, 0, width, height]
        if kind == 1:
            boxes[row, :2] = 0
    return boxes


@pytest.fixture
def random_items():
    """Make images with all that happens: none drawn, none predicted, ignored, ties."""

    def make(seed, count, ignored=True, ties=True):
        rng = np.random.default_rng(seed)
        items = []
        scores = rng.permutation(100 * count) / 7.0
        for index in range(count):
            truth = draw_boxes(rng, rng.integers(0, 4))
            others = draw_boxes(rng, rng.integers(0, 3) if ignored else 0)
            predicted = draw_boxes(rng, rng.integers(0, 5))
            known = np.concatenate([truth, others])
            if len(known):  # boxes near the drawn ones, so that there are hits
                near = known[rng.integers(0, len(known), rng.integers(0, 4))]
                near = near + rng.integers(-1, 2, near.shape)
                near = near[(near[:, :2] < near[:, 2:]).all(1)]
                predicted = np.concatenate([predicted, near])
            n = len(predicted)
            mine = rng.integers(0, 4, n) if ties else scores[100 * index :][:n]
            peak = rng.random(2) * SIZE[::-1]
            items.append(
                Localization(
                    pathology=("Mass", "Nodule")[rng.integers(2)],
                    patient=str(rng.integers(count)),
                    truth=truth,
                    predicted=predicted,
                    scores=mine,
                    peak=None if rng.integers(8) == 0 else tuple(peak),
                    original_size=SIZE,
                    name=f"{index}.png",
                    ignored=others,
                    excused=rng.random(n) < 0.2 if ignored else None,
                )
            )
        return items

    return make
