"""How far the raters of a data set agree."""

import numpy as np

from keras_ordseg.raters._rules import checked_ratings, count_votes, vote_table


def agreement(ratings) -> dict:
    """Agreement statistics of a panel of raters.

    Fleiss' kappa is `(P - Q) / (1 - Q)`. `P` is the mean over the pixels with `n >= 2` answers of
    `(v(v-1) + (n-v)(n-v-1)) / (n(n-1))`, the chance that two of its raters agree. `Q = q² + (1-q)²`, with
    `q` the mean of `v/n` over all rated pixels. It is NaN where all answers are the same.

    Args:
        ratings: integers `(N, *spatial, K)` of 1, 0 and -1 (did not rate).

    Returns:
        A dict of `"num_images"`, `"num_raters"`;
        `"pairwise_dice"`: mean over the images of the mean over rater pairs, on the pixels that both rated;
        a pair with two empty masks, or without a common pixel, is left out (NaN if all are);
        `"disputed"`: share of the rated pixels on which the answers differ;
        `"disputed_of_marked"`: the same share of the pixels that anyone marked (NaN if none are);
        `"marked"`: for each rater the share of his rated pixels that he marked (NaN if he rated none);
        `"present"`: for each rater the share of all pixels that he rated;
        `"fleiss_kappa"`.

    Raises:
        ValueError: values that are no ratings.

    Reference: Fleiss, Psychological Bulletin 76 (1971) 378; for absent raters Gwet, Handbook of Inter-Rater
    Reliability (2014), chapter 2.

    >>> import numpy as np
    >>> from keras_ordseg import raters
    >>> result = raters.agreement(np.array([[[1, 1], [1, 0], [0, 0], [0, 0]]]))
    >>> round(result["pairwise_dice"], 3), result["disputed"], round(result["fleiss_kappa"], 3)
    (0.667, 0.25, 0.467)
    """
    ratings = checked_ratings(ratings)
    num_raters = ratings.shape[-1]
    table = np.zeros((num_raters + 1, num_raters + 1), np.int64)
    marked, rated = np.zeros(num_raters), np.zeros(num_raters)
    dice = []
    for image in ratings:
        table += vote_table(*count_votes(image), num_raters)
        flat = image.reshape(-1, num_raters)
        marked += (flat == 1).sum(axis=0)
        rated += (flat >= 0).sum(axis=0)
        dice.append(_pairwise_dice(flat))
    dice = np.array([value for value in dice if not np.isnan(value)])
    answers, votes = np.indices(table.shape)
    differ = table[(votes > 0) & (votes < answers)].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "num_images": len(ratings),
            "num_raters": num_raters,
            "pairwise_dice": float(dice.mean()) if dice.size else float("nan"),
            "disputed": float(differ / table[answers > 0].sum()),
            "disputed_of_marked": float(differ / table[votes > 0].sum()),
            "marked": marked / rated,
            "present": rated / (ratings.size / num_raters),
            "fleiss_kappa": _fleiss_kappa(table, answers, votes),
        }


def _pairwise_dice(flat):
    """Mean Dice over the pairs of one image, NaN if there is none to count."""
    marks = (flat == 1).astype(np.float64)
    both = marks.T @ marks
    sizes = marks.T @ (flat >= 0).astype(np.float64)  # [i, j]: what i marked where j rated
    sizes = sizes + sizes.T
    pairs = np.triu(sizes > 0, k=1)
    return float((2 * both[pairs] / sizes[pairs]).mean()) if pairs.any() else float("nan")


def _fleiss_kappa(table, answers, votes):
    several, any_ = answers >= 2, answers >= 1
    if not table[several].sum():
        return float("nan")
    agree = votes * (votes - 1) + (answers - votes) * (answers - votes - 1)
    observed = (table * agree / np.maximum(answers * (answers - 1), 1))[several].sum() / table[several].sum()
    share = (table * votes / np.maximum(answers, 1))[any_].sum() / table[any_].sum()
    chance = share**2 + (1 - share) ** 2
    return float((observed - chance) / (1 - chance)) if chance < 1 else float("nan")
