"""What three heads cost beside one: training and inference of DenseNet-121.

    python experiments/benchmarks/heads.py

Two networks of one backbone take turns, step by step, so that whatever else the machine
does hits both alike: the paper's three heads, and one GAP head on the last block, built
here from Keras's own layers. The median ratio and its quartiles are printed.
"""

from keras_mscam.configs.schema import TrainingConfig
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.modeling.backbones import build_backbone
from keras_mscam.training.fit import compile_trainer

import keras
import numpy as np
import tyro
from timing import report


def main(
    backbone: str = "densenet121",
    size: int = 256,
    batch: int = 16,
    steps: int = 12,
    pathologies: int = 14,
) -> None:
    """Time both networks in turn.

    Args:
        backbone: Name of the backbone.
        size: Height and width.
        batch: Images a step.
        steps: Timed steps of each network.
        pathologies: Outputs.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 1)).astype("uint8")
    labels = rng.integers(0, 2, (batch, pathologies)).astype("float32")
    three = build_classifier(pathologies, (size, size), backbone)
    one = build_one_head(pathologies, (size, size), backbone)
    print(f"{backbone}, {size}x{size}, batch {batch}, {steps} steps each")
    trainers = [compile_trainer(three, (0.9,) * pathologies, TrainingConfig())]
    one.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True),
                jit_compile=False)  # fmt: skip
    report(
        "training step, three heads / one",
        lambda: trainers[0].train_on_batch(images, labels),
        lambda: one.train_on_batch(images, labels),
        steps,
    )
    report(
        "probabilities, three heads / one",
        lambda: three.predict_on_batch(images),
        lambda: one.predict_on_batch(images),
        steps,
    )
    localizer = build_localizer(three)
    cams = keras.Model(
        localizer.input,
        {
            name: value
            for name, value in localizer.output.items()
            if name != "attention"
        },
    )
    report(
        "probabilities and all block maps / one head",
        lambda: cams.predict_on_batch(images),
        lambda: one.predict_on_batch(images),
        steps,
    )
    report(
        "all that and the fused map at full size / one head",
        lambda: localizer.predict_on_batch(images),
        lambda: one.predict_on_batch(images),
        steps,
    )


def build_one_head(pathologies: int, image_size, backbone: str) -> keras.Model:
    """The same backbone, global average pooling and one dense layer."""
    features = build_backbone(backbone, image_size, (4,))
    pooled = keras.layers.GlobalAveragePooling2D()(features.outputs[0])
    logits = keras.layers.Dense(pathologies, dtype="float32")(pooled)
    return keras.Model(features.inputs, logits)


if __name__ == "__main__":
    tyro.cli(main)
