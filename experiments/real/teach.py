"""Teach a network what several others, on average, say and show of the same X-rays.

    python experiments/real/teach.py RUN --teachers RUN RUN --records DIR DIR \\
        --output DIR

The student goes on from the weights of RUN. Of every view of an image, augmented as in
its training, it learns the logit of each head and the map of each block that the
average of the teachers has of that view (knowledge distillation, Hinton et al. 2015; of
maps, Zagoruyko and Komodakis 2017). No label and no box is looked at before the
calibration.
"""

import dataclasses
from pathlib import Path

from keras_mscam.data.augmentation import augment, draw
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import make_dataset
from keras_mscam.errors import command
from keras_mscam.evaluation.calibration import calibrate_run
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import (
    Run,
    create_run,
    load_run,
    write_beta,
    write_relevance_weights,
)
from keras_mscam.modeling.classifier import average_classifiers, read_relevance_weights
from keras_mscam.modeling.localizer import get_cams
from keras_mscam.modeling.losses import MaskedBinaryCrossEntropy
from keras_mscam.training.batch_norm import BatchNormStatistics
from keras_mscam.training.fit import compile_trainer

import keras
import numpy as np
import tensorflow as tf
import tyro
from scipy.special import expit

BATCH = 32
RATE = 1e-3
#: Augmented views of every image, which the teachers see once.
VIEWS = 10
#: Of the losses of the heads and of the maps of every block, beside that of the logits.
HEAD_WEIGHT, MAP_WEIGHT = 0.5, 0.3


def teach(
    run: tyro.conf.Positional[Path],
    teachers: tuple[Path, ...],
    records: tuple[Path, ...],
    output: Path,
    epochs: int = 30,
    seed: int = 0,
) -> None:
    """Teach, calibrate and evaluate a network.

    Args:
        run: The student, whose settings are kept.
        teachers: Runs with the same pathologies, blocks and sizes of maps.
        records: Prepared ones, whose training images are shown. The first are those of
            the new run; of the others as many images are taken as it has, at random.
        output: Folder of the new run.
        epochs: Of all images, in one of their views each.
        seed: Of the views, of the images that are taken, and of the order.
    """
    taught = begin(run, output, records[0], epochs=epochs, seed=seed)
    config = taught.config
    keras.utils.set_random_seed(seed)
    own, *others = (read_images(place, config.data.image_size) for place in records)
    rng = np.random.default_rng(seed)
    others = [rng.permutation(images)[: len(own)] for images in others]
    views = make_views(np.concatenate([own, *others]), config, seed)
    several = [load_classifier(load_run(teacher)) for teacher in teachers]
    targets = add_maps(average_classifiers(several)).predict(views, 64, verbose=2)
    student = load_classifier(load_run(run))
    fit(student, Manifest.read(taught.records), config, views, targets)
    finish(taught, student, own)


def begin(start: Path, output: Path, records: Path, **training) -> Run:
    """Create the run of a student, with the settings of the run it starts from."""
    config = load_run(start).config
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, path=records),
        model=dataclasses.replace(config.model, weights=str(start)),
        training=dataclasses.replace(
            config.training, learning_rate=RATE, batch_size=BATCH, loss="binary",
            **training,
        ),
    )  # fmt: skip
    return create_run(output, config)


def finish(run: Run, student: keras.Model, images: np.ndarray) -> None:
    """Save, calibrate and evaluate a student; its own training images normalize it."""
    batches = tf.data.Dataset.from_tensor_slices(images).batch(BATCH)
    BatchNormStatistics(student, batches).on_test_begin()
    student.save(run.model_path)
    manifest = Manifest.read(run.records)
    write_beta(run, manifest.beta)
    blocks, weights = read_relevance_weights(student)
    write_relevance_weights(run, manifest.pathologies, blocks, weights)
    calibrate_run(run, student)
    evaluate(run.path)


def read_images(records: Path, size: tuple[int, int]) -> np.ndarray:
    batches = make_dataset(records, "train", batch_size=64, image_size=size)
    return np.concatenate([images for images, _ in batches])


def make_views(images: np.ndarray, config, seed: int) -> np.ndarray:
    """Return `VIEWS` augmented views of every image, uint8."""
    views = []
    for number in range(VIEWS):
        for first in range(0, len(images), 256):
            part = images[first : first + 256]
            draws = draw(
                config.augmentation, len(part), (seed, number * len(images) + first)
            )
            views.append(augment(part, draws, config.data.image_size).numpy())
    return np.concatenate(views)


def add_maps(classifier: keras.Model) -> keras.Model:
    """Return a model with the maps of the blocks beside the logits."""
    outputs = {**classifier.output, **get_cams(classifier)}
    return keras.Model(classifier.input, outputs)


def fit(student: keras.Model, manifest, config, views, targets) -> None:
    """Train the student on what the teachers say of the views.

    Maps are compared by the squared error in units of the variance that the teachers'
    have, summed over pathologies, as the losses of the logits are.
    """
    steps = len(views) // VIEWS // BATCH
    losses, weights = {}, {}
    for name, values in targets.items():
        if name.startswith("cam"):
            losses[name] = MapError(1 / values.var(axis=(0, 1, 2)))
            weights[name] = MAP_WEIGHT
        else:
            targets[name] = expit(values)
            losses[name] = MaskedBinaryCrossEntropy()
            weights[name] = 1.0 if name == "logits" else HEAD_WEIGHT
    beta = tuple(manifest.beta[name] for name in manifest.pathologies)
    # Its optimizer keeps the relevance weights on the simplex.
    optimizer = compile_trainer(student, beta, config.training, steps).optimizer
    trainer = add_maps(student)
    trainer.compile(optimizer, loss=losses, loss_weights=weights)
    arrays = tf.constant(views), {k: tf.constant(v) for k, v in targets.items()}

    def look_up(rows):
        return tf.nest.map_structure(lambda array: tf.gather(array, rows), arrays)

    batches = (
        tf.data.Dataset.range(len(views))
        .shuffle(len(views), seed=config.training.seed)
        .repeat()
        .batch(BATCH)
        .map(look_up)
        .prefetch(2)
    )
    epochs = config.training.epochs
    trainer.fit(batches, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=2)


class MapError(keras.losses.Loss):
    """Squared error of maps, by a factor per pathology; the mean over positions."""

    def __init__(self, factors: np.ndarray):
        super().__init__()
        self.factors = factors

    def call(self, y_true, y_pred):
        errors = keras.ops.square(y_true - y_pred) * self.factors
        return keras.ops.mean(keras.ops.sum(errors, axis=-1), axis=(1, 2))


@command
def main() -> None:
    tyro.cli(teach)


if __name__ == "__main__":
    main()
