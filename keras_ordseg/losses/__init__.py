"""Losses for `model.compile`: the ordinal ones, and the baselines they are compared with."""

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.losses.baselines import MajorityCrossEntropy, SoftLabelCrossEntropy
from keras_ordseg.losses.ordinal import LevelCrossEntropy, OrdinalSegmentationLoss, RankedProbabilityLoss

__all__ = [
    "LevelCrossEntropy",
    "MajorityCrossEntropy",
    "MultiRaterLoss",
    "OrdinalSegmentationLoss",
    "RankedProbabilityLoss",
    "SoftLabelCrossEntropy",
]
