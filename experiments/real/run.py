"""From synthetic radiographs to real findings, by image labels, and Table 1 on boxes.

    python experiments/real/run.py --data ../shared/data --output DIR
    python experiments/real/run.py --data ../shared/data --output DIR --sealed FOLDER

Every system is trained three times, each time from the weights before: on synthetic
radiographs; on their lesions planted in the X-rays without findings of
`chestxray14-weak`; and on all its X-rays and their image labels. A last training, of
A-CNN+, is on what the three networks together say of these X-rays. All are evaluated on
the boxes of `chestxray14-boxed`, which no training has seen.
What is finished is not done again, so the command can be broken off and repeated.
"""

import dataclasses
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.configs.choices import Pooling
from keras_mscam.configs.schema import LocalizationConfig
from keras_mscam.data.augmentation import augment, draw
from keras_mscam.data.chestxray14 import read_chestxray14
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import UserError, command
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import (
    is_prepared,
    load_run,
)
from keras_mscam.pathologies import BOXED_PATHOLOGIES
from keras_mscam.phantom import write_phantoms
from keras_mscam.training.fit import compile_trainer
from keras_mscam.training.train_run import train

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tyro
from scipy.special import expit

sys.path.append(str(Path(__file__).parents[1] / "table1"))
from tables import measure_run, write_tables
from teach import begin, finish, read_images

HERE = Path(__file__).parent
SYSTEMS = ("a-cnn-plus", "a-cnn", "dn-cam", "rn-cam")
STAGES = ("drawn", "planted", "real")
#: The first stage: the drawn set without augmentation, otherwise as the second.
DRAWN = dataclasses.replace(
    PRESETS["phantom-a-cnn-plus"],
    training=dataclasses.replace(PRESETS["planted"].training, learning_rate=2e-3),
)
PROTOCOLS = {
    "wang": LocalizationConfig(),
    "plus": PRESETS["paper-a-cnn-plus"].localization,
}


@dataclass(frozen=True)
class Variant:
    """What A-CNN+ is on X-rays, planted and real.

    Another than the default needs an output of its own, where its tables go, too.
    """

    size: int = 192
    """Height and width of X-rays, those of the other systems too."""
    pooling: Pooling = "gap"
    """Of its maps."""
    efficientnet: Path | None = None
    """Published weights of EfficientNet-Lite0, which then takes the small DenseNet's
    place; its first training is on planted lesions."""


def run(
    data: Path,
    output: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    systems: tuple[str, ...] = SYSTEMS,
    variant: tyro.conf.OmitArgPrefixes[Variant] = Variant(),
    split_seed: int | None = None,
    teachers: Path | None = None,
    sealed: Path | None = None,
) -> None:
    """Train every system with every seed, evaluate it, and write the tables.

    Args:
        data: Folder with chestxray14-weak and chestxray14-boxed.
        output: Folder for records and runs.
        seeds: Of the drawn and planted lesions, the split, the weights and the order.
        systems: Out of a-cnn-plus, a-cnn, dn-cam and rn-cam.
        variant: Of A-CNN+.
        split_seed: Of the split, one for all seeds, so that there are patients whom no
            network was trained on; by default every seed has a split of its own.
        teachers: Output of another variant, whose networks teach in place of those of
            this one; then `distilled` is named `taught`, and tables go to the output.
        sealed: Another folder in the layout of chestxray14-boxed: the finished runs are
            evaluated on it in place of that one.
    """
    if variant.efficientnet and systems != ("a-cnn-plus",):
        raise UserError("--efficientnet needs --systems a-cnn-plus, and no other.")
    boxed = data / "chestxray14-boxed" if sealed is None else sealed
    name = "boxed" if sealed is None else "sealed"
    size = variant.size
    records = output / name
    if not is_prepared(records):
        prepare(boxed, records, image_size=(size, size), split="test")
    stages = STAGES[1:] if variant.efficientnet else STAGES
    sets = {}
    for seed in seeds:
        if sealed is None:
            split = seed if split_seed is None else split_seed
            weak = data / "chestxray14-weak"
            sets[seed] = make_sets(weak, output, seed, split, size)
        for system in systems:
            paths = {stage: output / stage / f"{system}-seed{seed}" for stage in stages}
            if sealed is None:
                train_stages(system, seed, sets[seed], paths, variant)
                planted = sets[seed]["planted"]
                measure_run(paths["planted"], PROTOCOLS, planted, "planted")
            for path in paths.values():
                measure_run(path, PROTOCOLS, records, name)
    last = "taught" if teachers else "distilled"
    if "a-cnn-plus" in systems:
        folder = (teachers or output) / "real"
        runs = [folder / f"a-cnn-plus-seed{seed}" for seed in seeds]
        for seed in seeds:
            path = output / last / f"a-cnn-plus-seed{seed}"
            if sealed is None and not (path / "metrics.json").is_file():
                start = output / "real" / path.name
                shutil.rmtree(path, ignore_errors=True)
                distill(runs, start, path, sets[seed]["real"])
            measure_run(path, PROTOCOLS, records, name)
    usual = variant == Variant() and split_seed is None and teachers is None
    tables = HERE if usual else output
    for stage in (*stages, last):
        write_tables(output / stage, tables / f"{name}-{stage}", folder=name)
    if sealed is None:
        write_tables(output / "planted", tables / "planted", folder="planted")


def make_sets(
    weak: Path, output: Path, seed: int, split_seed: int, size: int
) -> dict[str, Path | None]:
    """Prepare the records of the three stages; a person is in one split of them all."""
    planted = output / f"planted-images-seed{seed}"
    if not planted.exists():
        count = PRESETS["planted"].data.phantoms
        write_phantoms(planted, count, seed, (size, size), backgrounds=(weak,))
    tables = {"planted": read_set(planted), "real": read_set(weak)}
    patients = {name for labels, _ in tables.values() for name in labels["patient"]}
    split_of = split_patients(sorted(patients, key=int), split_seed)
    sets = {"drawn": None}
    for stage, (labels, boxes) in tables.items():
        folder = output / f"set-{stage}-seed{seed}"
        sets[stage] = folder / "records"
        if not is_prepared(sets[stage]):
            folder.mkdir(exist_ok=True)
            labels["split"] = labels["patient"].map(split_of)
            labels.to_csv(folder / "labels.csv", index=False)
            boxes.to_csv(folder / "boxes.csv", index=False)
            prepare(
                folder / "labels.csv",
                sets[stage],
                image_size=(size, size),
                split="csv",
                boxes=folder / "boxes.csv" if len(boxes) else None,
                seed=seed,
            )
    return sets


def read_set(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the eight boxed pathologies of a folder as labels.csv, and its boxes."""
    dataset = read_chestxray14(folder)
    columns = [dataset.pathologies.index(name) for name in BOXED_PATHOLOGIES]
    labels = pd.DataFrame(
        [np.array(record.labels)[columns].astype(int) for record in dataset.records],
        columns=BOXED_PATHOLOGIES,
    )
    paths = [str(record.path.resolve()) for record in dataset.records]
    labels.insert(0, "path", paths)
    labels.insert(1, "patient", [record.patient for record in dataset.records])
    boxes = [
        (path, box.pathology, *box.xyxy)
        for path, record in zip(paths, dataset.records, strict=True)
        for box in record.boxes
    ]
    names = ["path", "pathology", "x_min", "y_min", "x_max", "y_max"]
    return labels, pd.DataFrame(boxes, columns=names)


def split_patients(patients: list[str], seed: int) -> dict[str, str]:
    """Send 12% of the patients to the test and 10% to validation, at random."""
    patients = list(patients)
    random.Random(seed).shuffle(patients)
    share = {patient: place / len(patients) for place, patient in enumerate(patients)}
    return {
        patient: "test" if rank < 0.12 else "validation" if rank < 0.22 else "train"
        for patient, rank in share.items()
    }


def train_stages(
    system: str, seed: int, sets: dict, paths: dict[str, Path], variant: Variant
) -> None:
    """Train a system stage by stage, each from the weights of the one before."""
    before = variant.efficientnet
    for stage, path in paths.items():
        if not (path / "report.html").is_file():
            path.parent.mkdir(exist_ok=True)
            config = configure(system, stage, seed, sets[stage], before, variant)
            train(config, path, resume=path.exists())
        before = path


def configure(system: str, stage: str, seed: int, records, before, variant: Variant):
    """Return the preset of a stage, with what tells a system from A-CNN+."""
    name = f"phantom-{system}".removesuffix("-a-cnn")
    own = PRESETS[name]
    a_cnn_plus = DRAWN if stage == "drawn" else PRESETS[stage]
    data = dataclasses.replace(a_cnn_plus.data, path=records, split_seed=seed)
    model = dataclasses.replace(own.model, weights=before and str(before))
    if stage != "drawn":
        size = variant.size
        data = dataclasses.replace(data, image_size=(size, size))
        if system == "a-cnn-plus":
            model = dataclasses.replace(model, pooling=variant.pooling)
            if variant.efficientnet:
                model = dataclasses.replace(model, backbone="efficientnet_lite0")
    return dataclasses.replace(
        a_cnn_plus,
        data=data,
        model=model,
        training=dataclasses.replace(
            a_cnn_plus.training,
            loss=own.training.loss,
            auxiliary_loss=own.training.auxiliary_loss,
            seed=seed,
        ),
        localization=own.localization,
    )


def distill(teachers: list[Path], start: Path, output: Path, records: Path) -> None:
    """Train a network on what several networks, on average, say of its training images.

    Every head learns the mean logit of the teachers' heads on the same block. The
    teachers see the images as they are, the student sees them augmented. Labels of
    validation decide on nothing but the calibration.

    Args:
        teachers: runs of networks with the same blocks.
        start: the run from whose weights the student starts; its settings are taken.
        output: folder of the new run.
        records: prepared ones.
    """
    run = begin(start, output, records)
    config, manifest = run.config, Manifest.read(run.records)
    training, seen = config.training, config.data.image_size
    images = read_images(run.records, seen)
    outputs = [
        load_classifier(load_run(teacher)).predict(images, batch_size=64, verbose=0)
        for teacher in teachers
    ]
    targets = {
        name: expit(np.mean([logits[name] for logits in outputs], axis=0))
        for name in outputs[0]
    }
    keras.utils.set_random_seed(training.seed)
    classifier = load_classifier(load_run(start))
    size, epochs = training.batch_size, training.epochs
    steps = len(images) // size
    beta = tuple(manifest.beta[name] for name in manifest.pathologies)
    trainer = compile_trainer(classifier, beta, training, steps)
    batches = (
        tf.data.Dataset.from_tensor_slices((images, targets))
        .shuffle(len(images), seed=training.seed)
        .repeat(epochs)
        .batch(size, drop_remainder=True)
        .enumerate()
    )

    def change(number, batch):
        draws = draw(config.augmentation, size, (training.seed, number))
        return augment(batch[0], draws, seen), batch[1]

    trainer.fit(batches.map(change), epochs=epochs, steps_per_epoch=steps, verbose=2)
    finish(run, classifier, images)


@command
def main() -> None:
    tyro.cli(run)


if __name__ == "__main__":
    main()
