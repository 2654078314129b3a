"""The same numbers as public implementations, on flattened input. They need torch: `make test-all` installs them."""

import keras
import numpy as np
import pytest

from keras_ordseg import losses
from keras_ordseg.layers import OrdinalHead

torch = pytest.importorskip("torch", reason="the public implementations are written in torch")


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 6, 200), (rng.normal(size=(200, 6)) * 2).astype("float32")


def ours(loss, v, z):
    return float(loss(v[None], z[None]))


def test_dlordinal(pixels):
    dlordinal = pytest.importorskip("dlordinal.losses", reason="dlordinal is not installed")
    v, z = pixels
    target, logits = torch.tensor(v), torch.tensor(z)
    squared = float(dlordinal.EMDLoss(num_classes=6)(logits, target))
    np.testing.assert_allclose(ours(losses.RankedProbabilityLoss("sum"), v, z), squared, rtol=1e-5)
    sord = float(dlordinal.SORDLoss(num_classes=6, alpha=0.7, train_targets=target)(logits, target))
    np.testing.assert_allclose(ours(losses.SORDLoss("absolute", 0.7), v, z), sord, rtol=1e-5)


def test_coral_pytorch(pixels, rng):
    """Its loss of the threshold logits is ours of the levels that the cumulative link makes of them."""
    coral = pytest.importorskip("coral_pytorch.losses", reason="coral-pytorch is not installed")
    v, _ = pixels
    x = rng.normal(size=(1, 200, 3)).astype("float32")
    head = OrdinalHead(5, "cumulative", [0.4, 0.1, 0.2, 0.1, 0.1, 0.1])
    head(x)
    head.kernel.assign(rng.normal(size=(3, 1)))
    z = keras.ops.convert_to_numpy(head(x))
    cuts = np.array([0.6, 0.5, 0.3, 0.2, 0.1])
    thresholds = x[0] @ keras.ops.convert_to_numpy(head.kernel) + np.log(cuts / (1 - cuts)).astype("float32")
    marks = torch.tensor((v[:, None] >= np.arange(1, 6)).astype("float32"))
    expected = float(coral.coral_loss(torch.tensor(thresholds), marks))
    np.testing.assert_allclose(float(losses.CoralLoss()(v[None], z)), expected, rtol=1e-5)


def test_torch_label_smoothing(rng):
    """torch's own cross-entropy with label smoothing on two classes."""
    z = rng.normal(size=200).astype("float32")
    y = rng.integers(0, 2, 200)
    two = torch.tensor(np.stack([np.zeros_like(z), z], -1))
    expected = float(torch.nn.functional.cross_entropy(two, torch.tensor(y), label_smoothing=0.2))
    got = float(losses.LabelSmoothingCrossEntropy(0.2)(y[None, :, None], z[None, :, None]))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_monai_nacl(rng):
    """At the shift of both logits that its penalty likes best, and off the border, which MONAI pads with zeros."""
    monai = pytest.importorskip("monai.losses", reason="MONAI is not installed")
    y = rng.integers(0, 2, (1, 12, 12))
    z = rng.normal(size=(1, 12, 12)).astype("float32")
    nacl = monai.NACLLoss(classes=2, dim=2)
    share = nacl.get_constr_target(torch.tensor(y)).numpy()
    two = np.stack([share[:, 0], share[:, 0] + z], 1)  # z_0 = tau_0, so that only the difference of the logits counts
    penalty = np.abs(share - two).mean(1)
    cross_entropy = torch.nn.functional.cross_entropy(torch.tensor(two), torch.tensor(y), reduction="none").numpy()
    got = keras.ops.convert_to_numpy(losses.NeighborAwareCalibrationLoss(0.4).call(y[..., None], z[..., None]))
    inner = (slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(got[inner], (cross_entropy + 0.4 * penalty)[inner], rtol=1e-5)


def test_monai_focal(rng):
    monai = pytest.importorskip("monai.losses", reason="MONAI is not installed")
    y, z = rng.integers(0, 2, (1, 40, 1)), rng.normal(size=(1, 40, 1)).astype("float32") * 2
    expected = float(monai.FocalLoss(gamma=1.5)(torch.tensor(z).permute(0, 2, 1), torch.tensor(y).permute(0, 2, 1)))
    np.testing.assert_allclose(float(losses.FocalLoss(1.5)(y, z)), expected, rtol=1e-5)
