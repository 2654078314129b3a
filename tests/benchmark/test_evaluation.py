import numpy as np
import pytest

from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.evaluation import figures, image_sums, reliability
from keras_ordseg.data import region
from keras_ordseg.metrics import (
    ConsensusDice,
    MultiRaterBrier,
    MultiRaterECE,
    RankedProbabilityScore,
    SoftDice,
)


def made(rng, channels, count=6, absent=True):
    z = rng.normal(size=(count, 12, 10, channels)).astype("float32")
    ratings = rng.integers(-1 if absent else 0, 2, (count, 12, 10, 4)).astype("int8")
    ratings[0, :6] = 0
    ratings[1] = 0  # an image that nobody marks
    return z, ratings


@pytest.mark.parametrize("channels", [1, 5])
def test_the_table_holds_what_the_metrics_say(channels, rng):
    z, ratings = made(rng, channels)
    if channels == 1:
        ratings = np.abs(ratings)  # the quorum of absent raters is the levels' affair
    near = region(ratings, "union", 2)
    assert 0 < near.mean() < 1
    inside = np.where(near[..., None], ratings, -1).astype("int8")
    table = figures(False, 2)
    sums = image_sums(z, ratings, 2)
    got = tabulate({"m": [sums]}, table, group_weights(np.arange(6), 20))["m"]
    expected = {
        "ece_expected": (MultiRaterECE(), ratings, 100),
        "ece_majority": (MultiRaterECE("majority"), ratings, 100),
        "band_ece_expected": (MultiRaterECE(), inside, 100),
        "band_ece_majority": (MultiRaterECE("majority"), inside, 100),
        "brier": (MultiRaterBrier(), ratings, 100),
        "consensus_dice": (ConsensusDice(), ratings, 1),
        "soft_dice": (SoftDice(), ratings, 1),
        "rps": (RankedProbabilityScore(), ratings, 100),
    }
    assert {f.key for f in table} == set(expected)
    for key, (metric, y, scale) in expected.items():
        if channels == 1 and key == "rps":
            assert got[key]["mean"] is None
            continue
        metric.update_state(y, z)
        np.testing.assert_allclose(got[key]["mean"], scale * float(metric.result()), rtol=1e-5, err_msg=key)
    diagram = reliability(sums, "ece_expected")
    metric = expected["ece_expected"][0].reliability()
    for name in ("edges", "counts", "confidence", "vote", "ece"):
        np.testing.assert_allclose(diagram[name], metric[name], rtol=1e-5)


def test_error_to_the_truth(rng):
    """p = 1/2 everywhere against truths 0.1 and 0.7: mean error (0.4 + 0.2) / 2 = 30 %."""
    truth = np.full((1, 4, 4), 0.1)
    truth[:, :2] = 0.7
    sums = image_sums(np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 4, 4, 3), "int8"), 1, truth)
    (column,) = [f for f in figures(True, 1) if f.key == "truth"]
    np.testing.assert_allclose(column.value({k: v.sum(0) for k, v in sums.items()}), 30.0)


def test_resamples_never_split_a_group(rng):
    groups = np.array(["a", "b", "a", "c", "b", "a"])
    weights = group_weights(groups, 50)
    assert weights.shape == (51, 6)
    np.testing.assert_array_equal(weights[0], 1)
    for name in "abc":
        assert (np.ptp(weights[:, groups == name], axis=1) == 0).all()
    drawn = sum(weights[1:, np.flatnonzero(groups == name)[0]] for name in "abc")
    np.testing.assert_array_equal(drawn, 3)  # as many groups as there are
    np.testing.assert_array_equal(weights, group_weights(groups, 50))


def test_intervals_against_a_plain_bootstrap(rng):
    """Means over images of one value each, one group per image: the percentiles of resampled means; paired differences."""
    columns = [f for f in figures(False, 1) if f.key == "soft_dice"]
    values = {"base": rng.random(200), "other": rng.random(200) + 0.1}
    cells = {m: [{"soft_dice": np.stack([v, np.ones(200)], -1)}] for m, v in values.items()}
    weights = group_weights(np.arange(200), 4000)
    got = tabulate(cells, columns, weights, "base")
    for method, per_image in values.items():
        entry = got[method]["soft_dice"]
        np.testing.assert_allclose(entry["mean"], per_image.mean())
        np.testing.assert_allclose(entry["seeds"], per_image.mean())
        half = 1.96 * per_image.std() / np.sqrt(200)  # the normal interval of the mean of 200
        np.testing.assert_allclose(
            [entry["low"], entry["high"]], per_image.mean() + np.array([-half, half]), atol=0.006
        )
    gap = values["other"] - values["base"]
    difference = got["other"]["soft_dice"]["difference"]
    np.testing.assert_allclose(difference["mean"], gap.mean())
    half = 1.96 * gap.std() / np.sqrt(200)
    np.testing.assert_allclose(
        [difference["low"], difference["high"]], gap.mean() + np.array([-half, half]), atol=0.008
    )
    assert "difference" not in got["base"]["soft_dice"]


def _of_seeds(means, images=4):
    """Cells of a method whose images all have the value of their seed."""
    return [{"soft_dice": np.tile([float(mean), 1.0], (images, 1))} for mean in means]


def test_intervals_hold_what_another_training_changes():
    """Two seeds at 1 and 3 on images that do not differ: a resample is 1, 2 or 3, with 1/4, 1/2 and 1/4.

    The other method is better by 1 with each seed: paired, nothing is left of the seeds. With one seed nothing varies.
    """
    columns = [f for f in figures(False, 1) if f.key == "soft_dice"]
    weights = group_weights(np.arange(4), 400)
    got = tabulate({"base": _of_seeds([1, 3]), "other": _of_seeds([2, 4]), "once": _of_seeds([5])}, columns, weights, "base")
    base, other, once = (got[name]["soft_dice"] for name in ("base", "other", "once"))
    assert (base["low"], base["mean"], base["high"], base["seeds"]) == (1.0, 2.0, 3.0, [1.0, 3.0])
    assert other["difference"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert (once["low"], once["high"]) == (5.0, 5.0)
    assert once["difference"] == {"mean": 3.0, "low": 2.0, "high": 4.0}


def test_of_one_group_there_is_no_interval():
    columns = [f for f in figures(False, 1) if f.key == "soft_dice"]
    got = tabulate({"a": _of_seeds([1, 3]), "b": _of_seeds([2, 4])}, columns, group_weights(["p"] * 4, 20), "a")
    assert got["b"]["soft_dice"]["mean"] == 3.0
    assert got["b"]["soft_dice"]["low"] is got["b"]["soft_dice"]["high"] is None
    assert got["b"]["soft_dice"]["difference"] == {"mean": 1.0, "low": None, "high": None}


def test_seeds_and_groups_are_drawn_independently(rng):
    """The variance of crossed effects: of the mean of 40 groups and 5 seeds, each drawn with replacement.

    Values g_i + s_j give means of a resample with variance var(g) / 40 + var(s) / 5 (variances of the values at hand).
    """
    columns = [f for f in figures(False, 1) if f.key == "soft_dice"]
    g, s = rng.normal(size=40), rng.normal(size=5)
    cells = {"m": [{"soft_dice": np.stack([g + seed, np.ones(40)], -1)} for seed in s]}
    got = tabulate(cells, columns, group_weights(np.arange(40), 20000))["m"]["soft_dice"]
    half = 1.96 * np.sqrt(g.var() / 40 + s.var() / 5)
    np.testing.assert_allclose([got["low"], got["high"]], g.mean() + s.mean() + np.array([-half, half]), atol=0.1 * half)
