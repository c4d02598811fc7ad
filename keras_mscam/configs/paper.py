"""The systems of Sedai et al. 2018, Table 1, at full size, and one beyond the paper.

    keras_mscam-prepare ChestX-ray14 --output records
    keras_mscam-train --data records --preset paper --output runs/paper

Nobody has trained these on the whole of ChestX-ray14 with this package yet, so no
result stands here. It needs a GPU: two CPU cores take hours per epoch.
"""

from keras_mscam.configs.schema import (
    Config,
    LocalizationConfig,
    ModelConfig,
    TrainingConfig,
)

#: Every block's map is divided by its own standard deviation before all are averaged,
#: and a box holds what is near the peak of the fused map.
PLUS = LocalizationConfig(fusion="standardized", normalization="exponential")
PRESETS = {
    # A-CNN, sections 2 and 3: DenseNet-121, blocks 2 to 4, class-balanced loss, Adam at
    # 1e-3, batches of 32, a tenth of the rate on a plateau. Defaults are the paper's.
    "paper": Config(),
    # DN-CAM, Table 1: the last block alone.
    "paper-dn-cam": Config(model=ModelConfig(blocks=(4,))),
    # RN-CAM, Table 1, after Wang et al. 2017: ResNet-50, transition layer, Log-Sum-Exp
    # pooling, W-CEL.
    "paper-rn-cam": Config(
        model=ModelConfig(
            backbone="resnet50", blocks=(4,), pooling="lse", transition=2048
        ),
        training=TrainingConfig(loss="batch_balanced"),
    ),
    # A-CNN+, beyond the paper: every head has a loss of its own, maps are standardized.
    "paper-a-cnn-plus": Config(
        training=TrainingConfig(auxiliary_loss=1.0), localization=PLUS
    ),
    # Its heads alone, on a backbone that was trained elsewhere: --weights FILE.
    "multiscale-probe": Config(
        training=TrainingConfig(
            auxiliary_loss=1.0, head_epochs=40, epochs=0, plateau_patience=5
        ),
        localization=PLUS,
    ),
}
