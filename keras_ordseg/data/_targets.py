"""What a model is trained on, made from the ratings of one example inside `tf.data`."""

from keras_ordseg.raters._rules import RULES

METHODS = ("ratings", "votes", "majority", "soft", "random", "union", "intersection")


def check_method(method):
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, came {method!r}")


def target_of(image, ratings, method, weighted):
    """`(image, target)`, or with the weight of each pixel for `"soft"` when pixels may lack answers.

    For `"random"` the ratings come in as those of the rater drawn.
    """
    import tensorflow as tf

    if method in ("ratings", "random"):
        return image, ratings
    votes = tf.reduce_sum(tf.cast(ratings > 0, tf.int32), axis=-1)
    counts = tf.reduce_sum(tf.cast(ratings >= 0, tf.int32), axis=-1)
    if method == "votes":
        message = "votes need the answers of all raters for every pixel; use the method ratings"
        with tf.control_dependencies([tf.debugging.assert_equal(counts, ratings.shape[-1], message=message)]):
            return image, tf.identity(votes)
    if method == "soft":
        share = tf.cast(votes, tf.float32) / tf.cast(tf.maximum(counts, 1), tf.float32)
        target = image, share[..., None]
        return (*target, tf.cast(counts > 0, tf.float32)) if weighted else target
    return image, tf.cast(RULES[method](votes, counts, tf.where), tf.int8)[..., None]
