"""What ensembles, sliding windows, calibrators and serving ask of a model: one image in, logits out."""

import keras

from keras_ordseg.models._inside import gives_probabilities


def logit_outputs(model, argument="model"):
    """The model's symbolic outputs by structure, a single one under `None`.

    Args:
        model: A functional Keras model of one image, which gives level logits, a binary logit, or a dict of them.
        argument: The name that errors use.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it is not functional, takes something else than one image, or gives something else than logits.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"{argument}: expected a Keras model. Received: {model!r} of type {type(model).__name__}.")
    inputs = getattr(model, "inputs", None) if model.built else None
    if not inputs:
        raise ValueError(
            f"{argument}: '{model.name}' is not a functional model, or is not built, so its shapes are not known. "
            "Wrap it: keras.Model(image, model(image)) with "
            "image = keras.Input((None, None, channels), name='image')."
        )
    rank = len(inputs[0].shape)
    if len(inputs) != 1 or not 3 <= rank <= 5 or inputs[0].shape[-1] is None:
        raise ValueError(
            f"{argument}: expected one input, an image (batch, *spatial, channels) with one to three spatial axes. "
            f"'{model.name}' takes {[tuple(x.shape) for x in inputs]}."
        )
    output = output_of(model)
    outputs = output if isinstance(output, dict) else {None: output}
    for structure, tensor in outputs.items():
        shape = getattr(tensor, "shape", ())
        if len(shape) != rank or shape[-1] is None:
            what = f"an output {structure!r}" if structure else "an output"
            raise ValueError(
                f"{argument}: expected level logits (batch, *spatial, K+1) or a binary logit (batch, *spatial, 1), or a "
                f"dict of them by structure. '{model.name}' gives {what} of shape {tuple(shape) or tensor!r}."
            )
        if (layer := gives_probabilities(tensor)) is not None:
            raise ValueError(
                f"{argument}: expected logits, because the probabilities are made here. The last layer '{layer.name}' of "
                f"'{model.name}' gives probabilities; take its activation away."
            )
    return outputs


def output_of(model):
    """The model's symbolic output; a Sequential model that was never called has none under its own name."""
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output

