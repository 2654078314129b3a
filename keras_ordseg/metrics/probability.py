"""Proper scores of the foreground probability, every rater's answer counted once."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import MeanMetric, PixelMetric
from keras_ordseg.ops.binning import bin_index
from keras_ordseg.ops.checks import check_count
from keras_ordseg.ops.levels import (
    as_float,
    check_readout,
    level_logits,
    readout_logit,
    readout_probability,
)
from keras_ordseg.ops.scores import brier
from keras_ordseg.ops.sums import ExactSum, wide


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterBrier(PixelMetric):
    """Brier score of the foreground probability, every rater's answer counted once.

    `sum w (v (1-p)^2 + (n-v) p^2) / sum w n`: calibration and sharpness in one number, 0 at best. `decomposition()`
    tells how much of it is which.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        num_bins: Number of equal-width bins of the decomposition, default 15 as in `MultiRaterECE`. The score itself
            does not depend on it.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Brier, Mon. Weather Rev. 78, 1950; Murphy, *A new vector partition of the probability score*, J. Appl.
    Meteorol. 12, 1973; Stephenson, Coelho and Jolliffe, *Two extra components in the Brier score decomposition*, Weather
    and Forecasting 23, 2008.

    >>> metric = MultiRaterBrier(from_logits=False, num_raters=2)
    >>> metric.update_state(np.array([[1, 2]]), np.array([[[0.5], [1.0]]]))
    >>> float(metric.result())
    0.125
    >>> parts = metric.decomposition()      # three of the four answers mark, and p says who: calibrated, not always sure
    >>> [parts[name] for name in ("reliability", "resolution", "uncertainty", "within_bin")]
    [0.0, 0.0625, 0.1875, 0.0]
    """

    _direction = "down"

    def __init__(self, readout="expected", num_bins=15, **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.num_bins = check_count(num_bins, "num_bins")
        self._weight = ExactSum(self, self.num_bins, "weight")
        self._confidence = ExactSum(self, self.num_bins, "confidence")
        self._vote = ExactSum(self, self.num_bins, "vote")
        self._score = ExactSum(self, self.num_bins, "score")

    def accumulate(self, panel, y_pred, y_true):
        p = self.clean(readout_probability(y_pred, self.readout, self.from_logits))
        bins, p = bin_index(p, self.num_bins), wide(p)
        weights, votes, counts = wide(panel.weights), wide(panel.votes), wide(panel.counts)
        self._weight.add(weights * counts, bins)
        self._confidence.add(weights * counts * p, bins)
        self._vote.add(weights * votes, bins)
        self._score.add(weights * brier(votes, counts, p), bins)

    def value(self):
        return ops.divide_no_nan(ops.sum(self._score.value()), ops.sum(self._weight.value()))

    def decomposition(self):
        """What the score is made of: `brier = reliability - resolution + uncertainty + within_bin`, exactly.

        With the share `W_b` of the answers in bin b, their mean probability `p_b` and mean vote `y_b`, and the mean
        vote `y` of all:

        * `reliability = sum_b W_b (p_b - y_b)^2`, the squared calibration error, 0 at best;
        * `resolution = sum_b W_b (y_b - y)^2`, how far the bins tell answers apart, the larger the better;
        * `uncertainty = y (1 - y)`, which the model does not change;
        * `within_bin = sum_b W_b (var_b(p) - 2 cov_b(p, y))`, what bins of finite width hide from the other three. It
          is negative where the model resolves more than the bins do: resolution - within_bin is that resolution.

        The raters' disagreement within a pixel is part of the uncertainty that no model resolves.

        Returns:
            A dict of floats: `brier` and the four parts, all 0 before anything was added and NaN once `y_true` or
            `y_pred` held impossible values.
        """
        weight, confidence, vote, score = (
            ops.convert_to_numpy(part.parts()).astype("float64").sum(axis=0)
            for part in (self._weight, self._confidence, self._vote, self._score)
        )
        total = weight.sum()
        if total == 0 or np.isnan(float(self.result())):
            empty = float(self.result())
            return dict.fromkeys(("brier", "reliability", "resolution", "uncertainty", "within_bin"), empty)
        full = weight > 0
        weight, confidence, vote, score = (x[full] for x in (weight, confidence, vote, score))
        mean_p, mean_y, mean = confidence / weight, vote / weight, vote.sum() / total
        # sum w p^2 - 2 sum w p y of a bin is its score less sum w y^2 = sum w y, since an answer y is 0 or 1
        within = score - vote - confidence * mean_p + 2 * confidence * mean_y
        return {
            "brier": float(score.sum() / total),
            "reliability": float(weight @ (mean_p - mean_y) ** 2 / total),
            "resolution": float(weight @ (mean_y - mean) ** 2 / total),
            "uncertainty": float(mean * (1 - mean)),
            "within_bin": float(within.sum() / total),
        }

    def get_config(self):
        return {**super().get_config(), "readout": self.readout, "num_bins": self.num_bins}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterNLL(PixelMetric, MeanMetric):
    """Negative log-likelihood of the raters' answers, each counted once, in nats.

    `sum w (-v log p - (n-v) log(1-p)) / sum w n`, from the logit of the read-out, so that neither p nor 1 - p is rounded
    to 0; logits beyond 1e4 count as 1e4. Where `y_pred` holds probabilities, those of levels are floored at 1e-30 and
    p and 1 - p of a binary output at 1e-7: a certain and wrong answer then costs 16.1 nats, not infinity.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Good, *Rational decisions*, J. R. Stat. Soc. B 14, 1952; Gneiting and Raftery, JASA 102, 2007.

    >>> metric = MultiRaterNLL(num_raters=2)
    >>> metric.update_state(np.array([[1, 2]]), np.array([[[0.0], [100.0]]]))      # log 2 for two answers of four
    >>> round(float(metric.result()), 4)
    0.3466
    """

    _direction = "down"

    def __init__(self, readout="expected", **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)

    def terms(self, panel, y_pred):
        logit = ops.clip(wide(score_logit(y_pred, self.readout, self.from_logits, floor=1e-7)), -1e4, 1e4)
        votes, counts = wide(panel.votes), wide(panel.counts)
        return votes * ops.softplus(-logit) + (counts - votes) * ops.softplus(logit), panel.counts

    def get_config(self):
        return {**super().get_config(), "readout": self.readout}


def score_logit(y_pred, readout, from_logits, floor):
    """The logit of a read-out; of probabilities too, where p and 1 - p of a binary output are floored at `floor`."""
    if from_logits or y_pred.shape[-1] > 1:
        return readout_logit(y_pred if from_logits else level_logits(y_pred, False), readout)
    p = wide(ops.squeeze(as_float(y_pred), axis=-1))
    return ops.log(ops.maximum(p, floor)) - ops.log(ops.maximum(1.0 - p, floor))
