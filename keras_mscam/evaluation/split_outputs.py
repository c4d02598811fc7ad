"""What a model says of a split, stored once: logits, and the maps of every block."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import Example, read_examples
from keras_mscam.errors import DiskError, UserError
from keras_mscam.files import check_archive, compute_checksum, read_json, write_whole
from keras_mscam.inference.run_calibration import read_calibration
from keras_mscam.inference.run_folder import Run, is_prepared, read_names
from keras_mscam.modeling.classifier import read_relevance_weights
from keras_mscam.modeling.localizer import get_cams

#: Changes whenever stored predictions couldn't be read by what follows.
FORMAT = "keras_mscam predictions 1"
_BATCH = 32
_PART = 256  # images a file: 10 MB of maps at the paper's size, lost by a kill at most
_MOST_BYTES = 2**32  # a file of 100 pathologies on blocks of 64x64 has 210 MB
_TABLES = (
    "names", "patients", "labels", "logits", "block_logits", "original_sizes",
    "box_rows", "box_columns", "box_xyxy",
)  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """Stored predictions of a split. All but the maps is in memory."""

    folder: Path  # where they are stored
    pathologies: tuple[str, ...]  # C names
    blocks: tuple[int, ...]  # B numbers
    image_size: tuple[int, int]  # `(height, width)` that the model saw
    relevance_weights: np.ndarray  # `(B, C)`
    names: np.ndarray  # `(images,)`
    patients: np.ndarray  # `(images,)`
    labels: np.ndarray  # `(images, C)`: 1, 0 or NaN
    logits: np.ndarray  # `(images, C)`, merged
    block_logits: np.ndarray  # `(images, B, C)`
    original_sizes: np.ndarray  # `(images, 2)`, height and width
    # `(boxes,)` image and pathology of each ground-truth box
    box_rows: np.ndarray
    box_columns: np.ndarray
    box_xyxy: np.ndarray  # `(boxes, 4)` half-open, in pixels of the original image
    # `(C,)` where each pathology is in the stored maps; by default in the same place
    map_columns: tuple[int, ...] | None = None

    def select(self, pathologies: Sequence[str]) -> "Predictions":
        """Return the predictions of some of the pathologies, in the order given."""
        columns = [self.pathologies.index(name) for name in pathologies]
        stored = self.map_columns or tuple(range(len(self.pathologies)))
        kept = np.isin(self.box_columns, columns)
        place = {column: new for new, column in enumerate(columns)}
        return dataclasses.replace(
            self,
            pathologies=tuple(pathologies),
            relevance_weights=self.relevance_weights[:, columns],
            labels=self.labels[:, columns],
            logits=self.logits[:, columns],
            block_logits=self.block_logits[..., columns],
            box_rows=self.box_rows[kept],
            box_columns=np.array([place[c] for c in self.box_columns[kept]], "int64"),
            box_xyxy=self.box_xyxy[kept],
            map_columns=tuple(stored[column] for column in columns),
        )

    def read_maps(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Read the maps, a part at a time.

        Yields:
            Row of the first image of the part; and for every block, raw maps
            `(images, h, w, C)` float32.
        """
        first = 0
        for path in _part_paths(self.folder):
            names = [f"cam_block{block}" for block in self.blocks]
            maps = [cams.astype("float32") for cams in _read_part(path, names)]
            if self.map_columns is not None:
                maps = [cams[..., list(self.map_columns)] for cams in maps]
            yield first, maps
            first += len(maps[0])


def predict(
    classifier: keras.Model,
    model_path: Path,
    pathologies: Sequence[str],
    records: Path,
    split: str,
    folder: Path,
    progress: bool = True,
) -> Predictions:
    """Run a classifier over a split, or read what an earlier call has stored.

    Maps are stored compressed at the resolution of their block, in half precision,
    whose 11 bits are finer than the 8 that the published thresholds are given in.
    Labels and boxes are those of the model's pathologies, in the order of its outputs,
    found in the records by name. A broken-off call is gone on with at the next part of
    256 images. Predictions of another model (known by the checksum of its file) or
    other records in the folder are replaced.

    Raises:
        UserError: the records have no such split, or lack a pathology of the model.
    """
    manifest = Manifest.read(records)
    manifest.shard_paths(records, split)  # says so if there is no such split
    _check_names(classifier, model_path, pathologies, records, manifest.pathologies)
    images = manifest.splits[split].images
    if not images:
        raise UserError(f"The split {split!r} of {records} has no images.")
    blocks, weights = read_relevance_weights(classifier)
    description = {
        "format": FORMAT,
        "model": compute_checksum(model_path),
        "records": compute_checksum(Path(records) / "manifest.json"),
        "split": split,
        "pathologies": list(pathologies),
        "blocks": list(blocks),
        "image_size": list(classifier.input.shape[1:3]),
        "relevance_weights": weights.tolist(),
    }
    path = folder / "predictions.json"
    text = f"{json.dumps(description, indent=2)}\n".encode()
    if not path.is_file() or path.read_bytes() != text:
        shutil.rmtree(folder, ignore_errors=True)
        with write_whole(path) as temporary:
            temporary.write_bytes(text)
    done = len(_part_paths(folder)) * _PART
    with tqdm(
        total=images, initial=min(done, images), desc=f"Predicting {split}",
        unit=" images", disable=not progress or done >= images,
    ) as bar:  # fmt: skip
        if done < images:
            _store(classifier, description, manifest, records, folder, done, bar)
    predictions = read_predictions(folder)
    if len(predictions.names) != images:
        raise UserError(
            f"{folder} has predictions of {len(predictions.names)} images, not of the "
            f"{images} of the split; remove it, and the same command makes it anew."
        )
    return predictions


def read_predictions(folder: Path) -> Predictions:
    """Read predictions that `predict` has stored, or say which file is damaged."""
    with _explaining(folder / "predictions.json"):
        content = read_json(folder / "predictions.json")
        described: dict[str, Any] = {
            "pathologies": tuple(content["pathologies"]),
            "blocks": tuple(content["blocks"]),
            "image_size": tuple(content["image_size"]),
            "relevance_weights": np.array(content["relevance_weights"], "float32"),
        }
    parts = [_read_part(path, _TABLES) for path in _part_paths(folder)]
    with _explaining(folder / "part-00000.npz"):
        tables: dict[str, Any] = {
            name: np.concatenate(arrays)
            for name, *arrays in zip(_TABLES, *parts, strict=True)
        }
    return Predictions(folder=folder, **described, **tables)


def _check_names(classifier, model_path, pathologies, records, known) -> None:
    outputs = classifier.output["logits"].shape[-1]
    if len(pathologies) != outputs:
        raise UserError(
            f"The model in {model_path.parent} has {outputs} outputs, but "
            f"{len(pathologies)} pathologies are named: {', '.join(pathologies)}."
        )
    missing = [name for name in pathologies if name not in known]
    if missing:
        raise UserError(
            f"The records in {records} say nothing of {', '.join(missing)}, which the "
            f"model in {model_path.parent} was trained to find; they are of "
            f"{', '.join(known)}."
        )


def _store(classifier, description, manifest, records, folder, done, bar) -> None:
    """Predict the images from number `done` on, and write them part by part."""
    names = description["pathologies"]
    columns = [manifest.pathologies.index(name) for name in names]
    network = _add_cams(classifier)
    stream = read_examples(
        records, description["split"], image_size=classifier.input.shape[1:3],
        first=done,
    )  # fmt: skip
    while examples := list(islice(stream, _PART)):
        outputs = _run(network, examples, bar)
        boxes = [
            (row, names.index(box.pathology), box.xyxy)
            for row, example in enumerate(examples, done)
            for box in example.boxes
            if box.pathology in names
        ]
        block_logits = [v for k, v in outputs.items() if k.startswith("logits_block")]
        tables: dict[str, Any] = {
            "names": np.array([example.name for example in examples]),
            "patients": np.array([example.patient for example in examples]),
            "labels": np.stack([example.labels[columns] for example in examples]),
            "original_sizes": np.array([example.original_size for example in examples]),
            "logits": outputs["logits"],
            "block_logits": np.stack(block_logits, axis=1),
            "box_rows": np.array([row for row, _, _ in boxes], "int64"),
            "box_columns": np.array([column for _, column, _ in boxes], "int64"),
            "box_xyxy": np.array([xyxy for _, _, xyxy in boxes]).reshape(-1, 4),
            **{k: _compress(v) for k, v in outputs.items() if k.startswith("cam_")},
        }
        with write_whole(folder / f"part-{done // _PART:05d}.npz") as temporary:
            np.savez_compressed(temporary, **tables)
        done += len(examples)


@lru_cache(maxsize=1)  # a network that is built anew for each split is traced anew
def _add_cams(classifier: keras.Model) -> keras.Model:
    return keras.Model(classifier.input, {**classifier.output, **get_cams(classifier)})


def _run(network, examples: list[Example], bar: tqdm) -> dict[str, np.ndarray]:
    batches = []
    for start in range(0, len(examples), _BATCH):
        images = [example.image for example in examples[start : start + _BATCH]]
        batches.append(network.predict_on_batch(np.stack(images)[..., None]))
        bar.update(len(images))
    return {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }


def _compress(maps: np.ndarray) -> np.ndarray:
    """Return maps in half precision, unless one is too large for it."""
    largest = np.abs(maps).max(initial=0, where=np.isfinite(maps))
    return maps.astype("float16") if largest < np.finfo("float16").max else maps


def _read_part(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    with _explaining(path):
        check_archive(path, _MOST_BYTES)
        with np.load(path) as part:
            return [part[name] for name in names]


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # there is no saying what a flipped bit can lead to
        raise UserError(
            f"{path} is damaged; remove {path.parent}, and the same command makes it "
            "anew."
        ) from error


def _part_paths(folder: Path) -> list[Path]:
    """Return the parts up to the first that is missing."""
    paths = (folder / f"part-{number:05d}.npz" for number in count())
    return list(takewhile(Path.exists, paths))


def predict_split(
    run: Run,
    classifier: keras.Model,
    records: Path,
    split: str,
    progress: bool = True,
    output: Path | None = None,
) -> Predictions:
    """Run the classifier over a split, or read what was stored; see `predict`.

    Predictions are stored in the run, under `predictions/`, or in the folder `output`
    where the run can't be written to.

    Raises:
        UserError: the records aren't prepared, or lack a pathology of the model.
        DiskError: neither folder can be written to.
    """
    Manifest.read(records)  # says so if there is none
    name = f"{split}-{compute_checksum(records / 'manifest.json')[:8]}"
    arguments = classifier, run.model_path, read_pathologies(run), records, split
    try:
        return predict(*arguments, run.predictions / name, progress)
    except DiskError:
        if output is None:
            raise
    return predict(*arguments, Path(output) / run.predictions.name / name, progress)


def read_pathologies(run: Run) -> tuple[str, ...]:
    """Return the pathologies of a run's model, in the order of its outputs.

    Raises:
        UserError: nothing that holds them is left.
    """
    if run.relevance_weights_path.is_file():
        return read_names(run.relevance_weights_path)
    if run.calibration_path.is_file():
        return tuple(read_calibration(run.calibration_path).calibrations)
    if is_prepared(run.records):
        return Manifest.read(run.records).pathologies
    raise UserError(
        f"{run.path} doesn't say what its model finds: relevance_weights.csv, "
        "calibration.json and the records that it was trained on are all gone."
    )
