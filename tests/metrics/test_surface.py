import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from keras_ordseg.metrics import surface_distances


def surface(mask):
    """Coordinates of the marked pixels with a neighbour across a face that is unmarked or outside, one at a time."""
    points = []
    for i in zip(*np.nonzero(mask), strict=True):
        around = [np.add(i, step) for step in np.vstack([np.eye(mask.ndim), -np.eye(mask.ndim)]).astype(int)]
        inside = [((j >= 0) & (j < mask.shape)).all() and mask[tuple(j)] for j in around]
        if not all(inside):
            points.append(i)
    return np.array(points, "float64")


def reference(a, b, spacing, tolerance, percentile):
    gaps = cdist(surface(a) * spacing, surface(b) * spacing)
    there, back = gaps.min(1), gaps.min(0)
    every = np.concatenate([there, back])
    return {
        "hausdorff": every.max(),
        "hd95": max(np.percentile(there, percentile), np.percentile(back, percentile)),
        "assd": every.mean(),
        "nsd": (every <= tolerance + 1e-9).mean(),
    }


def blob(shape, rng):
    """An irregular solid: the pixels within a noisy distance of a random centre."""
    centre = [rng.uniform(0.3, 0.7) * n for n in shape]
    squared = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True))
    return squared < (min(shape) * rng.uniform(0.25, 0.5)) ** 2 * rng.uniform(0.5, 1.5, shape)


@pytest.mark.parametrize("shape,spacing", [((40,), 0.5), ((24, 30), (1.0, 0.4)), ((9, 14, 12), (2.5, 0.7, 0.7))])
def test_against_all_pairs_of_surface_pixels(shape, spacing, rng):
    for tolerance, percentile in itertools.product((0.0, 1.0, 2.0), (50, 95)):
        a, b = blob(shape, rng), blob(shape, rng)
        value = surface_distances(a, b.astype("uint8"), spacing, tolerance, percentile)
        expected = reference(a, b, np.asarray(spacing), tolerance, percentile)
        assert value == pytest.approx(expected, abs=1e-9)
        assert surface_distances(b, a, spacing, tolerance, percentile) == pytest.approx(value, abs=1e-9)


def test_masks_that_touch_the_border():
    """The edge of the image is a surface: a full image against its own inner half."""
    a, b = np.ones((8, 8)), np.zeros((8, 8))
    b[2:6, 2:6] = 1
    assert surface_distances(a, b, tolerance=2) == pytest.approx(reference(a, b, 1.0, 2, 95))


def test_known_values():
    """Two squares of 4 by 4, three pixels apart: distances 0 to 3 along the shift, 3 at most."""
    a, b = np.zeros((20, 20)), np.zeros((20, 20))
    a[5:9, 5:9] = b[5:9, 8:12] = 1
    assert surface_distances(a, b, spacing=2.0)["hausdorff"] == 6.0
    row, shifted = np.eye(1, 9, 1), np.eye(1, 9, 4)  # 3 pixels of 0.1 are within 0.3, whatever 3 * 0.1 rounds to
    assert surface_distances(row, shifted, spacing=0.1, tolerance=0.3)["nsd"] == 1.0
    assert surface_distances(row, shifted, spacing=0.1, tolerance=0.29)["nsd"] == 0.0
    assert surface_distances(a, a) == {"hausdorff": 0.0, "hd95": 0.0, "assd": 0.0, "nsd": 1.0}


def test_empty_masks():
    a, empty = np.eye(3), np.zeros((3, 3))
    assert surface_distances(empty, empty) == {"hausdorff": 0.0, "hd95": 0.0, "assd": 0.0, "nsd": 1.0}
    for pair in ((a, empty), (empty, a)):
        assert surface_distances(*pair) == {"hausdorff": np.inf, "hd95": np.inf, "assd": np.inf, "nsd": 0.0}


@pytest.mark.parametrize(
    "prediction,kwargs,message",
    [
        (np.zeros((4, 5)), {}, r"target: expected the shape of prediction, \(4, 5\)"),
        (np.full((4, 4), 0.3), {}, "prediction: expected a mask of 0 and 1"),
        (np.zeros((1, 4, 4, 1)), {}, "prediction: expected the mask of one image"),
        (np.zeros((4, 4)), {"spacing": (1, 1, 2)}, "spacing: expected a number above 0, or 2 of them"),
        (np.zeros((4, 4)), {"spacing": 0}, "spacing: expected"),
        (np.zeros((4, 4)), {"tolerance": -1}, "tolerance: expected"),
        (np.zeros((4, 4)), {"percentile": 0}, "percentile: expected"),
    ],
)
def test_arguments(prediction, kwargs, message):
    with pytest.raises(ValueError, match=message):
        surface_distances(prediction, np.zeros((4, 4)), **kwargs)
