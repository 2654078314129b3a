"""Models of several structures: what belongs to them goes by name; Keras matches lists in the order of the alphabet."""

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.ops.targets import read_targets


@keras.saving.register_keras_serializable(package="keras_ordseg")
class StructuredModel(keras.Model):
    """A functional model whose outputs may be a dict by structure; targets, weights, losses and metrics then are, too.

    Keras flattens a dict in the order of its sorted keys and packs a list into it, so that `[disc, cup]` would train the
    cup on the disc. A list is refused here. NumPy targets of a loss of this package are read before the first step, because
    a compiled graph can only answer impossible values with NaN.
    """

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        named = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        for argument, value in named.items():
            if isinstance(value, (list, tuple)):
                self._by_structure(argument, value)
        self._directions = {**_directions(metrics), **_directions(weighted_metrics)}
        super().compile(optimizer=optimizer, **named, **kwargs)

    compile.__doc__ = keras.Model.compile.__doc__

    def compile_from_config(self, config):
        """Compiles as the file says; Keras itself leaves that out where a class has a `compile` of its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self._check_named(y, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self._check_named(y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, x=None, y=None, *args, **kwargs):
        self._check_elements(x, kwargs.get("sample_weight"))
        self._resolve_modes(kwargs.get("callbacks"))
        held_out = kwargs.get("validation_data")
        if isinstance(held_out, (list, tuple)) and len(held_out) > 1:
            kwargs["validation_data"] = (held_out[0], self._read(held_out[1]), *held_out[2:])
        return super().fit(x, self._read(y), *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        self._check_elements(x, kwargs.get("sample_weight"))
        return super().evaluate(x, self._read(y), *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        return super().train_on_batch(x, self._read(y), *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        return super().test_on_batch(x, self._read(y), *args, **kwargs)

    for _method in (fit, evaluate, train_on_batch, test_on_batch):
        _method.__doc__ = getattr(keras.Model, _method.__name__).__doc__

    def _structures(self):
        """The outputs by structure; a single one under None."""
        output = self.output
        return output if isinstance(output, dict) else {None: output}

    def _by_structure(self, argument, value):
        """An error where there are several structures and the value is not a dict by their names."""
        names = list(self._structures())
        if len(names) < 2 or value is None or isinstance(value, dict):
            return
        got = f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
        pairs = ", ".join(f"{name!r}: ..." for name in names)
        raise ArgumentError(argument, f"a dict by structure, {{{pairs}}}", got, "name them, because a list has no names")

    def _check_named(self, y, sample_weight=None):
        self._by_structure("y", y)
        if isinstance(sample_weight, (list, tuple)):  # one array is for all
            self._by_structure("sample_weight", sample_weight)

    def _check_elements(self, x, sample_weight):
        """As `_check_named`, of `tf.data` before it is read: after an error in a graph a model must be compiled anew."""
        element = getattr(x, "element_spec", None)
        _, y, weight = (*element, None, None)[:3] if isinstance(element, tuple) and len(element) > 1 else (None,) * 3
        self._check_named(y, weight if sample_weight is None else sample_weight)

    def _read(self, y):
        """Targets with those that are NumPy arrays checked, if a loss of this package reads them, and as int8 or int32."""
        if y is None or not self.compiled:
            return y
        self._by_structure("y", y)
        outputs = self._structures()
        given = y if isinstance(y, dict) else {next(iter(outputs)): y}
        read = {}
        for name, target in given.items():
            loss = self.loss.get(name) if isinstance(self.loss, dict) else self.loss
            ours = type(target) is np.ndarray and name in outputs and hasattr(loss, "pixel_terms")
            argument = "y_true" if name is None else f"y_true[{name!r}]"
            read[name] = read_targets(target, outputs[name].shape, loss.num_raters, argument) if ours else target
        return read if isinstance(y, dict) else next(iter(read.values()))

    def _resolve_modes(self, callbacks):
        """Gives callbacks that watch a metric of one structure its direction: Keras looks for the metric's own name."""
        for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
            if getattr(callback, "mode", None) == "auto" and self.compiled:
                callback.mode = self._directions.get(callback.monitor.removeprefix("val_"), "auto")


def _directions(metrics):
    """`{"cup_multi_rater_ece": "min"}` of metrics given by structure, as Keras' callbacks call it."""
    return {
        f"{structure}_{metric.name}": {"up": "max", "down": "min"}[metric._direction]
        for structure, given in (metrics.items() if isinstance(metrics, dict) else ())
        for metric in keras.tree.flatten(given)
        if hasattr(metric, "_direction")
    }
