"""Several runs as one: `keras_mscam-weights average`."""

import sys

import keras
import numpy as np
import pytest

from keras_mscam import Predictor
from keras_mscam.cli import weights
from keras_mscam.configs.schema import Config, DataConfig, ModelConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import (
    create_run,
    load_run,
    write_relevance_weights,
)
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.modeling.classifier import (
    average_classifiers,
    read_relevance_weights,
)

SIZE = (64, 96)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 1)).astype("uint8")


def build(outputs=3, seed=0, backbone="small_densenet", blocks=(2, 3), **options):
    keras.utils.set_random_seed(seed)
    classifier = build_classifier(outputs, SIZE, backbone, blocks, **options)
    rng = np.random.default_rng(seed)
    first = rng.uniform(size=outputs)
    relevance = classifier.get_layer("block_combination").variable
    if len(blocks) == 2:
        relevance.assign([first, 1 - first])
    for block in blocks:
        head = classifier.get_layer(f"head_block{block}")
        head.bias.assign(rng.normal(size=outputs))
    return classifier


def test_everything_is_the_mean_and_the_fused_map_still_means_the_logits():
    several = [build(seed=1), build(seed=2), build(seed=3, backbone="small_resnet")]
    mean = average_classifiers(several)
    outputs = [classifier(IMAGES) for classifier in several]
    found = mean(IMAGES)
    for name in ("logits_block2", "logits_block3"):
        expected = np.mean([output[name] for output in outputs], axis=0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    blocks, relevance = read_relevance_weights(mean)
    weights = [read_relevance_weights(classifier)[1] for classifier in several]
    assert blocks == (2, 3)
    np.testing.assert_allclose(relevance, np.mean(weights, axis=0), rtol=1e-5)
    np.testing.assert_allclose(relevance.sum(axis=0), 1, rtol=1e-5)
    localized = build_localizer(mean, (8, 12))(IMAGES)
    maps = [build_localizer(classifier)(IMAGES) for classifier in several]
    for name in ("cam_block2", "cam_block3"):
        expected = np.mean([output[name] for output in maps], axis=0)
        np.testing.assert_allclose(localized[name], expected, rtol=1e-4, atol=1e-5)


def test_of_one_network_twice_it_is_that_network():
    classifier = build()
    expected, found = classifier(IMAGES), average_classifiers([classifier] * 2)(IMAGES)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_other_blocks_and_pathologies_are_refused():
    for options in ({"blocks": (3, 4)}, {"outputs": 1}):
        with pytest.raises(ValueError, match="The classifiers differ in head_block2"):
            average_classifiers([build(), build(**options)])


@pytest.fixture
def write(phantom_records, tmp_path):
    """Write the run of a classifier over all pathologies of the built-in set."""
    names = Manifest.read(phantom_records).pathologies

    def write(name, pathologies=names, **options):
        classifier = build(len(pathologies), **options)
        data = DataConfig(path=phantom_records, image_size=SIZE)
        config = Config(data, ModelConfig(backbone="small_densenet", blocks=(2, 3)))
        run = create_run(tmp_path / name, config)
        classifier.save(run.model_path)
        write_relevance_weights(run, pathologies, *read_relevance_weights(classifier))
        return run

    return write


@pytest.fixture
def command(monkeypatch, capsys):
    def command(*arguments):
        words = ["keras_mscam-weights", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        try:
            weights.main()
        except SystemExit as end:
            assert end.code == 2
        return capsys.readouterr()

    return command


def test_the_run_of_an_average(write, command, tmp_path):
    runs = [write(f"seed{seed}", seed=seed) for seed in (1, 2)]
    output = tmp_path / "average"
    paths = [run.path for run in runs]
    assert f"Run: {output}" in command("average", *paths, "--output", output).out
    prediction = Predictor(output).predict(IMAGES[0, ..., 0])
    maps = [build_localizer(load_classifier(run))(IMAGES[:1]) for run in runs]
    expected = np.mean([found["cam_block2"][0] for found in maps], axis=0)
    np.testing.assert_allclose(prediction.cams[2], expected, rtol=1e-3, atol=1e-4)
    assert all(0 < p < 1 for p in prediction.probabilities.values())
    published = tmp_path / "published"
    command("publish", output, "--output", published, "--license", "mit")
    card = (published / "README.md").read_text()
    assert "The average of 2 networks" in card and "--weights hf://" not in card
    evaluate(output, progress=False)
    report = (output / "report.html").read_text(encoding="utf-8")
    assert "The average of 2 networks, of which these are" in report
    # An average can be averaged again.
    said = command("average", output, paths[0], "--output", tmp_path / "again").out
    assert "Run: " in said and load_run(tmp_path / "again")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"blocks": (3, 4)}, "other blocks than {}: 3, 4, not 2, 3."),
        ({"pathologies": ("Mass", "Nodule")}, "other pathologies than {}: Mass, Nod"),
    ],
)
def test_runs_that_differ_are_one_sentence(write, command, tmp_path, options, reason):
    one, other = write("one"), write("other", **options)
    said = command("average", one.path, other.path, "--output", tmp_path / "out").err
    assert f"{other.path} has {reason.format(one.path)}" in said
    assert not (tmp_path / "out").exists()
    said = command("average", one.path, "--output", tmp_path / "out").err
    assert "two runs at least" in said


def test_without_records_it_is_one_sentence(write, command, tmp_path):
    paths = [write("one").path, write("two", seed=1).path]
    arguments = ("average", *paths, "--output", tmp_path / "out", "--data")
    said = command(*arguments, tmp_path / "typo").err
    assert f"{tmp_path / 'typo'} has no manifest.json" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
