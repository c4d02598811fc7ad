"""Without TensorFlow, and on the JAX backend: each in a process of its own."""

import os
import subprocess
import sys

import pytest

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""

TRAIN = """
import keras, numpy as np
from keras_mscam.configs.schema import ModelConfig, TrainingConfig
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.training.batch_norm import BatchNormStatistics, find_batch_norms
from keras_mscam.training.fit import compile_trainer, counting_callbacks, fit

assert keras.backend.backend() == "jax"
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (16, 64, 96, 1)).astype("uint8")
labels = rng.integers(0, 2, (16, 3)).astype("float32")
batches = [(images[i : i + 8], labels[i : i + 8]) for i in (0, 8)]
class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return batches[index]
classifier = build_classifier(
    3, (64, 96), "small_densenet", (1, 2), batch_norm_momentum=0.5
)
config = TrainingConfig(
    learning_rate=1e-2, schedule="cosine", epochs=6, skip_batches=1
)
trainer = compile_trainer(classifier, (0.9, 0.8, 0.7), config, steps=2)
statistics = BatchNormStatistics(classifier, [images[:8], images[8:]])
bad = (images[:8], np.full_like(labels[:8], np.inf))  # leaves no trace
training = (batch for batch in [bad, *batches * 6])
history = fit(trainer, training, Batches(), steps=2, epochs=6,
              callbacks=[statistics, *counting_callbacks(config)]).history
assert history["skipped"] == [1, 0, 0, 0, 0, 0]
history = history["loss"]
variance = keras.ops.convert_to_numpy(find_batch_norms(classifier)[0].moving_variance)
statistics.on_test_begin()  # the weights are those that were validated
again = keras.ops.convert_to_numpy(find_batch_norms(classifier)[0].moving_variance)
assert np.allclose(variance, again, rtol=1e-4)
assert history[-1] < 0.7 * history[0], history
combine = classifier.get_layer("block_combination")
weights = keras.ops.convert_to_numpy(combine.relevance_weights)
assert (weights >= 0).all() and np.allclose(weights.sum(0), 1, atol=1e-5)
assert np.abs(weights - 1 / 2).max() > 1e-3
maps = build_localizer(classifier)(images[:2])
logits = classifier(images[:2])
for block in (1, 2):
    bias = classifier.get_layer(f"head_block{block}").bias
    mean = keras.ops.mean(maps[f"cam_block{block}"], axis=(1, 2)) + bias
    assert np.allclose(mean, logits[f"logits_block{block}"], atol=1e-4)
assert "tensorflow" not in sys.modules
"""

HEADS = """
import pathlib
from keras_mscam.modeling.classifier import split_at_features
from keras_mscam.training.heads import train_heads

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (16, 32, 32, 1)).astype("uint8")
labels = rng.integers(0, 2, (16, 3)).astype("float32")
classifier = build_classifier(3, (32, 32), "small_densenet", (1, 2))
beta = (0.9, 0.8, 0.7)

# On a frozen backbone
folder = pathlib.Path({folder!r})
(folder / "manifest.json").write_text("{{}}")
config = TrainingConfig(head_epochs=20, batch_size=8, learning_rate=1e-2)
before = np.array(classifier.get_layer("head_block2").kernel)
row = train_heads(classifier, folder, lambda split: [(images, labels)],
                  {{"train": 16, "validation": 16}}, beta, ModelConfig(), config,
                  folder)
kernel = np.array(classifier.get_layer("head_block2").kernel)
assert np.isfinite(row["val_loss"]) and not np.array_equal(before, kernel)

# Two steps of 4 are one of 8
_, heads = split_at_features(classifier)
features = {{n: rng.normal(size=(16, *v.shape[1:])) for n, v in heads.input.items()}}
first, found = heads.get_weights(), []
for size, accumulated in [(8, 1), (4, 2)]:
    heads.set_weights(first)
    config = TrainingConfig(gradient_accumulation_steps=accumulated, epochs=3,
                            schedule="cosine", warmup_epochs=1)
    trainer = compile_trainer(heads, beta, config, 16 // size)
    for start in [*range(0, 16, size)] * 3:
        rows = slice(start, start + size)
        trainer.train_on_batch({{n: v[rows] for n, v in features.items()}},
                               labels[rows])
    found.append(heads.get_weights())
for one, other in zip(*found, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
assert not np.allclose(found[0][0], first[0])
"""

EQUAL = """
import keras, numpy as np, keras_mscam.modeling
model = keras.saving.load_model({model!r})
outputs = model(np.load({image!r}))
np.savez({result!r}, **{{k: keras.ops.convert_to_numpy(v) for k, v in outputs.items()}})
"""


def run(code, blocked):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    # Compiling takes most of the time; what it gains is nothing for a few steps.
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    result = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=list(blocked)) + code],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stderr


def test_imports_without_tensorflow():
    pytest.importorskip("jax")
    modules = (
        "modeling", "localization.accuracy", "localization.baselines", "phantom",
        "data.chestxray14", "training.fit", "training.train_run", "visualization",
    )  # fmt: skip
    code = "\n".join(f"import keras_mscam.{module}" for module in modules)
    run(code, blocked=["tensorflow", "tensorboard"])


@pytest.mark.slow
def test_jax_without_tensorflow_gives_the_same_and_trains(tmp_path):
    """In one process, of which importing and compiling are the longest part."""
    pytest.importorskip("jax")
    import keras
    import numpy as np

    from keras_mscam.modeling import build_classifier, build_localizer

    image = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 1)).astype("uint8")
    localizer = build_localizer(build_classifier(3, (64, 96), "small_densenet"))
    paths = {n: str(tmp_path / n) for n in ("model.keras", "image.npy", "result.npz")}
    localizer.save(paths["model.keras"])
    np.save(paths["image.npy"], image)
    model, saved, result = paths.values()
    equal = EQUAL.format(model=model, image=saved, result=result)
    heads = HEADS.format(folder=str(tmp_path))
    run(equal + TRAIN + heads, blocked=["tensorflow", "tensorboard"])
    with np.load(result) as other:
        for name, value in localizer(image).items():
            value = keras.ops.convert_to_numpy(value)
            np.testing.assert_allclose(value, other[name], atol=1e-3)
