"""A calibrator behind a model."""

import keras

from keras_ordseg.models._outputs import logit_outputs
from keras_ordseg.models._structures import StructuredModel


def attach(model, calibrator, name=None):
    """The model with a calibrator behind its output: logits in the same shape, calibrated.

    Losses, metrics, `.keras` files and `serving.export` take the result like any model; weights are shared.

    Args:
        model: A functional Keras model that gives level logits or a binary logit, or a dict of them by structure.
        calibrator: What `calibration.fit` gives; for a dict of outputs a dict with an entry for each, or for those that
            are to be calibrated.
        name: Name of the new model. Default: the model's with `_calibrated`.

    Returns:
        A functional `keras.Model`.

    Raises:
        TypeError: If the model is not a Keras model or a calibrator not a Keras layer.
        ValueError: If the model is not functional or does not give logits, or calibrators and outputs do not go together.

    >>> from keras_ordseg import layers, models
    >>> model = models.OrdinalSegmenter(models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> attach(model, layers.TemperatureScaling(1.5)).output_shape
    (None, None, None, 4)
    """
    outputs = logit_outputs(model)
    given = calibrator if isinstance(calibrator, dict) else {None: calibrator}
    if not given or not set(given) <= set(outputs):
        raise ValueError(
            f"calibrator: expected one of the model's outputs, {_names(outputs)}. Received calibrators for {_names(given)}."
        )
    for layer in given.values():
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                "calibrator: expected a Keras layer, such as calibration.fit gives, or a dict of them by structure. "
                f"Received: {layer!r} of type {type(layer).__name__}."
            )
    image = keras.Input(model.inputs[0].shape[1:], name="image")
    found = model(image)
    found = found if isinstance(found, dict) else {None: found}
    found = {structure: given[structure](x) if structure in given else x for structure, x in found.items()}
    return StructuredModel(image, found.get(None, found), name=name or f"{model.name}_calibrated")


def _names(by_structure):
    return "a single one" if None in by_structure else list(by_structure)
