"""Calibration to the raters: does a probability of 0.7 mean that seven experts in ten mark the pixel?"""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.ops.binning import bin_edges, bin_index, expected_calibration_error
from keras_ordseg.ops.levels import check_readout, readout_probability
from keras_ordseg.ops.sums import ExactSum, wide


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterECE(MultiRaterMetric):
    """Expected calibration error of the foreground probability against every rater's answer.

    Over bins b of the read-out p, with `w = n * sample_weight`: `sum_b |sum_b w p - sum_b w v/n| / sum w`. It equals
    the error one gets from repeating every prediction once for each rater, at a cost that does not grow with K.
    Bins have equal width, `[lo, hi)`, the last one closed at 1. The sums are exact at volume scale (millions of
    voxels), where sums in float32 are not.

    The majority read-out is calibrated to the majority label, the expected read-out to the raters: even a perfect
    ordinal model keeps an error under `"majority"`.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        num_bins: Number of bins, default 15.
        raters: `"pooled"` (default): all answers in one diagram.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`. The result is a fraction, not a percentage.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Riera-Marín et al., arXiv 2605.02437; Naeini et al., AAAI 2015.

    >>> metric = MultiRaterECE(from_logits=False, num_raters=4)
    >>> metric.update_state(np.array([[1, 3]]), np.array([[[0.25], [1.0]]]))      # right, and 0.25 too sure
    >>> round(float(metric.result()), 4)
    0.125
    """

    def __init__(self, readout="expected", num_bins=15, raters="pooled", **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        if isinstance(num_bins, bool) or not isinstance(num_bins, (int, np.integer)) or num_bins < 1:
            raise ValueError(f"num_bins: expected an int of at least 1. Received: {num_bins!r}.")
        self.num_bins = int(num_bins)
        if raters != "pooled":
            raise ValueError(f"raters: expected 'pooled'. Received: {raters!r}.")
        self.raters = raters
        self._weight = ExactSum(self, self.num_bins, "weight")
        self._confidence = ExactSum(self, self.num_bins, "confidence")
        self._vote = ExactSum(self, self.num_bins, "vote")

    def accumulate(self, panel, y_pred, y_true):
        p = ops.cast(self.clean(readout_probability(y_pred, self.readout, self.from_logits)), "float32")
        bins = bin_index(p, self.num_bins)
        sample_weight = wide(panel.weights)
        weight = sample_weight * wide(panel.counts)
        self._weight.add(weight, bins)
        self._confidence.add(weight * wide(p), bins)
        self._vote.add(sample_weight * wide(panel.votes), bins)

    def value(self):
        # the difference first: what is left of two nearly equal sums is then as exact as the sums
        gap = ops.sum(ops.subtract(self._confidence.parts(), self._vote.parts()), axis=0)
        return expected_calibration_error(self._weight.value(), gap, ops.zeros_like(gap))

    def reliability(self):
        """The numbers of the reliability diagram, as NumPy arrays.

        Returns:
            A dict: `edges` `(bins+1,)`, `counts` `(bins,)` (weight of the answers in each bin), `confidence` and `vote`
            `(bins,)` (mean probability and mean vote, NaN where a bin is empty), and `ece`, a float.
        """
        weight, confidence, vote = (
            ops.convert_to_numpy(s.value()).astype("float64")
            for s in (self._weight, self._confidence, self._vote)
        )
        full = np.where(weight > 0, weight, np.nan)
        return {
            "edges": bin_edges(self.num_bins).astype("float64"),
            "counts": weight,
            "confidence": confidence / full,
            "vote": vote / full,
            "ece": float(self.result()),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "readout": self.readout,
            "num_bins": self.num_bins,
            "raters": self.raters,
        }
