"""Where a metric or a loss looks: everything, near the marks, or inside the body."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from keras_ordseg.data._errors import DataError

_KINDS = ("all", "union", "body")


def region(
    data,
    kind: str = "union",
    margin: float = 0,
    spacing: float | Sequence[float] = 1.0,
    threshold: float | None = None,
) -> np.ndarray:
    """The pixels of a region, for `restrict` or, as float32, for `sample_weight`.

    | kind | pixels |
    | --- | --- |
    | `"all"` | that any rater rated |
    | `"union"` | within `margin` of a pixel that any rater marked; none in an image that nobody marked |
    | `"body"` | of the largest bright piece of the image with its holes filled, and within `margin` of it |

    Distances are Euclidean, to the centre of the nearest such pixel. A small margin asks the question where it is
    decided: far from all marks everyone is right, and that drowns the rest in a mean over all pixels.

    Args:
        data: ratings `(N, *spatial, K)`, or a dict of arrays with `"ratings"`, which `"body"` needs for its
            `"image"`.
        kind: one of the above.
        margin: in pixels, or in the unit of `spacing`.
        spacing: the size of a pixel along each spatial axis, one number for all.
        threshold: of the image's mean over channels, above which a pixel is bright, for `"body"`. Defaults to
            Otsu's, image by image.

    Returns:
        bool `(N, *spatial)`.

    Raises:
        ValueError: another kind, a negative margin, a threshold without `"body"`.
        DataError: `"body"` without images, or shapes that do not agree.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> ratings = np.zeros((1, 7, 2), dtype="int8")
    >>> ratings[0, 3, 0], ratings[0, 6] = 1, -1
    >>> data.region(ratings, "union", margin=1)[0].astype(int)
    array([0, 0, 1, 1, 1, 0, 0])
    >>> data.restrict(ratings, data.region(ratings, "union", margin=1))[0, :, 0]
    array([-1, -1,  0,  1,  0, -1, -1], dtype=int8)
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, came {kind!r}")
    if not margin >= 0:
        raise ValueError(f"margin must be 0 or more, came {margin!r}")
    if threshold is not None and kind != "body":
        raise ValueError(f"threshold belongs to kind='body', came kind={kind!r}")
    ratings = np.asarray(data["ratings"] if isinstance(data, Mapping) else data)
    if ratings.ndim < 3:
        raise DataError(f"ratings must be (N, *spatial, K), came shape {ratings.shape}")
    sampling = np.broadcast_to(np.asarray(spacing, float), (ratings.ndim - 2,))
    if not (sampling > 0).all():
        raise ValueError(f"spacing must be above 0, came {spacing!r}")
    if kind == "all":
        return (ratings >= 0).any(axis=-1)
    if kind == "body":
        image = np.asarray(data["image"]) if isinstance(data, Mapping) and "image" in data else None
        if image is None or image.shape[:-1] != ratings.shape[:-1]:
            came = "none" if image is None else f"image {image.shape} and ratings {ratings.shape}"
            raise DataError(f"kind='body' needs a dict with the images of the ratings, came {came}")
        core = np.stack([_body(picture.mean(axis=-1), threshold) for picture in image])
    else:
        core = (ratings == 1).any(axis=-1)
    if not margin:
        return core
    near = np.zeros_like(core)
    for result, pixels in zip(near, core, strict=True):
        if pixels.any():
            np.less_equal(ndimage.distance_transform_edt(~pixels, sampling), margin, out=result)
    return near


def restrict(data, region):
    """Ratings that say -1 (did not rate) outside a region: losses and metrics then look only inside it.

    Args:
        data: ratings `(N, *spatial, K)`, or a dict of arrays with `"ratings"`.
        region: bool `(N, *spatial)`, as `region` returns it.

    Returns:
        New ratings, or a new dict with them; an image without any pixel inside weighs nothing.

    Raises:
        DataError: a region that is not boolean or of another shape.
    """
    if isinstance(data, Mapping):
        return {**data, "ratings": restrict(data["ratings"], region)}
    ratings, region = np.asarray(data), np.asarray(region)
    if region.dtype != bool or region.shape != ratings.shape[:-1]:
        raise DataError(
            f"region must be bool {ratings.shape[:-1]} for ratings {ratings.shape}, came {region.dtype} {region.shape}"
        )
    return np.where(region[..., None], ratings, -1).astype(ratings.dtype)


def _body(picture, threshold):
    if threshold is None:
        threshold = _otsu(picture)
    pieces, count = ndimage.label(picture > threshold)
    if not count:
        return np.zeros(picture.shape, bool)
    return ndimage.binary_fill_holes(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def _otsu(picture):
    """The cut with the largest variance between the two classes, of 256 bins."""
    counts, edges = np.histogram(picture, bins=256)
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    low, high = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return edges[1 + np.argmax(below * above * (high - low) ** 2)]
