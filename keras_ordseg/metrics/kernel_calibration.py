"""Calibration to the raters without bins, from a random sample of the pixels."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import PixelMetric
from keras_ordseg.ops.checks import check_choice, check_count, check_int
from keras_ordseg.ops.kernel_calibration import NORMS, check_bandwidth, kernel_calibration_error
from keras_ordseg.ops.levels import check_readout, readout_probability


@keras.saving.register_keras_serializable(package="keras_ordseg")
class KernelECE(PixelMetric):
    """Calibration error of the foreground probability by a Beta kernel instead of bins, on a sample of the pixels.

    For each pixel j of the sample the mean vote at its probability is estimated from the others,
    `m_j = sum_{i != j} w_i k(p_j; p_i) s_i / sum_{i != j} w_i k(p_j; p_i)`, with the share s = v/n of raters that mark as
    a soft label and `w = n * sample_weight`; the error is `sum_j w_j |m_j - p_j| / sum_j w_j`. Raters of one pixel are
    never each other's neighbours, as they would be if each prediction were repeated for each rater. A kernel has no bin
    edges to choose, but a bandwidth, and it smooths; with few pixels it stays above 0 even for a perfect model, as a
    binned error does. Use it beside `MultiRaterECE`, which sees every pixel.

    The sample holds `num_samples` pixels of all that were rated and have weight, drawn without replacement, each one as
    likely as any other: those with the highest pseudo-random number of `seed` and their place in the order of updates. It
    does not depend on how the pixels are split into batches, and is all of them as long as they are no more than
    `num_samples`. With several replicas (`MirroredStrategy`) it is drawn from what the first replica sees.

    The result compares every pair of pixels of the sample, about `num_samples^2` kernels. `fit` asks for it at each step;
    in `evaluate` or by hand it is made once.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        num_samples: Size of the sample, default 2048.
        bandwidth: h of the kernel, default 0.01: about `sqrt(h p (1 - p))` wide. `"likelihood"`: of nine from 0.001 to
            0.1 the one with the highest leave-one-out likelihood, as in the reference; nine times the work, and not the
            same for every model.
        norm: `"l1"` (default) or `"l2"`, the root of the mean square.
        seed: An int; another one gives another sample. Default 0.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`. The result is a fraction, and 0 for fewer than two pixels.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Popordanoska, Sayer and Blaschko, *A consistent and differentiable Lp canonical calibration error
    estimator*, NeurIPS 2022.

    >>> metric = KernelECE(from_logits=False, num_raters=2)
    >>> metric.update_state(np.array([[0, 1, 2]]), np.full((1, 3, 1), 0.5))      # gaps of 1/4, 0 and 1/4
    >>> round(float(metric.result()), 4)
    0.1667
    """

    _direction = "down"

    def __init__(
        self, readout="expected", num_samples=2048, bandwidth=0.01, norm="l1", seed=0, **kwargs
    ):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.num_samples = check_count(num_samples, "num_samples")
        self.bandwidth = check_bandwidth(bandwidth)
        self.norm = check_choice(norm, "norm", NORMS)
        self.seed = check_int(seed, "seed")
        self._seen = self._state((), "int32", "seen")
        self._priority = self._state((self.num_samples,), "int32", "priority")
        self._probability = self._state((self.num_samples,), "float32", "probability")
        self._vote = self._state((self.num_samples,), "float32", "vote")
        self._weight = self._state((self.num_samples,), "float32", "weight")

    def _state(self, shape, dtype, name):
        # samples of several replicas do not add up: the first one's is taken
        return self.add_variable(shape, "zeros", dtype=dtype, aggregation="only_first_replica", name=name)

    def accumulate(self, panel, y_pred, y_true):
        p = ops.cast(self.clean(readout_probability(y_pred, self.readout, self.from_logits)), "float32")
        weight = ops.reshape(ops.cast(panel.weights * panel.counts, "float32"), (-1,))
        vote = ops.reshape(ops.cast(ops.divide_no_nan(panel.votes, panel.counts), "float32"), (-1,))
        counts = ops.cast(weight > 0, "int32")
        reached = ops.cumsum(counts)
        priority = counts * priorities(self._seen + reached - 1, self.seed)  # 0, the lowest, where nothing counts
        pool = ops.concatenate([ops.convert_to_tensor(self._priority), priority])
        kept, place = ops.top_k(pool, self.num_samples)
        for variable, new in ((self._probability, ops.reshape(p, (-1,))), (self._vote, vote), (self._weight, weight)):
            variable.assign(ops.take(ops.concatenate([ops.convert_to_tensor(variable), new]), place))
        self._priority.assign(kept)
        self._seen.assign(self._seen + ops.sum(counts))

    def value(self):
        sample = (ops.convert_to_tensor(x) for x in (self._probability, self._vote, self._weight))
        return kernel_calibration_error(*sample, bandwidth=self.bandwidth, norm=self.norm)

    def sample(self):
        """The pixels that the result stands on, as NumPy arrays of one length.

        Returns:
            A dict: `probability`, `vote` (the share of raters that mark) and `weight`.
        """
        arrays = {
            "probability": self._probability,
            "vote": self._vote,
            "weight": self._weight,
        }
        arrays = {name: np.array(ops.convert_to_numpy(x)) for name, x in arrays.items()}
        return {name: x[arrays["weight"] > 0] for name, x in arrays.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "readout": self.readout,
            "num_samples": self.num_samples,
            "bandwidth": self.bandwidth,
            "norm": self.norm,
            "seed": self.seed,
        }


def priorities(index, seed: int):
    """A pseudo-random number in 1..2^31-1 for each int32, by the finalizer of MurmurHash3.

    >>> [int(x) for x in priorities(np.arange(3, dtype="int32"), seed=0)]
    [315240206, 379648363, 876747707]
    """
    start = (seed * 0x61C88647 + 0x1E3779B9) % 2**32 - 2**31
    return ops.maximum(ops.bitwise_and(_mixed(ops.convert_to_tensor(index) + start), 2**31 - 1), 1)


def _mixed(x):
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        moved = ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1)  # no sign comes in from the left
        x = ops.bitwise_xor(x, moved) * (factor if factor < 2**31 else factor - 2**32)
    return x
