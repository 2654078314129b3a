"""Positions, smooth fields and sampling against SciPy, in one, two and three dimensions."""

import numpy as np
import pytest
from scipy import interpolate, ndimage
from scipy.spatial.transform import Rotation

from keras_ordseg.data import _geometry

SHAPES = [(17,), (9, 12), (6, 7, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sample_is_scipys_interpolation(rng, shape):
    """`grid-constant` is SciPy's name for an image that is surrounded by zeros."""
    image = rng.random((*shape, 2), dtype=np.float32)
    ratings = rng.integers(-1, 2, (*shape, 3)).astype(np.int8)
    where = [rng.uniform(-2, n + 1, (5, 40)).astype(np.float32) for n in shape]
    picture, marks, seen = (part.numpy() for part in _geometry.sample(image, ratings, where))
    assert picture.shape == (5, 40, 2)
    assert marks.dtype == np.int8
    places = np.array(where, np.float64)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[..., channel], places, order=1, mode="grid-constant")
        np.testing.assert_allclose(picture[..., channel], expected, atol=1e-5)
    covered = ndimage.map_coordinates(np.ones(shape), places, order=1, mode="grid-constant")
    np.testing.assert_allclose(seen[..., 0], covered, atol=1e-5)
    near = np.floor(places + 0.5).astype(int)
    inside = np.all([(i >= 0) & (i < n) for i, n in zip(near, shape, strict=True)], axis=0)
    assert 0.1 < inside.mean() < 0.95
    expected = ratings[tuple(np.clip(i, 0, n - 1) for i, n in zip(near, shape, strict=True))]
    np.testing.assert_array_equal(marks, np.where(inside[..., None], expected, -1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_positions(rng, shape):
    """`M (i + u - c) + c + s`, pixel by pixel in float64."""
    axes = len(shape)
    matrix, shift, field = rng.normal(size=(axes, axes)), rng.normal(size=axes), rng.normal(size=(axes, *shape))
    where = _geometry.positions(shape, *(part.astype(np.float32) for part in (matrix, field, shift)))
    centre = (np.array(shape) - 1) / 2
    for pixel in np.ndindex(shape):
        expected = matrix @ (pixel + field[(slice(None), *pixel)] - centre) + centre + shift
        np.testing.assert_allclose([place[pixel] for place in where], expected, atol=1e-4)


def test_linear_map_in_the_plane():
    """90° at twice the size, in (y, x): output offset (0, 2) shows the input at (1, 0)."""
    matrix = _geometry.linear_map([np.float32(np.pi / 2)], 2.0, (1, 1)).numpy()
    np.testing.assert_allclose(matrix, [[0, 0.5], [-0.5, 0]], atol=1e-7)


@pytest.mark.parametrize("voxel", [(1, 1, 1), (2.5, 0.7, 0.8)], ids=str)
def test_linear_map_in_space(voxel):
    """SciPy's rotations, about axis 2 (pair 0, 1), axis 1 (pair 0, 2), axis 0 (pair 1, 2), in millimetres."""
    angles = np.float32([0.3, -0.5, 1.1])
    about = [Rotation.from_rotvec(-angles[0] * np.eye(3)[2]), Rotation.from_rotvec(angles[1] * np.eye(3)[1])]
    about.append(Rotation.from_rotvec(-angles[2] * np.eye(3)[0]))
    turn = (about[2] * about[1] * about[0]).as_matrix()
    expected = np.diag(1 / np.array(voxel)) @ turn @ np.diag(voxel) / 1.3
    np.testing.assert_allclose(_geometry.linear_map(list(angles), 1.3, voxel), expected, atol=1e-6)


@pytest.mark.parametrize("shape, spacing", [((40,), 7.0), ((21, 30), 8.0), ((9, 16, 20), 5.5)], ids=str)
def test_smooth_field_is_a_cubic_spline(shape, spacing):
    """The same control points through SciPy's B-spline, one axis after the other."""
    import tensorflow as tf

    axes = len(shape)
    field = _geometry.smooth_field(shape, 3.0, spacing, (1, 2)).numpy()
    assert field.shape == (axes, *shape)
    counts = [int((n - 1) // spacing) + 4 for n in shape]
    expected = tf.random.stateless_uniform([*counts, axes], (1, 2), -3.0, 3.0).numpy().astype(np.float64)
    for axis, (side, count) in enumerate(zip(shape, counts, strict=True)):
        spline = interpolate.BSpline(np.arange(-3, count + 1), np.moveaxis(expected, axis, 0), 3)
        expected = np.moveaxis(spline(np.arange(side) / spacing), 0, axis)
    np.testing.assert_allclose(field, np.moveaxis(expected, -1, 0), atol=1e-5)


@pytest.mark.parametrize("shape", [(400,), (80, 90), (30, 40, 50)], ids=str)
def test_smooth_field_is_bounded_and_folds_nothing(shape):
    """At the largest displacement allowed, 0.4 of the spacing, the Jacobian stays positive everywhere."""
    axes, spacing = len(shape), 10.0
    squares = []
    for seed in range(6):
        field = _geometry.smooth_field(shape, 4.0, spacing, (seed, 3)).numpy().astype(np.float64)
        assert np.abs(field).max() <= 4
        slopes = [np.atleast_2d(np.gradient(part)).reshape(axes, *shape) for part in field]
        jacobian = np.moveaxis(np.array(slopes), (0, 1), (-2, -1)) + np.eye(axes)
        assert np.linalg.det(jacobian).min() > 0
        squares.append((field**2).mean())
    # 1/√3 of the bound, times √0.479 for each axis: the mean sum of squares of the spline's weights, 151/315
    expected = 4 / np.sqrt(3) * np.sqrt(151 / 315) ** axes
    assert np.sqrt(np.mean(squares)) == pytest.approx(expected, rel=0.25)
