"""Run an export with TensorFlow and NumPy alone: see `run.py`."""

import importlib.util
import sys

import numpy as np
import tensorflow as tf

export, names, result = sys.argv[1:]
for package in ("keras", "keras_mscam"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed here"
model = tf.saved_model.load(export)
with open(names) as file:
    paths = file.read().splitlines()
parts = []
for start in range(0, len(paths), 32):
    files = [tf.io.read_file(path) for path in paths[start : start + 32]]
    outputs = model.signatures["serving_default"](image_bytes=tf.stack(files))
    parts.append({name: value.numpy() for name, value in outputs.items()})
arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
for name in ("error", "pathologies"):
    arrays[name] = arrays[name].astype(str)
versions = f"TensorFlow {tf.__version__}, NumPy {np.__version__}"
np.savez(result, versions=versions, **arrays)
