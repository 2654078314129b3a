"""Matplotlib figures of calibration, agreement and levels.

Every function builds a `matplotlib.figure.Figure` of its own, or draws into the axes it is given, and returns
the figure. Nothing goes through `pyplot`: no window opens, no global state changes, and
    `figure.savefig(path)` writes it.
"""

from keras_ordseg.plots._agreement import agreement_map
from keras_ordseg.plots._contact_sheet import contact_sheet
from keras_ordseg.plots._histogram import level_histogram
from keras_ordseg.plots._levels import level_distribution
from keras_ordseg.plots._reliability import reliability_diagram
from keras_ordseg.plots._ribbon import confidence_ribbon
from keras_ordseg.plots._sensitivity import sensitivity_curves
from keras_ordseg.plots._tradeoff import calibration_tradeoff
from keras_ordseg.plots._training import training_curves

__all__ = [
    "agreement_map",
    "calibration_tradeoff",
    "confidence_ribbon",
    "contact_sheet",
    "level_distribution",
    "level_histogram",
    "reliability_diagram",
    "sensitivity_curves",
    "training_curves",
]
