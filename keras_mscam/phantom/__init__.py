"""Synthetic chest radiographs in the layout of ChestX-ray14: the built-in set.

Imports without TensorFlow and Keras. `patients` samples numbers, `render` turns them
into one image, `write_set` makes the folder.
"""

from keras_mscam.phantom.patients import sample_anatomy, sample_visit
from keras_mscam.phantom.render import Phantom, render_phantom
from keras_mscam.phantom.write_set import write_phantoms

__all__ = [
    "Phantom",
    "render_phantom",
    "sample_anatomy",
    "sample_visit",
    "write_phantoms",
]
