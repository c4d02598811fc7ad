"""How well images are classified, and how sure one may be: NumPy and scikit-learn."""

from keras_mscam.classification.calibration import (
    Calibration,
    calibrate,
    fit_calibration,
)
from keras_mscam.classification.confusion import (
    compute_confusion,
    compute_f1,
    compute_rates,
)
from keras_mscam.classification.metrics import (
    compute_auprc,
    compute_auroc,
    compute_brier,
    compute_classification,
    compute_ece,
)
from keras_mscam.classification.operating_points import (
    OperatingPoint,
    apply_operating_points,
    choose_operating_points,
)
from keras_mscam.classification.reliability import compute_reliability
from keras_mscam.classification.roc import compute_roc_curve

__all__ = [
    "Calibration",
    "OperatingPoint",
    "apply_operating_points",
    "calibrate",
    "choose_operating_points",
    "compute_auprc",
    "compute_auroc",
    "compute_brier",
    "compute_classification",
    "compute_confusion",
    "compute_ece",
    "compute_f1",
    "compute_rates",
    "compute_reliability",
    "compute_roc_curve",
    "fit_calibration",
]
