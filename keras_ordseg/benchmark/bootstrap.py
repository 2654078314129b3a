"""Intervals and paired differences, from a bootstrap over groups (patients)."""

import numpy as np


def group_weights(groups, resamples: int, seed: int = 0):
    """How often each image counts in each bootstrap resample of the groups, row 0 being the data as they are.

    Returns:
        float64 `(resamples + 1, N)`.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return np.concatenate([np.ones((1, len(names))), drawn])[:, member]


def tabulate(cells, table, weights, baseline=None):
    """Values, intervals and paired differences of every method.

    Args:
        cells: `{method: [sums of seed 0, sums of seed 1, …]}`, each as `image_sums` of all test images.
        table: Columns, from `figures`.
        weights: From `group_weights`.
        baseline: Key of the method that differences are taken against, or None.

    Returns:
        `{method: {figure: {"mean", "low", "high", "seeds", "difference"}}}`: the mean over the seeds, the 95 % interval of
        the bootstrap over groups of that mean, each seed's value, and the same of the difference to the baseline.
    """
    draws = {
        method: {
            f.key: np.stack([f.value({name: weights @ x for name, x in sums.items()}) for sums in seeds])
            for f in table
        }
        for method, seeds in cells.items()
    }
    out = {}
    for method, columns in draws.items():
        out[method] = {}
        for key, values in columns.items():
            entry = {**_interval(values.mean(0)), "seeds": [_number(v) for v in values[:, 0]]}
            if baseline in draws and method != baseline:
                entry["difference"] = _interval(values.mean(0) - draws[baseline][key].mean(0))
            out[method][key] = entry
    return out


def _interval(values):
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled.size else (np.nan, np.nan)
    return {"mean": _number(values[0]), "low": _number(low), "high": _number(high)}


def _number(x):
    return float(x) if np.isfinite(x) else None
