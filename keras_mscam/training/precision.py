"""How a training computes: in which precision, and whether bit by bit the same."""

import dataclasses

import keras

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError


def resolve_precision(config: Config) -> Config:
    """Put a policy in the place of `auto`, for the run to go on with it anywhere."""
    if config.training.precision != "auto":
        return config
    training = dataclasses.replace(config.training, precision=choose_precision())
    return dataclasses.replace(config, training=training)


def choose_precision() -> str:
    """Return the Keras policy that is fastest on what this process trains on.

    `mixed_bfloat16` on TPUs and on NVIDIA's GPUs from compute capability 8 on (A100),
    `mixed_float16` on those from 7 on (V100), `float32` elsewhere: on a CPU the gain is
    not sure, see `experiments/benchmarks`.
    """
    kind, capability = _describe_device()
    if kind == "tpu" or capability >= 8:
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= 7 else "float32"


def _describe_device() -> tuple[str, float]:
    """Return the kind of the first device, and an NVIDIA GPU's compute capability."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.local_devices()[0]
        capability = str(getattr(device, "compute_capability", ""))
        is_nvidia = capability.replace(".", "", 1).isdecimal()  # of AMD's: gfx90a
        return device.platform, float(capability) if is_nvidia else 0.0
    if backend == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(gpu)
            major, minor = details.get("compute_capability", (0, 0))
            return "gpu", major + minor / 10
    return "cpu", 0.0


def make_deterministic() -> None:
    """Let this process compute the same bits from the same seed, for good.

    Raises:
        UserError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "--deterministic is an option of TensorFlow; leave it out, or set "
            "KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
