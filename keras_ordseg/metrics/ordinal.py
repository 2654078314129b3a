"""Scores of the level distribution itself."""

import keras

from keras_ordseg.metrics.base import MeanMetric
from keras_ordseg.ops.levels import level_logits
from keras_ordseg.ops.scores import check_normalization, rps_of_panel


@keras.saving.register_keras_serializable(package="keras_ordseg")
class RankedProbabilityScore(MeanMetric):
    """Mean ranked probability score of the levels over the pixels, 0 at best.

    Where only n < K raters rated, the levels are thinned to n raters, as in `losses.RankedProbabilityLoss`.

    Args:
        normalization: `"levels"` (default, the paper's), `"thresholds"` or `"sum"`.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an unknown normalization, a binary output (which has no levels), or shapes and values that do
            not fit.

    Reference: Epstein, J. Appl. Meteorol. 8, 1969; eq. 3 of Riera-Marín et al., arXiv 2605.02437.

    >>> import numpy as np
    >>> metric = RankedProbabilityScore()
    >>> metric.update_state(np.array([[0]]), np.zeros((1, 1, 3)))      # (4/9 + 1/9) / 3
    >>> round(float(metric.result()), 4)
    0.1852
    """

    def __init__(self, normalization="levels", **kwargs):
        super().__init__(**kwargs)
        self.normalization = check_normalization(normalization)

    def terms(self, panel, y_pred):
        score = rps_of_panel(panel, level_logits(y_pred, self.from_logits), self.normalization)
        return score, panel.counts > 0

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization}
