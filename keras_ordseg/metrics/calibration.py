"""Calibration to the raters: does a probability of 0.7 mean that seven experts in ten mark the pixel?"""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import PixelMetric
from keras_ordseg.ops import binning
from keras_ordseg.ops.checks import check_choice, check_count
from keras_ordseg.ops.levels import check_readout, readout_probability
from keras_ordseg.ops.sums import ExactSum, segment_sums, wide

_CHOICES = {
    "raters": ("pooled", "per_rater"),
    "binning": ("uniform", "equal_mass"),
    "norm": binning.NORMS,
    "confidence": ("foreground", "top_label"),
}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterECE(PixelMetric):
    """Expected calibration error of the foreground probability against every rater's answer.

    Over bins b of the read-out p, with `w = n * sample_weight`: `sum_b |sum_b w p - sum_b w v/n| / sum w`. It equals
    the error one gets from repeating every prediction once for each rater, at a cost that does not grow with K.
    The sums are exact at volume scale (millions of voxels), where sums in float32 are not.

    The majority read-out is calibrated to the majority label, the expected read-out to the raters: even a perfect
    ordinal model keeps an error under `"majority"`.

    Bins are `[lo, hi)`, the last one closed at 1. Bins of equal mass hold the same weight of answers each, as far as equal
    predictions, which stay together, allow it. They are made at the end from 6915 cells of p, at most 1/128 wide relative
    to `min(p, 1 - p)`, so that no prediction is kept: an edge moves by less than a cell, and the l1 error differs from that
    of exactly equal bins by at most twice the share of the weight that lies in the `num_bins - 1` cells in which those
    have an edge. `reliability()` gives that bound.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        num_bins: Number of bins, default 15.
        raters: `"pooled"` (default): all answers in one diagram. `"per_rater"`: the mean over the raters of each one's
            error, never below the pooled one on complete panels with bins of equal width and norm `"l1"`; a rater who
            rated nothing (by weight) is left out of the mean. Needs ratings, always with the same number of slots:
            `num_raters` where that is given, else what the first update has.
        binning: `"uniform"` (default), bins of equal width; or `"equal_mass"`.
        norm: With the gap g_b between mean prediction and mean vote and the share s_b of a bin: `"l1"` (default) is
            `sum s_b |g_b|`, `"l2"` is `sqrt(sum s_b g_b^2)`, `"max"` is `max |g_b|`.
        confidence: `"foreground"` (default): p against the votes. `"top_label"`: the confidence `max(p, 1 - p)` against
            the share of the answers that agree with the label `p >= 1/2`. Bins of equal width are those of [0, 1], so
            that the lower half stays empty.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`. The result is a fraction, not a percentage, and 0 before any answer.

    Raises:
        ValueError: For an argument out of range, votes where `"per_rater"` needs ratings, or shapes and values that do
            not fit.

    Reference: Riera-Marín et al., arXiv 2605.02437; Naeini et al., AAAI 2015; equal mass: Nguyen and O'Connor, EMNLP
    2015; top label: Guo et al., ICML 2017.

    >>> metric = MultiRaterECE(from_logits=False, num_raters=4)
    >>> metric.update_state(np.array([[1, 3]]), np.array([[[0.25], [1.0]]]))      # right, and 0.25 too sure
    >>> round(float(metric.result()), 4)
    0.125
    >>> metric = MultiRaterECE(raters="per_rater", from_logits=False)
    >>> metric.update_state(np.array([[[1, 0]]]), np.array([[[0.5]]]))            # half a vote off, either way
    >>> float(metric.result())
    0.5
    """

    _direction = "down"

    def __init__(
        self,
        readout="expected",
        num_bins=15,
        raters="pooled",
        binning="uniform",
        norm="l1",
        confidence="foreground",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.num_bins = check_count(num_bins, "num_bins")
        self.raters, self.binning, self.norm, self.confidence = raters, binning, norm, confidence
        for argument, allowed in _CHOICES.items():
            check_choice(getattr(self, argument), argument, allowed)
        self._slots = None
        if raters == "pooled" or self.num_raters is not None:
            self._make_sums(1 if raters == "pooled" else self.num_raters)

    def _make_sums(self, slots):
        self._slots = slots
        size = slots * (self.num_bins if self.binning == "uniform" else binning.NUM_CELLS)
        self._weight = ExactSum(self, size, "weight")
        self._confidence = ExactSum(self, size, "confidence")
        self._vote = ExactSum(self, size, "vote")

    def accumulate(self, panel, y_pred, y_true):
        p = ops.cast(self.clean(readout_probability(y_pred, self.readout, self.from_logits)), "float32")
        sample_weight, counts, votes = panel.weights, panel.counts, panel.votes
        if self.raters == "per_rater":
            counts, votes = self._answers(y_true, y_pred, counts.dtype)
            p, sample_weight = ops.expand_dims(p, -1), ops.expand_dims(sample_weight, -1)
        if self.confidence == "top_label":
            votes, p = ops.where(p >= 0.5, votes, counts - votes), ops.maximum(p, 1.0 - p)
        if self.binning == "uniform":
            segments, size = binning.bin_index(p, self.num_bins), self.num_bins
        else:
            segments, size = binning.cell_index(p), binning.NUM_CELLS
        if self.raters == "per_rater":
            segments = segments + size * ops.arange(self._slots, dtype="int32")
        sample_weight = wide(sample_weight)
        weight = sample_weight * wide(counts)
        self._weight.add(weight, segments)
        self._confidence.add(weight * wide(p), segments)
        self._vote.add(sample_weight * wide(votes), segments)

    def _answers(self, y_true, y_pred, dtype):
        """Each slot's answers as counts and votes, 0 or 1."""
        y_true = ops.convert_to_tensor(y_true)
        if len(y_true.shape) != len(y_pred.shape):
            raise ValueError(
                "y_true: raters='per_rater' expects ratings (batch, *spatial, raters), because votes do not tell which "
                f"rater marked what. Received votes of shape {tuple(y_true.shape)}. Use raters='pooled'."
            )
        if self._slots is None:
            self._make_sums(y_true.shape[-1])
        if y_true.shape[-1] != self._slots:
            raise ValueError(
                f"y_true: expected ratings of {self._slots} raters, by num_raters or by the first update, because each "
                f"rater has sums of their own. Received shape {tuple(y_true.shape)}. Fill up absent raters with -1."
            )
        return ops.cast(ops.not_equal(y_true, -1), dtype), ops.cast(ops.equal(y_true, 1), dtype)

    def _bin_sums(self):
        """Weight and gap `sum w p - sum w v/n` of each rater's bins, `(slots, bins)`, and the bins of the cells."""
        # the difference first: what is left of two nearly equal sums is then as exact as the sums
        gap = ops.sum(ops.subtract(self._confidence.parts(), self._vote.parts()), axis=0)
        weight, gap = (ops.reshape(x, (self._slots, -1)) for x in (self._weight.value(), gap))
        if self.binning == "uniform":
            return weight, gap, None
        bins = binning.equal_mass_bins(weight, self.num_bins)
        segments = bins + self.num_bins * ops.arange(self._slots, dtype="int32")[:, None]
        weight, gap = (
            ops.reshape(ops.sum(segment_sums(x, segments, self._slots * self.num_bins), axis=0), (self._slots, -1))
            for x in (weight, gap)
        )
        return weight, gap, bins

    def _scores(self):
        """Each rater's error, and whether the rater rated anything, 1 or 0."""
        weight, gap, _ = self._bin_sums()
        score = binning.expected_calibration_error(weight, gap, ops.zeros_like(gap), self.norm)
        return score, ops.cast(ops.sum(weight, axis=-1) > 0, score.dtype)

    def value(self):
        if self._slots is None:
            return ops.zeros(())
        score, present = self._scores()
        return ops.divide_no_nan(ops.sum(score * present), ops.sum(present))

    def reliability(self):
        """The numbers of the reliability diagram, as NumPy arrays.

        Returns:
            A dict: `edges` `(bins+1,)`, `counts` `(bins,)` (weight of the answers in each bin), `confidence` and `vote`
            `(bins,)` (mean confidence and mean vote, or share of agreeing answers for `"top_label"`; NaN where a bin is
            empty), `ece`, a float, and for bins of equal mass `bound`, how far `ece` (norm l1) can be from that of
            exactly equal bins. With `raters="per_rater"` a dict of such dicts, `{"rater 1": …, "rater 2": …}`, whose
            `ece` is NaN for a rater who rated nothing.
        """
        if self._slots is None:
            raise ValueError(
                "reliability: with raters='per_rater' there is nothing to show before the first update, because the "
                "number of raters is not known. Call update_state first, or pass num_raters."
            )
        cells = [
            ops.convert_to_numpy(s.parts()).astype("float64").sum(0).reshape(self._slots, -1)
            for s in (self._weight, self._confidence, self._vote)
        ]
        bins = self._bin_sums()[2]
        bins = [None] * self._slots if bins is None else ops.convert_to_numpy(bins)
        broken = np.isnan(float(self.result()))
        scores, present = (ops.convert_to_numpy(x) for x in self._scores())
        diagrams = [self._diagram(*x) for x in zip(*cells, bins, strict=True)]
        for diagram, score, there in zip(diagrams, scores, present, strict=True):
            pooled = self.raters == "pooled"
            diagram["ece"] = float("nan") if broken or not (there or pooled) else float(score)
        if self.raters == "pooled":
            return diagrams[0]
        return {f"rater {number}": diagram for number, diagram in enumerate(diagrams, 1)}

    def _diagram(self, weight, confidence, vote, bins):
        more = {}
        if bins is None:
            edges = binning.bin_edges(self.num_bins).astype("float64")
        else:
            edges = binning.cell_edges()[np.searchsorted(bins, np.arange(1, self.num_bins))]
            edges = np.concatenate([[0.0], edges, [1.0]])
            more["bound"] = _cell_bound(weight, self.num_bins)
            weight, confidence, vote = (
                np.bincount(bins, x, minlength=self.num_bins) for x in (weight, confidence, vote)
            )
        full = np.where(weight > 0, weight, np.nan)
        return {"edges": edges, "counts": weight, "confidence": confidence / full, "vote": vote / full, **more}

    def get_config(self):
        return {
            **super().get_config(),
            "readout": self.readout,
            "num_bins": self.num_bins,
            "raters": self.raters,
            "binning": self.binning,
            "norm": self.norm,
            "confidence": self.confidence,
        }


def _cell_bound(weight, num_bins):
    """Twice the share of the weight in the cells that an edge of exactly equal bins cuts."""
    reached = weight.cumsum()
    if reached[-1] == 0:
        return 0.0
    edges = np.arange(1, num_bins) * (reached[-1] / num_bins)
    cell = np.searchsorted(reached, edges)
    cut = np.unique(cell[edges < reached[cell]])
    return float(2 * weight[cut].sum() / reached[-1])
