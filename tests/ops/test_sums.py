import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.ops.sums import PIECE, ExactSum, pieces, segment_sums

# JAX keeps pairs of float32; the other backends keep float64
TOLERANCE = 1e-10 if keras.backend.backend() == "jax" else 1e-14


def parts_sum(parts):
    return np.asarray(parts, "float64").sum(0)


@pytest.mark.parametrize("size", [1, 15])
def test_sums_of_many_equal_and_unequal_values(size, rng):
    values = np.concatenate([np.full(300_000, 0.1), rng.random(300_000), rng.random(1000) * 1e-6]).astype(
        "float32"
    )
    segments = rng.integers(0, size, values.size).astype("int32")
    exact = np.bincount(segments, values.astype("float64"), minlength=size)
    got = parts_sum(segment_sums(ops.convert_to_tensor(values), ops.convert_to_tensor(segments), size))
    np.testing.assert_allclose(got, exact, rtol=TOLERANCE)
    if size == 1:
        np.testing.assert_allclose(
            parts_sum(segment_sums(ops.convert_to_tensor(values))), exact, rtol=TOLERANCE
        )


def test_sums_of_signed_large_small_and_no_values(rng):
    values = (rng.normal(size=5000) * 1e6).astype("float32")
    exact = values.astype("float64").sum()
    np.testing.assert_allclose(parts_sum(segment_sums(ops.convert_to_tensor(values)))[0], exact, atol=1e-3)
    tiny = (rng.random(5000) * 1e-20).astype("float32")
    np.testing.assert_allclose(
        parts_sum(segment_sums(ops.convert_to_tensor(tiny)))[0], tiny.astype("float64").sum(), rtol=1e-9
    )
    assert parts_sum(segment_sums(ops.zeros((0,))))[0] == 0
    assert parts_sum(segment_sums(ops.zeros((9,))))[0] == 0


def test_a_running_sum_does_not_stop_growing():
    """A float32 sum of ones stops at 2^24: this one takes 64 more after it."""
    metric = keras.metrics.Mean()
    total = ExactSum(metric, 1, "total")
    total.variable.assign(
        ops.concatenate([ops.full((1, 1), 2.0**24), ops.zeros((total.variable.shape[0] - 1, 1))])
    )
    for _ in range(64):
        total.add(ops.ones((1,)))
    assert parts_sum(total.parts())[0] == 2.0**24 + 64


def test_many_segments(rng):
    """As many as equal-mass calibration needs."""
    values = rng.random(200_000).astype("float32")
    segments = (rng.random(200_000) ** 3 * 7000).astype("int32")
    exact = np.bincount(segments, values.astype("float64"), minlength=7000)
    got = parts_sum(segment_sums(ops.convert_to_tensor(values), ops.convert_to_tensor(segments), 7000))
    np.testing.assert_allclose(got, exact, rtol=TOLERANCE, atol=1e-12 if TOLERANCE > 1e-12 else 0)


@pytest.mark.parametrize("weight", [None, 2.0, "image", "pixel", "channel"])
@pytest.mark.parametrize("votes", [True, False])
def test_pieces_hold_every_pixel_once(weight, votes, rng):
    shape = (3, PIECE // 2, 1)
    y_pred = rng.random((*shape, 2), dtype="float32")
    y_true = rng.integers(1, 4, shape if votes else (*shape, 3)).astype("int8")
    given = {"image": rng.random(3), "pixel": rng.random(shape), "channel": rng.random((*shape, 1))}.get(weight, weight)
    cut = list(pieces(y_true, y_pred, given))
    assert len(cut) == 2
    whole = [np.concatenate([piece[i] for piece in cut]) for i in range(2)]
    count = y_pred[..., 0].size
    np.testing.assert_array_equal(whole[0][:count], y_true.reshape(count, *y_true.shape[3:]))
    np.testing.assert_array_equal(whole[1][:count], y_pred.reshape(count, 2))
    full = 1.0 if given is None else given.reshape(3, 1, 1) if weight == "image" else given
    if weight == "channel":
        full = full[..., 0]
    full = np.broadcast_to(full, shape).ravel()
    for x, y, w in cut:
        assert len(x) == len(y) <= PIECE
        part, full = full[: len(x)], full[len(x) :]
        w = np.broadcast_to(1.0 if w is None else w, len(x))
        np.testing.assert_allclose(w[: len(part)], part, rtol=1e-6)
        assert (w[len(part) :] == 0).all()  # what fills up a piece weighs nothing


def test_uneven_batches_have_three_shapes_at_most_on_jax(rng):
    """Every shape is compiled anew there; elsewhere small batches are left alone."""
    shapes = set()
    for count in [*rng.integers(1, 200_000, 40), PIECE + 1]:
        y_pred = np.zeros((1, count, 1), "float32")
        shapes |= {piece[1].shape for piece in pieces(np.zeros((1, count), "int8"), y_pred)}
    if keras.backend.backend() == "jax":
        assert shapes == {(2**13, 1), (2**16, 1), (PIECE, 1)}
    else:
        assert len(shapes) > 30


def test_what_does_not_fit_stays_whole_for_the_error_to_name_it():
    y_pred = np.zeros((2, PIECE, 3), "float32")
    for y_true, weight in (
        (np.zeros((2, PIECE - 1)), None),
        (np.zeros((2, PIECE)), np.zeros(3)),
        (np.zeros(2), None),
        ([[0]], None),
    ):
        ((a, b, c),) = pieces(y_true, y_pred, weight)
        assert a is y_true
        assert b is y_pred
        assert c is weight
