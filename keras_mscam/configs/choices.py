"""What can be chosen by name: written once, for the command line and the registries.

This module imports nothing but `typing`, so that `--help` needs no Keras.
"""

from typing import Literal

Backbone = Literal[
    "small_densenet",
    "small_resnet",
    "efficientnet_lite0",
    "densenet121",
    "densenet169",
    "densenet201",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet50_v1_5",
    "resnet101_v1_5",
    "resnet152_v1_5",
]
Normalization = Literal[
    "imagenet",
    "imagenet_caffe",
    "minus1_to_1",
    "efficientnet_lite",
    "torchxrayvision",
    "grey",
]
Taps = Literal["activated", "raw"]
Pooling = Literal["gap", "max", "lse", "lse_map", "pcam"]
Combination = Literal["projection", "softmax", "uniform"]
Loss = Literal["class_balanced", "batch_balanced", "binary"]
