"""The tables of a run."""

import numpy as np

from keras_mscam.configs.schema import Config
from keras_mscam.evaluation.split_outputs import read_pathologies
from keras_mscam.inference.run_folder import (
    create_run,
    read_names,
    write_beta,
    write_relevance_weights,
)

from ..conftest import ODD_NAMES


def test_names_come_back_as_they_were(tmp_path):
    """Also those that pandas takes for a missing value or a number."""
    names = ("NA", "", "007", "1.0", 'a,b\n"c"', *ODD_NAMES)
    run = create_run(tmp_path / "run", Config())
    write_beta(run, dict.fromkeys(names, 0.5))
    write_relevance_weights(run, names, (3, 4), np.full((2, len(names)), 0.5))
    assert read_names(run.beta_path) == names
    assert read_pathologies(run) == names
