"""Networks, layers, constraints, losses: `keras.ops` alone, on any Keras backend.

Importing this package registers every class that a saved model may hold.
"""

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
