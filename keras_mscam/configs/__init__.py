"""What a training run is told, and the named configurations."""

from keras_mscam.configs import paper, phantom, real

#: By name; the command line starts from one of them.
PRESETS = {**phantom.PRESETS, **real.PRESETS, **paper.PRESETS}
