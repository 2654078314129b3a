"""The graphs of the signatures, and the SavedModel that holds them."""

import logging

import keras

from keras_ordseg.ops.resizing import resize_linear
from keras_ordseg.serving._card import describe
from keras_ordseg.serving._checks import check_trial, checked_values
from keras_ordseg.serving._encoded import decode, resize_outputs
from keras_ordseg.serving._signatures import by_structure, cut_to, pad_to_multiples, resized_logits


def logits_of(model, calibrators, multiples, value_range, size=None):
    """Images to calibrated logits at their size: one output, or a dict by structure.

    With a size, that of training, images are brought to it, and the levels' probabilities back.
    """

    def logits(image):
        if keras.config.backend() == "tensorflow":
            image = checked_values(image, value_range)
        seen = image if size is None else resize_linear(image, size)
        padded = pad_to_multiples(seen, multiples)
        outputs = model(padded, training=False)
        check_trial(outputs, padded)
        if max(multiples) > 1:
            outputs = keras.tree.map_structure(lambda output: cut_to(output, seen), outputs)
        if isinstance(outputs, dict):
            outputs = {name: calibrators[name](z) if name in calibrators else z for name, z in outputs.items()}
        elif calibrators:
            outputs = calibrators[None](outputs)
        if size is None:
            return outputs
        sides = [keras.ops.shape(image)[axis] for axis in range(1, len(image.shape) - 1)]
        return keras.tree.map_structure(lambda z: resized_logits(z, sides), outputs)

    return logits


def write_graph(path, model, calibrators, shape, logits, functions, max_pixels):
    """Writes the SavedModel; returns inputs and outputs of each signature."""
    archive = keras.export.ExportArchive()
    for layer in (model, *calibrators.values()):
        archive.track(layer)
    specs = [keras.InputSpec(dtype="float32", shape=shape, name="image")]
    if keras.config.backend() == "tensorflow":  # one trace of the model, which the signatures share
        import tensorflow as tf

        spec = tf.TensorSpec(shape, tf.float32, name="image")
        logits = tf.function(logits, input_signature=[spec], autograph=False).get_concrete_function()
    written = {}
    for name, function in functions.items():
        written[name] = archive.add_endpoint(name, _endpoint(function, logits), input_signature=specs)
    if max_pixels is not None:
        written["encoded"] = archive.add_endpoint("encoded", _encoded(written["serving_default"], shape, max_pixels))
    log = logging.getLogger("tensorflow")  # it would name the temporary folder, twice
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        archive.write_out(str(path), verbose=False)
    finally:
        log.setLevel(level)
    return {name: describe(function) for name, function in written.items()}


def _endpoint(function, logits):
    def serve(image):
        return by_structure(function, logits(image))

    return serve


def _encoded(default, shape, max_pixels):
    """The signature `encoded` over `serving_default`."""
    import tensorflow as tf

    def encoded(encoded):
        image = decode(encoded, shape[-1], max_pixels)
        own = tf.shape(image)[1:3]
        if None not in shape[1:3]:
            image = tf.ensure_shape(tf.image.resize(image, shape[1:3], antialias=True), shape)
            return resize_outputs(default(image), own)
        return default(image)

    function = tf.function(encoded, input_signature=[tf.TensorSpec([None], tf.string, name="encoded")], autograph=False)
    function.get_concrete_function()
    return function
