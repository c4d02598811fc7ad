"""What maps, boxes and overlays cost beside probabilities, in an exported model.

    python experiments/benchmarks/signatures.py

DenseNet-121 of random weights, 14 pathologies, exported with its fused maps at full
size; the batch is of encoded phantoms. Two signatures take turns, so whatever else
the machine does hits both alike. Exports differ in how many pathologies are positive:
none, or five in every image.
"""

import tempfile
from pathlib import Path

from keras_mscam.exporting.graph.signatures import write_saved_model
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.runtimes.tensorflow_keras import load_signatures
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.pathologies import PATHOLOGIES
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit

import keras
import numpy as np
import tensorflow as tf
import tyro
from timing import report


def main(
    backbone: str = "densenet121", size: int = 256, batch: int = 32, steps: int = 10
) -> None:
    """Time signatures in turn.

    Args:
        backbone: Name of the backbone.
        size: Height and width.
        batch: Images a call.
        steps: Timed calls of each.
    """
    keras.utils.set_random_seed(0)
    classifier = build_classifier(len(PATHOLOGIES), (size, size), backbone)
    images = tf.constant([draw(number, size) for number in range(batch)])
    print(f"{backbone}, {size}x{size}, batch {batch}, {steps} calls each")
    with tempfile.TemporaryDirectory() as folder:
        none = export(classifier, Path(folder) / "none", size, positives=0)
        five = export(classifier, Path(folder) / "five", size, positives=5)
        for label, one, other in [
            ("all maps at full size / probabilities", none["serving_default"],
             none["probabilities"]),
            ("boxes of five positives / probabilities", five["boxes"],
             five["probabilities"]),
            ("everything, five positives / probabilities", five["serving_default"],
             five["probabilities"]),
            ("uint8 heat maps / probabilities", none["heatmaps"],
             none["probabilities"]),
        ]:  # fmt: skip
            report(
                label,
                lambda one=one: one(image_bytes=images),
                lambda other=other: other(image_bytes=images),
                steps,
            )
        chosen = tf.fill([batch], "")
        report(
            "overlays of five positives / probabilities",
            lambda: five["overlay"](image_bytes=images, chosen=chosen),
            lambda: five["probabilities"](image_bytes=images),
            steps,
        )


def draw(number: int, size: int) -> bytes:
    """Return a phantom as a PNG file."""
    anatomy, visit = sample_anatomy(0, number), sample_visit(0, number, 0)
    return encode_png(render_phantom(anatomy, visit, (size, size)).image)


def export(classifier: keras.Model, path: Path, size: int, positives: int) -> dict:
    """Export with so many pathologies positive in every image, and load it."""
    pathologies, blocks = len(PATHOLOGIES), 3
    weights = np.full((blocks, pathologies), 1 / blocks).tolist()
    never = (None,) * (pathologies - positives)
    contract = Contract(
        name="benchmark", pathologies=PATHOLOGIES, blocks=(2, 3, 4),
        image_size=(size, size), attention_size=(size, size),
        relevance_weights=weights, fusion_weights=weights,
        slopes=(1.0,) * pathologies, intercepts=(0.0,) * pathologies,
        probability_thresholds=(0.0,) * positives + never,
        normalization="min_max", map_scales=(1.0,) * pathologies,
        shown_threshold=0.85, shown_min_area=0.001, shown_max_area=0.5,
        shown_max_boxes=3,
    )  # fmt: skip
    localizer = build_localizer(classifier, contract.attention_size)
    write_saved_model(localizer, contract, path)
    return load_signatures(path)


if __name__ == "__main__":
    tyro.cli(main)
