"""The ordinal head: from features to level logits."""

import keras
import numpy as np
from keras import ops

_LINKS = ("softmax",)


def check_num_raters(num_raters, argument="num_raters"):
    """Returns `num_raters` as an int when it is a whole number of at least 1; a ValueError otherwise."""
    if isinstance(num_raters, bool) or not isinstance(num_raters, (int, np.integer)) or num_raters < 1:
        raise ValueError(
            f"{argument}: expected an int of at least 1, the number of raters K. Received: {num_raters!r}."
        )
    return int(num_raters)


def check_initial_levels(initial_levels, num_raters):
    """Level frequencies as a list of `K+1` floats that sum to 1, each at least 1e-6; None stays None.

    Raises:
        ValueError: If there are not K+1 of them, or one is negative or not finite, or all are 0.
    """
    if initial_levels is None:
        return None
    levels = np.asarray(initial_levels, dtype="float64")
    if levels.shape != (num_raters + 1,):
        raise ValueError(
            f"initial_levels: expected {num_raters + 1} frequencies, one for each level 0..K with "
            f"num_raters={num_raters}. Received shape {levels.shape}. data.level_frequencies(dataset) gives them."
        )
    if not np.isfinite(levels).all() or (levels < 0).any() or levels.sum() == 0:
        raise ValueError(
            f"initial_levels: expected finite frequencies of at least 0, not all 0. Received: {levels.tolist()}."
        )
    levels = np.maximum(levels / levels.sum(), 1e-6)
    return (levels / levels.sum()).tolist()


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalHead(keras.layers.Layer):
    """Turns a feature map into level logits: for each pixel a distribution over 0..K raters.

    With `link="softmax"` it is a 1×1 convolution to K+1 channels, and `softmax` of its output are the level
    probabilities. The output is float32 under every precision policy. Works on any number of spatial axes.

    Args:
        num_raters: Number of raters K, at least 1.
        link: How the channels become levels. `"softmax"` (default): K+1 free channels, the paper's.
        initial_levels: None, or the K+1 level frequencies of the training data
            (`keras_ordseg.data.level_frequencies`). The head then starts at the prior: its bias is their logarithm
            and its kernel 0, so that its first prediction is exactly these frequencies (each at least 1e-6).
            Recommended: foreground is rare, and a head that starts uniform stays miscalibrated for long.
        name, dtype, …: As for any Keras layer.

    Input shape:
        `(batch, *spatial, channels)`.

    Output shape:
        `(batch, *spatial, K+1)`, float32.

    Raises:
        ValueError: If an argument is out of range, or the channels of the input are unknown.

    Reference: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437.

    >>> head = OrdinalHead(num_raters=3, initial_levels=[0.7, 0.1, 0.1, 0.1])
    >>> z = head(np.random.default_rng(0).normal(size=(2, 8, 8, 16)))
    >>> tuple(z.shape), [round(float(p), 3) for p in ops.softmax(z)[0, 0, 0]]
    ((2, 8, 8, 4), [0.7, 0.1, 0.1, 0.1])
    """

    def __init__(self, num_raters, link="softmax", initial_levels=None, **kwargs):
        super().__init__(**kwargs)
        self.num_raters = check_num_raters(num_raters)
        if link not in _LINKS:
            raise ValueError(f"link: expected one of {_LINKS}. Received: {link!r}.")
        self.link = link
        self.initial_levels = check_initial_levels(initial_levels, self.num_raters)
        self.supports_masking = True

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"input: expected features with a known last axis (channels). Received shape {input_shape}."
            )
        start = self.initial_levels
        self.kernel = self.add_weight(
            shape=(channels, self.num_raters + 1),
            initializer="glorot_uniform" if start is None else "zeros",
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.num_raters + 1,), initializer="zeros", dtype="float32", autocast=False, name="bias"
        )
        if start is not None:
            self.bias.assign(np.log(start).astype("float32"))
        super().build(input_shape)

    def call(self, inputs):
        return ops.cast(ops.matmul(inputs, self.kernel), "float32") + self.bias

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs.shape[:-1], self.num_raters + 1), dtype="float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_raters + 1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_raters": self.num_raters,
            "link": self.link,
            "initial_levels": self.initial_levels,
        }
