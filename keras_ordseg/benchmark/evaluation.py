"""What a model is worth on the test images: the sums of each image, and the figures that follow from them.

Every figure is a function of sums over images, so the sums of each image are kept, and a resample of patients is a
weighted sum of them: nothing is predicted twice, and no resample splits a patient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_ordseg.data import region
from keras_ordseg.ops import brier, level_probabilities, readout_probability
from keras_ordseg.ops.binning import bin_edges, bin_index
from keras_ordseg.ops.overlap import dice
from keras_ordseg.ops.scores import ranked_probability_score

NUM_BINS = 15
_COLLAPSED = 1e-3  # of the pixels that a model should mark, or leave unmarked
SOFT_THRESHOLDS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class Figure:
    """One column of the table: how it reads, and how it follows from an image's sums."""

    key: str
    label: str
    description: str
    value: Callable  # sums of images {name: (..., size)} -> (...)
    lower_is_better: bool = True
    digits: int = 2


def _ece(name):
    def value(sums):
        weight, confidence, vote = np.split(sums[name], 3, axis=-1)
        return 100 * np.abs(confidence - vote).sum(-1) / _nonzero(weight.sum(-1))

    return value


def _mean(name, scale=1.0):
    return lambda sums: scale * sums[name][..., 0] / _nonzero(sums[name][..., 1])


def _nonzero(x):
    return np.where(x > 0, x, np.nan)


def figures(has_truth: bool, band: int) -> list[Figure]:
    """The columns of the table; those against the true probability only where it is known."""
    near = f"within {band} pixels of any rater's mark"
    flattering = "Where few pixels are marked, even a model that marks nothing looks calibrated here."
    table = [
        Figure(
            "band_ece_expected",
            "band ECE exp. %",
            f"Multi-rater ECE, expected readout, {near}.",
            _ece("band_ece_expected"),
        ),
        Figure(
            "band_ece_majority",
            "band ECE maj. %",
            f"Multi-rater ECE, majority readout, {near}.",
            _ece("band_ece_majority"),
        ),
        Figure(
            "ece_expected",
            "ECE exp. %",
            f"Multi-rater ECE, expected readout, all pixels. {flattering}",
            _ece("ece_expected"),
        ),
        Figure(
            "ece_majority",
            "ECE maj. %",
            f"Multi-rater ECE, majority readout, all pixels. {flattering}",
            _ece("ece_majority"),
        ),
        Figure(
            "brier",
            "Brier ×100",
            "Multi-rater Brier score of the expected readout times 100, all pixels.",
            _mean("brier", 100.0),
            digits=3,
        ),
        Figure(
            "consensus_dice",
            "Consensus Dice",
            "Dice of the majority readout at 1/2 with the majority of the raters, mean over images.",
            _mean("consensus_dice"),
            lower_is_better=False,
            digits=3,
        ),
        Figure(
            "soft_dice",
            "Soft Dice",
            "Dice of the expected readout with the mean vote, mean over the thresholds 0.1 … 0.9 and the images.",
            _mean("soft_dice"),
            lower_is_better=False,
            digits=3,
        ),
        Figure(
            "rps",
            "RPS ×100",
            "Ranked probability score of the levels times 100 (levels normalization); only where there are levels.",
            _mean("rps", 100.0),
            digits=3,
        ),
    ]
    if has_truth:
        table.append(
            Figure(
                "truth",
                "Error to truth %",
                "Mean distance of the expected readout to the true probability that a rater marks the pixel, all "
                "pixels.",
                _mean("truth", 100.0),
            )
        )
    return table


def image_sums(y_pred, ratings, band: int, probability=None) -> dict[str, np.ndarray]:
    """The sums of each image from which every figure follows.

    Args:
        y_pred: Level logits `(batch, *spatial, K+1)` or binary logits `(batch, *spatial, 1)`.
        ratings: `(batch, *spatial, K)`.
        band: Margin of the region near the marks, in pixels.
        probability: None, or the true probability `(batch, *spatial)`.

    Returns:
        A dict of float64 arrays `(batch, size)`.
    """
    y_pred, ratings = np.asarray(y_pred, "float32"), np.asarray(ratings)
    flat = (len(ratings), -1)
    votes = (ratings == 1).sum(-1).reshape(flat).astype("float64")
    counts = (ratings >= 0).sum(-1).reshape(flat).astype("float64")
    near = region(ratings, "union", band).reshape(flat)
    p = {
        r: ops.convert_to_numpy(readout_probability(y_pred, r)).reshape(flat)
        for r in ("expected", "majority")
    }
    sums = {}
    for readout, values in p.items():
        bins = ops.convert_to_numpy(bin_index(values, NUM_BINS))
        for prefix, inside in (("", 1.0), ("band_", near)):
            parts = (counts * inside, counts * inside * values.astype("float64"), votes * inside)
            sums[f"{prefix}ece_{readout}"] = np.concatenate([_by_bin(bins, part) for part in parts], -1)
    rated = counts > 0
    p64 = p["expected"].astype("float64")
    score = brier(votes, counts, p64)
    sums["brier"] = _pair(np.asarray(score).sum(-1), counts.sum(-1))
    quorum = np.maximum(np.ceil(counts / 2), 1)
    agreed = rated & (votes >= quorum)
    marked = [rated, agreed, *(rated & (values >= 0.5) for values in p.values())]
    sums["marks"] = np.stack([mask.sum(-1) for mask in marked], -1).astype("float64")
    present = rated.any(-1).astype("float64")
    consensus = _dice(p["majority"] >= 0.5, votes >= quorum, rated)
    sums["consensus_dice"] = _pair(consensus * present, present)
    soft = np.mean(
        [_dice(p["expected"] - t > 1e-6, votes - t * counts > 1e-4, rated) for t in SOFT_THRESHOLDS], axis=0
    )
    sums["soft_dice"] = _pair(soft * present, present)
    if y_pred.shape[-1] > 1:
        rps = ops.convert_to_numpy(ranked_probability_score(ratings, y_pred)).reshape(flat).astype("float64")
        sums["rps"] = _pair((rps * rated).sum(-1), rated.sum(-1))
        complete = near & (counts == ratings.shape[-1])
        if y_pred.shape[-1] - 1 == ratings.shape[-1]:
            levels = ops.convert_to_numpy(level_probabilities(y_pred)).reshape(*complete.shape, -1)
            predicted = (levels * complete[..., None]).sum(1, dtype="float64")
            seen = [(complete & (votes == level)).sum(-1) for level in range(levels.shape[-1])]
            sums["band_levels"] = np.concatenate([predicted, np.stack(seen, -1)], -1)
    else:
        sums["rps"] = np.zeros((len(ratings), 2))
    if probability is not None:
        truth = np.abs(p64 - np.asarray(probability, "float64").reshape(flat))
        sums["truth"] = _pair(truth.sum(-1), np.full(len(truth), truth.shape[1]))
    return sums


def collapse(marks):
    """Says "nothing" or "everything" where that is what a model marks, None where it does neither.

    Args:
        marks: `(images, 4)`, the sums `marks` of `image_sums`: pixels rated, marked by at least half of the raters, and at
            1/2 or above in the expected and the majority readout.

    >>> collapse([[100, 20, 0, 0]]), collapse([[100, 20, 100, 100]]), collapse([[100, 20, 3, 0]]), collapse([[100, 0, 0, 0]])
    ('nothing', 'everything', None, None)
    """
    rated, agreed, *marked = np.asarray(marks, "float64").sum(0)
    if max(marked) < _COLLAPSED * agreed:
        return "nothing"
    return "everything" if rated - min(marked) < _COLLAPSED * (rated - agreed) else None


def _by_bin(bins, values):
    index = bins + NUM_BINS * np.arange(len(bins))[:, None]
    return np.bincount(index.ravel(), values.ravel(), minlength=NUM_BINS * len(bins)).reshape(-1, NUM_BINS)


def _pair(top, bottom):
    return np.stack([np.asarray(top, "float64"), np.asarray(bottom, "float64")], -1)


def _dice(prediction, target, weights):
    masks = (np.asarray(mask, "float32") for mask in (prediction, target, weights))
    return ops.convert_to_numpy(dice(*masks)).astype("float64")


def reliability(sums, name):
    """The reliability diagram of one region and readout, as `MultiRaterECE.reliability` gives it.

    Args:
        sums: Of all images, from `image_sums`.
        name: `"ece_expected"`, `"band_ece_majority"`, ….
    """
    weight, confidence, vote = np.split(sums[name].sum(0), 3)
    full = _nonzero(weight)
    return {
        "edges": bin_edges(NUM_BINS).astype("float64"),
        "counts": weight,
        "confidence": confidence / full,
        "vote": vote / full,
        "ece": float(np.abs(confidence - vote).sum() / weight.sum()) if weight.sum() else float("nan"),
    }
