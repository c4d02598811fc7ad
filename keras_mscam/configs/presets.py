"""Named configurations: the built-in set's, and the paper's three systems."""

from keras_mscam.configs.schema import (
    Config,
    DataConfig,
    LocalizationConfig,
    ModelConfig,
    TrainingConfig,
)

_SMALL = {"backbone": "small_densenet", "batch_norm_momentum": 0.9}
_DATA = DataConfig(phantoms=3200, image_size=(192, 192))
_SHORT = {"epochs": 12, "batch_size": 16, "plateau_patience": 3}
# Beyond the paper: every head has to classify by itself, every block has the same say
# in the map, in units of its own deviation, and boxes hold what is near its peak.
_PLUS = LocalizationConfig(fusion="standardized", normalization="exponential")
PRESETS = {
    # The paper's three systems and ours on a backbone, a resolution (a nodule is 13
    # pixels wide) and a length for two CPU cores.
    "phantom": Config(
        _DATA, ModelConfig(**_SMALL, blocks=(2, 3, 4)), TrainingConfig(**_SHORT)
    ),
    "phantom-dn-cam": Config(
        _DATA, ModelConfig(**_SMALL, blocks=(4,)), TrainingConfig(**_SHORT)
    ),
    "phantom-rn-cam": Config(
        _DATA,
        ModelConfig(
            backbone="small_resnet",
            blocks=(4,),
            pooling="lse",
            transition=256,
            batch_norm_momentum=0.9,
        ),
        TrainingConfig(**_SHORT, loss="batch_balanced"),
    ),
    "phantom-a-cnn-plus": Config(
        _DATA,
        ModelConfig(**_SMALL, blocks=(2, 3, 4)),
        TrainingConfig(**_SHORT, auxiliary_loss=1.0),
        localization=_PLUS,
    ),
    # Sedai et al. 2018 to the letter: the three systems of their Table 1.
    "paper": Config(),
    "paper-dn-cam": Config(model=ModelConfig(blocks=(4,))),
    "paper-rn-cam": Config(
        model=ModelConfig(
            backbone="resnet50", blocks=(4,), pooling="lse", transition=2048
        ),
        training=TrainingConfig(loss="batch_balanced"),
    ),
    "paper-a-cnn-plus": Config(
        training=TrainingConfig(auxiliary_loss=1.0), localization=_PLUS
    ),
}
