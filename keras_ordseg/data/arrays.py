"""Datasets that are NumPy arrays already: checked, selected, and handed to `tf.data`."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._numbers import number


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that would train to nonsense: `batches` and `fuse` call this before training starts.

    Args:
        arrays: `"image"` float `(N, *spatial, C)` in [0, 1], `"ratings"` integer `(N, *spatial, K)` of 1,
            0 and -1; `"id"` `(N,)` names the cases in messages. Any further array has N rows as well.

    Raises:
        DataError: shapes that do not agree, a missing array, values that are not finite or outside
            [0, 1], ratings other than -1, 0 and 1, a case that no rater rated.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> image, ratings = np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 4, 4, 3), "int8")
    >>> data.check_arrays({"image": image, "ratings": ratings})
    >>> data.check_arrays({"image": image + np.nan, "ratings": ratings, "id": np.array(["p7"])})
    Traceback (most recent call last):
    ...
    keras_ordseg.data._errors.DataError: 1 problem in the arrays:
      case p7: the image has 16 values that are not finite (NaN or infinite)
    """
    if missing := [name for name in ("image", "ratings") if name not in arrays]:
        raise DataError(f"arrays must hold 'image' and 'ratings', missing: {', '.join(missing)}")
    image, ratings = np.asarray(arrays["image"]), np.asarray(arrays["ratings"])
    if image.ndim < 3 or image.shape[:-1] != ratings.shape[:-1] or not image.size or not ratings.size:
        raise DataError(
            "image and ratings must be (N, *spatial, C) and (N, *spatial, K), the same but for the last axis "
            f"and not empty; came {image.shape} and {ratings.shape}"
        )
    for name, array in arrays.items():
        if (rows := len(array) if np.ndim(array) else "none") != len(image):
            raise DataError(f"arrays[{name!r}] must have one row for each of {len(image)} images, has {rows}")
    if image.dtype.kind != "f":
        raise DataError(f"images must be float in [0, 1], came {image.dtype}; divide 8-bit images by 255")
    if ratings.dtype.kind not in "iu":
        raise DataError(f"ratings must be integers (int8) of -1, 0 and 1, came {ratings.dtype}")
    ids = arrays.get("id", np.arange(len(image)))
    problems = []
    for name, picture, marks in zip(ids, image, ratings, strict=True):
        problems += [f"case {name}: {text}" for text in case_problems(picture, marks)]
    if problems:
        raise DataError.listing(problems, "the arrays")


def case_problems(image, ratings):
    """What is wrong with the values of one case, as a list of sentences."""
    problems = []
    if bad := image.size - np.count_nonzero(np.isfinite(image)):
        problems.append(f"the image has {bad} values that are not finite (NaN or infinite)")
    elif image.min() < 0 or image.max() > 1:
        problems.append(
            f"the image spans [{number(image.min())}, {number(image.max())}] where [0, 1] is expected; scale it to that"
        )
    low, high = ratings.min(), ratings.max()
    if low < -1 or high > 1:
        problems.append(f"ratings span {low} to {high} where -1 (did not rate), 0 and 1 are expected")
    elif high < 0:
        problems.append("no rater rated any pixel (all ratings are -1)")
    return problems


def take(arrays: Mapping[str, np.ndarray], indices) -> dict[str, np.ndarray]:
    """The rows `indices` of every array.

    Args:
        arrays: a dict of arrays with the same number of rows.
        indices: row numbers, as `split` returns them.

    Returns:
        A new dict of the same names.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> data.take({"id": np.array(["a", "b", "c"])}, [2, 0])["id"].tolist()
    ['c', 'a']
    """
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        if indices.size:
            raise ValueError(f"indices must be row numbers, came an array of {indices.dtype}")
        indices = indices.astype(np.int64)
    return {name: np.asarray(array)[indices] for name, array in arrays.items()}


def from_arrays(arrays: Mapping[str, np.ndarray]):
    """Arrays as a `tf.data.Dataset` of one dict per case, in their order. They are checked first.

    Args:
        arrays: as `load` or `ambiguous_shapes` returns them; all entries are passed on.

    Returns:
        An unbatched dataset whose length is known.

    Raises:
        DataError: see `check_arrays`.
    """
    import tensorflow as tf

    check_arrays(arrays)
    return tf.data.Dataset.from_tensor_slices({name: np.asarray(array) for name, array in arrays.items()})
