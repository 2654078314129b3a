"""Proper scores of the foreground probability, every rater's answer counted once."""

import keras

from keras_ordseg.metrics.base import MeanMetric
from keras_ordseg.ops.levels import check_readout, readout_probability
from keras_ordseg.ops.scores import brier
from keras_ordseg.ops.sums import wide


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterBrier(MeanMetric):
    """Brier score of the foreground probability, every rater's answer counted once.

    `sum w (v (1-p)^2 + (n-v) p^2) / sum w n`: calibration and sharpness in one number, 0 at best.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Brier, Mon. Weather Rev. 78, 1950.

    >>> import numpy as np
    >>> metric = MultiRaterBrier(from_logits=False, num_raters=2)
    >>> metric.update_state(np.array([[1, 2]]), np.array([[[0.5], [1.0]]]))
    >>> float(metric.result())
    0.125
    """

    def __init__(self, readout="expected", **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)

    def terms(self, panel, y_pred):
        p = wide(readout_probability(y_pred, self.readout, self.from_logits))
        return brier(wide(panel.votes), wide(panel.counts), p), panel.counts

    def get_config(self):
        return {**super().get_config(), "readout": self.readout}
