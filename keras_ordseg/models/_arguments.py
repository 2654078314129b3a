"""Arguments of the segmenters: dtype policies, and values given for each structure."""

import contextlib

import keras


@contextlib.contextmanager
def dtype_scope(dtype):
    """Layers built inside run under this dtype policy; `None` is the global one."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def per_structure(value, argument, structures):
    """`{structure: value}` from one value for all structures or a dict with an entry for each."""
    if not isinstance(value, dict):
        return dict.fromkeys(structures, value)
    if None in structures:
        raise ValueError(
            f"{argument}: expected one value, not a dict, because the model has a single output. Received keys "
            f"{list(value)}; name them in structures={tuple(value)!r}."
        )
    if set(value) != set(structures):
        raise ValueError(
            f"{argument}: expected one value for all structures, or a dict with the keys {list(structures)}. Received "
            f"keys {list(value)}."
        )
    return value


def structure_names(structures):
    """`structures` as a tuple of names, `(None,)` for a single unnamed output."""
    if structures is None:
        return (None,)
    names = () if isinstance(structures, str) else tuple(structures)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            "structures: expected distinct names such as ('disc', 'cup'), or None for a single output. "
            f"Received: {structures!r}."
        )
    return names


def plain(value, kind):
    """A number, numbers in a row, or a dict of these by structure, ready for a configuration file."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: plain(item, kind) for name, item in value.items()}
    return [kind(item) for item in value] if hasattr(value, "__len__") else kind(value)
