"""Generated lesions with ambiguous borders, and the true probability that a rater marks each pixel."""

from collections.abc import Sequence
from math import lgamma
from numbers import Integral

import numpy as np

_PER_PATIENT = 4
_PATIENT, _IMAGE, _RATERS, _ABSENT = range(4)


def ambiguous_shapes(
    num_images: int,
    size: int | Sequence[int] = 64,
    num_raters: int = 5,
    seed: int = 0,
    dims: int = 2,
    absent: float = 0.0,
) -> dict[str, np.ndarray]:
    """Generate images of ambiguous lesions, with several raters' masks and the true probability of a mark.

    An image holds one to three lesions `o` on an uneven, noisy background with bright streaks that nobody
    marks. Each lesion has an irregular border, the zero of a level function `d_o(x)` in pixels (negative
    inside), a softness `s_o(x)` of the border that varies around it, and a contrast `c_o`. They appear in the
    image as `c_o σ(-d_o/s_o)` with `σ` the logistic function. Every rater, independently of the others,

    * sees a lesion with probability `q_o`, which falls with its contrast;
    * draws its border at `d_o(x) = s_o(x) e_o`, where the one number `e_o`, a logistic variable, is his
      style for the whole lesion: outlines are nested, and a wide one is wide all around;
    * marks the union.

    So a rater marks pixel `x` with probability `p(x) = 1 - Π_o (1 - q_o σ(-d_o(x)/s_o(x)))`, exactly, and
    the votes of K raters at one pixel are binomial, `C(K,k) p^k (1-p)^(K-k)`.

    Args:
        num_images: N. The first images do not depend on it, nor on `num_raters`.
        size: side in pixels, or one for each of the `dims` axes; 16 or more.
        num_raters: K.
        seed: another seed gives other images; 0 or above.
        dims: 1, 2 or 3 spatial axes.
        absent: probability that a rater did not rate an image (all -1 there). One always did.

    Returns:
        A dict of arrays with N rows:
        `"image"` float32 `(N, *spatial, 1)` in [0, 1];
        `"ratings"` int8 `(N, *spatial, K)` of 1, 0 and -1;
        `"probability"` float32 `(N, *spatial)`, the true `p`;
        `"levels"` float32 `(N, *spatial, K+1)`, the true distribution of the votes of K raters;
        `"id"` and `"group"` strings; four images to a group, a simulated patient whose lesions are alike.

    Raises:
        ValueError: an argument out of its range.

    >>> from keras_ordseg import datasets
    >>> arrays = datasets.ambiguous_shapes(2, size=32, num_raters=3)
    >>> {name: array.shape for name, array in arrays.items() if array.ndim > 1}
    {'image': (2, 32, 32, 1), 'ratings': (2, 32, 32, 3), 'probability': (2, 32, 32), 'levels': (2, 32, 32, 4)}
    """
    shape = _checked(num_images, size, num_raters, seed, dims, absent)
    axes = [np.arange(side, dtype=np.float64) for side in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    images = np.empty((num_images, *shape, 1), np.float32)
    ratings = np.empty((num_images, *shape, num_raters), np.int8)
    probability = np.empty((num_images, *shape), np.float32)
    levels = np.empty((num_images, *shape, num_raters + 1), np.float32)
    for index in range(num_images):
        patient = np.random.default_rng([seed, index // _PER_PATIENT, _PATIENT])
        typical_radius, typical_contrast, noise = patient.uniform([0.1, 0.16, 0.02], [0.2, 0.34, 0.05])
        generator = np.random.default_rng([seed, index, _IMAGE])
        lesions = _lesions(generator, grid, typical_radius, typical_contrast)
        images[index, ..., 0] = _picture(generator, grid, lesions, noise)
        chance = 1 - np.prod([1 - seen * _logistic(-scaled) for scaled, seen, _ in lesions], axis=0)
        probability[index], levels[index] = chance, _binomial(chance, num_raters)
        marks = _marks(np.random.default_rng([seed, index, _RATERS]), lesions, num_raters)
        if absent:
            draws = np.random.default_rng([seed, index, _ABSENT]).random(num_raters)
            marks[..., (draws < absent) & (draws < draws.max())] = -1
        ratings[index] = marks
    return {
        "image": images,
        "ratings": ratings,
        "probability": probability,
        "levels": levels,
        "id": np.array([f"{index:04d}" for index in range(num_images)]),
        "group": np.array([f"patient-{index // _PER_PATIENT:03d}" for index in range(num_images)]),
    }


def _checked(num_images, size, num_raters, seed, dims, absent):
    for name, value, least in (
        ("num_images", num_images, 1),
        ("num_raters", num_raters, 1),
        ("seed", seed, 0),
    ):
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of {least} or more, came {value!r}")
    if dims not in (1, 2, 3):
        raise ValueError(f"dims must be 1, 2 or 3, came {dims!r}")
    shape = (size,) * dims if isinstance(size, Integral) else tuple(size)
    if len(shape) != dims or not all(isinstance(side, Integral) and side >= 16 for side in shape):
        raise ValueError(f"size must be 16 or more, one number or {dims} of them, came {size!r}")
    if not 0 <= absent < 1:
        raise ValueError(f"absent must be a probability below 1, came {absent!r}")
    return shape


def _lesions(generator, grid, typical_radius, typical_contrast):
    """The lesions of an image as `(d_o(x)/s_o(x), q_o, c_o)`."""
    shape = grid.shape[:-1]
    dims, extent = len(shape), min(shape)
    lesions = []
    for number in range(1 + generator.integers(3)):
        radius = typical_radius * extent * generator.uniform(0.75, 1.25) * (1 if number == 0 else 0.7)
        contrast = (
            typical_contrast * generator.uniform(0.8, 1.2) if number == 0 else generator.uniform(0.05, 0.25)
        )
        centre = generator.uniform(0.22, 0.78, dims) * (np.array(shape) - 1)
        axes = np.linalg.qr(generator.normal(size=(dims, dims)))[0] / generator.uniform(0.7, 1.4, dims)
        offset = grid - centre
        distance = np.linalg.norm(offset @ axes, axis=-1) - radius
        distance += 0.2 * radius * _waves(generator, grid, 1.4 * radius, 3.5 * radius)
        towards = generator.normal(size=dims)
        towards /= np.linalg.norm(towards)
        lopsided = offset @ towards / (np.linalg.norm(offset, axis=-1) + radius / 4)
        softness = radius * generator.uniform(0.03, 0.16) * (1 + 0.6 * lopsided)
        seen = float(_logistic((contrast - 0.13) / 0.025))
        lesions.append((distance / softness, seen, contrast))
    return lesions


def _picture(generator, grid, lesions, noise):
    shape = grid.shape[:-1]
    extent = min(shape)
    image = 0.25 + 0.05 * _waves(generator, grid, 0.3 * extent, 1.2 * extent)
    image += 0.02 * _waves(generator, grid, 0.06 * extent, 0.15 * extent)
    for scaled, _, contrast in lesions:
        image += contrast * _logistic(-scaled)
    for _ in range(generator.integers(3)):  # streaks: as bright as lesions, but thin, and never marked
        through = generator.uniform(0, 1, len(shape)) * (np.array(shape) - 1)
        along = generator.normal(size=len(shape))
        along /= np.linalg.norm(along)
        offset = grid - through
        square = (offset**2).sum(-1) - ((offset @ along) ** 2 if len(shape) > 1 else 0)
        image += generator.uniform(0.1, 0.3) * np.exp(-square / (2 * (0.012 * extent + 0.4) ** 2))
    image += noise * generator.normal(size=shape)
    return np.clip(image, 0, 1)


def _waves(generator, grid, shortest, longest, count=5):
    """A smooth random field of variance about 1: waves of the given lengths in pixels."""
    dims = grid.shape[-1]
    directions = generator.normal(size=(count, dims))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = generator.uniform(shortest, longest, count)
    phases = generator.uniform(0, 2 * np.pi, count)
    angles = (2 * np.pi * directions / lengths[:, None]) @ np.moveaxis(grid, -1, 0).reshape(dims, -1)
    waves = np.cos((angles + phases[:, None]).astype(np.float32)).sum(axis=0)  # float32: four times as fast
    return np.sqrt(2 / count) * waves.reshape(grid.shape[:-1]).astype(np.float64)


def _marks(generator, lesions, num_raters):
    """int8 `(*spatial, K)`: each rater's union of the lesions that he sees, at his own borders."""
    draws = generator.random((num_raters, len(lesions), 2))
    styles = np.log(draws[..., 0]) - np.log1p(-draws[..., 0])
    marks = np.zeros((*lesions[0][0].shape, num_raters), dtype=bool)
    for number, (scaled, seen, _) in enumerate(lesions):
        marks |= (scaled[..., None] < styles[:, number]) & (draws[:, number, 1] < seen)
    return marks.astype(np.int8)


def _logistic(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _binomial(probability, num_raters):
    k = np.arange(num_raters + 1)
    coefficients = np.array([lgamma(num_raters + 1) - lgamma(i + 1) - lgamma(num_raters - i + 1) for i in k])
    tiny = np.finfo(float).tiny
    marked = np.log(np.maximum(probability, tiny))[..., None]
    unmarked = np.log(np.maximum(1 - probability, tiny))[..., None]
    return np.exp(coefficients + k * marked + k[::-1] * unmarked)
