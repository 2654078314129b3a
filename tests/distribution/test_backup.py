"""`keras.callbacks.BackupAndRestore` with batches of this package: a killed `fit` goes on after its last whole epoch."""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_ordseg import data, layers, losses
from tests.distribution.processes import Job
from tests.distribution.shared import SIZE, K, arrays, assert_close

EPOCHS, STEPS, KILLED_AT = 4, 3, 8


def epochs_done(backup):
    """As docs/scaling.md gives it."""
    file = Path(backup, "training_metadata.json")
    return json.loads(file.read_text())["epoch"] if file.exists() else 0


class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def trained(backup=None, callbacks=()):
    """The weights after all epochs, and how many epochs were done when this began."""
    keras.utils.set_random_seed(7)
    convolution = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), convolution, layers.OrdinalHead(K)])
    model.compile(keras.optimizers.Adam(0.01), losses.OrdinalSegmentationLoss())
    start = epochs_done(backup) if backup else 0
    model.fit(
        data.batches(arrays(9), 4, epochs=EPOCHS, first_epoch=start),
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        initial_epoch=start,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model.get_weights(), start


def main(folder, *kill):
    backup = keras.callbacks.BackupAndRestore(f"{folder}/backup", double_checkpoint=True, delete_checkpoint=False)
    weights, start = trained(f"{folder}/backup", [backup, *(Kill() for _ in kill)])
    np.savez(f"{folder}/weights.npz", *weights)
    print(f"began with {start} epochs done")


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no tf.data")
@pytest.mark.slow
def test_a_killed_fit_continues(tmp_path):
    """Killed in the third epoch, at step 8: the second is kept, and the result is that of a run that was never killed."""
    with Job(tmp_path / "first", ["-m", __name__, tmp_path, "kill"], [{}]) as job:
        assert job.processes[0].wait(240) == -signal.SIGKILL, job.text()
    assert epochs_done(tmp_path / "backup") == (KILLED_AT - 1) // STEPS == 2
    assert not (tmp_path / "weights.npz").exists()
    with Job(tmp_path / "second", ["-m", __name__, tmp_path], [{}]) as job:
        assert "began with 2 epochs done" in job.finish()
    resumed = np.load(tmp_path / "weights.npz")
    assert_close([resumed[name] for name in resumed.files], trained()[0], 1e-6)


if __name__ == "__main__":
    main(*sys.argv[1:])
