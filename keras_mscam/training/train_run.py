"""From images, real or built in, to the folder of a trained and evaluated run."""

import dataclasses
import math
import shutil
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError
from keras_mscam.files import hold_lock
from keras_mscam.inference.run_folder import (
    Run,
    create_run,
    is_prepared,
    load_run,
    write_beta,
    write_config,
    write_relevance_weights,
)
from keras_mscam.training.machines import (
    ALONE,
    ONE_DEVICE,
    Group,
    Machines,
    find_index,
    join,
    open_run,
)
from keras_mscam.training.resuming import explain_end, is_trained, resume_run
from keras_mscam.training.stop import StopSignals


def train(
    config: Config,
    output: Path,
    resume: bool = False,
    machines: Machines = ONE_DEVICE,
    callbacks: Sequence = (),
) -> Run | None:
    """Prepare data, train a classifier, calibrate it, evaluate it and report it.

    Args:
        config: what to train on, what to train, how.
        output: the run folder. A new or empty one, or with `resume` that of a run,
            which goes on where its last checkpoint was written.
        resume: go on with the run in `output`.
        machines: the devices and hosts that share its batches; all hosts call this.
        callbacks: of Keras, such as those of an experiment tracker; told of every
            epoch that this call trains, under its number in the whole run.

    Returns:
        The run; `None` on all hosts but the first. Its folder holds `config.json`,
        `model.keras`, `history.csv`, `beta.csv`, `relevance_weights.csv`,
        `calibration.json`, `metrics.json` and `report.html`.

    Raises:
        UserError: the data, the configuration or the folder can't be used, or the loss
            isn't finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run in `output` is usable and goes on
            with the next step when it is resumed.

    Reference:
        Sedai et al. 2018, sections 2 and 3.
    """
    from keras_mscam.evaluation.evaluate_run import evaluate
    from keras_mscam.training.initial_weights import adopt_normalization
    from keras_mscam.training.precision import make_deterministic, resolve_precision

    if not config.training.epochs and not config.training.head_epochs:
        raise UserError("There is nothing to train: give --epochs or --head-epochs.")
    if config.training.balanced_sampling and config.data.cache == "none":
        raise UserError("--balanced-sampling needs --cache memory or disk.")
    if config.training.warmup_epochs and config.training.schedule != "cosine":
        raise UserError(
            "--warmup-epochs needs --schedule cosine; give --warmup-epochs 0."
        )
    if config.training.deterministic:
        make_deterministic()
    with StopSignals():
        if resume and is_trained(output, config.training.epochs):
            # Only evaluation is left, and other hosts may have ended for good.
            if len(machines.hosts) > 1 and find_index(machines):
                return None
            machines = ONE_DEVICE
        with join(machines) as group, ExitStack() as stack:
            config = resolve_precision(config)
            if not resume:
                model = adopt_normalization(config.model)  # before anything is drawn
                config = dataclasses.replace(config, model=model)
            open_first = partial(_open_alone, config, output, resume, stack)
            with open_run(group, output, open_first) as run, explain_end(run):
                group.check(run)
                prepare_data(run)
                train_classifier(run, group, callbacks)
        if not group.is_first:
            return None
        with explain_end(run):
            evaluate(run.path)  # which calibrates it, too
    return run


def _open_alone(config: Config, output: Path, resume: bool, stack: ExitStack) -> Run:
    """Make or open a run, which no other process trains until the stack is left."""
    run = load_run(output) if resume else create_run(output, config)
    stack.enter_context(hold_lock(run.lock_path, f"training in {output}"))
    return resume_run(config, output) if resume else run


def prepare_data(run: Run) -> None:
    """Make sure that the run's prepared records are there.

    Prepared records given as `--data` are used where they are. Other data are prepared
    into `records/`; without `--data`, that is the built-in set, drawn into `phantom/`,
    on the `--backgrounds` if there are some.

    Raises:
        UserError: both `--data` and `--backgrounds`, or they can't be used.
    """
    from keras_mscam.data.manifest import Manifest
    from keras_mscam.data.preparation import prepare
    from keras_mscam.data.split_gaps import describe_split_gaps

    data = run.config.data
    if data.path is not None and data.backgrounds:
        raise UserError(
            "--backgrounds is for the built-in set, whose lesions are planted in them: "
            "leave it out, or --data."
        )
    if data.max_value and data.path is not None and is_prepared(data.path):
        raise UserError(
            f"--max-value is for images, and {data.path} holds prepared records: give "
            "it to keras_mscam-prepare."
        )
    if is_prepared(run.records):
        manifest = Manifest.read(run.records)
        _warn(*describe_split_gaps(manifest.splits))
        return
    source, max_value = data.path, data.max_value
    if source is None:
        # What is planted is stored in 8 bits.
        source, max_value = run.path / "phantom", None
        if not source.exists():
            from keras_mscam.phantom import write_phantoms

            for killed in run.path.glob(".phantom*"):
                shutil.rmtree(killed, ignore_errors=True)
            _warn(
                *write_phantoms(
                    source,
                    data.phantoms,
                    data.split_seed,
                    data.image_size,
                    backgrounds=data.backgrounds,
                    max_value=data.max_value,
                )
            )
    manifest = prepare(
        source,
        run.records,
        image_size=data.image_size,
        max_value=max_value,
        seed=data.split_seed,
    )
    _warn(*manifest.problems)


def _warn(*sentences: str) -> None:
    # Not printed: a command says each once, and evaluation says some of them again.
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)


def train_classifier(run: Run, group: Group = ALONE, callbacks: Sequence = ()) -> None:
    """Train the run's classifier on its prepared records, from its last checkpoint.

    Args:
        run: with prepared records.
        group: the devices and hosts that share its batches.
        callbacks: see `train`.
    """
    import keras

    from keras_mscam.data.manifest import Manifest

    manifest = Manifest.read(run.records)
    run = _adopt_stored_size(run, manifest.image_size)
    training = run.config.training
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(training.precision)
    keras.utils.set_random_seed(training.seed)
    try:
        with group.scope():
            _fit_to_records(run, manifest, group, callbacks)
    finally:
        keras.config.set_dtype_policy(policy)


def _adopt_stored_size(run: Run, stored: tuple[int, int] | None) -> Run:
    """Look at images in the size they are stored at, where that is smaller."""
    data = run.config.data
    if stored is None or all(
        s >= w for s, w in zip(stored, data.image_size, strict=True)
    ):
        return run
    data = dataclasses.replace(data, image_size=tuple(stored))
    run = Run(run.path, dataclasses.replace(run.config, data=data))
    write_config(run)
    return run


def _fit_to_records(run: Run, manifest, group: Group, callbacks: Sequence) -> None:
    from keras_mscam.data.order import Plan
    from keras_mscam.data.pipeline import (
        make_dataset,
        make_training_dataset,
        name_batch,
    )
    from keras_mscam.data.split_gaps import knows_a_label
    from keras_mscam.training.callbacks import Progress
    from keras_mscam.training.checkpoint import Checkpoint, has_stopped
    from keras_mscam.training.fit import counting_callbacks, fit

    training = run.config.training
    count = manifest.splits["train"].images
    steps = Plan(count, training.batch_size, training.seed, training.epochs).steps
    write_beta(run, manifest.beta)
    make_pass = partial(
        make_dataset,
        run.records,
        batch_size=training.batch_size,
        image_size=run.config.data.image_size,
    )
    validates = knows_a_label(manifest.splits["validation"])
    if not validates:
        _warn(
            "No label of the validation split is known: its loss says nothing, so the "
            "last epoch is kept, the learning rate falls on no plateau, and nothing "
            "stops early."
        )
    trainer, classifier, state = _start(run, manifest, steps, make_pass, validates)
    images = manifest.splits["validation"].images
    filled_up = 0 if group.part is None else -images % training.batch_size
    order: dict[str, Any] = {
        "batch_size": training.batch_size,
        "seed": training.seed,
        "image_size": run.config.data.image_size,
        "cache": run.config.data.cache,
        "balanced": training.balanced_sampling,
        "augmentation": run.config.augmentation,
    }
    counting = counting_callbacks(
        training,
        partial(name_batch, run.records, **order),
        state.step,
        validates,
        1 + filled_up / max(images, 1),
    )
    stop = StopSignals(group.share)
    stop.waits = group.host[1] > 1  # all hosts stop behind the same step
    checkpoint = Checkpoint(run, classifier, counting, state, stop)
    if state.history:
        checkpoint.write_results()
    epochs = training.epochs
    if has_stopped(state, training.early_stopping):
        epochs = state.epoch
        _warn(f"Early stopping has ended this run after {epochs} epochs.")
    progress = Progress(
        training.epochs, state.epoch, steps, training.batch_size, state.step
    )
    try:
        batches = make_training_dataset(
            run.records,
            epochs=training.epochs,
            first_epoch=state.epoch,
            first_step=state.step,
            cache_folder=run.config.data.cache_folder,
            host=group.host,
            **order,
        )
        with stop:
            fit(
                trainer,
                batches,
                make_pass("validation", host=group.part),
                steps=steps,
                epochs=epochs,
                first_epoch=state.epoch,
                first_step=state.step,
                callbacks=[
                    *_synchronize(classifier, group),  # before a checkpoint is saved
                    *counting,
                    checkpoint,
                    *_watch(run, classifier, manifest, make_pass, checkpoint),
                    *callbacks,
                    progress,
                ],
            )
    except KeyboardInterrupt:
        if checkpoint.state != state and not run.model_path.exists():
            checkpoint.save_model()
        _write_weights(run, manifest)
        raise
    finally:
        progress.close()
    _write_weights(run, manifest)


def _synchronize(classifier, group: Group) -> list:
    import keras

    from keras_mscam.training.batch_norm import SynchronizedBatchNorm

    if group.devices == 1 or keras.backend.backend() != "tensorflow":
        return []
    return [SynchronizedBatchNorm(classifier)]


def _watch(run: Run, classifier, manifest, make_pass, checkpoint) -> list:
    """Return the callbacks that look at images of their own."""
    from keras_mscam.training.batch_norm import BatchNormStatistics, find_batch_norms
    from keras_mscam.training.callbacks import tensorboard_callbacks

    training = run.config.training
    watching = tensorboard_callbacks(
        run.tensorboard, classifier, make_pass("validation"), manifest.pathologies
    )
    if not training.batch_norm_images or not find_batch_norms(classifier):
        return watching
    count = math.ceil(training.batch_norm_images / training.batch_size)
    images = make_pass("train").take(count).map(lambda images, _: images)
    statistics = BatchNormStatistics(classifier, images, checkpoint.save_if_due)
    return [statistics, *watching]


def _write_weights(run: Run, manifest) -> None:
    """Write the relevance weights of the model that is kept, of whichever epoch."""
    from keras_mscam.inference.calibrated_model import load_classifier
    from keras_mscam.modeling.classifier import read_relevance_weights

    if run.model_path.exists():
        blocks, weights = read_relevance_weights(load_classifier(run))
        write_relevance_weights(run, manifest.pathologies, blocks, weights)


def _start(run: Run, manifest, steps: int, make_pass, validates: bool):
    """Return trainer, classifier and state: new, or those of the newest checkpoint.

    New heads may have been trained by themselves: the state then has an epoch 0.
    """
    import keras

    from keras_mscam.modeling.classifier import find_leaves
    from keras_mscam.training.checkpoint import State, find_checkpoints, load_newest
    from keras_mscam.training.fit import compile_trainer
    from keras_mscam.training.heads import train_heads
    from keras_mscam.training.initial_weights import build_initial_classifier

    model = run.config.model
    if find_checkpoints(run):  # which hold all weights
        model = dataclasses.replace(model, weights=None)
    classifier = build_initial_classifier(
        model, manifest.pathologies, run.config.data.image_size
    )
    training = run.config.training
    if training.frozen_batch_norm:
        for layer in find_leaves(classifier.get_layer("backbone")).values():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    beta = tuple(manifest.beta[name] for name in manifest.pathologies)
    begun = []
    if training.head_epochs and not find_checkpoints(run):
        losses = train_heads(
            classifier,
            run.records,
            make_pass,
            {name: split.images for name, split in manifest.splits.items()},
            beta,
            run.config.model,
            training,
            run.config.data.cache_folder or run.records / "cache",
            validates,
        )
        begun = [{"epoch": 0, **losses}]
    trainer = compile_trainer(classifier, beta, training, steps)
    state = load_newest(run, trainer)
    return trainer, classifier, State(history=begun) if begun else state
