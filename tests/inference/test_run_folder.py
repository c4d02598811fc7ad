"""The folder of a run."""

from pathlib import Path

import numpy as np

from keras_mscam.configs.schema import Config, DataConfig
from keras_mscam.evaluation.split_outputs import read_pathologies
from keras_mscam.inference.run_folder import (
    Run,
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


def test_a_published_run_takes_no_records_of_the_working_directory(
    tmp_path, monkeypatch
):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    published = Run(tmp_path / "run", Config(DataConfig(path=Path("records"))))
    assert published.records == tmp_path / "run" / "records"
    own = Run(tmp_path / "run", Config(DataConfig(path=tmp_path / "records")))
    assert own.records == tmp_path / "records"
