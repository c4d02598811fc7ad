"""Adam that keeps every constraint at every moment, and can hurry relevance weights."""

import keras

_RELEVANCE = ("relevance_weights", "relevance_logits")


@keras.saving.register_keras_serializable(package="keras_mscam")
class ConstrainedAdam(keras.optimizers.Adam):
    """Adam with the constraint applied inside the step of each variable.

    Keras applies constraints when a step is over, after it has updated the moving
    averages of the weights (EMA): those then average points outside the simplex, and
    overwriting the weights by them leaves it. Projected inside the step, every point
    that enters the average is feasible, and so is the average, a convex combination.

    Args:
        relevance_learning_rate: positive float, multiplies the learning rate of the
            relevance weights, or the logits they are made of; 1 by default. Only the
            step can be scaled so: Adam divides out any factor of a gradient.
        **kwargs: those of `keras.optimizers.Adam`.

    Example:
        >>> model.compile(ConstrainedAdam(1e-3, relevance_learning_rate=10.0))
    """

    def __init__(
        self,
        learning_rate=0.001,
        relevance_learning_rate: float = 1.0,
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.relevance_learning_rate = relevance_learning_rate

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Keras offers no public hook between the step and the moving averages. On
        # TensorFlow, `update_step` sees bare tensors of the backend, which know
        # neither their name nor their constraint; here they still are Keras's.
        pairs = list(zip(grads, trainable_variables, strict=True))
        hurried = [pair for pair in pairs if pair[1].name in _RELEVANCE]
        others = [pair for pair in pairs if pair[1].name not in _RELEVANCE]
        for group, factor in [(others, 1.0), (hurried, self.relevance_learning_rate)]:
            if group:
                super()._backend_update_step(
                    *zip(*group, strict=True), learning_rate * factor
                )
        for variable in trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))

    def get_config(self):
        return {
            **super().get_config(),
            "relevance_learning_rate": self.relevance_learning_rate,
        }
