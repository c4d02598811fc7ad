"""How many training images a second the pipeline delivers, and how many are needed.

    python experiments/benchmarks/pipeline.py --cores 0
    python experiments/benchmarks/pipeline.py --cores 0 1

On the cores given it first trains DenseNet-121 for a few steps, which says how fast
images are needed there, and then reads epochs of phantoms in every form: from memory,
from the cache on disk, decoded anew each time, stored at the training size, larger, or
at 1024x1024, with and without augmentation.
"""

import os
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import tyro

AUGMENTED = {
    "rotation": 5.0,
    "shift": 0.05,
    "zoom": 0.1,
    "brightness": 10.0,
    "contrast": 0.1,
    "noise": 4.0,
}
SIZE = (256, 256)


def main(cores: tuple[int, ...] = (0, 1), images: int = 3000, batch: int = 32) -> None:
    """Measure all forms.

    Args:
        cores: Numbers of the processor's cores to use.
        images: Phantoms to draw; a tenth of them at 1024x1024.
        batch: Images a batch.
    """
    os.sched_setaffinity(0, cores)  # before TensorFlow counts them
    need = measure_training(batch=16)
    print(f"{len(cores)} cores, batches of {batch}")
    print(f"DenseNet-121 trains at {need:.1f} images a second")
    print("| stored | cache | augmented | images a second | times the training |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for stored in ((256, 256), (288, 288), (1024, 1024)):
            count = images // 10 if stored[0] > 512 else images
            records = prepare_records(Path(folder) / f"{stored[0]}", count, stored)
            for cache in ("memory", "disk", "none"):
                for augmented in (False, True):
                    rate = measure_pipeline(records, cache, augmented, batch)
                    print(
                        f"| {stored[0]} | {cache} | {'yes' if augmented else 'no'} "
                        f"| {rate:.0f} | {rate / need:.0f} |",
                        flush=True,
                    )


def measure_training(batch: int, steps: int = 4) -> float:
    """Return the images a second that DenseNet-121 is trained with at 256x256."""
    from keras_mscam.configs.schema import TrainingConfig
    from keras_mscam.modeling import build_classifier
    from keras_mscam.training.fit import compile_trainer

    classifier = build_classifier(14, SIZE, "densenet121")
    trainer = compile_trainer(classifier, (0.9,) * 14, TrainingConfig())
    x = np.zeros((batch, *SIZE, 1), "uint8")
    y = np.zeros((batch, 14), "float32")
    trainer.train_on_batch(x, y)
    start = time.perf_counter()
    for _ in range(steps):
        trainer.train_on_batch(x, y)
    return batch * steps / (time.perf_counter() - start)


def measure_pipeline(records: Path, cache: str, augmented: bool, batch: int) -> float:
    """Return the images a second, from the second batch on, over three seconds."""
    from keras_mscam.configs.schema import AugmentationConfig
    from keras_mscam.data.pipeline import make_training_dataset

    batches = iter(
        make_training_dataset(
            records,
            batch_size=batch,
            seed=0,
            epochs=10**6,
            image_size=SIZE,
            cache=cache,
            augmentation=AugmentationConfig(**AUGMENTED) if augmented else None,
        )
    )
    for _ in islice(batches, 8):
        pass
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < 3:
        next(batches)
        done += batch
    return done / (time.perf_counter() - start)


def prepare_records(folder: Path, images: int, size: tuple[int, int]) -> Path:
    from keras_mscam.data.preparation import prepare
    from keras_mscam.phantom import write_phantoms

    write_phantoms(folder / "phantoms", images, size=size, progress=False)
    records = folder / "records"
    prepare(folder / "phantoms", records, image_size=size, progress=False)
    return records


if __name__ == "__main__":
    tyro.cli(main)
