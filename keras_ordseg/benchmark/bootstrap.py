"""Intervals and paired differences, from a bootstrap over groups (patients) and training seeds."""

import numpy as np

from keras_ordseg.benchmark.per_image import PerImage


def group_weights(groups, resamples: int, seed: int = 0):
    """How often each image counts in each bootstrap resample of the groups, row 0 being the data as they are.

    Returns:
        float64 `(resamples + 1, N)`.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return np.concatenate([np.ones((1, len(names))), drawn])[:, member]


def seed_weights(count: int, resamples: int, seed: int = 0):
    """How often each of so many trainings counts in each resample, row 0 being all of them once.

    Returns:
        float64 `(resamples + 1, count)`.
    """
    drawn = np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, count)), drawn])


def bootstrap_interval(collected, metric, baseline=None, resamples=1000, seed=0):
    """The 95 % interval of a metric of all images, from resampling groups of images (patients), never pixels.

    A resample draws as many groups as there are, with replacement, and the metric is that of its images together: the
    ECE of the pooled answers, not a mean of the images' ECEs. The interval runs from the 2.5th to the 97.5th percentile
    of the resamples. It shows what other patients would change and, where several trainings are given, what training
    again would: a resample then draws the trainings too, independently of the groups, and the metric is their mean. With
    few trainings their share is too small (two thirds of its variance with three).

    Args:
        collected: A `PerImage`, or a list of them, one for each training (seed) of the same method.
        metric: Name of one of its metrics.
        baseline: None, or the same of another method on the same images, for the difference to it, in which both see the
            same resamples; of several trainings, the first of one with the first of the other, and so on.
        resamples: Number of resamples, at least 10. Default 1000.
        seed: Of the resamples. Default 0.

    Returns:
        A dict `{"mean", "low", "high", "images"}`: the metric of all images and the limits, floats (None where not finite),
        and how many images have an answer for it, the others being left out; with a baseline also `difference`, a dict of
        the first three for `collected - baseline`.

    Raises:
        TypeError: For anything but a `PerImage` or a list of them.
        ValueError: For an unknown metric or one whose state does not add up, fewer than two groups, or trainings or a
            baseline of other images.

    Reference: Efron and Tibshirani, *An introduction to the bootstrap*, 1993; resampling of clusters: Field and Welsh,
    *Bootstrapping clustered data*, J. R. Stat. Soc. B 69, 2007; of groups and trainings: Owen, *The pigeonhole
    bootstrap*, Annals of Applied Statistics 1, 2007.

    >>> from keras_ordseg.benchmark import PerImage
    >>> from keras_ordseg.metrics import MultiRaterBrier
    >>> collected = PerImage({"brier": MultiRaterBrier(from_logits=False)})
    >>> collected.add(np.array([[[1, 1]], [[0, 0]], [[1, 0]]]), np.full((3, 1, 1), 0.5))
    >>> bootstrap_interval(collected, "brier", resamples=100)
    {'mean': 0.25, 'low': 0.25, 'high': 0.25, 'images': 3}
    """
    if not isinstance(resamples, int) or resamples < 10:
        raise ValueError(f"resamples: expected an int of at least 10; got {resamples!r}.")
    trainings = {
        "collected": _listed("collected", collected),
        "baseline": [] if baseline is None else _listed("baseline", baseline),
    }
    if not trainings["collected"]:
        raise ValueError("collected: expected a PerImage, or one for each training. Received an empty list.")
    first = trainings["collected"][0]
    if len(set(first.groups)) < 2:
        raise ValueError(f"collected: expected images of at least 2 groups to resample; got {len(set(first.groups))}.")
    for name, several in trainings.items():
        if any((one.ids, one.groups) != (first.ids, first.groups) for one in several):
            raise ValueError(
                f"{name}: expected the same images in the same order, with the same groups. Received other ids or groups."
            )
    weights = group_weights(first.groups, resamples, seed)
    values = {
        name: _means([one.value(metric, weights) for one in several], seed)
        for name, several in trainings.items()
        if several
    }
    out = {**_interval(values["collected"]), "images": first.counted(metric)}
    if baseline is not None:
        out["difference"] = _interval(values["collected"] - values["baseline"])
    return out


def _listed(name, collected):
    several = list(collected) if isinstance(collected, (list, tuple)) else [collected]
    if not all(isinstance(one, PerImage) for one in several):
        raise TypeError(f"{name}: expected what per_image gives, or a list, one for each training; got {collected!r}.")
    return several


def _means(values, seed=0):
    """The mean over trainings in each resample, from the values of each training: `(trainings, resamples + 1)`."""
    values = np.stack(values)
    return (values * seed_weights(len(values), values.shape[1] - 1, seed).T).mean(0)


def tabulate(cells, table, weights, baseline=None, collapsed=()):
    """Values, intervals and paired differences of every method.

    Args:
        cells: `{method: [sums of seed 0, sums of seed 1, …]}`, each as `image_sums` of all test images.
        table: Columns, from `figures`.
        weights: From `group_weights`.
        baseline: Key of the method that differences are taken against, or None.
        collapsed: Keys of methods that are never the best.

    Returns:
        `{method: {figure: {"mean", "low", "high", "seeds", "difference", "to_best"}}}`: the mean over the seeds, its 95 %
        interval (None where all images are of one group), each seed's value, and the same of the paired differences to the
        baseline and to the method of the best mean.

    Of several seeds a resample draws the trainings as well as the groups, see `bootstrap_interval`. Methods share the draws,
    as they share initial weights and the order of batches.
    """
    draws = {
        method: {
            f.key: np.stack([f.value({name: weights @ x for name, x in sums.items()}) for sums in seeds])
            for f in table
        }
        for method, seeds in cells.items()
    }
    resampled = np.ptp(weights[1:], axis=0).any()  # of one group every resample is the same
    out = {method: {} for method in draws}
    for f in table:
        means = {method: _means(columns[f.key]) for method, columns in draws.items()}
        finite = {method: values[0] for method, values in means.items() if np.isfinite(values[0])}
        finite = {method: value for method, value in finite.items() if method not in collapsed}
        best = (min if f.lower_is_better else max)(finite, key=finite.get, default=None)
        for method, values in means.items():
            entry = {**_interval(values, resampled), "seeds": [_number(v) for v in draws[method][f.key][:, 0]]}
            if baseline in draws and method != baseline:
                entry["difference"] = _interval(values - means[baseline], resampled)
            if best is not None and method != best:
                entry["to_best"] = _interval(values - means[best], resampled)
            out[method][f.key] = entry
    return out


def _interval(values, resampled=True):
    finite = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite.size and resampled else (np.nan, np.nan)
    return {"mean": _number(values[0]), "low": _number(low), "high": _number(high)}


def _number(x):
    return float(x) if np.isfinite(x) else None
