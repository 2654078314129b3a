"""A folder of images and masks, checked and read into arrays or a `tf.data.Dataset`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._images import read_image, read_mask
from keras_ordseg.data._sizes import checked_size, fit_image, fit_mask
from keras_ordseg.data.arrays import from_arrays
from keras_ordseg.data.cases import Case, Cases, find_cases


def check(cases: Cases, progress: bool = False) -> None:
    """Read every file and report everything that is wrong, before any training starts.

    Args:
        cases: as `find_cases` returns them.
        progress: whether to count on the standard error stream.

    Raises:
        DataError: lists every problem by its file: a file that cannot be read or is cut short, a mask that
            is not binary or of another size than its image, a float image that is not finite or outside
            [0, 1], an image with another number of channels than the rest, an image above Pillow's limit.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8 + (name == "02_rater2")), 255).save(f"{folder}/{name}.png")
    >>> data.check(data.find_cases(folder))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    keras_ordseg.data._errors.DataError: 1 problem in ...:
      02_rater2.png: the mask has 8x9 pixels, its image 02_image.png has 8x8
    """
    for _ in _checked(cases, progress):
        pass


def load(
    cases: Cases, size: int | Sequence[int] | None = None, fit: str = "crop", progress: bool = False
) -> dict[str, np.ndarray]:
    """Read all cases into NumPy arrays. TensorFlow is not needed. Every file is checked as by `check`.

    Args:
        cases: as `find_cases` returns them.
        size: height and width in pixels, one number for both; needed where the images differ in size.
        fit: `"crop"` takes the centre, and pads what is smaller (image 0, ratings -1: nobody rated there);
            `"resize"` scales the whole image (bilinear, with antialiasing) and each mask (nearest).
        progress: whether to count on the standard error stream.

    Returns:
        A dict: `"image"` float32 `(N, H, W, C)` in [0, 1], `"ratings"` int8 `(N, H, W, K)` of 1, 0 and
        -1 (no file of that rater), `"id"` and `"group"` string arrays `(N,)`.

    Raises:
        DataError: whatever `check` finds, or images of several sizes without `size`.
        ValueError: a `size` or `fit` that is none.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> arrays = data.load(data.find_cases(folder))
    >>> arrays["image"].shape, arrays["ratings"][:, 0, 0].tolist()
    ((2, 8, 8, 1), [[1, 1], [-1, 1]])
    """
    target = checked_size(size, fit)
    images, ratings = [], []
    for image, masks in _checked(cases, progress, one_size=target is None):
        if target is not None:
            image = fit_image(image, target, fit)
            masks = [None if mask is None else fit_mask(mask, target, fit) for mask in masks]
        absent = np.full(image.shape[:2], -1, np.int8)
        images.append(image)
        ratings.append(np.stack([absent if mask is None else mask for mask in masks], axis=-1))
    return {
        "image": np.stack(images),
        "ratings": np.stack(ratings),
        "id": np.array([case.id for case in cases]),
        "group": np.array([case.group for case in cases]),
    }


def from_folder(
    path: str | Path,
    image: str = "*_image.png",
    ratings: str = "*_rater{r}.png",
    size: int | Sequence[int] | None = None,
    fit: str = "crop",
    raters: Sequence[str] | None = None,
    groups=None,
    progress: bool = False,
):
    """Read a folder of images and each rater's masks as a `tf.data.Dataset`.

    Args:
        path, image, ratings, raters, groups: see `find_cases`.
        size, fit, progress: see `load`.

    Returns:
        A dataset of one dict per case, ordered by id: `"image"` float32 `(H, W, C)`, `"ratings"` int8
        `(H, W, K)`, `"id"` and `"group"` strings. K is `dataset.element_spec["ratings"].shape[-1]`.

    Raises:
        DataError: see `find_cases` and `check`.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> dataset = data.from_folder(folder, size=6)
    >>> dataset.element_spec["ratings"].shape, int(dataset.cardinality())
    (TensorShape([6, 6, 2]), 2)
    """
    return from_arrays(load(find_cases(path, image, ratings, raters, groups), size, fit, progress))


def _checked(cases, progress, one_size=False):
    """Yield `(image, masks)` of each case; at the end raise all problems at once."""
    problems, channels, sizes = [], [], []
    for done, case in enumerate(cases, 1):
        image, masks, found = _read(case)
        problems += [f"{file.relative_to(cases.path)}: {text}" for file, text in found]
        channels.append(None if image is None else image.shape[-1])
        sizes.append(None if image is None else image.shape[:2])
        if not problems:
            yield image, masks
        if progress:
            print(f"\rreading {done}/{len(cases)}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    problems += _odd_channels(cases, channels)
    if one_size:
        problems += _several_sizes(cases, sizes)
    if problems:
        raise DataError.listing(problems, str(cases.path))


def _read(case: Case):
    found, image, masks = [], None, []
    try:
        image = read_image(case.image)
    except DataError as error:
        found.append((case.image, error))
    for file in case.ratings:
        mask = None
        if file is not None:
            try:
                mask = read_mask(file)
                if image is not None and mask.shape != image.shape[:2]:
                    have, want = (f"{shape[1]}x{shape[0]}" for shape in (mask.shape, image.shape))
                    found.append(
                        (file, f"the mask has {have} pixels, its image {case.image.name} has {want}")
                    )
            except DataError as error:
                found.append((file, error))
        masks.append(mask)
    return image, masks, found


def _odd_channels(cases, channels):
    known = Counter(count for count in channels if count is not None)
    if len(known) < 2:
        return []
    usual = known.most_common(1)[0][0]
    return [
        f"{case.image.relative_to(cases.path)}: has {count} channel{'s' * (count > 1)}, most images have {usual}"
        for case, count in zip(cases, channels, strict=True)
        if count not in (None, usual)
    ]


def _several_sizes(cases, sizes):
    first = {}
    for case, size in zip(cases, sizes, strict=True):
        if size is not None:
            first.setdefault(size, f"{case.image.relative_to(cases.path)} with {size[1]}x{size[0]}")
    if len(first) < 2:
        return []
    one, other = list(first.values())[:2]
    return [
        f"images of {len(first)} sizes, as {one} and {other} pixels: give size=, with "
        'fit="crop" (crop and pad) or fit="resize"'
    ]
