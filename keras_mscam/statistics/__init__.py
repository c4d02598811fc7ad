"""How sure a number is, and a difference of two: resampling whole patients."""

from keras_mscam.statistics.bootstrap import (
    Interval,
    bootstrap_auprc,
    bootstrap_auroc,
    bootstrap_ratio,
)
from keras_mscam.statistics.paired import (
    PairedDifference,
    compare_auprc,
    compare_auroc,
    compare_ratio,
)

__all__ = [
    "Interval",
    "PairedDifference",
    "bootstrap_auprc",
    "bootstrap_auroc",
    "bootstrap_ratio",
    "compare_auprc",
    "compare_auroc",
    "compare_ratio",
]
