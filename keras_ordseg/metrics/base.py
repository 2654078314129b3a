"""What every metric of the package shares: reading `y_true`, impossible values, exact means."""

import re

import keras
import numpy as np
from keras import ops

from keras_ordseg.ops.levels import as_float
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.sums import ExactSum, pieces, wide
from keras_ordseg.ops.values import check_scores, check_single, impossible_probabilities


class MultiRaterMetric(keras.metrics.Metric):
    """Base of the metrics: reads `y_true` and `y_pred`, and turns NaN when either is impossible.

    A subclass writes `accumulate(panel, y_pred, y_true)` and `value()`, and `_direction`, `"up"` or `"down"`: what Keras'
    `EarlyStopping` and `ModelCheckpoint` take for better where no `mode` is given.

    Args:
        from_logits: Whether `y_pred` holds logits (default) or probabilities.
        num_raters: K; needed only where `y_true` is votes and `y_pred` a binary output.
        name: Default: that of the class in snake case, for every output of a model alike.
        dtype: As for any Keras metric.
    """

    def __init__(self, from_logits=True, num_raters=None, name=None, dtype=None):
        super().__init__(name=_snake_case(type(self).__name__) if name is None else name, dtype=dtype)
        self.from_logits = bool(from_logits)
        self.num_raters = num_raters
        self._poison = self.add_variable((), "zeros", dtype="float32", name="poison")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: Votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`.
            y_pred: Level scores `(batch, *spatial, K+1)` or a binary score `(batch, *spatial, 1)`.
            sample_weight: None, or weights of shape `(batch,)` or `(batch, *spatial)`.

        Raises:
            ValueError: For shapes that do not fit, and where they can be read for impossible values, probabilities of
                levels taken for logits, and logits taken for probabilities; inside a compiled graph such values make the
                result NaN, but for probabilities taken for logits.
        """
        self._check(y_true, y_pred)
        self._add(y_true, y_pred, sample_weight)

    def _check(self, y_true, y_pred):
        check_single(y_true=y_true, y_pred=y_pred)
        check_scores(y_pred, self.from_logits)

    def _add(self, y_true, y_pred, sample_weight):
        y_pred = as_float(y_pred)
        if not self.from_logits:
            self._note(impossible_probabilities(y_pred))
        read = panel(y_true, y_pred, sample_weight, self.num_raters)
        impossible = ops.isnan(read.weights)
        self._note(impossible)
        read = read._replace(weights=ops.where(impossible, ops.zeros_like(read.weights), read.weights))
        self.accumulate(read, y_pred, y_true)

    def accumulate(self, panel, y_pred, y_true):
        """Adds a batch whose `y_true` was read into a `Panel` of finite weights."""
        raise TypeError(f"{type(self).__name__} must define accumulate(panel, y_pred, y_true).")

    def value(self):
        """The metric of what was added, as a scalar tensor."""
        raise TypeError(f"{type(self).__name__} must define value().")

    def result(self):
        """The metric so far: 0 before anything was added, NaN once `y_true` or `y_pred` held impossible values."""
        value = self.value()
        return ops.where(self._poison > 0, ops.full_like(value, float("nan")), value)

    def clean(self, x):
        """`x` with 0 in place of NaN and infinity, which are noted: the result is NaN from then on."""
        broken = ops.logical_not(ops.isfinite(x))
        self._note(broken)
        return ops.where(broken, ops.zeros_like(x), x)

    def _note(self, broken):
        self._poison.assign(self._poison + ops.cast(ops.any(broken), "float32"))

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits, "num_raters": self.num_raters}


class PixelMetric(MultiRaterMetric):
    """Base of metrics that are sums over pixels: a large batch is added piece by piece outside compiled graphs."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self._check(y_true, y_pred)  # of the whole batch: a piece is filled up, and may be too small to tell
        cut = pieces(y_true, y_pred, sample_weight)
        if isinstance(cut, list):
            self._add(*cut[0])
            return
        before = {v.path: np.array(ops.convert_to_numpy(v)) for v in self.variables}
        try:
            for piece in cut:
                self._add(*piece)
        except ValueError:  # a bad value in a later piece leaves nothing of the batch behind
            for v in self.variables:
                v.assign(before.get(v.path, np.zeros(v.shape)))
            raise


class MeanMetric(MultiRaterMetric):
    """A ratio of exact sums over all pixels: a subclass writes `terms(panel, y_pred)`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._top = ExactSum(self, 1, "total")
        self._bottom = ExactSum(self, 1, "weight")

    def terms(self, panel, y_pred):
        """Per-pixel values and what each counts, both `(batch, *spatial)` and not yet weighted."""
        raise TypeError(f"{type(self).__name__} must define terms(panel, y_pred).")

    def accumulate(self, panel, y_pred, y_true):
        values, counts = self.terms(panel, y_pred)
        weights = wide(panel.weights)
        self._top.add(weights * wide(self.clean(values)))
        self._bottom.add(weights * wide(counts))

    def value(self):
        return ops.divide_no_nan(self._top.value(), self._bottom.value())[0]


def _snake_case(name):
    """`"MultiRaterECE"` as `"multi_rater_ece"`, as Keras names layers."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
