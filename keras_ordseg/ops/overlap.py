"""Overlap of masks, image by image."""

from keras import ops

from keras_ordseg.ops.levels import as_float, readout_probability
from keras_ordseg.ops.sums import wide
from keras_ordseg.ops.values import check_probabilities, check_scores


def image_sums(values):
    """Sums over the spatial axes, `(batch, *spatial, ...) -> (batch,)`, in float64 where the backend has it."""
    return ops.sum(wide(values), axis=tuple(range(1, len(values.shape))))


def dice_terms(prediction, target, weights):
    """Numerator and denominator of the Dice coefficient of each image.

    Args:
        prediction: Mask of 0 and 1 (or probabilities), `(batch, *spatial)`.
        target: Mask of 0 and 1, same shape.
        weights: Weight of each pixel, same shape.

    Returns:
        `(2 sum w p t, sum w p + sum w t)`, each `(batch,)`.

    >>> top, bottom = dice_terms(ops.ones((1, 2)), ops.convert_to_tensor([[1.0, 0.0]]), ops.ones((1, 2)))
    >>> float(top[0]), float(bottom[0])
    (2.0, 3.0)
    """
    inside = weights * target
    return 2.0 * image_sums(inside * prediction), image_sums(weights * prediction) + image_sums(inside)


def dice(prediction, target, weights):
    """Dice coefficient `2 sum w p t / (sum w p + sum w t)` of each image; 1 where both masks are empty.

    Args:
        prediction: Mask of 0 and 1, `(batch, *spatial)`.
        target: Mask of 0 and 1, same shape.
        weights: Weight of each pixel, same shape.

    Returns:
        Values in [0, 1], `(batch,)`.

    Raises:
        ValueError: For values outside [0, 1], where they can be read.

    Reference: Dice, *Measures of the amount of ecologic association between species*, Ecology 26, 1945.

    >>> float(dice(ops.zeros((1, 4)), ops.zeros((1, 4)), ops.ones((1, 4)))[0])
    1.0
    """
    check_probabilities(prediction, "prediction", "compare the logits with a threshold first", levels=False)
    check_probabilities(target, "target", levels=False)
    return ratio(*dice_terms(prediction, target, weights))


def ratio(top, bottom):
    """`top / bottom`, 1 where `bottom` is 0 (both masks empty)."""
    empty = ops.equal(bottom, 0)
    return ops.where(empty, ops.ones_like(top), top / ops.where(empty, ops.ones_like(bottom), bottom))


def nested_masks(y_pred, from_logits=True):
    """The K nested masks `P(k >= t) > 1/2`, t = 1..K, of a level map.

    Args:
        y_pred: Level logits or probabilities `(..., K+1)`.
        from_logits: Whether `y_pred` holds logits (default) or probabilities.

    Returns:
        float32 masks of 0 and 1, `(..., K)`, each inside the one before it.

    >>> [int(m) for m in nested_masks([0.1, 0.2, 0.6, 0.1], from_logits=False)]
    [1, 1, 0]
    """
    check_scores(y_pred, from_logits)
    y_pred = as_float(y_pred)
    masks = [readout_probability(y_pred, t, from_logits) > 0.5 for t in range(1, y_pred.shape[-1])]
    return ops.cast(ops.stack(masks, axis=-1), "float32")


def generalized_energy_distance(samples, ratings, weights):
    """Squared generalized energy distance between sampled masks and the raters' masks, for each image.

    `2 E d(s, y) - E d(s, s') - E d(y, y')` with `d = 1 - IoU`, 0 where both masks are empty. Every expectation is a
    mean over all ordered pairs, a mask with itself included. A rater is compared over the pixels that this rater
    rated, two raters over the pixels that both rated; a rater that rated no pixel of an image is left out there, and so
    is a pair of raters without a common pixel.

    Args:
        samples: Masks of 0 and 1, `(batch, *spatial, S)`.
        ratings: `(batch, *spatial, slots)`: 1 marked, 0 not marked, -1 did not rate.
        weights: Weight of each pixel, `(batch, *spatial)`.

    Returns:
        Values `(batch,)`, 0 where the samples are the raters' masks; 0 where nobody rated.

    Reference: Székely and Rizzo, *Energy statistics*, J. Stat. Plan. Inference 143, 2013; Kohl et al., *A probabilistic
    U-Net for segmentation of ambiguous images*, NeurIPS 2018.

    >>> masks = ops.convert_to_tensor([[[1.0], [1.0]]])              # one sample marks both pixels, the rater only one
    >>> float(generalized_energy_distance(masks, [[[1], [0]]], ops.ones((1, 2)))[0])
    1.0
    """
    ratings = ops.convert_to_tensor(ratings)
    marked, rated = (ops.cast(x, "float32") for x in (ops.equal(ratings, 1), ops.not_equal(ratings, -1)))
    weights = ops.expand_dims(ops.cast(weights, "float32"), -1)
    both = _pair_sums(weights * rated, rated) > 0
    here = wide(ops.cast(ops.any(both, axis=-1), "float32"))
    size_s, size_y = _pair_sums(weights * samples, rated), _pair_sums(weights, marked)
    cross = _jaccard_distance(_pair_sums(weights * samples, marked), size_s, size_y)
    shared = _pair_sums(weights * marked, rated)  # marked by the first, among the pixels that the second rated
    among_y = _jaccard_distance(_pair_sums(weights * marked, marked), shared, ops.swapaxes(shared, 1, 2))
    size = _pair_sums(weights * samples, ops.ones_like(weights))
    among_s = _jaccard_distance(_pair_sums(weights * samples, samples), size, ops.swapaxes(size, 1, 2))
    return (
        2 * _mean(ops.mean(cross, axis=1), here, axis=1)
        - ops.where(ops.any(here > 0, axis=1), ops.mean(among_s, axis=(1, 2)), 0.0)
        - _mean(among_y, wide(ops.cast(both, "float32")), axis=(1, 2))
    )


def _pair_sums(a, b):
    """Sums over the spatial axes of every product of channels, `(batch, *spatial, A), (…, B) -> (batch, A, B)`."""
    if len(a.shape) == 3:
        a, b = wide(a), wide(b)
    # one row of pixels at a time in float32, whose sums of masks are whole and exact; then the rows, widened
    rows = ops.matmul(ops.swapaxes(a, -1, -2), b)
    return ops.sum(wide(rows), axis=tuple(range(1, len(rows.shape) - 2)))


def _jaccard_distance(common, first, second):
    return 1.0 - ratio(common, first + second - common)


def _mean(values, weights, axis):
    return ops.divide_no_nan(ops.sum(weights * values, axis=axis), ops.sum(weights, axis=axis))
