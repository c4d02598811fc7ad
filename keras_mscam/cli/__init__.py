"""The commands: what each takes from its command line, and one call."""

import importlib.util
import json
import locale
import os
import re
import sys
from pathlib import Path

_BACKENDS = ("tensorflow", "jax", "torch", "openvino")
_SETTINGS = {
    "floatx": ("float32", "float16", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}
_COUNTS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")


def find_problem() -> str | None:
    """Say why Keras can't be imported with the user's settings; `None` if it can.

    Its backend comes from the environment variable `KERAS_BACKEND`, else from its file
    of settings. Keras passes over a file that is no JSON.
    """
    source = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        settings = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    if not isinstance(settings, dict):
        return f"{source} must be a JSON object; mend or remove it."
    for name, choices in _SETTINGS.items():
        if settings.get(name, choices[0]) not in choices:
            return (
                f"{source} sets {name!r} to {settings[name]!r}, and Keras takes "
                f"{' or '.join(choices)}; mend or remove it."
            )
    if not isinstance(settings.get("epsilon", 1e-7), float):
        return f"{source} sets 'epsilon' to no fraction; mend or remove it."
    for name in _COUNTS:
        if not re.fullmatch(r"\s*[+-]?\d+\s*", os.environ.get(name, "0")):
            return f"{name} must be a whole number; mend or remove it."
    wants_nnx = os.environ.get("KERAS_NNX_ENABLED", str(settings.get("nnx_enabled")))
    if wants_nnx.lower() in ("true", "1") and importlib.util.find_spec("flax") is None:
        return "Keras is asked for NNX, which needs flax; install it, or unset that."
    backend = settings.get("backend", "tensorflow")
    if os.environ.get("KERAS_BACKEND"):
        source, backend = "KERAS_BACKEND", os.environ["KERAS_BACKEND"]
    asks = f"{source} asks for the backend {backend!r}, which"
    if backend not in _BACKENDS:
        return f"{asks} Keras does not know; it knows {', '.join(_BACKENDS)}."
    if importlib.util.find_spec(backend) is None:
        return f"{asks} is not installed; install it or choose another."
    return None


def _is_command() -> bool:
    """Whether this process is one of the commands, and not somebody's own program."""
    words = [Path(word).name for word in sys.orig_argv[1:3]]
    if words[:1] == ["keras_mscam"] or words == ["-m", "keras_mscam"]:
        return True
    return any(w.startswith(("keras_mscam-", "keras_mscam.cli.")) for w in words)


def start_in_utf8() -> None:
    """Start a command anew where names of files are not taken to be UTF-8.

    TensorFlow and OpenCV always take them so, labels are in UTF-8, and so is, from 3.15
    on, all that Python does; the encoding of a locale could be any other one. What is
    printed stays in that of the terminal.
    """
    if _is_command() and sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", locale.getencoding())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


start_in_utf8()
# Before a command imports Keras, which would end in a traceback.
if _problem := find_problem():
    print(f"error: {_problem}", file=sys.stderr)
    sys.exit(2)
