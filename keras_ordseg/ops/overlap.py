"""Overlap of masks, image by image."""

from keras import ops

from keras_ordseg.ops.sums import wide


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

    Reference: Dice, *Measures of the amount of ecologic association between species*, Ecology 26, 1945.

    >>> float(dice(ops.zeros((1, 4)), ops.zeros((1, 4)), ops.ones((1, 4)))[0])
    1.0
    """
    return ratio(*dice_terms(prediction, target, weights))


def ratio(top, bottom):
    """`top / bottom`, 1 where `bottom` is 0 (both masks empty)."""
    empty = ops.equal(bottom, 0)
    return ops.where(empty, ops.ones_like(top), top / ops.where(empty, ops.ones_like(bottom), bottom))
