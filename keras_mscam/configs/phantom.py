"""The same four systems on the built-in set, small enough for two CPU cores.

    keras_mscam-train

A small DenseNet or ResNet, 192x192 pixels (a nodule is 13 wide), 12 epochs of 3,200
synthetic radiographs: 4 min 38 s on two cores of a shared Intel Xeon with AVX-512.
Localization accuracy at IoU > 0.3 over all eight pathologies and mean AUROC, mean and
range of seeds 0 to 2, from `experiments/table1`, which has the commands:

    phantom              0.44 [0.42, 0.47]   0.93 [0.92, 0.93]
    phantom-dn-cam       0.42 [0.41, 0.43]   0.93 [0.92, 0.94]
    phantom-rn-cam       0.18 [0.17, 0.20]   0.85 [0.84, 0.87]
    phantom-a-cnn-plus   0.79 [0.78, 0.81]   0.93 [0.92, 0.94]

The last on five other seeds: 0.75 [0.71, 0.80], of nodules 0.70 [0.53, 0.81].
"""

from typing import Any

from keras_mscam.configs.paper import PLUS
from keras_mscam.configs.schema import Config, DataConfig, ModelConfig, TrainingConfig

_DATA = DataConfig(phantoms=3200, image_size=(192, 192))
_DENSENET: dict[str, Any] = {"backbone": "small_densenet", "batch_norm_momentum": 0.9}
_RESNET: dict[str, Any] = {"backbone": "small_resnet", "batch_norm_momentum": 0.9}
_SHORT: dict[str, Any] = {"epochs": 12, "batch_size": 16, "plateau_patience": 3}
PRESETS = {
    # A-CNN
    "phantom": Config(
        _DATA, ModelConfig(**_DENSENET, blocks=(2, 3, 4)), TrainingConfig(**_SHORT)
    ),
    # DN-CAM
    "phantom-dn-cam": Config(
        _DATA, ModelConfig(**_DENSENET, blocks=(4,)), TrainingConfig(**_SHORT)
    ),
    # RN-CAM
    "phantom-rn-cam": Config(
        _DATA,
        ModelConfig(**_RESNET, blocks=(4,), pooling="lse", transition=256),
        TrainingConfig(**_SHORT, loss="batch_balanced"),
    ),
    # A-CNN+: what runs without arguments.
    "phantom-a-cnn-plus": Config(
        _DATA,
        ModelConfig(**_DENSENET, blocks=(2, 3, 4)),
        TrainingConfig(**_SHORT, auxiliary_loss=1.0),
        localization=PLUS,
    ),
}
