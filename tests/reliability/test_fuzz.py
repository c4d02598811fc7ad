"""A few hundred files with random faults for each reader, the same ones every time.

`experiments/reliability/fuzz.py` feeds them by the million.
"""

import pytest

from .fuzzing import READERS, find_reader, try_files

#: Of files; some take longer. Of networks hardly one survives a fault.
COUNT = {"networks": 40, "dicom": 200}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_nothing_but_results_and_sentences(name):
    count = COUNT.get(name, 300)
    counts, faults = try_files(find_reader(name), 1, range(count))
    assert not faults
    # Faults are neither so many that all end at the door, nor so few that none is met.
    assert counts.total() == count and counts["refused"] > 0
    assert counts["read"] > 0 or name == "networks"
