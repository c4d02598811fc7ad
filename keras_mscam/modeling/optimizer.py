"""Adam that keeps constraints within its step, with a rate for relevance weights."""

from collections.abc import Sequence

import keras


@keras.saving.register_keras_serializable(package="keras_mscam")
class ConstrainedAdam(keras.optimizers.Adam):
    """Adam with the constraint applied inside the step of each variable.

    Keras applies constraints when a step is over, after it has updated the moving
    averages of the weights (EMA): those then average points outside the simplex, and
    overwriting the weights by them leaves it. Projected inside the step, every point
    that enters the average is feasible, and so is the average, a convex combination.

    Args:
        relevance_indices: places of the relevance weights, or of the logits that they
            are the softmax of, among the trainable variables of the model.
        relevance_learning_rate: positive float, learning-rate multiplier of those
            variables; 1 by default. Only the step can be scaled so: Adam divides out
            any factor of a gradient.
        **kwargs: those of `keras.optimizers.Adam`.

    Example:
        >>> variable = model.get_layer("block_combination").variable
        >>> index = [v is variable for v in model.trainable_variables].index(True)
        >>> model.compile(ConstrainedAdam(1e-3, [index], relevance_learning_rate=10.0))
    """

    def __init__(
        self,
        learning_rate=0.001,
        relevance_indices: Sequence[int] = (),
        relevance_learning_rate: float = 1.0,
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.relevance_indices = list(relevance_indices)
        self.relevance_learning_rate = relevance_learning_rate

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Keras offers no public hook between the step and the moving averages. On
        # TensorFlow, `update_step` sees bare tensors of the backend, which don't know
        # their constraint; here they still are Keras's.
        relevance = {
            id(self._trainable_variables[index]) for index in self.relevance_indices
        }
        for chosen, factor in ((False, 1.0), (True, self.relevance_learning_rate)):
            pairs = [
                (grad, variable)
                for grad, variable in zip(grads, trainable_variables, strict=True)
                if (id(variable) in relevance) == chosen
            ]
            if pairs:
                super()._backend_update_step(
                    *zip(*pairs, strict=True), learning_rate * factor
                )
        for variable in trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))

    def get_config(self):
        return {
            **super().get_config(),
            "relevance_indices": self.relevance_indices,
            "relevance_learning_rate": self.relevance_learning_rate,
        }
