"""Export for TensorFlow Serving."""

import logging
import os
import pathlib
import shutil
import tempfile

import keras
from keras import ops

from keras_ordseg.ops import consensus_probability, level_probabilities, readout_probability


def export(model, directory):
    """Writes a trained model as the next version of a TensorFlow SavedModel.

    `directory/<version>/saved_model.pb`, with versions 1, 2, 3, ... as TensorFlow Serving reads them. Neither Keras
    nor this package is needed to load it. The signature `serving_default` takes `image`, float32
    `(batch, *spatial, channels)` exactly as the model was trained on, and gives float32 outputs:

    - `"agreement"` `(batch, *spatial)`: the chance that a rater drawn at random marks the pixel, `E[k] / K`;
    - `"majority"` `(batch, *spatial)`: the chance that a majority marks it, `P(k >= ceil(K/2))`;
    - `"levels"` `(batch, *spatial, K+1)`: the chance that exactly 0, 1, ..., K raters mark it;
    - `"at_least"` `(batch, *spatial, K)`: the chance that at least 1, ..., K raters mark it.

    A binary model (last axis 1) gives `"probability"` `(batch, *spatial)` instead. A model with structures gives each of
    them under `"<structure>_<output>"`. Layers run in inference mode. A version appears whole or not at all: it is
    written beside its place and renamed.

    Args:
        model: A Keras model with one image as input and logits as output: level logits, a binary logit, or a dict of
            them by structure.
        directory: Folder of the served model; made where it is missing.

    Returns:
        `pathlib.Path` of the version written.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is not built, or its input or output is not of the kind above.
        RuntimeError: Under a Keras backend that cannot write a SavedModel.
        ImportError: Without TensorFlow.
        NotADirectoryError: If `directory` is a file.

    >>> import keras_ordseg, tempfile
    >>> model = keras_ordseg.models.OrdinalSegmenter(
    ...     keras_ordseg.models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = export(model, folder)
    ...     version.name, (version / "saved_model.pb").exists()
    ('1', True)
    """
    shape = _check_model(model)
    _check_backend(shape)
    directory = pathlib.Path(directory).expanduser()
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"directory: expected a folder for the versions of the model. '{directory}' is a file."
        )
    directory.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=directory))
    try:
        _write(model, shape, scratch / "model")
        return _publish(scratch / "model", directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(model, shape, path):
    def serve(image):
        outputs = model(image, training=False)
        if not isinstance(outputs, dict):
            return _readouts(outputs)
        return {
            f"{structure}_{name}": value
            for structure, output in outputs.items()
            for name, value in _readouts(output).items()
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [keras.InputSpec(dtype="float32", shape=shape, name="image")]
    archive.add_endpoint("serving_default", serve, input_signature=signature)
    log = logging.getLogger("tensorflow")  # it would name the temporary folder, twice
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        archive.write_out(str(path), verbose=False)
    finally:
        log.setLevel(level)


def _readouts(logits):
    """What is served of one output, by name."""
    num_raters = logits.shape[-1] - 1
    if num_raters == 0:
        return {"probability": readout_probability(logits)}
    at_least = [consensus_probability(logits, quorum) for quorum in range(1, num_raters + 1)]
    return {
        "agreement": readout_probability(logits, "expected"),
        "majority": readout_probability(logits, "majority"),
        "levels": level_probabilities(logits),
        "at_least": ops.stack(at_least, axis=-1),
    }


def _publish(source, directory):
    """Renames `source` to the next free version; another process may take that number meanwhile."""
    while True:
        versions = [int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal()]
        target = directory / str(max(versions, default=0) + 1)
        try:
            os.rename(source, target)
        except OSError:
            if not target.exists():
                raise
        else:
            return target


def _check_model(model):
    """The shape of the model's input with a free batch axis; an error for a model that cannot be served."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model: expected a Keras model. Received: {model!r} of type {type(model).__name__}.")
    inputs = getattr(model, "inputs", None) if model.built else None
    if not inputs:
        raise ValueError(
            f"model: '{model.name}' is not built, or its shapes are not known. Use a functional model such as "
            "models.OrdinalSegmenter, or wrap yours: keras.Model(image, model(image)) with "
            "image = keras.Input((None, None, channels), name='image')."
        )
    if len(inputs) != 1 or not 3 <= len(inputs[0].shape) <= 5:
        raise ValueError(
            f"model: expected one input, an image (batch, *spatial, channels). '{model.name}' takes "
            f"{[tuple(x.shape) for x in inputs]}."
        )
    output = model.output
    for name, tensor in (output if isinstance(output, dict) else {"": output}).items():
        shape = tuple(getattr(tensor, "shape", ()))
        if len(shape) != len(inputs[0].shape) or shape[-1] is None:
            raise ValueError(
                f"model: expected level logits (batch, *spatial, K+1) or a binary logit (batch, *spatial, 1), or a dict "
                f"of them by structure. '{model.name}' gives {name or 'an output'} of shape {shape or output!r}."
            )
        layer = tensor._keras_history.operation
        made_by = {type(layer).__name__.lower(), getattr(getattr(layer, "activation", None), "__name__", "")}
        if made_by & {"sigmoid", "softmax"} or getattr(layer, "output_type", "") == "probability":
            raise ValueError(
                f"model: expected logits, because the probabilities are made here. The last layer '{layer.name}' of "
                f"'{model.name}' gives probabilities; take its activation away."
            )
    return (None, *inputs[0].shape[1:])


def _check_backend(shape):
    backend = keras.config.backend()
    if backend not in ("tensorflow", "jax"):
        raise RuntimeError(
            f"serving.export writes a TensorFlow SavedModel, which Keras cannot do under the '{backend}' backend. Save "
            "the model with model.save('model.keras') and export it in a process with KERAS_BACKEND=tensorflow."
        )
    if backend == "jax" and None in shape[1:]:
        raise ValueError(
            f"model: under the 'jax' backend the size of the image must be fixed, and it is {shape[1:-1]}. Save the "
            "model with model.save('model.keras') and export it in a process with KERAS_BACKEND=tensorflow, or build "
            "it on a backbone with a fixed input_shape."
        )
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "serving.export writes a TensorFlow SavedModel and needs TensorFlow: pip install tensorflow"
        ) from error
