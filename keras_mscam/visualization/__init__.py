"""Figures: what a model sees, what it learned, how well it does."""

from keras_mscam.visualization.case_figures import (
    plot_case,
    plot_contact_sheet,
    plot_figure2,
)
from keras_mscam.visualization.charts import (
    plot_froc,
    plot_history,
    plot_localization,
    plot_relevance_weights,
    plot_reliability,
    plot_roc,
)
from keras_mscam.visualization.prediction_figures import (
    plot_overlay,
    plot_prediction,
    plot_probabilities,
)

__all__ = [
    "plot_case",
    "plot_contact_sheet",
    "plot_figure2",
    "plot_froc",
    "plot_history",
    "plot_localization",
    "plot_overlay",
    "plot_prediction",
    "plot_probabilities",
    "plot_relevance_weights",
    "plot_reliability",
    "plot_roc",
]
