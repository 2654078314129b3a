"""Metrics of calibration, of the levels, and of overlap, exact at volume scale."""

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.metrics.calibration import MultiRaterECE
from keras_ordseg.metrics.diversity import GeneralizedEnergyDistance
from keras_ordseg.metrics.kernel_calibration import KernelECE
from keras_ordseg.metrics.ordinal import LevelMAE, QuadraticWeightedKappa, RankedProbabilityScore
from keras_ordseg.metrics.overlap import ConsensusDice, MultiRaterDice, SoftDice
from keras_ordseg.metrics.probability import MultiRaterBrier, MultiRaterNLL
from keras_ordseg.metrics.ranking import MultiRaterAUC
from keras_ordseg.metrics.surface import surface_distances
from keras_ordseg.metrics.terms import LossTerm
from keras_ordseg.metrics.volume import VolumeCRPS

__all__ = [
    "ConsensusDice",
    "GeneralizedEnergyDistance",
    "KernelECE",
    "LevelMAE",
    "LossTerm",
    "MultiRaterAUC",
    "MultiRaterBrier",
    "MultiRaterDice",
    "MultiRaterECE",
    "MultiRaterMetric",
    "MultiRaterNLL",
    "QuadraticWeightedKappa",
    "RankedProbabilityScore",
    "SoftDice",
    "VolumeCRPS",
    "surface_distances",
]
