"""The core without TensorFlow: the same numbers on JAX, in a process that cannot import TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests import contract

BLOCKED = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras_cv", "tensorflow_datasets"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import keras_ordseg
"""


METRICS = {
    "MultiRaterECE": {},
    "MultiRaterECE majority": {"readout": "majority"},
    "MultiRaterECE equal mass": {"binning": "equal_mass", "norm": "l2"},
    "MultiRaterECE top label": {"confidence": "top_label", "norm": "max"},
    "MultiRaterBrier": {"num_bins": 4},
    "MultiRaterNLL": {},
    "MultiRaterNLL majority": {"readout": "majority"},
    "MultiRaterAUC": {},
    "MultiRaterAUC pr": {"curve": "pr"},
    "RankedProbabilityScore": {},
    "LevelMAE": {},
    "QuadraticWeightedKappa": {"num_raters": 4},
    "ConsensusDice": {},
    "SoftDice": {},
    "MultiRaterECE per rater": {"raters": "per_rater"},
    "MultiRaterDice": {},
    "MultiRaterDice of one": {"rater": 2},
    "GeneralizedEnergyDistance": {},
    "VolumeCRPS": {},
    "VolumeCRPS empirical": {"distribution": "empirical"},
}


# JAX compiles every operation of every shape for itself: a few metrics stand for all in the quick tier
FEW = {"MultiRaterECE", "MultiRaterBrier", "RankedProbabilityScore", "MultiRaterDice", "VolumeCRPS"}


def numbers(names=tuple(METRICS)):
    """Layers, losses and metrics, from a fixed seed."""
    from keras_ordseg import data, layers, metrics

    rng = np.random.default_rng(0)
    z = (rng.normal(size=(3, 8, 8, 5)) * 3).astype("float32")
    ratings = rng.integers(-1, 2, (3, 8, 8, 4)).astype("int8")
    weight = rng.random((3, 8, 8)).astype("float32")
    out = contract.values()
    for name in names:
        arguments = METRICS[name]
        metric = getattr(metrics, name.split()[0])(**arguments)
        metric.update_state(ratings, z, weight)
        metric.update_state(ratings[:1], z[:1])
        out[name] = float(metric.result())
        if name == "MultiRaterBrier":
            out |= metric.decomposition()
    levels = data.level_frequencies(ratings)
    head = layers.OrdinalHead(4, initial_levels=levels)
    model = keras.Sequential([keras.Input((8, 8, 5)), head, layers.AgreementReadout()])
    out["head"] = float(np.asarray(model.predict(z, verbose=0)).sum())
    p = (rng.random(2**20, dtype="float32") ** 4)[None]
    votes = (rng.random((1, 2**20), dtype="float32") < p).astype("int8") * 3
    metric = metrics.MultiRaterECE(from_logits=False, num_raters=3)
    for a, b in ((0, 10), (10, 700_000), (700_000, 2**20)):
        metric.update_state(votes[:, a:b], p[:, a:b, None])
    which = np.minimum((p.astype("float64") * 15).astype("int8"), 14).ravel()
    gap = np.bincount(which, p.ravel().astype("float64") - votes.ravel() / 3.0, minlength=15)
    exact = np.abs(gap).sum() / 2**20
    limit = 1e-6 if keras.backend.backend() == "jax" else 1e-9
    assert abs(float(metric.result()) - exact) < limit, (float(metric.result()), exact)
    return out


def without_tensorflow(backend, code):
    """The output of a process on this backend that cannot import TensorFlow."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("names", [sorted(FEW), pytest.param(sorted(METRICS), marks=pytest.mark.slow)], ids=["few", "all"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_numbers_without_tensorflow(backend, names):
    code = f"import json\nfrom tests.test_backends import numbers\nprint(json.dumps(numbers({names})))"
    output = without_tensorflow(backend, code)
    other, here = json.loads(output.splitlines()[-1]), numbers(names)
    assert other.keys() == here.keys()
    for name, value in here.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


FIT = """
import numpy as np
from keras_ordseg import losses, metrics, models
rng = np.random.default_rng(0)
z = (rng.normal(size=(3, 8, 8, 5)) * 3).astype("float32")
model = models.OrdinalSegmenter(models.small_backbone((None, None, 5), filters=(4, 8)), 4, decoder="fpn")
model.compile("sgd", losses.OrdinalSegmentationLoss(), metrics=[metrics.MultiRaterECE(name="ece")], jit_compile=True)
logs = model.fit(z, rng.integers(-1, 2, (3, 8, 8, 4)).astype("int8"), verbose=0, epochs=2).history
assert np.isfinite([*logs["loss"], *logs["ece"]]).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_segmenter_trains_without_tensorflow(backend):
    """In the quick tier on JAX: tests/callbacks/test_monitor.py, with a smaller model."""
    without_tensorflow(backend, FIT)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_steps_in_half_precision_without_tensorflow(backend):
    without_tensorflow(backend, "from tests import contract\ncontract.check_training_steps('mixed_float16', True, 0)")
