"""The read-out as a layer: from level logits to one foreground output."""

import keras
from keras import ops

from keras_ordseg.ops.levels import check_readout, readout_logit, resolve_quorum


@keras.saving.register_keras_serializable(package="keras_ordseg")
class AgreementReadout(keras.layers.Layer):
    """Reads one foreground logit (or probability) from level logits, as an ordinary binary output.

    The output keeps a last axis of 1, so that every metric of the package scores it as a binary output.

    Args:
        readout: `"expected"` (default): `E[k] / K`, the chance that a rater drawn at random marks the pixel;
            `"majority"` or an int quorum: the chance that at least that many raters mark it.
        output: `"logit"` (default, what losses and metrics take with `from_logits=True`) or `"probability"`.
        name, dtype, …: As for any Keras layer.

    Input shape:
        `(batch, *spatial, K+1)` level logits.

    Output shape:
        `(batch, *spatial, 1)`, float32.

    Raises:
        ValueError: For an unknown read-out or output, a quorum above K, or an input without levels.

    >>> float(AgreementReadout(output="probability")(ops.zeros((1, 2, 2, 4)))[0, 0, 0, 0])
    0.5
    """

    def __init__(self, readout="expected", output="logit", **kwargs):
        kwargs.setdefault(
            "dtype", "float32"
        )  # the logit of a level output must not pass through half precision
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        if output not in ("logit", "probability"):
            raise ValueError(f"output: expected 'logit' or 'probability'. Received: {output!r}.")
        self.output_type = output
        self.supports_masking = True

    def build(self, input_shape):
        if input_shape[-1] is None or input_shape[-1] < 2:
            raise ValueError(
                f"input: expected level logits with a last axis of K+1 >= 2. Received shape {tuple(input_shape)}."
            )
        if self.readout != "expected":
            resolve_quorum(self.readout, input_shape[-1] - 1)
        super().build(input_shape)

    def call(self, inputs):
        logit = ops.expand_dims(readout_logit(inputs, self.readout), -1)
        return logit if self.output_type == "logit" else ops.sigmoid(logit)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def get_config(self):
        return {**super().get_config(), "readout": self.readout, "output": self.output_type}
