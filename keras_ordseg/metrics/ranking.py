"""How well the foreground probability ranks the raters' answers, whatever its calibration."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import PixelMetric
from keras_ordseg.metrics.probability import score_logit
from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.levels import check_readout
from keras_ordseg.ops.sums import ExactSum, wide

_CURVES = ("roc", "pr")
_LIMIT, _CELLS = 32.0, 8192  # cells of 1/128 from -32 to 32: to 1e-14 of a certain answer


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterAUC(PixelMetric):
    """Area under the ROC curve, or average precision, every rater's answer counted once.

    Each answer is an example of its own with the pixel's prediction and weight: `v` positive and `n - v` negative ones.
    The area under the ROC curve is the chance that a marked answer has a higher prediction than an unmarked one, ties
    counting half. A pixel on which raters disagree is such a tie, so that even a perfect model stays below 1.

    The answers are counted in 8192 cells of the logit, each 1/128 wide, from -32 to 32 (beyond that, in the last one), so
    that memory does not grow with the pixels. Only the order of two answers in one cell is lost; `bound()` is the most
    that this can change the result, `sum_c P_c N_c / 2` over all pairs for the ROC curve.

    Args:
        curve: `"roc"` (default), or `"pr"` for average precision: the mean over marked answers of the precision at the
            threshold that just includes them.
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`. The result is NaN while no answer marks, and for `"roc"` while all do: there is nothing to
        rank.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Hanley and McNeil, *The meaning and use of the area under a receiver operating characteristic (ROC)
    curve*, Radiology 143, 1982.

    >>> metric = MultiRaterAUC(num_raters=2)
    >>> metric.update_state(np.array([[0, 1, 2]]), np.array([[[-3.0], [1.0], [2.0]]]))      # 8 pairs won, one tie, of 9
    >>> round(float(metric.result()), 4), round(metric.bound(), 4)
    (0.9444, 0.0556)
    """

    _direction = "up"

    def __init__(self, curve="roc", readout="expected", **kwargs):
        super().__init__(**kwargs)
        self.curve = check_choice(curve, "curve", _CURVES)
        self.readout = check_readout(readout)
        self._marked = ExactSum(self, _CELLS, "marked")
        self._unmarked = ExactSum(self, _CELLS, "unmarked")

    def accumulate(self, panel, y_pred, y_true):
        logit = self.clean(ops.clip(score_logit(y_pred, self.readout, self.from_logits, 1e-30), -1e4, 1e4))
        cell = ops.cast(ops.floor((logit + _LIMIT) * (_CELLS / (2 * _LIMIT))), "int32")
        cell = ops.clip(cell, 0, _CELLS - 1)
        weights, votes = wide(panel.weights), wide(panel.votes)
        self._marked.add(weights * votes, cell)
        self._unmarked.add(weights * (wide(panel.counts) - votes), cell)

    def value(self):
        marked, unmarked = self._marked.value(), self._unmarked.value()
        up, down = ops.sum(marked), ops.sum(unmarked)
        nothing = ops.full_like(up, float("nan"))
        if self.curve == "roc":
            below = ops.cumsum(unmarked) - 0.5 * unmarked
            area = ops.divide_no_nan(ops.sum(marked * below), up * down)
            return ops.where(up * down > 0, area, nothing)
        marked_above, above = _from_the_top(marked), _from_the_top(marked + unmarked)
        precision = ops.divide_no_nan(ops.sum(marked * ops.divide_no_nan(marked_above, above)), up)
        return ops.where(up > 0, precision, nothing)

    def bound(self):
        """The most that `result()` can be off because answers of one cell lost their order, as a float.

        For `"roc"`, half the pairs that share a cell. For `"pr"`, the larger of the distances to the average precision
        with every cell's marked answers first, and with its unmarked ones first. True ties are part of it, so that it is
        an upper bound and usually a large one: cells are narrow, and the order inside them is nearly even. NaN where the
        result is.
        """
        marked, unmarked = (
            ops.convert_to_numpy(part.parts()).astype("float64").sum(axis=0)[::-1]
            for part in (self._marked, self._unmarked)
        )
        up, down, result = marked.sum(), unmarked.sum(), float(self.result())
        if np.isnan(result):
            return result
        if self.curve == "roc":
            return float(marked @ unmarked / (2 * up * down))
        full = marked > 0
        marked_above, above = np.cumsum(marked)[full], np.cumsum(marked + unmarked)[full]
        marked, unmarked = marked[full], unmarked[full]
        best = marked_above / (above - unmarked)
        # unmarked first, then the marked ones in any portions: no less than the integral of the precision over them
        ahead = above - marked_above  # unmarked answers at or above the cell
        worst = 1 - ahead / marked * np.log1p(marked / np.maximum(above - marked, 1e-300))
        worst = np.where(ahead > 0, worst, 1.0)
        return float(max(marked @ best / up - result, result - marked @ worst / up, 0.0))

    def get_config(self):
        return {**super().get_config(), "curve": self.curve, "readout": self.readout}


def _from_the_top(x):
    """Cumulative sums from the last cell down to each."""
    return ops.flip(ops.cumsum(ops.flip(x)))
