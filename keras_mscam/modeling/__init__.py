"""Networks, layers, constraints, losses: `keras.ops` alone, on any Keras backend.

Importing this package registers every class that a saved model may hold.
"""

import keras

from keras_mscam.modeling.classifier import build_classifier
from keras_mscam.modeling.constraints import UnitSimplex
from keras_mscam.modeling.layers import ClassActivationMap, ConvexCombination
from keras_mscam.modeling.localizer import build_localizer
from keras_mscam.modeling.losses import (
    BatchBalancedCrossEntropy,
    ClassBalancedCrossEntropy,
    MaskedBinaryCrossEntropy,
)
from keras_mscam.modeling.optimizer import ConstrainedAdam

# A user's keras.json may say otherwise. All axes here are those of channels that come
# last, and lower precision is a choice of the training configuration.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
# By environment variables for debugging, a training or prediction ends before its time.
keras.config.set_max_epochs(None)
keras.config.set_max_steps_per_epoch(None)

__all__ = [
    "BatchBalancedCrossEntropy",
    "ClassActivationMap",
    "ClassBalancedCrossEntropy",
    "ConstrainedAdam",
    "ConvexCombination",
    "MaskedBinaryCrossEntropy",
    "UnitSimplex",
    "build_classifier",
    "build_localizer",
]
