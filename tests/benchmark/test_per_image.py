import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from keras_ordseg import data, metrics
from keras_ordseg.benchmark import PerImage, bootstrap_interval, per_image
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.evaluation import figures, image_sums


def every_metric():
    return {
        "ece": metrics.MultiRaterECE(),
        "per_rater": metrics.MultiRaterECE("majority", raters="per_rater"),
        "equal_mass": metrics.MultiRaterECE(binning="equal_mass", norm="max"),
        "brier": metrics.MultiRaterBrier(),
        "dice": metrics.MultiRaterDice(),
        "consensus": metrics.ConsensusDice(average="pixels"),
        "rps": metrics.RankedProbabilityScore(),
    }


def made(rng, count=5):
    z = rng.normal(size=(count, 8, 7, 5)).astype("float32") * 2
    ratings = rng.integers(-1, 2, (count, 8, 7, 4)).astype("int8")
    ratings[2, 3:] = -1
    return z, ratings


def test_each_image_and_all_together(rng):
    z, ratings = made(rng)
    weight = rng.random((5, 8, 7))
    collected = PerImage(every_metric())
    collected.add(ratings[:2], z[:2], weight[:2])
    collected.add(ratings[2:], z[2:], weight[2:])
    table = collected.table()
    np.testing.assert_array_equal(table["id"], np.arange(5))
    for name, metric in every_metric().items():
        for i in range(5):
            metric.reset_state()
            metric.update_state(ratings[i : i + 1], z[i : i + 1], weight[i : i + 1])
            np.testing.assert_allclose(table[name][i], float(metric.result()), atol=1e-7, err_msg=name)
        metric.reset_state()
        metric.update_state(ratings, z, weight)
        np.testing.assert_allclose(collected.value(name), float(metric.result()), atol=1e-7, err_msg=name)


def test_a_resample_is_its_images_added_to_one_metric(rng):
    z, ratings = made(rng)
    collected = PerImage(every_metric())
    collected.add(ratings, z)
    rows = np.array([[2, 0, 1, 0, 2], [0, 5, 0, 0, 0]])
    for name, metric in every_metric().items():
        got = collected.value(name, rows)
        for row, value in zip(rows, got, strict=True):
            drawn = np.repeat(np.arange(5), row)
            metric.reset_state()
            metric.update_state(ratings[drawn], z[drawn])
            np.testing.assert_allclose(value, float(metric.result()), atol=1e-7, err_msg=name)


def test_pooled_sums_not_a_mean_of_errors():
    """p = 1/2 everywhere; one image wholly marked, one not at all: each is wrong by 1/2, both together are right."""
    ratings = np.zeros((2, 6, 2), "int8")
    ratings[0] = 1
    collected = PerImage({"ece": metrics.MultiRaterECE(from_logits=False)})
    collected.add(ratings, np.full((2, 6, 1), 0.5, "float32"))
    np.testing.assert_array_equal(collected.table()["ece"], [0.5, 0.5])
    assert collected.value("ece") == 0.0
    interval = bootstrap_interval(collected, "ece", resamples=200)
    assert interval == {"mean": 0.0, "low": 0.0, "high": 0.5, "images": 2}  # half of the resamples hold one image twice


@pytest.mark.parametrize("trainings", [1, 3])
def test_intervals_and_differences_against_the_benchmarks_own(rng, trainings):
    """The benchmark's table makes the same from NumPy sums of its own."""
    groups = np.array(["a", "b", "a", "c", "d", "b", "e"])
    ratings = rng.integers(-1, 2, (7, 8, 7, 4)).astype("int8")
    z = {name: rng.normal(size=(trainings, 7, 8, 7, 5)).astype("float32") for name in ("base", "other")}
    sums = {name: [image_sums(x, ratings, 2) for x in several] for name, several in z.items()}
    table = [f for f in figures(False, 2) if f.key in ("ece_expected", "ece_majority", "brier")]
    expected = tabulate(sums, table, group_weights(groups, 60), "base")["other"]
    chosen = {
        "ece_expected": metrics.MultiRaterECE(),
        "ece_majority": metrics.MultiRaterECE("majority"),
        "brier": metrics.MultiRaterBrier(),
    }
    collected = {}
    for name, several in z.items():
        arrays = {"ratings": ratings, "group": groups}
        collected[name] = [per_image(x, arrays, chosen, batch_size=3) for x in several]
    if trainings == 1:  # one, or a list of one
        collected["other"] = collected["other"][0]
    for key, wanted in expected.items():
        got = bootstrap_interval(collected["other"], key, collected["base"], resamples=60)
        for part, limits in ((got, wanted), (got["difference"], wanted["difference"])):
            for limit in ("mean", "low", "high"):
                np.testing.assert_allclose(100 * part[limit], limits[limit], atol=2e-5, err_msg=f"{key} {limit}")
    assert bootstrap_interval(collected["other"], "brier", resamples=60, seed=3) != bootstrap_interval(
        collected["other"], "brier", resamples=60
    )


def test_a_model_predicts_by_batches(rng, capsys):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, padding="same")])
    arrays = {
        "image": rng.random((5, 8, 8, 1)).astype("float32"),
        "ratings": rng.integers(0, 2, (5, 8, 8, 3)).astype("int8"),
        "id": [f"case{i}" for i in range(5)],
    }
    chosen = {"ece": metrics.MultiRaterECE()}
    collected = per_image(model, arrays, chosen, batch_size=2, progress=True)
    assert "scoring image 5 of 5" in capsys.readouterr().err
    table = collected.table()
    assert table["id"].tolist() == table["group"].tolist() == arrays["id"]
    again = per_image(model.predict(arrays["image"], verbose=0), arrays, chosen)
    np.testing.assert_allclose(again.table()["ece"], table["ece"], atol=1e-6)


def test_real_masks(real_data):
    """Nodules that four radiologists marked, predicted by their blurred mean vote."""
    arrays = data.load(data.cases(real_data("lidc_crops"))[:40], 64)
    p = gaussian_filter((arrays["ratings"] == 1).mean(-1), (0, 2, 2)).astype("float32")[..., None]
    chosen = {"ece": metrics.MultiRaterECE(from_logits=False), "brier": metrics.MultiRaterBrier(from_logits=False)}
    collected = per_image(p, arrays, chosen)
    whole = metrics.MultiRaterECE(from_logits=False)
    whole.update_state(arrays["ratings"], p)
    np.testing.assert_allclose(collected.value("ece"), float(whole.result()), atol=1e-9)
    assert 2 < len(set(collected.groups)) < 40
    interval = bootstrap_interval(collected, "ece", resamples=100)
    assert 0 < interval["low"] < interval["mean"] < interval["high"] < 0.05
    assert collected.table()["ece"].mean() > interval["mean"]


def test_a_metric_that_does_not_add_up(rng):
    z, ratings = made(rng)
    collected = PerImage({"kernel": metrics.KernelECE(num_samples=64)})
    collected.add(ratings, z)
    assert (collected.table()["kernel"] > 0).all()
    with pytest.raises(ValueError, match="'kernel' .KernelECE. is not made of sums"):
        bootstrap_interval(collected, "kernel")


def test_impossible_values_stay(rng):
    """A NaN prediction of one image: that image, all together and every resample that holds it are NaN."""
    z, ratings = made(rng)
    z[1, 0, 0] = np.nan
    collected = PerImage({"ece": metrics.MultiRaterECE()})
    collected.add(ratings, z)
    np.testing.assert_array_equal(np.isnan(collected.table()["ece"]), np.arange(5) == 1)
    assert np.isnan(collected.value("ece"))
    np.testing.assert_array_equal(np.isnan(collected.value("ece", [[1, 0, 1, 1, 1], [1, 2, 0, 0, 0]])), [False, True])


def test_errors(rng):
    z, ratings = made(rng)
    ece = {"ece": metrics.MultiRaterECE()}
    for wrong in ({}, [metrics.MultiRaterECE()], {"ece": metrics.MultiRaterECE}, {"id": metrics.MultiRaterECE()}):
        with pytest.raises(ValueError, match="metrics: expected"):
            PerImage(wrong)
    collected = PerImage(ece)
    with pytest.raises(ValueError, match="there are no images yet"):
        collected.value("ece")
    with pytest.raises(ValueError, match="groups: expected 5 entries"):
        collected.add(ratings, z, groups=["a"])
    with pytest.raises(ValueError, match="y_true: expected 5 entries"):
        collected.add(ratings[:4], z)
    with pytest.raises(ValueError, match="expected the scores of one structure"):
        collected.add(ratings, {"disc": z, "cup": z})
    bad = ratings.copy()
    bad[3, 0, 0, 0] = 2
    with pytest.raises(ValueError, match="y_true: expected ratings"):
        collected.add(bad, z)
    assert len(collected) == 0  # nothing of a bad batch stays
    collected.add(ratings, z, groups=["a"] * 5)
    with pytest.raises(ValueError, match="name: expected one of"):
        collected.value("dice")
    with pytest.raises(ValueError, match="weights: expected 5 entries"):
        collected.value("ece", np.ones(4))
    with pytest.raises(ValueError, match="at least 2 groups"):
        bootstrap_interval(collected, "ece")
    other, shuffled = PerImage(ece), PerImage(ece)
    other.add(ratings, z)
    shuffled.add(ratings, z, ids=[4, 3, 2, 1, 0])
    with pytest.raises(ValueError, match="baseline: expected the same images"):
        bootstrap_interval(other, "ece", shuffled)
    with pytest.raises(ValueError, match="collected: expected the same images"):
        bootstrap_interval([other, shuffled], "ece")
    for wrong in (None, [other, 3]):
        with pytest.raises(TypeError, match="collected: expected what per_image gives, or a list"):
            bootstrap_interval(wrong, "ece")
    with pytest.raises(ValueError, match="collected: expected a PerImage, or one for each training"):
        bootstrap_interval([], "ece")
    with pytest.raises(ValueError, match="resamples: expected an int"):
        bootstrap_interval(other, "ece", resamples=3)
    with pytest.raises(ValueError, match="arrays: expected a dict with 'ratings'"):
        per_image(z, {"image": z}, ece)
    with pytest.raises(ValueError, match="arrays: expected 'image'"):
        per_image(keras.Sequential([keras.layers.Dense(2)]), {"ratings": ratings}, ece)
    with pytest.raises(ValueError, match="arrays: expected 5 entries of each"):
        per_image(z[:4], {"ratings": ratings}, ece)
