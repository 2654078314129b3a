import keras
import numpy as np
import pytest

from keras_ordseg.layers import AgreementReadout, OrdinalHead
from keras_ordseg.metrics import MultiRaterECE
from tests.ops.test_levels import reference_readout

SHAPES = [(2, 5, 3), (2, 4, 3, 6), (1, 3, 4, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_head_is_an_affine_map_of_the_channels(shape, rng):
    x = rng.normal(size=shape).astype("float32")
    head = OrdinalHead(4)
    z = np.asarray(head(x))
    assert z.shape == (*shape[:-1], 5)
    bias = rng.normal(size=5).astype("float32")
    head.bias.assign(bias)
    expected = x.astype("float64") @ np.asarray(head.kernel, "float64") + bias
    np.testing.assert_allclose(head(x), expected, atol=1e-5)
    symbolic = head(keras.Input(shape[1:]))
    assert symbolic.shape == (None, *z.shape[1:])
    assert symbolic.dtype == "float32"


def test_head_starts_at_the_prior_exactly(rng):
    levels = np.array([0.9, 0.05, 0.03, 0.02])
    z = np.asarray(OrdinalHead(3, initial_levels=levels)(rng.normal(size=(2, 8, 8, 4)) * 100))
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(p, np.broadcast_to(levels, p.shape), atol=1e-6)
    counted = OrdinalHead(3, initial_levels=[90, 5, 3, 2])  # counts will do
    np.testing.assert_allclose(counted.initial_levels, levels)
    assert (
        min(OrdinalHead(2, initial_levels=[1, 0, 0]).initial_levels) > 0.9e-6
    )  # a level never seen stays possible


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_head_puts_out_float32(policy, rng):
    keras.config.set_dtype_policy(policy)
    head = OrdinalHead(3, initial_levels=[0.97, 0.01, 0.01, 0.01])
    z = head(rng.normal(size=(1, 4, 4, 8)))
    assert keras.backend.standardize_dtype(z.dtype) == "float32"
    # the prior is not rounded to half precision
    np.testing.assert_allclose(np.asarray(z)[0, 0, 0], np.log([0.97, 0.01, 0.01, 0.01]), atol=1e-6)


@pytest.mark.parametrize(
    "kwargs,message",
    [
        ({"num_raters": 0}, "num_raters: expected an int of at least 1"),
        ({"num_raters": 2.0}, "num_raters: expected an int"),
        ({"num_raters": True}, "num_raters: expected an int"),
        ({"num_raters": 2, "link": "probit"}, "link: expected one of"),
        ({"num_raters": 2, "initial_levels": [0.5, 0.5]}, "initial_levels: expected 3 frequencies"),
        ({"num_raters": 1, "initial_levels": [1.5, -0.5]}, "initial_levels: expected finite frequencies"),
        ({"num_raters": 1, "initial_levels": [0, 0]}, "initial_levels: expected finite frequencies"),
        ({"num_raters": 1, "initial_levels": [np.nan, 1]}, "initial_levels: expected finite frequencies"),
    ],
)
def test_head_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OrdinalHead(**kwargs)


@pytest.mark.parametrize("readout", ["expected", "majority", 2])
def test_readout_layer_is_scored_as_a_binary_output(readout, rng):
    z = rng.normal(size=(2, 6, 6, 4)).astype("float32")
    logit = np.asarray(AgreementReadout(readout)(z))
    assert logit.shape == (2, 6, 6, 1)
    probability = np.asarray(AgreementReadout(readout, output="probability")(z))
    np.testing.assert_allclose(probability[..., 0], reference_readout(z, readout), atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), probability, atol=1e-6)
    ratings = rng.integers(0, 2, (2, 6, 6, 3)).astype("int8")
    levels, binary = MultiRaterECE(readout), MultiRaterECE()
    levels.update_state(ratings, z)
    binary.update_state(ratings, logit)
    np.testing.assert_allclose(float(levels.result()), float(binary.result()), atol=1e-7)


def test_readout_arguments():
    with pytest.raises(ValueError, match="readout: expected"):
        AgreementReadout("mode")
    with pytest.raises(ValueError, match="output: expected 'logit' or 'probability'"):
        AgreementReadout(output="score")
    with pytest.raises(ValueError, match="quorum: expected 'majority' or an int in 1..3"):
        AgreementReadout(4)(np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="input: expected level logits with a last axis"):
        AgreementReadout()(np.zeros((1, 2, 1)))
