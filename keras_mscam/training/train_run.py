"""From images, real or built in, to the folder of a trained and evaluated run."""

import dataclasses
import math
import sys
from functools import partial
from pathlib import Path

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError
from keras_mscam.inference.run_folder import (
    Run,
    create_run,
    discard_empty_run,
    is_prepared,
    load_run,
    write_beta,
    write_config,
    write_relevance_weights,
)


def train(config: Config, output: Path, resume: bool = False) -> Run:
    """Prepare data, train a classifier, calibrate it, evaluate it and report it.

    Args:
        config: what to train on, what to train, how.
        output: the run folder. A new or empty one, or with `resume` that of a run,
            which goes on where its last checkpoint was written.
        resume: go on with the run in `output`.

    Returns:
        The run. Its folder holds `config.json`, `model.keras`, `history.csv`,
        `beta.csv`, `relevance_weights.csv`, `calibration.json`, `metrics.json` and
        `report.html`.

    Raises:
        UserError: the data, the configuration or the folder can't be used.
        KeyboardInterrupt: Ctrl-C, or while it trains SIGTERM; the run in `output` is
            usable and goes on with the next step when it is resumed.

    Reference:
        Sedai et al. 2018, sections 2 and 3.
    """
    from keras_mscam.evaluation.calibration import calibrate_run
    from keras_mscam.evaluation.evaluate_run import evaluate
    from keras_mscam.inference.calibrated_model import load_classifier

    run = _resume_run(config, output) if resume else create_run(output, config)
    try:
        prepare_data(run)
        train_classifier(run)
    except UserError:
        discard_empty_run(run)
        raise
    calibrate_run(run, load_classifier(run))
    evaluate(run.path)
    return run


def prepare_data(run: Run) -> None:
    """Make sure that the run's prepared records are there.

    Without `--data`, the built-in set is drawn into `phantom/`, on the `--backgrounds`
    if there are some; a ChestX-ray14 folder, that one too, is prepared into `records/`;
    prepared records are used where they are.

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
        _print(*describe_split_gaps(manifest.splits))
        return
    source, max_value = data.path, data.max_value
    if source is None:
        # What is planted is stored in 8 bits.
        source, max_value = run.path / "phantom", None
        if not source.exists():
            from keras_mscam.phantom import write_phantoms

            _print(
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
    _print(*manifest.problems)


def _print(*sentences: str) -> None:
    for sentence in sentences:
        print(sentence, file=sys.stderr)


def train_classifier(run: Run) -> None:
    """Train the run's classifier on its prepared records."""
    import keras

    from keras_mscam.data.manifest import Manifest

    manifest = Manifest.read(run.records)
    run = _adopt_stored_size(run, manifest.image_size)
    training = run.config.training
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(training.precision)
    keras.utils.set_random_seed(training.seed)
    try:
        _fit_to_records(run, manifest)
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


def _fit_to_records(run: Run, manifest) -> None:
    from keras_mscam.data.pipeline import make_dataset, make_training_dataset
    from keras_mscam.data.split_gaps import knows_a_label
    from keras_mscam.modeling.classifier import read_relevance_weights
    from keras_mscam.training.batch_norm import BatchNormStatistics
    from keras_mscam.training.callbacks import (
        Progress,
        StopSignals,
        UnknownValidation,
        tensorboard_callbacks,
    )
    from keras_mscam.training.checkpoint import Checkpoint
    from keras_mscam.training.fit import fit, waiting_callbacks

    training = run.config.training
    steps = _count_steps(manifest, training.batch_size)
    write_beta(run, manifest.beta)
    trainer, classifier, state = _start(run, manifest, steps)
    first_epoch, first_step = state["epoch"], state["step"]
    make_pass = partial(
        make_dataset,
        run.records,
        batch_size=training.batch_size,
        image_size=run.config.data.image_size,
    )
    validation = make_pass("validation")
    if knows_a_label(manifest.splits["validation"]):
        unknown, waiting = [], waiting_callbacks(training)
    else:
        unknown, waiting = [UnknownValidation()], []
        _print(
            "No label of the validation split is known: its loss says nothing, so the "
            "last epoch is kept, the learning rate falls on no plateau, and nothing "
            "stops early."
        )
    statistics = []
    if training.batch_norm_images:
        count = math.ceil(training.batch_norm_images / training.batch_size)
        images = make_pass("train").take(count).map(lambda images, _: images)
        statistics = [BatchNormStatistics(classifier, images)]
    stop = StopSignals()
    checkpoint = Checkpoint(run, classifier, waiting, state["history"], stop)
    progress = Progress(
        training.epochs, first_epoch, steps, training.batch_size, first_step
    )
    try:
        batches = make_training_dataset(
            run.records,
            batch_size=training.batch_size,
            seed=training.seed,
            epochs=training.epochs,
            first_epoch=first_epoch,
            first_step=first_step,
            image_size=run.config.data.image_size,
            cache=run.config.data.cache,
            cache_folder=run.config.data.cache_folder,
            balanced=training.balanced_sampling,
            augmentation=run.config.augmentation,
        )
        with stop:
            fit(
                trainer,
                batches,
                validation,
                steps=steps,
                epochs=training.epochs,
                first_epoch=first_epoch,
                first_step=first_step,
                callbacks=[
                    *statistics,
                    *unknown,
                    *waiting,
                    checkpoint,
                    *tensorboard_callbacks(
                        run.tensorboard, classifier, validation, manifest.pathologies
                    ),
                    progress,
                ],
            )
    except KeyboardInterrupt:
        progress.close()
        if not run.model_path.exists():
            checkpoint.save_model()
        epochs, done = checkpoint.saved
        within = f" and {done} of {steps} steps of the next" if done else ""
        print(
            f"Stopped after {epochs} of {training.epochs} epochs{within}. "
            f"Go on: keras_mscam-train --output {run.path} --resume",
            file=sys.stderr,
        )
        raise
    finally:
        blocks, weights = read_relevance_weights(classifier)
        write_relevance_weights(run, manifest.pathologies, blocks, weights)


def _start(run: Run, manifest, steps: int):
    """Return trainer, classifier and `read_state`: new, or as they were."""
    import keras

    from keras_mscam.modeling.classifier import build_classifier
    from keras_mscam.training.checkpoint import (
        latest_checkpoint,
        load_trainer,
        read_state,
    )
    from keras_mscam.training.fit import compile_trainer
    from keras_mscam.training.initial_weights import copy_weights

    path = latest_checkpoint(run)
    if path is not None:
        state = read_state(path)
        trainer = load_trainer(path)
        classifier = keras.Model(trainer.input, trainer.output, name="classifier")
        return trainer, classifier, state
    model = run.config.model
    source = model.weights if model.weights and Path(model.weights).is_dir() else None
    if source is not None:
        model = dataclasses.replace(model, weights=None)
    classifier = build_classifier(
        len(manifest.pathologies),
        run.config.data.image_size,
        **dataclasses.asdict(model),
    )
    if source is not None:
        print(copy_weights(classifier, manifest.pathologies, source), file=sys.stderr)
    beta = tuple(manifest.beta[name] for name in manifest.pathologies)
    trainer = compile_trainer(classifier, beta, run.config.training, steps)
    return trainer, classifier, {"epoch": 0, "step": 0, "history": []}


def _count_steps(manifest, batch_size: int) -> int:
    images = manifest.splits["train"].images
    if images < batch_size:
        raise UserError(
            f"The training split has {images} images, less than one batch of "
            f"{batch_size}; give a smaller --batch-size."
        )
    return images // batch_size


def _resume_run(config: Config, output: Path) -> Run:
    run = load_run(output)
    longer = config.training.epochs != run.config.training.epochs
    if longer and run.config.training.schedule == "cosine":
        raise UserError(
            f"The run in {output} has a cosine schedule, which ends with its "
            f"{run.config.training.epochs} epochs: --epochs can't be changed. Start a "
            f"new run with --weights {output}."
        )
    extended = dataclasses.replace(
        run.config,
        training=dataclasses.replace(
            run.config.training,
            epochs=config.training.epochs,
            checkpoint_minutes=config.training.checkpoint_minutes,
        ),
    )
    if extended != config:
        raise UserError(
            f"The run in {output} goes on as it was begun: with --resume, only "
            "--epochs and --checkpoint-minutes can be given."
        )
    run = Run(run.path, extended)
    write_config(run)
    return run
