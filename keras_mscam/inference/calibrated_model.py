"""What of a run is exported: its network for inference, and the contract."""

from dataclasses import asdict, dataclass

import keras
import numpy as np

from keras_mscam.configs.schema import MapConfig, ShownConfig
from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.keras_file import load_network
from keras_mscam.inference.run_calibration import (
    RunCalibration,
    load_calibration,
    select_deviations,
)
from keras_mscam.inference.run_folder import Run
from keras_mscam.localization.fusion import build_fusion
from keras_mscam.localization.protocol import choose_shown
from keras_mscam.modeling import build_localizer
from keras_mscam.modeling.classifier import read_relevance_weights


@dataclass(frozen=True)
class CalibratedModel:
    """A network for inference and what it promises."""

    localizer: keras.Model  # in float32, calibrated, fused and sized by the contract
    contract: Contract  # its names, sizes and thresholds
    calibration: RunCalibration  # what validation said of the run's model
    maps: MapConfig  # how the maps of its blocks become one


def load_calibrated_model(
    run: Run,
    maps: MapConfig | None = None,
    shown: ShownConfig | None = None,
    attention_size: tuple[int, int] | None = None,
    name: str = "keras_mscam",
) -> CalibratedModel:
    """Read what is exported of a run.

    How the maps of the blocks become one, and which boxes are shown, is the run's own
    way by default; `attention_size`, `(height, width)` of the fused map that is given,
    a quarter of the input's. `name` is that of the model, as servers know it.

    Raises:
        UserError: the run has no model or no calibration, or its weights aren't finite.
    """
    maps = maps or run.config.localization
    shown = choose_shown(maps, shown or run.config.shown)
    classifier = convert_to_float32(load_classifier(run))
    for weights in classifier.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weights)).all():
            raise UserError(
                f"{run.model_path} has weights that aren't finite ({weights.path}): "
                "its training has diverged; train again with a lower learning rate."
            )
    calibration = load_calibration(run)
    blocks, relevance_weights = read_relevance_weights(classifier)
    pathologies = tuple(calibration.calibrations)
    deviations = select_deviations(calibration, pathologies, relevance_weights)
    fusion = build_fusion(maps.fusion, relevance_weights, deviations)
    scaling = [calibration.calibrations[name] for name in pathologies]
    points = [calibration.operating_points[name] for name in pathologies]
    image_size = tuple(classifier.input.shape[1:3])
    contract = Contract(
        name=name,
        pathologies=pathologies,
        blocks=blocks,
        image_size=image_size,
        attention_size=attention_size or tuple(side // 4 for side in image_size),
        relevance_weights=relevance_weights.tolist(),
        fusion_weights=fusion.weights.tolist(),
        slopes=tuple(item.slope for item in scaling),
        intercepts=tuple(item.intercept for item in scaling),
        probability_thresholds=tuple(point.probability_threshold for point in points),
        normalization=maps.normalization,
        map_scales=tuple(fusion.scale.tolist()),
        **asdict(shown),
    )
    localizer = build_localizer(
        classifier,
        contract.attention_size,
        np.array(contract.fusion_weights),
        (np.array(contract.slopes), np.array(contract.intercepts)),
    )
    return CalibratedModel(localizer, contract, calibration, maps)


def convert_to_float32(model: keras.Model) -> keras.Model:
    """Return a model that computes in float32, with the weights of one that may not.

    Half precision is slow or missing where most exports run.
    """
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers()):
        return model

    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    converted = keras.models.clone_model(model, clone_function=clone, recursive=True)
    converted.set_weights(model.get_weights())
    return converted


def load_classifier(run: Run) -> keras.Model:
    """Load the classifier of a run.

    Raises:
        UserError: the run has none yet, or it is damaged.
    """
    if not run.model_path.is_file():
        raise UserError(
            f"{run.path} has no model.keras yet; train it on with "
            f"keras_mscam-train --output {run.path} --resume."
        )
    return load_network(run.model_path)
