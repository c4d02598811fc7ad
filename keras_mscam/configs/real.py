"""A-CNN+ on real X-rays by image labels alone: three trainings, one after the other.

    keras_mscam-train --output runs/drawn
    keras_mscam-train --preset planted --backgrounds XRAYS --weights runs/drawn \\
        --output runs/planted
    keras_mscam-train --preset real --data XRAYS --weights runs/planted \\
        --output runs/real

`experiments/real` measured them, on two cores of a shared AMD EPYC with AVX-512: about
half an hour per seed.
"""

import dataclasses

from keras_mscam.configs.phantom import PRESETS as PHANTOM
from keras_mscam.configs.schema import AugmentationConfig

_DRAWN = PHANTOM["phantom-a-cnn-plus"]
_AUGMENTATION = AugmentationConfig(
    rotation=8, shift=0.05, zoom=0.15, contrast=0.25, brightness=15, noise=4
)
PRESETS = {
    # Lesions of the built-in set in real X-rays without findings.
    "planted": dataclasses.replace(
        _DRAWN,
        data=dataclasses.replace(_DRAWN.data, phantoms=4800),
        training=dataclasses.replace(_DRAWN.training, learning_rate=1e-3),
        augmentation=_AUGMENTATION,
    ),
    # Real findings.
    "real": dataclasses.replace(
        _DRAWN,
        training=dataclasses.replace(_DRAWN.training, learning_rate=4e-4, epochs=10),
        augmentation=_AUGMENTATION,
    ),
}
