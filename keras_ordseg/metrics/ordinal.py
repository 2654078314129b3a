"""Scores of the level distribution itself."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import MeanMetric, MultiRaterMetric
from keras_ordseg.ops.checks import check_count
from keras_ordseg.ops.decisions import check_decision, decided_level
from keras_ordseg.ops.levels import level_logits, level_probabilities
from keras_ordseg.ops.scores import check_normalization, rps_of_panel
from keras_ordseg.ops.sums import ExactSum, wide
from keras_ordseg.ops.thinning import present_levels


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

    _direction = "down"

    def __init__(self, normalization="levels", **kwargs):
        super().__init__(**kwargs)
        self.normalization = check_normalization(normalization)

    def terms(self, panel, y_pred):
        score = rps_of_panel(panel, level_logits(y_pred, self.from_logits), self.normalization)
        return score, panel.counts > 0

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class LevelMAE(MeanMetric):
    """Mean absolute error of one decided level against the votes, `|d - v|`, in raters, over the pixels.

    Where only n < K raters rated, the levels are thinned to n raters before the decision, and the error is in raters of
    those n: the error of a model on the n raters is that of the thinned model on them.

    Args:
        decision: `"mode"` (default): the most probable level, which is what the field of ordinal regression reports;
            `"median"`: the level with the smallest expected absolute error; `"mean"`: `E[k]`, rounded, halves up.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an unknown decision, a binary output (which has no levels), or shapes and values that do not
            fit.

    Reference: Gaudette and Japkowicz, *Evaluation methods for ordinal classification*, Canadian AI 2009.

    >>> import numpy as np
    >>> metric = LevelMAE(from_logits=False)
    >>> metric.update_state(np.array([[0, 2]]), np.array([[[0.2, 0.7, 0.1], [0.0, 0.1, 0.9]]]))     # |1 - 0|, |2 - 2|
    >>> float(metric.result())
    0.5
    """

    _direction = "down"

    def __init__(self, decision="mode", **kwargs):
        super().__init__(**kwargs)
        self.decision = check_decision(decision)

    def terms(self, panel, y_pred):
        level = _decided(self, panel, y_pred)
        return ops.abs(ops.cast(level, panel.votes.dtype) - panel.votes), panel.counts > 0

    def get_config(self):
        return {**super().get_config(), "decision": self.decision}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class QuadraticWeightedKappa(MultiRaterMetric):
    """Cohen's kappa of one decided level with the votes, weighted by the squared distance of the levels.

    `1 - sum_ij (i-j)^2 O_ij / sum_ij (i-j)^2 E_ij` with `O` the shares of (votes, decided level) over all pixels, and
    `E` the product of its margins: 1 where all levels agree, 0 where they agree no better than by chance. It is 0, too,
    where chance alone would agree, because votes and decisions are one and the same level everywhere.

    Only pixels with the answers of all K raters count: levels of panels of different sizes are different scales.
    `left_out()` is the share of the rated pixels that this leaves out.

    Args:
        num_raters: K; the table of K+1 by K+1 levels is set up before the first batch is seen.
        decision: `"mode"` (default): the most probable level; `"median"` or `"mean"`, see `ops.decide_level`. The
            rounded mean has the smallest expected squared error.
        from_logits, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, a binary output (which has no levels), or shapes and values that do
            not fit.

    Reference: Cohen, *Weighted kappa*, Psychol. Bull. 70, 1968.

    >>> import numpy as np
    >>> metric = QuadraticWeightedKappa(2)
    >>> metric.update_state(np.array([[0, 1, 2, 2]]), 4 * np.eye(3)[None, [0, 1, 1, 2]])     # one of four is off by 1
    >>> round(float(metric.result()), 4), metric.confusion().astype(int).tolist()
    (0.8, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    """

    _direction = "up"

    def __init__(self, num_raters, decision="mode", **kwargs):
        super().__init__(num_raters=check_count(num_raters, "num_raters"), **kwargs)
        self.decision = check_decision(decision)
        self._table = ExactSum(self, (self.num_raters + 1) ** 2, "table")
        self._partial = ExactSum(self, 1, "partial")

    def accumulate(self, panel, y_pred, y_true):
        level = _decided(self, panel, y_pred)
        votes = ops.cast(ops.clip(panel.votes, 0, self.num_raters), "int32")
        whole = ops.cast(ops.equal(panel.counts, self.num_raters), "float32")
        self._table.add(wide(panel.weights * whole), votes * (self.num_raters + 1) + level)
        self._partial.add(wide(panel.weights * (1.0 - whole)))

    def value(self):
        size = self.num_raters + 1
        table = ops.reshape(self._table.value(), (size, size))
        distance = ops.cast(np.subtract.outer(range(size), range(size)) ** 2, table.dtype)
        margins = ops.sum(table, axis=1, keepdims=True) * ops.sum(table, axis=0, keepdims=True)
        chance = ops.sum(distance * margins)
        kappa = 1.0 - ops.divide_no_nan(ops.sum(distance * table) * ops.sum(table), chance)
        return ops.where(chance > 0, kappa, ops.zeros_like(kappa))

    def confusion(self):
        """Weight of the pixels by votes (rows) and decided level (columns), a float64 array `(K+1, K+1)`."""
        table = ops.convert_to_numpy(self._table.value()).astype("float64")
        return table.reshape(self.num_raters + 1, -1)

    def left_out(self):
        """Share of the rated pixels, by weight, that lack an answer of the K raters and do not count; 0 to 1."""
        partial = float(self._partial.value()[0])
        total = partial + self.confusion().sum()
        return partial / total if total else 0.0

    def get_config(self):
        return {**super().get_config(), "decision": self.decision}


def _decided(metric, panel, y_pred):
    logits = present_levels(panel, level_logits(y_pred, metric.from_logits))
    return decided_level(metric.clean(level_probabilities(logits)), metric.decision)
