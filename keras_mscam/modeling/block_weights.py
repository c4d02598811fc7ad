"""The layer that says of every image by which weights the blocks are combined."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mscam")
class BlockWeights(keras.layers.Layer):
    """Repeat the weights of B blocks for every image of a batch.

    Args:
        merge: the `ConvexCombination` whose relevance weights they are; they follow it
            when it is trained on.
        values: `(B, pathologies)`, constants in place of them; one of the two is given.

    Input shape:
        `(batch, ...)`, of which only the batch counts.

    Output shape:
        `(batch, B, pathologies)`, float32.
    """

    def __init__(self, merge=None, values=None, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.merge = merge
        self.values = None if values is None else np.asarray(values, "float32").tolist()

    def call(self, inputs):
        weights = self.values if self.merge is None else self.merge.relevance_weights
        weights = ops.convert_to_tensor(weights, "float32")
        return ops.tile(weights[None], (ops.shape(inputs)[0], 1, 1))

    def get_config(self):
        return {
            **super().get_config(),
            "merge": keras.saving.serialize_keras_object(self.merge),
            "values": self.values,
        }

    @classmethod
    def from_config(cls, config):
        merge = keras.saving.deserialize_keras_object(config.pop("merge"))
        return cls(merge=merge, **config)
