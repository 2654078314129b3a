"""Pure functions on tensors, for any Keras backend."""

from keras_ordseg.ops.binning import bin_edges, bin_index, expected_calibration_error
from keras_ordseg.ops.decisions import decide_level
from keras_ordseg.ops.kernel_calibration import kernel_calibration_error
from keras_ordseg.ops.levels import (
    consensus_probability,
    expected_agreement,
    level_probabilities,
    readout_logit,
    readout_probability,
)
from keras_ordseg.ops.links import beta_binomial_levels, ordered_levels
from keras_ordseg.ops.nesting import nested_levels
from keras_ordseg.ops.overlap import dice, generalized_energy_distance, nested_masks
from keras_ordseg.ops.ratings import majority_quorum, votes
from keras_ordseg.ops.scores import binary_cross_entropy, brier, ranked_probability_score
from keras_ordseg.ops.thinning import thin_levels
from keras_ordseg.ops.volumes import crps_ensemble, crps_normal

__all__ = [
    "beta_binomial_levels",
    "bin_edges",
    "bin_index",
    "binary_cross_entropy",
    "brier",
    "consensus_probability",
    "crps_ensemble",
    "crps_normal",
    "decide_level",
    "dice",
    "expected_agreement",
    "expected_calibration_error",
    "generalized_energy_distance",
    "kernel_calibration_error",
    "level_probabilities",
    "majority_quorum",
    "nested_levels",
    "nested_masks",
    "ordered_levels",
    "ranked_probability_score",
    "readout_logit",
    "readout_probability",
    "thin_levels",
    "votes",
]
