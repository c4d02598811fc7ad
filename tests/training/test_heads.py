import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest

from keras_mscam.configs.schema import Config, DataConfig, ModelConfig, TrainingConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import make_dataset
from keras_mscam.errors import UserError
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import create_run
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.backbones import find_block
from keras_mscam.modeling.classifier import find_leaves, split_at_features
from keras_mscam.training.fit import compile_trainer
from keras_mscam.training.heads import _digest, compute_features
from keras_mscam.training.train_run import train, train_classifier

SIZE = (64, 96)
SMALL = {"backbone": "small_densenet", "batch_norm_momentum": 0.9, "blocks": (2, 4)}
#: For trainings, of which most time goes into tracing layers.
SHALLOW = {**SMALL, "blocks": (1, 2)}


def build(**options):
    keras.utils.set_random_seed(5)
    return build_classifier(3, SIZE, **{**SMALL, **options})


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, *SIZE, 1)).astype("uint8")


@pytest.mark.parametrize(
    ("options", "pooled"),
    [
        ({}, True),
        ({"pooling": "max"}, True),
        ({"pooling": "lse"}, True),
        ({"pooling": "lse_map"}, False),
        ({"pooling": "pcam"}, False),
        ({"transition": 7}, False),
    ],
)
def test_the_two_parts_give_what_the_whole_gives(options, pooled):
    classifier = build(**options)
    extractor, heads = split_at_features(classifier)
    features = extractor(images(3))
    positions = {name: tuple(value.shape[1:3]) for name, value in features.items()}
    if pooled:
        assert positions == {"features_block2": (1, 1), "features_block4": (1, 1)}
    else:
        assert positions == {"features_block2": (8, 12), "features_block4": (2, 3)}
    expected, found = classifier(images(3)), heads(features)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_features_are_computed_once_and_gone_on_with(tmp_path):
    pixels, labels = images(10), np.arange(20, dtype="float32").reshape(10, 2)
    batches = [(pixels[i : i + 4], labels[i : i + 4]) for i in (0, 4, 8)]
    extractor, _ = split_at_features(build(pooling="pcam"))
    seen = []

    def watched(end):
        for batch in batches:
            if len(seen) == end:
                raise KeyboardInterrupt
            seen.append(batch)
            yield batch

    with pytest.raises(KeyboardInterrupt):
        compute_features(extractor, watched(2), 10, tmp_path)
    first = (tmp_path / "features_block2.npy").stat()
    calls, predict = [], extractor.predict_on_batch
    extractor.predict_on_batch = lambda x: calls.append(len(x)) or predict(x)
    found = compute_features(extractor, batches, 10, tmp_path)
    assert calls == [2]  # the last batch alone
    assert (tmp_path / "features_block2.npy").stat().st_ino == first.st_ino
    np.testing.assert_array_equal(found["labels"], labels)
    # Stored in half precision: 11 bits.
    expected = keras.ops.convert_to_numpy(extractor(pixels)["features_block2"])
    np.testing.assert_allclose(found["features_block2"], expected, rtol=1e-3, atol=1e-3)


def test_other_features_have_another_name(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    extractor, _ = split_at_features(build())
    again, _ = split_at_features(build())
    kinds = [{}, {"pooling": "max"}, {"normalization": "imagenet"}, {"taps": "raw"}]
    names = [
        {_digest(network, tmp_path, ModelConfig(**kind), "float32") for kind in kinds}
        for network in (extractor, again)
    ]
    assert len(names[0]) == 4 and names[0] == names[1]
    half = _digest(extractor, tmp_path, ModelConfig(), "mixed_bfloat16")
    assert half not in names[0]


def test_heads_alone_are_trained(phantom_records, tmp_path):
    manifest = Manifest.read(phantom_records)
    config = Config(
        DataConfig(path=phantom_records, image_size=SIZE, cache_folder=tmp_path / "c"),
        ModelConfig(**SHALLOW),
        TrainingConfig(head_epochs=6, epochs=0, batch_size=8, auxiliary_loss=1.0),
    )
    run = create_run(tmp_path / "run", config)
    train_classifier(run)
    trained = find_leaves(load_classifier(run))
    keras.utils.set_random_seed(0)  # the run's
    begun = find_leaves(build_classifier(len(manifest.pathologies), SIZE, **SHALLOW))
    for name, layer in trained.items():
        is_head = name.startswith(("head_", "block_combination"))
        same = all(
            np.array_equal(a, b)
            for a, b in zip(layer.get_weights(), begun[name].get_weights(), strict=True)
        )
        assert same != is_head, name
    history = pd.read_csv(run.history_path)
    assert list(history["epoch"]) == [0]
    # Its validation loss is that of the saved network: another way to it.
    trainer = compile_trainer(
        load_classifier(run), tuple(manifest.beta.values()), config.training
    )
    batches = make_dataset(phantom_records, "validation", batch_size=8, image_size=SIZE)
    loss = trainer.evaluate(batches, return_dict=True, verbose=0)["loss"]
    assert history["val_loss"][0] == pytest.approx(loss, rel=1e-3)


def test_epochs_follow_from_trained_heads(phantom_records, tmp_path):
    config = Config(
        DataConfig(path=phantom_records, image_size=SIZE, cache_folder=tmp_path / "c"),
        ModelConfig(**SHALLOW),
        TrainingConfig(
            head_epochs=2, epochs=1, batch_size=8, frozen_batch_norm=True,
            gradient_checkpointing=True,
        ),
    )  # fmt: skip
    run = create_run(tmp_path / "run", config)
    train_classifier(run)
    assert list(pd.read_csv(run.history_path)["epoch"]) == [0, 1]
    for name, layer in find_leaves(load_classifier(run)).items():
        if isinstance(layer, keras.layers.BatchNormalization):
            mean = keras.ops.convert_to_numpy(layer.moving_mean)
            assert not mean.any(), name  # as it was initialized


def test_nothing_to_train_is_refused(tmp_path):
    config = dataclasses.replace(Config(), training=TrainingConfig(epochs=0))
    with pytest.raises(UserError, match="give --epochs or --head-epochs"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rates_fall_with_depth():
    config = TrainingConfig(layer_decay=0.5, relevance_learning_rate=3.0)
    trainer = compile_trainer(build(), (0.5, 0.5, 0.5), config)
    rates = dict(
        zip(
            [variable.path for variable in trainer.trainable_variables],
            trainer.optimizer.learning_rate_multipliers,
            strict=True,
        )
    )
    assert rates["head_block2/kernel"] == rates["head_block4/bias"] == 1
    assert rates["block_combination/relevance_weights"] == 3
    assert rates["bn/gamma"] == rates["conv5_block1_0_bn/gamma"] == 0.5
    assert rates["pool4_conv/kernel"] == rates["conv4_block1_1_conv/kernel"] == 0.25
    assert rates["pool2_bn/beta"] == rates["conv2_block1_1_conv/kernel"] == 0.5**4
    assert rates["conv1_conv/kernel"] == 0.5**5


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("conv1_bn/gamma", 0), ("conv2_block3_1_conv/kernel", 1), ("pool4_bn/beta", 3),
        ("conv5_block1_0_bn/gamma", 4), ("bn/gamma", 4), ("head_block4/kernel", None),
        ("transition_block4_bn/gamma", None),
    ],
)  # fmt: skip
def test_the_block_of_a_variable(path, block):
    assert find_block(path) == block
