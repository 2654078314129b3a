"""How far the raters of a data set agree."""

from collections.abc import Iterable

import numpy as np

from keras_ordseg.raters._em import estimate
from keras_ordseg.raters._patterns import find_patterns
from keras_ordseg.raters._rules import checked_ratings, vote_table


def agreement(ratings) -> dict:
    """Agreement statistics of a panel of raters.

    Fleiss' kappa is `(P - Q) / (1 - Q)`. `P` is the mean over the pixels with `n >= 2` answers of
    `(v(v-1) + (n-v)(n-v-1)) / (n(n-1))`, the chance that two of its raters agree. `Q = q² + (1-q)²`, with
    `q` the mean of `v/n` over all rated pixels. Krippendorff's alpha (nominal) is
    `1 - (N-1) Σ v(n-v)/(n-1) / (N₀ N₁)` over the pixels with `n >= 2`, with `N = N₀ + N₁` their answers, `N₁` of them marks:
    absent raters need no other treatment. Both are NaN where all answers are the same.

    Images are read one after the other and only counts are kept, so a generator of large volumes takes the memory of one.

    Args:
        ratings: integers `(N, *spatial, K)` of 1, 0 and -1 (did not rate), or an iterable of `(*spatial, K)`, whose sizes
            may differ.

    Returns:
        A dict of `"num_images"`, `"num_raters"`;
        `"pairwise_dice"`: mean over the images of the mean over rater pairs, on the pixels that both rated;
        a pair with two empty masks, or without a common pixel, is left out (NaN if all are);
        `"dice_matrix"`: `(K, K)`, each pair's mean over the images, left out as above;
        `"disputed"`: share of the rated pixels on which the answers differ;
        `"disputed_of_marked"`: the same share of the pixels that anyone marked (NaN if none are);
        `"marked"`: for each rater the share of his rated pixels that he marked (NaN if he rated none);
        `"present"`: for each rater the share of all pixels that he rated;
        `"images"`: for each rater the number of images of which he rated anything;
        `"volume"`: for each rater the mean number of pixels that he marked in those;
        `"sensitivity"`, `"specificity"`, `"volume_ratio"`: for each rater against `staple` of each image, summed over the
        images: the share of the foreground that he marked, of the background that he did not, and his marks
        over the foreground. Images with fewer than three raters do not count, for STAPLE cannot tell
        two raters' errors apart (NaN if none does);
        `"fleiss_kappa"`, `"krippendorff_alpha"`.

    Raises:
        ValueError: values that are no ratings, images with another number of raters, no image.

    Reference: Fleiss, Psychological Bulletin 76 (1971) 378; for absent raters Gwet, Handbook of Inter-Rater
    Reliability (2014), chapter 2; Krippendorff, Content Analysis (2004), chapter 11.

    >>> import numpy as np
    >>> from keras_ordseg import raters
    >>> result = raters.agreement(np.array([[[1, 1], [1, 0], [0, 0], [0, 0]]]))
    >>> round(result["pairwise_dice"], 3), result["disputed"], round(result["fleiss_kappa"], 3)
    (0.667, 0.25, 0.467)
    """
    if not isinstance(ratings, Iterable):
        raise ValueError(f"ratings must be an array or an iterable of arrays, came {type(ratings).__name__}")
    if hasattr(ratings, "shape"):
        ratings = checked_ratings(ratings)
    return summarise([image_counts(image) for image in ratings])


def image_counts(ratings) -> dict:
    """What `summarise` needs of one image, `(*spatial, K)`: small, however large the image."""
    ratings = checked_ratings(ratings)
    num_raters = ratings.shape[-1]
    patterns = find_patterns(ratings)
    rows, counts = patterns.rows, patterns.count()
    marks, given = ((rows == 1).astype(np.float64), (rows >= 0).astype(np.float64))
    weighted = counts.T * marks
    both, sizes = weighted.T @ marks, weighted.T @ given  # [i, j]: what i marked and j too; what i marked where j rated
    sizes = sizes + sizes.T
    present = (counts.T * given).sum(axis=0) > 0
    against = np.zeros((4, num_raters))
    if present.sum() >= 3:
        foreground = counts[0] * estimate(counts, rows, prior="global").probability[0, 1]
        background = counts[0] - foreground
        against = np.stack([foreground @ marks, foreground @ given, background @ (given - marks), background @ given])
    return {
        "table": vote_table(marks.sum(axis=-1).astype(int), given.sum(axis=-1).astype(int), num_raters, counts[0]),
        "pixels": counts.sum(),
        "marked": weighted.sum(axis=0),
        "rated": (counts.T * given).sum(axis=0),
        "dice": np.divide(2 * both, sizes, out=np.full(both.shape, np.nan), where=sizes > 0),
        "against": against,
    }


def summarise(images) -> dict:
    """The statistics of `agreement`, from the `image_counts` of its images."""
    if not images:
        raise ValueError("ratings must hold at least one image, came none")
    sizes = {len(image["marked"]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"ratings must have the same K in all images, came {sorted(sizes)}")
    table = sum(image["table"] for image in images)
    marked, rated = (np.stack([image[name] for image in images]) for name in ("marked", "rated"))
    dice = np.stack([image["dice"] for image in images])
    present = (rated > 0).sum(axis=0)
    hits, foreground, rejected, background = sum(image["against"] for image in images)
    true_marks = hits + background - rejected  # marked in those images, on either side
    answers, votes = np.indices(table.shape)
    differ = table[(votes > 0) & (votes < answers)].sum()
    pairs = np.triu(np.ones(dice.shape[1:], bool), k=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "num_images": len(images),
            "num_raters": sizes.pop(),
            "pairwise_dice": _mean(_mean(dice[:, pairs], axis=-1)).item(),
            "dice_matrix": _mean(dice, axis=0),
            "disputed": float(differ / table[answers > 0].sum()),
            "disputed_of_marked": float(differ / table[votes > 0].sum()),
            "marked": marked.sum(axis=0) / rated.sum(axis=0),
            "present": rated.sum(axis=0) / sum(image["pixels"] for image in images),
            "images": present,
            "volume": marked.sum(axis=0) / present,
            "sensitivity": hits / foreground,
            "specificity": rejected / background,
            "volume_ratio": true_marks / foreground,
            "fleiss_kappa": _fleiss_kappa(table, answers, votes),
            "krippendorff_alpha": _krippendorff_alpha(table, answers, votes),
        }


def _mean(values, axis=None):
    """Mean of what is not NaN; NaN of nothing, without a warning."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def _fleiss_kappa(table, answers, votes):
    several, any_ = answers >= 2, answers >= 1
    if not table[several].sum():
        return float("nan")
    agree = votes * (votes - 1) + (answers - votes) * (answers - votes - 1)
    observed = (table * agree / np.maximum(answers * (answers - 1), 1))[several].sum() / table[several].sum()
    share = (table * votes / np.maximum(answers, 1))[any_].sum() / table[any_].sum()
    chance = share**2 + (1 - share) ** 2
    return float((observed - chance) / (1 - chance)) if chance < 1 else float("nan")


def _krippendorff_alpha(table, answers, votes):
    several = answers >= 2
    table, answers, votes = table[several].astype(np.float64), answers[several], votes[several]
    marks, others = table @ votes, table @ (answers - votes)
    if not marks * others:
        return float("nan")
    mixed = table @ (votes * (answers - votes) / (answers - 1))
    return float(1 - (marks + others - 1) * mixed / (marks * others))
