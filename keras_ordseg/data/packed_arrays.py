"""Packed storage, read whole into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._sizes import check_size, fit_image, fit_ratings, size_for
from keras_ordseg.data.unpacked import from_packed


def load_packed(
    directory: str | Path, split: str | None = None, size: int | Sequence[int] | None = None, fit: str = "crop"
) -> dict[str, np.ndarray]:
    """Read a packed dataset, or one prepared by a builder of `keras_ordseg.datasets`, as arrays, as `load` does with files.

    Args:
        directory: as `from_packed` takes it, such as `datasets.prepare("long_ciu").data_path`.
        split: `"train"`, …; may be left out where there is only one.
        size: pixels of each side, one number or one for each axis. None keeps the images, which then have to be of one size.
        fit: `"crop"` (default) takes the centre, and pads with 0 and absent ratings what is smaller; `"resize"` scales the
            whole image (linearly, with antialiasing) and each mask (nearest).

    Returns:
        A dict: `"image"` float32 `(N, *spatial, C)`, `"ratings"` int8 `(N, *spatial, K)`, `"id"` and `"group"` string
        arrays `(N,)`; of votes also `"anonymous"` `(N,)`, True.

    Raises:
        DataError: no such dataset, or images of several sizes without `size`.
        ValueError: another split, or a `size` or `fit` that is none.

    >>> import tempfile
    >>> from keras_ordseg import data, datasets
    >>> arrays = datasets.ambiguous_shapes(5, size=16, num_raters=3)
    >>> directory = data.pack(arrays, tempfile.mkdtemp() + "/packed")
    >>> data.load_packed(directory, size=(8, 16), fit="resize")["ratings"].shape
    (5, 8, 16, 3)
    """
    check_size(size, fit)
    rows = []
    for case in from_packed(directory, split).as_numpy_iterator():
        image, ratings = case["image"], case["ratings"]
        if size is not None:
            sides = size_for(size, image.ndim - 1)
            image, ratings = fit_image(image, sides, fit), fit_ratings(ratings, sides, fit)
        names = {name: case[name].decode() for name in ("id", "group")}
        rows.append({"image": image, "ratings": ratings, **names})
        if "anonymous" in case:
            rows[-1]["anonymous"] = True
    if not rows:
        raise DataError(f"{directory}: split {split!r} holds no case")
    sizes = sorted({row["image"].shape[:-1] for row in rows})
    if len(sizes) > 1:
        shown = ", ".join(["x".join(map(str, shape)) for shape in sizes[:5]] + ["…"] * (len(sizes) > 5))
        raise DataError(f"{directory}: images of {len(sizes)} sizes ({shown}); give a size=")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
