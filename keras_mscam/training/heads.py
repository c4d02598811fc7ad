"""Train heads and relevance weights alone, on features that a backbone gives once."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from keras_mscam.configs.schema import ModelConfig, TrainingConfig
from keras_mscam.files import compute_checksum, write_whole
from keras_mscam.modeling.classifier import find_leaves, split_at_features
from keras_mscam.training.callbacks import Progress
from keras_mscam.training.fit import compile_trainer, counting_callbacks, fit

_LABELS = "labels"


def train_heads(
    classifier: keras.Model,
    records: Path,
    make_pass: Callable[[str], Iterable],
    images: dict[str, int],
    beta: tuple[float, ...],
    model: ModelConfig,
    config: TrainingConfig,
    folder: Path,
    validates: bool = True,
) -> dict[str, float]:
    """Train all of a classifier but its backbone for `config.head_epochs` epochs.

    The backbone sees every image once, without augmentation. Where it is pooled before
    the head multiplies, and no transition layer is between, only the means (or maxima)
    of its features are kept: some thousand numbers per image, on which an epoch takes
    seconds.

    Args:
        classifier: made by `build_classifier`; its heads, transition layers and
            relevance weights are trained in place, and are those of the epoch with the
            lowest validation loss when it ends.
        records: prepared ones.
        make_pass: gives the batches of a split of them, `(images, labels)`.
        images: number by split.
        beta, config: as of `compile_trainer`; `config.epochs` is not looked at.
        model: what the classifier was built by.
        folder: where features are kept, for this run when it goes on and for others
            with the same backbone.
        validates: see `counting_callbacks`; if not, the last epoch is kept.

    Returns:
        The losses of that epoch, as a row of a run's history.

    Raises:
        UserError: the loss is not finite.
    """
    extractor, heads = split_at_features(classifier)
    digest = _digest(extractor, records, model, config.precision)
    place = folder / f"features-{digest}"
    training, validation = (
        compute_features(extractor, make_pass(split), images[split], place / split)
        for split in ("train", "validation")
    )
    config = dataclasses.replace(  # the backbone has no gradients to hold features for
        config, epochs=config.head_epochs, gradient_checkpointing=False
    )
    size = min(config.batch_size, images["train"])
    steps = images["train"] // size
    trainer = compile_trainer(heads, beta, config, steps)
    best = _Best(heads)
    fit(
        trainer,
        _shuffle(training, size, config.seed, config.epochs),
        _Batches(validation, config.batch_size),
        steps=steps,
        epochs=config.epochs,
        callbacks=[
            *counting_callbacks(config, validates=validates),
            best,
            Progress(config.epochs, 0, steps, size, title="Training heads"),
        ],
    )
    heads.set_weights(best.weights)
    return best.row


def compute_features(
    extractor: keras.Model, batches: Iterable, images: int, folder: Path
) -> dict[str, np.ndarray]:
    """Compute what a backbone says of a split, or read what an earlier call has stored.

    A broken-off call is gone on with where it was.

    Args:
        extractor: see `split_at_features`.
        batches: of the split, `(images, labels)`.
        images: number of them.
        folder: where to store: an array of every block, and the labels.

    Returns:
        Arrays on disk by name: `features_block{b}` `(images, height, width, features)`
        float16, where they are pooled of height and width 1 and float32; and `labels`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.json"
    done = json.loads(progress.read_bytes()) if progress.is_file() else 0
    arrays, seen = {}, 0
    with tqdm(total=images, initial=done, desc="Features", unit=" images") as bar:
        for pixels, labels in batches if done < images else ():
            first, seen = seen, seen + len(pixels)
            if seen <= done:
                continue
            values = extractor.predict_on_batch(np.asarray(pixels))
            values[_LABELS] = np.asarray(labels)
            arrays = arrays or {
                name: _open(folder / f"{name}.npy", images, value, new=first == 0)
                for name, value in values.items()
            }
            for name, array in arrays.items():
                array[first:seen] = values[name]
                array.flush()
            with write_whole(progress) as temporary:
                temporary.write_text(json.dumps(seen), encoding="utf-8")
            bar.update(len(pixels))
    names = (*extractor.output, _LABELS)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def _open(path: Path, images: int, value: np.ndarray, new: bool) -> np.memmap:
    if not new:
        return np.lib.format.open_memmap(path, mode="r+")
    # Maps are large, and half precision is finer than what training notices.
    is_map = value.ndim == 4 and value.shape[1:3] != (1, 1)
    dtype = "float16" if is_map else "float32"
    shape = (images, *value.shape[1:])
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _digest(
    extractor: keras.Model, records: Path, model: ModelConfig, precision: str
) -> str:
    """Name what features depend on: network, its weights, and the images."""
    digest = hashlib.sha256(compute_checksum(records / "manifest.json").encode())
    # What changes neither weights nor shapes.
    kind = model.taps, model.pooling, model.normalization, precision
    digest.update(repr(kind).encode())
    digest.update(repr([value.shape for value in extractor.output.values()]).encode())
    for name, layer in find_leaves(extractor).items():
        digest.update(name.encode())
        for weight in layer.get_weights():
            digest.update(weight.tobytes())
    digest.update(repr(extractor.input.shape).encode())
    return digest.hexdigest()[:12]


def _shuffle(arrays: dict[str, np.ndarray], size: int, seed: int, epochs: int):
    count = len(arrays[_LABELS])
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(count)[: count // size * size]
        for rows in order.reshape(-1, size):
            yield _read(arrays, np.sort(rows))  # as they lie on the disk


class _Batches(keras.utils.PyDataset):
    """Batches in the order of the arrays, read when they are asked for."""

    def __init__(self, arrays: dict[str, np.ndarray], size: int):
        super().__init__()
        self.arrays = arrays
        self.size = size

    def __len__(self):
        return -(-len(self.arrays[_LABELS]) // self.size)

    def __getitem__(self, index):
        return _read(self.arrays, slice(index * self.size, (index + 1) * self.size))


def _read(arrays: dict[str, np.ndarray], rows):
    values = {name: array[rows].astype("float32") for name, array in arrays.items()}
    return values, values.pop(_LABELS)


class _Best(keras.callbacks.Callback):
    """Remember the epoch with the lowest validation loss."""

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network
        self.row = {"val_loss": np.inf}
        self.weights = network.get_weights()

    def on_epoch_end(self, epoch, logs: Any = None):
        # NaN, of a validation split without known labels, is no worse than any.
        if not logs["val_loss"] >= self.row["val_loss"]:
            self.row = {name: float(value) for name, value in logs.items()}
            self.weights = self.network.get_weights()
