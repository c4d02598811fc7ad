"""What a model says of a split: probabilities and boxes, streamed, no maps kept."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import Example, read_examples
from keras_mscam.localization.boxes import propose_boxes
from keras_mscam.localization.metrics import Localization

_BATCH = 32


@dataclass
class Predictions:
    """What the metrics need to know of a split.

    Args:
        names: of all images.
        labels: `(images, pathologies)`.
        probabilities: `(images, pathologies)`.
        boxed: name and original size of the image of every localization.
        localizations: by map (`attention`, `cam_block2`, ...), one for each image and
            pathology with a drawn box.
    """

    names: list[str] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    boxed: list[tuple[str, tuple[int, int]]] = field(default_factory=list)
    localizations: dict[str, list[Localization]] = field(default_factory=dict)


def predict(
    localizer: keras.Model,
    records: Path,
    manifest: Manifest,
    split: str,
    progress: bool = True,
) -> Predictions:
    """Run a localizer over a split, keeping boxes instead of maps.

    Images come at the size that the localizer is for, whatever they are stored at.
    Memory holds one batch of maps at a time, however many images there are.
    """
    predictions = Predictions()
    images = manifest.splits[split].images
    size = localizer.input.shape[1:3]
    with tqdm(
        total=images, desc="Evaluating", unit=" images", disable=not progress
    ) as bar:
        stream = read_examples(records, split, image_size=size)
        while examples := list(islice(stream, _BATCH)):
            stacked = np.stack([example.image for example in examples])[..., None]
            outputs = localizer.predict_on_batch(stacked)
            predictions.probabilities.extend(outputs.pop("probabilities"))
            for row, example in enumerate(examples):
                predictions.names.append(example.name)
                predictions.labels.append(example.labels)
                maps = {name: maps[row] for name, maps in outputs.items()}
                _localize(predictions, example, maps, size, manifest.pathologies)
            bar.update(len(examples))
    return predictions


def _localize(
    predictions: Predictions,
    example: Example,
    maps: dict[str, np.ndarray],
    size: tuple[int, int],
    pathologies: tuple[str, ...],
) -> None:
    for box_pathology in dict.fromkeys(box.pathology for box in example.boxes):
        column = pathologies.index(box_pathology)
        truth = [b.xyxy for b in example.boxes if b.pathology == box_pathology]
        predictions.boxed.append((example.name, example.original_size))
        for name, cams in maps.items():
            cam = resize_map(cams[..., column], size)
            proposed = propose_boxes(cam, example.original_size)
            predictions.localizations.setdefault(name, []).append(
                Localization(box_pathology, example.patient, np.array(truth), proposed)
            )


def resize_map(cam: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge one map as the localizer does; a map of that size stays as it is."""
    if cam.shape == tuple(size):
        return cam
    resized = keras.ops.image.resize(cam[..., None], size, interpolation="bilinear")
    return keras.ops.convert_to_numpy(resized)[..., 0]
