"""`MirroredStrategy` through plain `fit`: two replicas train what one device trains, with voids in unequal parts."""

import contextlib
import functools
import sys

import keras
import numpy as np
import pytest

from keras_ordseg import data, losses
from tests.distribution.processes import Job
from tests.distribution.shared import SIZE, K, arrays, compiled

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute needs TensorFlow")

SYNCHRONIZED = functools.partial(keras.layers.BatchNormalization, synchronized=True)
NORMALIZATIONS = {"none": None, "synchronized": SYNCHRONIZED, "batch": keras.layers.BatchNormalization}


def trained(normalization, strategy=None):
    """`(history, weights)`: 9 images in batches of 4, so that the last batch leaves the second replica without any.

    Plain batch normalisation makes NaN of the mean of no image, so that it gets 10 images.
    """
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = compiled(NORMALIZATIONS[normalization])
    made = arrays(10 if normalization == "batch" else 9)
    history = model.fit(
        data.batches(made, 4, epochs=2),
        steps_per_epoch=data.steps_per_epoch(made, 4),
        epochs=2,
        shuffle=False,
        verbose=0,
    ).history
    return history, model.get_weights()


def batch_losses(strategy=None):
    """The loss of a batch and the gradient for the logits' scale, under reductions of Keras."""
    import tensorflow as tf

    made, found = arrays(8), []
    logits = np.random.default_rng(0).normal(size=(8, SIZE, SIZE, K + 1)).astype("float32")
    for reduction in ("mean_with_sample_weight", "sum_over_batch_size", "sum"):
        loss = losses.RankedProbabilityLoss(reduction=reduction)

        def step(z, y, loss=loss):
            scale = tf.constant(1.0)
            with tf.GradientTape() as tape:
                tape.watch(scale)
                value = loss(y, z * scale)
            return value, tape.gradient(value, scale)

        if strategy is None:
            value, gradient = step(tf.constant(logits), tf.constant(made["ratings"]))
        else:
            rows = tf.data.Dataset.from_tensor_slices((logits, made["ratings"])).batch(8)
            batch = next(iter(strategy.experimental_distribute_dataset(rows)))
            parts = tf.function(lambda z, y, step=step: strategy.run(step, (z, y)))(*batch)
            value, gradient = (strategy.reduce("SUM", part, axis=None) for part in parts)
        found.append([float(value), float(gradient)])
    return found


def main(file, *normalizations):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    saved = {"losses": batch_losses(strategy)}
    for normalization in normalizations:
        history, weights = trained(normalization, strategy)
        saved |= {f"{normalization}/{name}": values for name, values in history.items()}
        saved |= {f"{normalization}/{index}": value for index, value in enumerate(weights)}
    np.savez(file, **saved)


def with_two_replicas(folder, *normalizations):
    """What two replicas gave, in a process of their own: logical devices are made before TensorFlow starts."""
    # oneDNN's fused convolution of TensorFlow 2.21 gives no image a wrong number of channels, on processors that use it
    plain = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    with Job(folder, ["-m", __name__, folder / "found.npz", *normalizations], [plain]) as job:
        job.finish()
    return dict(np.load(folder / "found.npz"))


def difference(found, normalization):
    """The largest difference from one device, of losses, metrics and weights."""
    history, weights = trained(normalization)
    expected = {**history, **{str(index): value for index, value in enumerate(weights)}}
    return max(np.abs(found[f"{normalization}/{name}"] - value).max() for name, value in expected.items())


def test_two_replicas_train_what_one_device_trains(tmp_path):
    """Losses, metrics and weights after six steps (0.1 off with a mean for each replica), and single batches.

    Keras' own reductions keep their meaning; the default is the mean over the answers of both replicas.
    """
    found = with_two_replicas(tmp_path, "none")
    assert difference(found, "none") < 1e-5
    np.testing.assert_allclose(found["losses"], batch_losses(), rtol=1e-5)


@pytest.mark.slow
def test_batch_normalization(tmp_path):
    """Synchronised it is the same; otherwise its mean and variance are of one replica's images, as in any Keras model."""
    found = with_two_replicas(tmp_path, "synchronized", "batch")
    assert difference(found, "synchronized") < 1e-5
    assert difference(found, "batch") > 1e-3


if __name__ == "__main__":
    main(*sys.argv[1:])
