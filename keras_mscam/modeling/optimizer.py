"""Adam that keeps constraints within its step, and has a rate for each variable."""

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
        learning_rate_multipliers: positive floats, one for each trainable variable of
            the model in its order; none by default, for 1. Only the step can be scaled
            so: Adam divides out any factor of a gradient.
        **kwargs: those of `keras.optimizers.Adam`.

    Example:
        >>> variable = model.get_layer("block_combination").variable
        >>> rates = [10.0 if v is variable else 1.0 for v in model.trainable_variables]
        >>> model.compile(ConstrainedAdam(1e-3, rates))
    """

    def __init__(
        self,
        learning_rate=0.001,
        learning_rate_multipliers: Sequence[float] = (),
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.learning_rate_multipliers = list(learning_rate_multipliers)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Keras offers no public hook between the step and the moving averages. On
        # TensorFlow, `update_step` sees bare tensors of the backend, which don't know
        # their constraint; here they still are Keras's.
        variables = self._trainable_variables
        multipliers = self.learning_rate_multipliers or [1.0] * len(variables)
        factors = {id(v): m for v, m in zip(variables, multipliers, strict=True)}
        groups = {}
        for grad, variable in zip(grads, trainable_variables, strict=True):
            groups.setdefault(factors[id(variable)], []).append((grad, variable))
        for factor, pairs in groups.items():
            super()._backend_update_step(
                *zip(*pairs, strict=True), learning_rate * factor
            )
        for variable in trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))

    def _get_current_learning_rate(self):
        # Keras lets a schedule count all steps; here, those that only add up gradients
        # (`gradient_accumulation_steps`) don't count, as they don't for Adam itself.
        schedule = self._learning_rate
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return schedule(self.iterations)
        return super()._get_current_learning_rate()

    def get_config(self):
        return {
            **super().get_config(),
            "learning_rate_multipliers": self.learning_rate_multipliers,
        }
