"""Print checksums of all that a seed determines before training.

    python experiments/reliability/checksums.py > 3.11.json

Once in every Python, with the same versions of packages; the files are to be equal.
"""

import hashlib
import json
import tempfile
from pathlib import Path

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data.pipeline import make_training_dataset, read_examples
from keras_mscam.data.preparation import prepare
from keras_mscam.modeling import build_classifier
from keras_mscam.phantom import write_phantoms

import keras

_SIZE = (96, 128)
_AUGMENTATION = AugmentationConfig(
    rotation=8, shift=0.05, zoom=0.15, contrast=0.25, brightness=15, noise=4
)


def main() -> None:
    """Draw, prepare, split, order and initialize with seed 0."""
    with tempfile.TemporaryDirectory() as folder:
        xrays, records = Path(folder) / "xrays", Path(folder) / "records"
        write_phantoms(xrays, 1000, size=_SIZE, progress=False)
        prepare(xrays, records, image_size=_SIZE, progress=False)
        files = sorted(path for path in xrays.rglob("*") if path.is_file())
        shards = sorted(records.glob("*.tfrecord*"))
        names = [
            [split, example.name]
            for split in ("train", "validation", "test")
            for example in read_examples(records, split)
        ]
        batches = make_training_dataset(
            records, batch_size=32, seed=0, epochs=2, augmentation=_AUGMENTATION
        )
        arrays = [array for batch in batches.as_numpy_iterator() for array in batch]
        found = {
            "phantoms": _hash(path.read_bytes() for path in files),
            "split": _hash([json.dumps(names).encode()]),
            "records": _hash(path.read_bytes() for path in shards),
            "batches of two epochs": _hash(array.tobytes() for array in arrays),
        }
    for backbone in ("small_densenet", "densenet121", "resnet50"):
        keras.utils.set_random_seed(0)
        weights = build_classifier(14, (256, 256), backbone).get_weights()
        found[f"weights of {backbone}"] = _hash(value.tobytes() for value in weights)
    counts = {"files": len(files), "shards": len(shards), "images": len(names)}
    print(json.dumps(found | counts, indent=2))


def _hash(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
