"""Value and gradient of the read-out's cross-entropy and the ranked probability score in one pass."""


import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.ops import scores
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.thinning import scaled_quorum, thinning_kernel

READOUTS = [None, "majority", "expected", 2]


def log_sum(x):
    return x.max() + np.log(np.exp(x - x.max()).sum()) if len(x) else -np.inf


def reference(v, n, z, readout):
    """`1.5 BCE + 0.7 RPS (thresholds)` of one pixel in float64, in log space, from the definitions."""
    last = len(z) - 1
    log_p = z - log_sum(z)
    q = 1 if readout is None else n if readout == "expected" else scaled_quorum(readout, n, last)
    with np.errstate(divide="ignore"):
        thin = np.log(thinning_kernel(last, n))
        share = np.arange(last + 1) / last
        sides = np.log(share), np.log(1 - share)
    levels = np.array([log_sum(log_p + thin[:, k]) for k in range(n + 1)])
    if readout == "expected":
        target, up, down = v / n, log_sum(log_p + sides[0]), log_sum(log_p + sides[1])
    else:
        target, up, down = float(v >= q), log_sum(levels[q:]), log_sum(levels[:q])
    bce = 0.0 if readout is None else -(target * up if target else 0.0) - ((1 - target) * down if target < 1 else 0.0)
    gaps = np.cumsum(np.exp(levels))[:n] - (v <= np.arange(n))
    return 1.5 * bce + 0.7 * (gaps**2).sum() / n


def value_and_gradient(y, z, readout, upstream, compiled=False):
    """Ours, by each backend's own differentiation."""

    def value(z):
        p = panel(y, z, dtype=z.dtype)
        return scores.joint_score_of_panel(p, z, readout, "thresholds", 1.5, 0.7)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # with a batch size that is not known beforehand
        @tf.function(input_signature=[tf.TensorSpec([None, *z.shape[1:]], z.dtype)], jit_compile=compiled, autograph=False)
        def run(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                out = value(z)
            return out, tape.gradient(out, z, upstream)

        return [np.asarray(x) for x in run(tf.constant(z))]
    if keras.backend.backend() == "jax":
        import jax

        out, back = jax.vjp(value, jax.numpy.asarray(z))
        return np.asarray(out), np.asarray(back(jax.numpy.asarray(upstream))[0])
    import torch

    z = torch.tensor(z, requires_grad=True)
    out = value(z)
    out.backward(torch.tensor(upstream))
    return out.detach().numpy(), z.grad.numpy()


@pytest.mark.parametrize(
    "readout,absent,compiled",
    [
        *((readout, False, False) for readout in READOUTS),
        *(pytest.param(readout, True, False, marks=pytest.mark.dear) for readout in READOUTS),
        pytest.param("expected", False, True, marks=pytest.mark.dear),
        pytest.param("majority", True, True, marks=pytest.mark.dear),
    ],
)
def test_against_the_definition(readout, absent, compiled, rng):
    """Also with logits so far apart that a side's probability is 0 in floats."""
    if compiled and keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow's own XLA")
    last = 4
    z = rng.normal(size=(2, 3, 4, last + 1)) * np.array([1, 3, 30, 120]).reshape(4, 1)
    z = z.astype("float32")
    ratings = rng.integers(0, 2, (2, 3, 4, last)).astype("int8")
    if absent:
        ratings[0, 0, :, 1:] = ratings[0, 1, :, 2:] = ratings[1, 2, :, 0] = -1
        assert len(set((ratings >= 0).sum(-1).ravel())) == 4
    upstream = rng.normal(size=z.shape[:-1]).astype("float32")
    y = ratings if absent else (ratings == 1).sum(-1)
    got, slopes = value_and_gradient(y, z, readout, upstream, compiled)
    for i in np.ndindex(upstream.shape):
        v, n, x = (ratings[i] == 1).sum(), (ratings[i] >= 0).sum(), z[i].astype("float64")
        np.testing.assert_allclose(got[i], reference(v, n, x, readout), rtol=2e-6, atol=2e-6)
        for k in range(last + 1):
            step = 1e-5 * np.eye(last + 1)[k]
            slope = (reference(v, n, x + step, readout) - reference(v, n, x - step, readout)) / 2e-5
            np.testing.assert_allclose(slopes[i][k], upstream[i] * slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["votes", "ratings"])
def test_an_empty_batch(kind):
    z = np.zeros((0, 3, 4, 5), "float32")
    y = np.zeros((0, 3, 4) if kind == "votes" else (0, 3, 4, 4), "int8")
    got, slopes = value_and_gradient(y, z, "majority", np.zeros((0, 3, 4), "float32"), compiled=True)
    assert (got.shape, slopes.shape) == ((0, 3, 4), z.shape)


def test_the_losses_use_it(rng):
    """Of the hybrid with its default terms, and equal to the two terms one by one."""
    from keras_ordseg.losses import OrdinalSegmentationLoss

    z = rng.normal(size=(2, 5, 4)).astype("float32")
    ratings = rng.integers(-1, 2, (2, 5, 3)).astype("int8")
    for readout in ("majority", "expected", 3):
        loss = OrdinalSegmentationLoss(readout, rps_weight=0.3, binary_weight=2.0)
        read = panel(ratings, z)
        terms = loss.pixel_terms(read, ops.convert_to_tensor(z))
        joint = loss.pixel_loss(read, ops.convert_to_tensor(z))
        rated = ops.convert_to_numpy(read.counts) > 0
        np.testing.assert_allclose(
            ops.convert_to_numpy(joint)[rated], ops.convert_to_numpy(terms["loss"])[rated], rtol=1e-5, atol=1e-6
        )
