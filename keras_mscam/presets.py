"""Named configurations: the built-in set's, and the paper's three systems."""

from keras_mscam.config import Config, DataConfig, ModelConfig, TrainingConfig

_SMALL = {"backbone": "small_densenet", "batch_norm_momentum": 0.9}
_DATA = DataConfig(phantoms=3200, image_size=(192, 192))
_SHORT = {"epochs": 12, "batch_size": 16, "plateau_patience": 3}

PRESETS = {
    # The paper's method on a backbone, a resolution (a nodule is 13 pixels wide) and a
    # length for two CPU cores.
    "phantom": Config(
        _DATA, ModelConfig(**_SMALL, blocks=(2, 3, 4)), TrainingConfig(**_SHORT)
    ),
    # The same with the last block alone: what the multiscale gain is measured against.
    "phantom-last-block": Config(
        _DATA, ModelConfig(**_SMALL, blocks=(4,)), TrainingConfig(**_SHORT)
    ),
    # Beyond the paper: pooling that does not dilute a small lesion in a large map, and
    # shallow heads that are made to classify by themselves.
    "phantom-pcam": Config(
        _DATA,
        ModelConfig(**_SMALL, blocks=(1, 2, 3, 4), pooling="pcam"),
        TrainingConfig(**_SHORT, auxiliary_loss=1.0),
    ),
    # Sedai et al. 2018 to the letter: the three systems of their Table 1.
    "paper": Config(),
    "paper-dn-cam": Config(model=ModelConfig(blocks=(4,))),
    "paper-rn-cam": Config(
        model=ModelConfig(backbone="resnet50", blocks=(4,), pooling="lse"),
        training=TrainingConfig(loss="batch_balanced"),
    ),
}
