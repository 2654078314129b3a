"""What a model is trained on, made from the ratings of one example inside `tf.data`."""

from keras_ordseg.raters import _rules
from keras_ordseg.raters._estimates import vote_weights as fit_weights
from keras_ordseg.raters._estimates import warn_of

__all__ = ["METHODS", "check_method", "fit_weights", "target_of", "warn_of"]

METHODS = ("ratings", *_rules.METHODS)


def check_method(method, num_raters, options):
    """Refuse a method or its options before anything is read."""
    _rules.check_method(method, num_raters, options, METHODS)
    if not isinstance(restrict := options.get("restrict"), str | None) or restrict == "box":
        raise ValueError(
            "restrict must be None or 'disputed' here: the target follows the ratings through augmentation, and a box or "
            "an array does not; fuse with raters.fuse before"
        )


def target_of(image, ratings, method, weighted, weights=None, restrict=None):
    """`(image, target)`, or with the weight of each pixel for a soft target when pixels may lack answers.

    For `"random"` the ratings come in as those of the rater drawn; `weights` are this image's row of `fit_weights`.
    """
    import tensorflow as tf

    if method in ("ratings", "random"):
        return image, ratings
    num_raters = ratings.shape[-1]
    votes = tf.reduce_sum(tf.cast(ratings == 1, tf.int32), axis=-1)
    counts = tf.reduce_sum(tf.cast(ratings >= 0, tf.int32), axis=-1)
    if method == "votes":
        message = "votes need the answers of all raters for every pixel; use the method ratings"
        with tf.control_dependencies([tf.debugging.assert_equal(counts, num_raters, message=message)]):
            return image, tf.identity(votes)
    if method == "soft" or method in _rules.ESTIMATED:
        share = tf.cast(votes, tf.float32) / tf.cast(tf.maximum(counts, 1), tf.float32)
        if method != "soft":
            marks, others = (tf.cast(ratings == answer, tf.float64) for answer in (1, 0))
            odds = weights[0] + tf.linalg.matvec(marks, weights[1 : num_raters + 1])
            odds += tf.linalg.matvec(others, weights[num_raters + 1 :])
            differ = (votes > 0) & (votes < counts)
            estimated = tf.cast(tf.sigmoid(odds), tf.float32)
            share = tf.where(differ, estimated, share) if restrict == "disputed" else estimated
            share = tf.where(counts > 0, share, 0.0)
        target = image, share[..., None]
        return (*target, tf.cast(counts > 0, tf.float32)) if weighted else target
    return image, tf.cast(_rules.hard_target(votes, counts, method, num_raters, tf.where), tf.int8)[..., None]
