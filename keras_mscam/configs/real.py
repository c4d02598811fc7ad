"""A-CNN+ on real X-rays by image labels alone: three trainings, one after the other.

    keras_mscam-train --schedule cosine --warmup-epochs 1 --batch-norm-images 512 \\
        --learning-rate 2e-3 --output runs/drawn
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
#: The rate ends at 0, and batch normalization holds for the weights that are validated:
#: the validation loss falls from epoch to epoch.
_TRAINING = dataclasses.replace(
    _DRAWN.training, schedule="cosine", warmup_epochs=1, batch_norm_images=512
)
_AUGMENTATION = AugmentationConfig(
    rotation=8, shift=0.05, zoom=0.15, contrast=0.25, brightness=15, noise=4
)
PRESETS = {
    # Lesions of the built-in set in real X-rays without findings.
    "planted": dataclasses.replace(
        _DRAWN,
        data=dataclasses.replace(_DRAWN.data, phantoms=4800),
        training=dataclasses.replace(_TRAINING, learning_rate=1e-3),
        augmentation=_AUGMENTATION,
    ),
    # Real findings.
    "real": dataclasses.replace(
        _DRAWN,
        training=dataclasses.replace(_TRAINING, learning_rate=4e-4, epochs=10),
        augmentation=_AUGMENTATION,
    ),
}
