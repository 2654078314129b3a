"""The mean over the weight of all replicas, where `tf.distribute` gives each one a part of the batch."""

import keras
from keras import ops


def mean_over_replicas(mean, weight):
    """A weighted mean of one replica, as Keras scaled it, turned into its part of the mean over all replicas.

    Keras gives replica r of R the loss `S_r / (W_r R)`, with `S_r` the weighted sum of its pixels and `W_r` their weight,
    and adds up the gradients of the replicas. That is the mean of means, in which a pixel counts for more where its replica
    has more voids. Here the gradient of replica r is that of `S_r / W`, with `W` the weight of all: they add up to the
    gradient of the mean over the batch. The value is `S / (W R)` on every replica, so that the loss Keras logs is the mean
    over the batch too. It costs one sum of two numbers over the replicas.

    Outside a replica of a strategy, with one replica, and on other backends (where arrays are global) it changes nothing.

    Args:
        mean: Scalar, `S_r / (W_r R)`.
        weight: `W_r`, a scalar that is called only where there are several replicas.

    Returns:
        A scalar.
    """
    if keras.backend.backend() != "tensorflow":
        return mean
    import tensorflow as tf  # the backend: it is there already

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync < 2:
        return mean
    own = ops.cast(weight(), mean.dtype)
    total, everything = tf.unstack(context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([mean * own, own])))
    part = ops.divide_no_nan(mean * own * context.num_replicas_in_sync, everything)
    return part + ops.stop_gradient(ops.divide_no_nan(total, everything) - part)
