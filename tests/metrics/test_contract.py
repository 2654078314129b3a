"""What holds for every public metric, whatever it measures: one table of metrics, one list of promises."""

import functools
import json
import os
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest

from keras_ordseg import losses, metrics
from tests.conftest import ROOT

BACKEND = keras.backend.backend()
K, PIXELS = 4, 24
LAYOUTS = {1: (PIXELS,), 2: (4, 6), 3: (2, 3, 4)}

# Every public class in each of its kinds; the base is not built by users.
CASES = {
    "ConsensusDice": [{}, {"quorum": 1, "average": "pixels"}],
    "GeneralizedEnergyDistance": [{}, {"predictions": "samples"}],
    "KernelECE": [{"num_samples": 256}],
    "LevelMAE": [{}],
    "LossTerm": [{"loss": losses.OrdinalSegmentationLoss(), "term": "ordinal"}],
    "MultiRaterAUC": [{}, {"curve": "pr", "readout": "majority"}],
    "MultiRaterBrier": [{}, {"readout": 3, "num_bins": 4}],
    "MultiRaterDice": [{}, {"average": "pixels"}],
    "MultiRaterECE": [
        {"readout": "majority"},
        {"raters": "per_rater"},
        {"binning": "equal_mass", "norm": "l2"},
        {"confidence": "top_label", "norm": "max"},
    ],
    "MultiRaterNLL": [{}, {"readout": "majority"}],
    "QuadraticWeightedKappa": [{"num_raters": K}],
    "RankedProbabilityScore": [{}, {"normalization": "thresholds"}],
    "SoftDice": [{"thresholds": (0.2, 0.5)}, {"thresholds": (0.3, 0.7), "average": "pixels"}],
    "VolumeCRPS": [{}],
}
BASES = {"MultiRaterMetric"}
FIRST_REPLICA = {"KernelECE"}  # a sample, which does not add up over replicas, as its docstring says
EACH = [(name, index) for name, kinds in CASES.items() for index in range(len(kinds))]
every_metric = pytest.mark.parametrize("name,index", EACH, ids=[f"{n}-{i}" for n, i in EACH])


def build(name, index=0):
    return getattr(metrics, name)(**CASES[name][index], **({} if name == "LossTerm" else {"name": f"m{index}_{name}"}))


def exact(name):
    """What rounding of sums may change: pixels come in another order."""
    return 1e-6 if BACKEND == "jax" or name == "KernelECE" else 1e-9


def answers(seed=5, images=8, rank=2):
    """`(ratings, level logits)`: some answers absent, one rater absent from an image, and an image without marks."""
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(images, PIXELS, K + 1)) * 2).astype("float32")
    ratings = (rng.random((images, PIXELS, K)) < 0.4).astype("int8")
    ratings[rng.random(ratings.shape) < 0.05] = -1
    ratings[1, :, 2], ratings[2] = -1, 0
    return tuple(x.reshape(images, *LAYOUTS[rank], -1) for x in (ratings, z))


def score(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return float(metric.result())


def compiled(every):
    """`(ratings, logits) -> {name: result}` of one more update of each metric, as one XLA program (torch: eager)."""

    def step(y, z):
        for metric in every:
            metric.update_state(y, z)
        return {metric.name: metric.result() for metric in every}

    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(step, jit_compile=True)
    if BACKEND == "jax":
        import jax

        states = [[v.value for v in metric.variables] for metric in every]
        return jax.jit(
            lambda y, z: {
                metric.name: metric.stateless_result(metric.stateless_update_state(state, y, z))
                for metric, state in zip(every, states, strict=True)
            }
        )
    return step


def test_the_table_holds_every_public_metric():
    public = {name for name in metrics.__all__ if isinstance(getattr(metrics, name), type)}
    assert public == set(CASES) | BASES
    for name in public:
        assert issubclass(getattr(metrics, name), keras.metrics.Metric)


@every_metric
def test_rank_batches_slots_and_raters(name, index):
    """The layout of the pixels, the cut into batches, absent slots and the order of raters and images change nothing."""
    y, z = answers()
    whole = score(build(name, index), (y, z))
    assert np.isfinite(whole)
    close = functools.partial(np.testing.assert_allclose, whole, rtol=0, atol=exact(name))
    for rank in (1, 3):
        close(score(build(name, index), answers(rank=rank)), err_msg=f"rank {rank}")
    close(score(build(name, index), *((y[a:b], z[a:b]) for a, b in ((0, 1), (1, 3), (3, 8)))), err_msg="batches")
    slot = np.full((*y.shape[:-1], 1), -1, "int8")
    close(score(build(name, index), (np.concatenate([y, slot], -1), z)), err_msg="a slot behind")
    close(score(build(name, index), (np.concatenate([slot, y], -1), z)), err_msg="a slot in front")
    close(score(build(name, index), (y[..., [2, 0, 3, 1]], z)), err_msg="raters")
    close(score(build(name, index), (y[::-1], z[::-1])), err_msg="images")
    other = answers(seed=6)
    assert abs(score(build(name, index), other) - whole) > 1e-5, "it depends on what came"


@every_metric
def test_reset_weights_and_half_precision(name, index):
    y, z = answers()
    metric, fresh = build(name, index), build(name, index)
    before = float(fresh.result())
    whole = score(metric, (y, z))
    metric.reset_state()
    np.testing.assert_equal(float(metric.result()), before)  # NaN equals NaN
    np.testing.assert_allclose(score(metric, (y, z)), whole, rtol=0, atol=exact(name))
    half = z.astype("float16")
    np.testing.assert_allclose(
        score(build(name, index), (y, half)), score(build(name, index), (y, half.astype("float32"))), atol=exact(name)
    )
    # an image of weight 0 is not there; a void pixel is a pixel of weight 0
    keep = np.ones(len(y), "float32")
    keep[3:5] = 0
    without = score(build(name, index), (np.delete(y, [3, 4], 0), np.delete(z, [3, 4], 0)))
    np.testing.assert_allclose(score(build(name, index), (y, z, keep)), without, rtol=0, atol=exact(name))
    region = np.ones(y.shape[:-1], "float32")
    region[:, :2] = 0
    void = np.where(region[..., None] > 0, y, -1).astype("int8")
    np.testing.assert_allclose(
        score(build(name, index), (y, z, region)), score(build(name, index), (void, z)), rtol=0, atol=exact(name)
    )


@every_metric
def test_votes_are_complete_ratings_or_refused(name, index):
    y, z = answers()
    y = np.maximum(y, 0)
    expected = score(build(name, index), (y, z))
    try:
        found, message = score(build(name, index), (y.sum(-1), z)), ""
    except ValueError as error:
        found, message = expected, str(error)
    np.testing.assert_allclose(found, expected, rtol=0, atol=exact(name))
    assert not message or all(word in message for word in ("y_true", "votes", "ratings"))


@every_metric
def test_impossible_values_are_never_plausible(name, index):
    """Where values cannot be read, as in a graph: NaN from then on, until a reset."""
    y, z = answers()
    bad_y, bad_z = y.copy(), z.copy()
    bad_y[0, 0, 0, 0], bad_z[0, 0, 0] = 3, np.nan
    metric = build(name, index)
    for batch in ((bad_y, z), (y, bad_z)):
        metric.reset_state()
        with mock.patch("keras_ordseg.ops.targets.concrete", return_value=None):
            assert np.isnan(score(metric, batch))
        assert np.isnan(score(metric, (y, z)))
    metric.reset_state()
    assert np.isfinite(score(metric, (y, z)))


def identity_model(**kwargs):
    """A model whose output is its input, however long it trains, compiled with every metric."""
    x = keras.Input((None, None, K + 1))
    scale = keras.layers.Dense(K + 1, use_bias=False, kernel_initializer="identity")
    model = keras.Model(x, scale(x))
    every = [build(name, index) for name, index in EACH]
    model.compile(keras.optimizers.SGD(0.0), losses.RankedProbabilityLoss(), metrics=every, **kwargs)
    return model


def names():
    return {build(name, index).name: (name, index) for name, index in EACH}


def check(found, keys=tuple(EACH)):
    """The results by name are those of eager updates."""
    y, z = answers()
    for label, (name, index) in names().items():
        if (name, index) not in keys:
            continue
        expected = score(build(name, index), (y, z))
        np.testing.assert_allclose(float(found[label]), expected, rtol=1e-6, atol=1e-6, err_msg=label)


@pytest.mark.dear
@pytest.mark.parametrize("kinds", ["first", pytest.param("other", marks=pytest.mark.slow)])
def test_one_compiled_program(kinds):
    """Updates and results as one XLA program: what eager updates give, and NaN for values that cannot be.

    One kind of each class, because compiling is slow; the slow tier has the other kinds.
    """
    y, z = answers()
    keys = [key for key in EACH if (key[1] == 0) == (kinds == "first")]
    every = [build(*key) for key in keys]
    for metric in every:
        metric.update_state(y, z)  # makes the variables, so that a step is traced once
        metric.reset_state()
    step = compiled(every)
    check(step(y, z), keys)
    bad_y, bad_z = y.copy(), z.copy()
    bad_y[0, 0, 0, 0], bad_z[0, 0, 0] = 3, np.nan
    for where, batch in (("y_true", (bad_y, z)), ("y_pred", (y, bad_z))):
        if BACKEND == "torch" and where == "y_true":
            continue  # no graph there: an error already
        for metric in every:
            metric.reset_state()
        plausible = [label for label, value in step(*batch).items() if not np.isnan(float(value))]
        assert not plausible, f"{where}: {plausible}"


@pytest.mark.dear
def test_fit_evaluate_and_saving(tmp_path):
    """All in one model, trained step by step, which comes back with its metrics."""
    y, z = answers()
    model = identity_model(run_eagerly=True)
    logs = model.fit(z, y, batch_size=4, epochs=1, shuffle=False, verbose=0).history
    check({label: values[-1] for label, values in logs.items()})
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    check(loaded.evaluate(z, y, batch_size=5, verbose=0, return_dict=True))
    mine, other = (
        {m.name: m.get_config() for group in each.metrics for m in getattr(group, "metrics", [])}
        for each in (model, loaded)
    )
    assert mine.keys() == names().keys()
    assert json.loads(json.dumps(mine)) == json.loads(json.dumps(other))


@pytest.mark.dear
def test_states_of_replicas_add_up():
    """What a strategy does with the states of its replicas, and what the result then is: that of all images."""
    y, z = answers()
    for name, index in EACH:
        if name in FIRST_REPLICA:
            continue
        one, other = build(name, index), build(name, index)
        one.update_state(y[:3], z[:3])
        other.update_state(y[3:], z[3:])
        for mine, its in zip(one.variables, other.variables, strict=True):
            assert mine.aggregation == "sum", (name, mine.path)
            mine.assign(mine + its)
        whole = score(build(name, index), (y, z))
        np.testing.assert_allclose(float(one.result()), whole, rtol=0, atol=exact(name), err_msg=name)


TWO_DEVICES = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.metrics import test_contract as contract
y, z = contract.answers()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = contract.identity_model()
logs = model.fit(z, y, batch_size=4, epochs=1, shuffle=False, verbose=0).history
json.dump({name: values[-1] for name, values in logs.items()}, sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute needs the TensorFlow backend")
def test_two_replicas_equal_one_device():
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, cwd=ROOT, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check(json.loads(done.stdout.splitlines()[-1]), [key for key in EACH if key[0] not in FIRST_REPLICA])
