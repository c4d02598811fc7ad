"""Convert a SavedModel to TF.js: FOLDER/float32, FOLDER/float16 and FOLDER/uint8.

    PYTHONPATH=export/tfjs/environment python export/tfjs/convert.py SAVED_MODEL FOLDER

With stand-ins for what the converter imports and has no use for here.
"""

import sys
from types import ModuleType

_OPTIONS = {
    "float32": [],
    "float16": ["--quantize_float16=*"],
    "uint8": ["--quantize_uint8=*"],
}


def main(saved_model: str, folder: str) -> None:
    """Convert, to weights of each precision."""
    stand_in("tensorflow_decision_forests")
    # It would import JAX, and a part that newer versions of JAX lack.
    stand_in("tensorflowjs.converters.jax_conversion").convert_jax = None
    from tensorflowjs.converters.converter import convert

    for variant, options in _OPTIONS.items():
        convert(
            [
                "--input_format=tf_saved_model",
                "--output_format=tfjs_graph_model",
                "--signature_name=serving_default",
                "--use_structured_outputs_names=True",
                *options,
                saved_model,
                f"{folder}/{variant}",
            ]
        )


def stand_in(name: str) -> ModuleType:
    """Put an empty module in the place of one."""
    sys.modules[name] = module = ModuleType(name)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:])
