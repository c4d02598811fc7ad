"""Every kind of file against every kind of damage: `damage.py` has the table."""

import os

import pytest

from keras_mscam.images.reader import read_xray
from keras_mscam.images.xray import ImageError

from .damage import EXPECTED, GROUPS, find_expected, find_outcome, list_cells

CELLS = list(list_cells())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("group", "kind", "name", "damage"),
    CELLS,
    ids=[f"{kind.name}, {group}: {name}" for group, kind, name, _ in CELLS],
)
def test_outcome(group, kind, name, damage, tmp_path):
    outcome, sentence = find_outcome(group, kind, damage, tmp_path)
    assert outcome == find_expected(group, kind, name), sentence
    assert "\n" not in sentence and "Traceback" not in sentence


def test_every_exception_is_of_a_cell():
    cells = {(group, kind.name, name) for group, kind, name, _ in CELLS}
    assert len(cells) == len(CELLS) and EXPECTED.keys() <= {c[:2] for c in cells}
    for (group, kind), outcomes in EXPECTED.items():
        assert cells >= {(group, kind, name) for name in outcomes}
    assert len(GROUPS) == 10


def test_a_pipe_that_somebody_writes_into_is_read(tmp_path):
    kind = GROUPS["image"][0]
    kind.write(tmp_path)
    data = (tmp_path / kind.name).read_bytes()
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(data)  # it fits into the pipe
    try:
        assert read_xray(f"/dev/fd/{reader}").pixels.shape == (40, 48)
        with pytest.raises(ImageError, match="is empty"):
            read_xray(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
