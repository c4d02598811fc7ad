"""`experiments/real/teach.py`: what several networks say and show is learnt by one."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import Config, DataConfig, ModelConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import make_dataset
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import create_run, load_run
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.classifier import average_classifiers

from ..conftest import load_script

SCRIPT = Path(__file__).parents[2] / "experiments" / "real" / "teach.py"
SIZE = (64, 96)


@pytest.fixture(scope="module")
def script():
    return load_script(SCRIPT)


@pytest.mark.slow
def test_a_student_comes_nearer_to_its_teachers(
    script, phantom_records, tmp_path, monkeypatch
):
    monkeypatch.setattr(script, "VIEWS", 2)
    monkeypatch.setattr(script, "evaluate", lambda path: None)
    runs = []
    for seed in range(3):
        data = DataConfig(path=phantom_records, image_size=SIZE)
        config = Config(data, ModelConfig(backbone="small_densenet", blocks=(2, 3)))
        run = create_run(tmp_path / str(seed), config)
        keras.utils.set_random_seed(seed)
        count = len(Manifest.read(phantom_records).pathologies)
        build_classifier(
            count, SIZE, "small_densenet", (2, 3), batch_norm_momentum=0.9
        ).save(run.model_path)
        runs.append(run)
    student, *teachers = [run.path for run in runs]
    records = (phantom_records, phantom_records)
    script.teach(student, tuple(teachers), records, tmp_path / "taught", epochs=30)
    images, _ = next(iter(make_dataset(phantom_records, "test", batch_size=16)))
    several = [load_classifier(run) for run in runs[1:]]
    expected = script.add_maps(average_classifiers(several)).predict(images)

    def measure(run):
        found = script.add_maps(load_classifier(run)).predict(images)
        return {k: np.square(found[k] - expected[k]).mean() for k in expected}

    before, after = measure(runs[0]), measure(load_run(tmp_path / "taught"))
    assert set(before) == {
        "logits", "logits_block2", "logits_block3", "cam_block2", "cam_block3",
    }  # fmt: skip
    for name, error in after.items():
        assert error < before[name] / 2, (name, before[name], error)
    weights = load_classifier(load_run(tmp_path / "taught")).get_layer(
        "block_combination"
    )
    relevance = np.asarray(weights.relevance_weights)
    assert (relevance >= 0).all()
    np.testing.assert_allclose(relevance.sum(axis=0), 1, atol=1e-5)
