"""Losses for `model.compile`: the ordinal ones, and the baselines they are compared with."""

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.losses.baselines import (
    FocalLoss,
    LabelSmoothingCrossEntropy,
    MajorityCrossEntropy,
    SoftLabelCrossEntropy,
)
from keras_ordseg.losses.calibration import (
    MarginalL1ACELoss,
    MarginLabelSmoothing,
    NeighborAwareCalibrationLoss,
    SpatiallyVaryingLabelSmoothing,
)
from keras_ordseg.losses.hybrid import OrdinalSegmentationLoss
from keras_ordseg.losses.ordinal import (
    CoralLoss,
    EarthMoverLoss,
    LevelCrossEntropy,
    RankedProbabilityLoss,
    SORDLoss,
)

__all__ = [
    "CoralLoss",
    "EarthMoverLoss",
    "FocalLoss",
    "LabelSmoothingCrossEntropy",
    "LevelCrossEntropy",
    "MajorityCrossEntropy",
    "MarginLabelSmoothing",
    "MarginalL1ACELoss",
    "MultiRaterLoss",
    "NeighborAwareCalibrationLoss",
    "OrdinalSegmentationLoss",
    "RankedProbabilityLoss",
    "SORDLoss",
    "SoftLabelCrossEntropy",
    "SpatiallyVaryingLabelSmoothing",
]
