"""What is trained without levels: binary cross-entropies with a fused label, for comparison."""

import keras

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.ops.scores import binary_cross_entropy, binary_target, panel_readout_logit


class _ReadoutCrossEntropy(MultiRaterLoss):
    _readout = None

    def pixel_loss(self, panel, logits):
        target = binary_target(panel, self._readout)
        return binary_cross_entropy(target, panel_readout_logit(panel, logits, self._readout))


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MajorityCrossEntropy(_ReadoutCrossEntropy):
    """Binary cross-entropy with the majority label, `1[v >= ceil(n/2)]`: ordinary training on one fused mask.

    Args:
        from_logits, num_raters, reduction, name, dtype: As for every loss of the package, see `MultiRaterLoss`.
            `num_raters` is needed when `y_true` is votes and `y_pred` a binary output.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, 1)`, or
        level scores `(batch, *spatial, K+1)`, of which the majority read-out is scored.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Lemay, Gros and Cohen-Adad, *Label fusion and training methods for reliable representation of
    inter-rater uncertainty*, MELBA 2022, compare it with soft labels and random raters.

    >>> import numpy as np
    >>> loss = MajorityCrossEntropy()
    >>> round(float(loss(np.array([[[1, 1, 0]]]), np.array([[[0.0]]]))), 4)      # log 2
    0.6931
    """

    _readout = "majority"


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SoftLabelCrossEntropy(_ReadoutCrossEntropy):
    """Binary cross-entropy with the raters' mean `v/n`: the soft label of the panel.

    Its minimum is the chance that a rater drawn at random marks the pixel, so it is calibrated to the raters without
    levels; it knows nothing of how the raters' answers hang together.

    Args:
        from_logits, num_raters, reduction, name, dtype: As for every loss of the package, see `MultiRaterLoss`.
            `num_raters` is needed when `y_true` is votes and `y_pred` a binary output.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, 1)`, or
        level scores `(batch, *spatial, K+1)`, of which the expected read-out is scored.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Lemay, Gros and Cohen-Adad, *Label fusion and training methods for reliable representation of
    inter-rater uncertainty*, MELBA 2022.

    >>> import math, numpy as np
    >>> loss = SoftLabelCrossEntropy(num_raters=4)
    >>> round(float(loss(np.array([[1]]), np.array([[[math.log(1 / 3)]]]))), 4)      # entropy of 1 in 4
    0.5623
    """

    _readout = "expected"
