"""`examples/train_multiworker.py`: two workers train what one process trains, and come back when one is killed."""

import json
import os
import signal
import sys

import keras
import pytest

from keras_ordseg import data, losses, metrics, models
from tests.conftest import ROOT
from tests.distribution.processes import Job, tf_config
from tests.distribution.shared import FILTERS, K, arrays, assert_close, example

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute needs TensorFlow")
SCRIPT = ROOT / "examples" / "train_multiworker.py"
COUNT, BATCH, EPOCHS, SEED = 9, 4, 2, 3


@pytest.fixture
def packed(tmp_path):
    """`(train, test)`, neither of a size that the batch divides."""
    return [data.pack(arrays(n, seed), tmp_path / name, shards=2) for n, seed, name in ((COUNT, 0, "train"), (5, 1, "test"))]


def command(packed, output, *more):
    train, test = packed
    settings = {"--batch-size": BATCH, "--epochs": EPOCHS, "--seed": SEED, "--learning-rate": 0.01}
    options = [text for pair in settings.items() for text in pair]
    return [SCRIPT, "--train", train, "--test", test, "--output", output, *options, "--filters", *FILTERS, *more]


def results(output):
    return json.loads((output / "results.json").read_text())


def trained_by_fit(packed):
    """The losses, the scores and the model of plain `fit` in this process, on the same batches."""
    train, test = (data.from_packed(folder) for folder in packed)
    keras.utils.set_random_seed(SEED)
    backbone = example("train_multiworker").backbone(1, FILTERS)
    model = models.OrdinalSegmenter(backbone, K, initial_levels=data.level_frequencies(train))
    scores = [metrics.MultiRaterECE(name="ece"), metrics.MultiRaterBrier(name="brier")]
    model.compile(keras.optimizers.Adam(0.01), losses.OrdinalSegmentationLoss(), metrics=scores)
    order = {"shuffle_seed": SEED, "epochs": EPOCHS, "batch_size": BATCH}
    batches = data.from_packed(packed[0], **order).map(lambda batch: (batch["image"], batch["ratings"]))
    history = model.fit(batches, steps_per_epoch=3, epochs=EPOCHS, shuffle=False, verbose=0).history
    scored = model.evaluate(data.fuse(test, "ratings").batch(BATCH), return_dict=True, verbose=0)
    return {"losses": history["loss"], "ece": scored["ece"], "brier": scored["brier"]}, model


@pytest.mark.slow
def test_two_workers_train_what_fit_trains(packed, tmp_path):
    """Losses of the epochs, scores over all workers and weights, with a last batch that leaves one worker without a case."""
    output = tmp_path / "run"
    with Job(tmp_path / "logs", command(packed, output), tf_config(2)) as job:
        text = job.finish()
    assert "2 replicas" in text
    expected, model = trained_by_fit(packed)
    assert_close(results(output), expected)
    saved = keras.saving.load_model(output / "model.keras")
    assert_close(saved.get_weights(), model.get_weights())
    assert sorted(os.listdir(output)) == ["model.keras", "results.json", "step-000006"]


def main(killed_at, *arguments):
    """The example, whose second worker is killed when it is about to save that step."""
    script = example("train_multiworker")
    save = script.Output.save

    def save_or_die(self, model, progress):
        if progress["step"] == int(killed_at) and not self.chief:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, model, progress)

    script.Output.save = save_or_die
    sys.argv[1:] = arguments
    script.main()


@pytest.mark.slow
def test_a_killed_worker_comes_back(packed, tmp_path):
    """Started again, the job continues from its last save to the result that it would have had."""
    often = ("--epochs", 4, "--save-every", 2)
    with Job(tmp_path / "whole", command(packed, tmp_path / "never killed", *often), tf_config(2)) as job:
        job.finish()
    output = tmp_path / "killed"
    dying = ["-m", __name__, 8, *command(packed, output, *often)[1:]]
    with Job(tmp_path / "first", dying, tf_config(2)) as job:
        assert job.processes[1].wait(240) == -signal.SIGKILL, job.text()
    last = max(int(folder.name[5:]) for folder in output.glob("step-*"))
    assert last in (6, 8)  # the first worker may have written what the second one died in
    assert not (output / "results.json").exists()
    with Job(tmp_path / "second", command(packed, output, *often), tf_config(2)) as job:
        text = job.finish()
    assert f"continuing after step {last}\n" in text
    whole, resumed = results(tmp_path / "never killed"), results(output)
    assert len(resumed["losses"]) == 4
    assert_close(resumed, whole, 1e-6)
    weights = [keras.saving.load_model(run / "model.keras").get_weights() for run in (tmp_path / "never killed", output)]
    assert_close(*weights, 1e-6)


if __name__ == "__main__":
    main(*sys.argv[1:])
