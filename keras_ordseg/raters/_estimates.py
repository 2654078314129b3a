"""STAPLE and Dawid–Skene of many images: pixels counted by pattern, fitted, and spread out again."""

import sys
import warnings
from numbers import Real

import numpy as np

from keras_ordseg.raters._em import TINY, disputed, estimate, vote_shares
from keras_ordseg.raters._patterns import find_patterns

_PIXELS = 2**22  # counted at once
_SHARED = 10  # raters; more leave so many patterns that images hardly share them


def estimate_images(ratings, method, prior="global", restrict=None, progress=False, **limits):
    """Fit `"staple"` or `"dawid_skene"` to every image of `(N, *spatial, K)`, some images at a time.

    Yields `(images, patterns, fit, region)`: a slice of the images, their patterns, the `Fit`, and bool `(images, *spatial)`
    of the pixels estimated from (None where that is a matter of the pattern).
    """
    restrict = _checked_restrict(restrict, ratings.shape[:-1])
    if isinstance(prior, str) or not isinstance(prior, Real):
        if prior != "global":
            raise ValueError(f"prior must be 'global' or a number between 0 and 1, came {prior!r}")
    elif not 0 < prior < 1:
        raise ValueError(f"prior must be between 0 and 1, came {prior!r}")
    prior = "free" if method == "dawid_skene" else prior
    step = max(1, _PIXELS // int(np.prod(ratings.shape[1:-1]))) if ratings.shape[-1] <= _SHARED else 1
    for start in range(0, len(ratings), step):
        images = slice(start, min(start + step, len(ratings)))
        part, region = ratings[images], None
        if isinstance(restrict, np.ndarray):
            region = restrict[images]
        elif restrict == "box":
            region = np.stack([_box(image) for image in part])
        patterns = find_patterns(part)
        counts = patterns.count(len(part), region)
        if isinstance(restrict, str) and restrict == "disputed":
            counts *= disputed(patterns.rows)
        yield images, patterns, estimate(counts, patterns.rows, prior=prior, **limits), region
        if progress:
            print(f"\r{method}: {images.stop}/{len(ratings)}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)


def foreground(ratings, method, restrict=None, **options):
    """float32 `(N, *spatial)`, the estimated probability of foreground (NaN where nobody rated), and the fits."""
    probability, fits = np.empty(ratings.shape[:-1], np.float32), []
    for images, patterns, fit, region in estimate_images(ratings, method, restrict=restrict, **options):
        rows, codes = patterns.rows, patterns.codes.reshape(ratings[images].shape[:-1])
        shares = np.where((rows >= 0).any(axis=-1), vote_shares(rows, 2)[1], np.nan)
        tables = np.where(np.isnan(shares), np.nan, fit.probability[:, 1])
        if restrict is not None:
            tables = np.where(disputed(rows), tables, shares) if region is None else tables
        tables = tables.astype(np.float32)
        for image, table, row in zip(range(images.start, images.stop), tables, codes, strict=True):
            probability[image] = patterns.by_code(table)[row]
        if region is not None:
            outside = patterns.by_code(shares.astype(np.float32))[codes]
            probability[images] = np.where(region, probability[images], outside)
        fits.append(fit)
    return probability, fits


def vote_weights(ratings, method, **options):
    """float64 `(N, 2K+1)`: the log odds of foreground are `w[0] + Σ_r [r marks] w[1+r] + Σ_r [r does not] w[1+K+r]`.

    It is the E-step of the fit as a function of the answers alone, which `tf.data` evaluates after augmentation.
    """
    num_raters, weights, fits = ratings.shape[-1], [], []
    for _, _, fit, _ in estimate_images(ratings, method, **options):
        confusion = np.where(np.isnan(fit.confusion), 1.0, np.maximum(fit.confusion, TINY))  # (N, K, C, C)
        answers = np.log(confusion[:, :, 1]) - np.log(confusion[:, :, 0])  # [rater, answer]
        prior = np.log(np.maximum(fit.prior, TINY))
        weights.append(
            np.concatenate([prior[:, 1:] - prior[:, :1], answers[..., 1], answers[..., 0]], axis=-1)
        )
        fits.append(fit)
    return np.concatenate(weights).reshape(len(ratings), 2 * num_raters + 1), fits


def warn_of(fits, method):
    """Warn where the data cannot tell the raters apart, and where the iteration had not ended."""
    present = np.concatenate([(~np.isnan(fit.confusion)).any(axis=(2, 3)).sum(axis=-1) for fit in fits])
    differ = np.concatenate([fit.iterations for fit in fits]) > 0
    slow = ~np.concatenate([fit.converged for fit in fits])
    alone = (
        "two raters who differ, and no data tell whose errors those are (two raters are not identifiable): the "
        "result there follows the start; prefer method='soft'"
    )
    for images, what in (
        ((present == 2) & differ, alone),
        (slow, "reached max_iterations before they came within the tolerance"),
    ):
        if images.any():
            who = "the image has" if len(images) == 1 else f"{images.sum()} of {len(images)} images have"
            warnings.warn(f"{method}: {who} {what}", stacklevel=3)


def _checked_restrict(restrict, shape):
    if restrict is None or (isinstance(restrict, str) and restrict in ("disputed", "box")):
        return restrict
    array = np.asarray(restrict)
    if array.dtype != bool or array.shape != shape:
        came = repr(restrict) if array.ndim == 0 else f"{array.dtype} {array.shape}"
        raise ValueError(
            f"restrict must be None, 'disputed', 'box' or a boolean array {shape} like the pixels, came {came}"
        )
    return array


def _box(image):
    """bool `(*spatial,)`: the bounding box of all marks of an image."""
    marked, box = (image == 1).any(axis=-1), np.zeros(image.shape[:-1], bool)
    if marked.any():
        box[tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(marked))] = True
    return box
