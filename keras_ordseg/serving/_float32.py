"""A model of half precision rebuilt in float32."""

import keras

_HALF = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def as_float32(model):
    """The same layers with the same weights, all in float32.

    Args:
        model: A Keras model whose layers give their configuration.

    Returns:
        A new model; the given one is left as it is.

    >>> keras.config.set_dtype_policy("mixed_bfloat16")
    >>> half = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
    >>> keras.config.set_dtype_policy("float32")
    >>> as_float32(half).layers[0].compute_dtype, half.layers[0].compute_dtype
    ('float32', 'bfloat16')
    """
    config = _widened(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    rebuilt = keras.saving.deserialize_keras_object(config)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _widened(node):
    """A configuration in which every precision policy is float32."""
    if isinstance(node, list | tuple):
        return [_widened(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") == "DTypePolicy":
        return {**node, "config": {"name": "float32"}}
    return {
        key: "float32" if key == "dtype" and value in _HALF else _widened(value) for key, value in node.items()
    }
