"""Keras' own distribution on JAX: several devices of one process, and several processes."""

import json
import os
import sys

import keras
import numpy as np
import pytest

from keras_ordseg import data, layers, losses, metrics
from tests.conftest import ROOT
from tests.distribution.processes import Job, free_ports
from tests.distribution.shared import SIZE, K, arrays, assert_close

SCRIPT = ROOT / "examples" / "train_jax_multiprocess.py"
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


def devices(count):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {**JAX, "XLA_FLAGS": flags}


def trained(made):
    """Losses, metrics and weights of a small model; the last batch is filled up, because two devices must divide it."""
    keras.utils.set_random_seed(7)
    convolution = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), convolution, layers.OrdinalHead(K)])
    scores = [metrics.MultiRaterECE(name="ece")]
    model.compile(keras.optimizers.SGD(0.3), losses.OrdinalSegmentationLoss(), metrics=scores)
    batches = data.shard_batches(data.batches(made, 4, epochs=2), 4)
    history = model.fit(batches, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0).history
    return history | {str(index): weight for index, weight in enumerate(model.get_weights())}


def main(file):
    """One device, then two."""
    single = trained(arrays(9))
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    assert keras.distribution.distribution().num_model_replicas == 2
    several = trained(arrays(9))
    np.savez(file, **{f"1/{k}": v for k, v in single.items()}, **{f"2/{k}": v for k, v in several.items()})


def test_data_parallel_on_two_devices(tmp_path):
    """Losses, metrics and weights are those of one device, with voids in unequal parts: under jit the mean is global."""
    pytest.importorskip("jax")
    with Job(tmp_path, ["-m", __name__, tmp_path / "found.npz"], [devices(2)]) as job:
        job.finish()
    found = dict(np.load(tmp_path / "found.npz"))
    single, several = ({name[2:]: v for name, v in found.items() if name[0] == n} for n in "12")
    assert len(single) == 2 + 4
    assert_close(several, single)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    """`examples/train_jax_multiprocess.py` through `fit`; started again, it continues after its last epoch."""
    pytest.importorskip("jax")
    train, test = (data.pack(arrays(n, seed), tmp_path / f"data{n}") for n, seed in ((9, 0), (6, 1)))

    def command(output, epochs):
        settings = {"--train": train, "--test": test, "--output": tmp_path / output, "--epochs": epochs}
        settings |= {"--batch-size": 4, "--learning-rate": 0.01, "--seed": 3}
        return [SCRIPT, *(text for pair in settings.items() for text in pair), "--filters", 4]

    def two(output, epochs):
        place = ["--coordinator", f"127.0.0.1:{free_ports(1)[0]}", "--processes", 2, "--process", "{index}"]
        with Job(tmp_path / f"{output}-{epochs}", command(output, epochs) + place, [JAX] * 2) as job:
            job.finish()

    with Job(tmp_path / "one", command("single", 2), [JAX]) as job:
        job.finish()
    two("several", 1)
    (tmp_path / "several" / "results.json").unlink()
    two("several", 2)
    assert sorted(os.listdir(tmp_path / "several")) == ["epoch-000002", "model.keras", "results.json"]
    single, several = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("single", "several"))
    assert len(single["losses"]) == 2
    assert_close(several, single)


if __name__ == "__main__":
    main(sys.argv[1])
