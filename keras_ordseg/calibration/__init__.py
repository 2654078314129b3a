"""Post-hoc calibration: a calibrator fitted on images that were not trained on, and put behind a model."""

from keras_ordseg.calibration.attaching import attach
from keras_ordseg.calibration.fitting import fit

__all__ = ["attach", "fit"]
