"""Losses that were proposed for calibrated segmentation of one fused mask, for comparison."""

import keras
from keras import ops

from keras_ordseg.losses.baselines import ReadoutLoss
from keras_ordseg.ops.binning import bin_index
from keras_ordseg.ops.checks import check_count, check_number
from keras_ordseg.ops.neighbourhood import neighbourhood_mean, spatially_smoothed
from keras_ordseg.ops.scores import cross_entropy


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MarginLabelSmoothing(ReadoutLoss):
    """Margin-based label smoothing: cross-entropy, and a penalty on logits beyond a margin, `w max(0, |z| - m)`.

    `|z|` is the distance of the two classes' logits, which the published penalty bounds.

    Args:
        margin: `m`, at least 0. Default 10, the published one.
        weight: `w`, at least 0. Default 0.1, the published one.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Liu et al., *The devil is in the margin: margin-based label smoothing for network calibration*, CVPR 2022.

    >>> import numpy as np
    >>> loss = MarginLabelSmoothing(margin=3.0, weight=0.5)
    >>> round(float(loss(np.array([[[1]]]), np.array([[[20.0]]]))), 4)      # 0 + .5 * (20 - 3)
    8.5
    """

    def __init__(self, margin=10.0, weight=0.1, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.margin = check_number(margin, "margin")
        self.weight = check_number(weight, "weight")

    def readout_loss(self, target, logit, panel):
        return cross_entropy(target, logit) + self.weight * ops.relu(ops.abs(logit) - self.margin)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "weight": self.weight}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SpatiallyVaryingLabelSmoothing(ReadoutLoss):
    """SVLS: cross-entropy with the label averaged half and half with its 3 × 3 (× 3) neighbours, so soft at borders.

    Voids and what lies outside the image are left out of the average; the published code repeats the border's pixels.

    Args:
        sigma: Of the Gaussian over the neighbours, in pixels, above 0. Default 1, the published one.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Islam and Glocker, *Spatially varying label smoothing: capturing uncertainty from expert annotations*,
    IPMI 2021.

    >>> import numpy as np
    >>> y = np.array([[[1], [0], [0]]])                                  # labels 1, 0, 0 become 2/3, 1/4, 0
    >>> values = SpatiallyVaryingLabelSmoothing().call(y, np.full((1, 3, 1), 4.0))
    >>> [round(float(x), 4) for x in values[0]]                          # t * .0181 + (1 - t) * 4.0181
    [1.3515, 3.0181, 4.0181]
    """

    def __init__(self, sigma=1.0, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.sigma = check_number(sigma, "sigma", above=0.0)

    def readout_loss(self, target, logit, panel):
        return cross_entropy(spatially_smoothed(target, _rated(panel), self.sigma), logit)

    def get_config(self):
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class NeighborAwareCalibrationLoss(ReadoutLoss):
    """NACL: cross-entropy, and a penalty that draws the logits to the label's share among the neighbours.

    `CE + w/2 |z - (2 tau - 1)|` with `tau` the mean label of the 3 × 3 (× 3) neighbourhood. The published penalty is the
    mean over two classes of `|z_c - tau_c|`; this is its least value over the common shift of both logits, which a
    softmax does not see. Voids and what lies outside the image are left out of `tau`.

    Args:
        weight: `w`, at least 0. Default 0.1, the published one.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Murugesan et al., *Trust your neighbours: penalty-based constraints for model calibration*, MICCAI 2023.

    >>> import numpy as np
    >>> loss = NeighborAwareCalibrationLoss(weight=1.0)
    >>> round(float(loss(np.ones((1, 3, 1), "int8"), np.zeros((1, 3, 1)))), 4)      # log 2 + |0 - 1| / 2
    1.1931
    """

    def __init__(self, weight=0.1, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.weight = check_number(weight, "weight")

    def readout_loss(self, target, logit, panel):
        share = neighbourhood_mean(target, _rated(panel))
        return cross_entropy(target, logit) + self.weight / 2 * ops.abs(logit - (2.0 * share - 1.0))

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MarginalL1ACELoss(ReadoutLoss):
    """Cross-entropy, and the average calibration error of each image, `w / B' sum_b |mean p - mean t|` over its bins.

    The B' bins that hold any pixel of an image count alike, however few pixels they hold; the gradient goes through the
    mean predictions, not through the choice of the bin.

    Args:
        weight: `w`, at least 0. Default 1, the published one.
        num_bins: Bins of equal width in [0, 1]. Default 20, the published one.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Barfoot et al., *Average calibration error: a differentiable loss for improved reliability in image
    segmentation*, MICCAI 2024.

    >>> import numpy as np
    >>> y = np.array([[[1], [1], [0], [0]]])                                 # p = 1/2 for all: calibrated
    >>> round(float(MarginalL1ACELoss()(y, np.zeros((1, 4, 1)))), 4)
    0.6931
    """

    def __init__(self, weight=1.0, num_bins=20, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.weight = check_number(weight, "weight")
        self.num_bins = check_count(num_bins, "num_bins")

    def readout_loss(self, target, logit, panel):
        error = average_calibration_error(target, ops.sigmoid(logit), panel.weights, self.num_bins)
        error = ops.reshape(error, (-1,) + (1,) * (len(target.shape) - 1))
        return cross_entropy(target, logit) + self.weight * (error + ops.zeros_like(target))

    def get_config(self):
        return {**super().get_config(), "weight": self.weight, "num_bins": self.num_bins}


def average_calibration_error(target, probability, weights, num_bins):
    """`1/B' sum_b |sum_b w p - sum_b w t| / sum_b w` of each image, over its B' bins that have weight.

    Args:
        target: In [0, 1], `(batch, *spatial)`.
        probability: Same shape.
        weights: Same shape.
        num_bins: Bins of equal width in [0, 1].

    Returns:
        Errors `(batch,)`; 0 for an image without weight.
    """
    batch = ops.shape(target)[0]
    image = ops.reshape(ops.arange(batch, dtype="int32"), (-1,) + (1,) * (len(target.shape) - 1))
    cell = ops.reshape(image * num_bins + bin_index(probability, num_bins), (-1,))

    def by_bin(values):
        sums = ops.segment_sum(ops.reshape(values, (-1,)), cell, num_segments=batch * num_bins)
        return ops.reshape(sums, (-1, num_bins))

    weight = by_bin(weights)
    gap = ops.divide_no_nan(ops.abs(by_bin(weights * (probability - target))), weight)
    used = ops.cast(weight > 0, gap.dtype)
    return ops.divide_no_nan(ops.sum(gap, axis=-1), ops.sum(used, axis=-1))


def _rated(panel):
    return ops.cast(panel.counts > 0, panel.counts.dtype)
