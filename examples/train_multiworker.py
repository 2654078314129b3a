"""Trains on several machines with TensorFlow, survives a killed worker, and evaluates over all of them.

Start it once on each machine with the cluster in TF_CONFIG, the same on all but for the index:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}' \\
        python train_multiworker.py --train /shared/packed/train --test /shared/packed/test --output /shared/run

Worker 0 is the chief: it prints, and what it writes stays. --output must be a folder that all machines see. When a
worker dies, stop the others (most cluster managers do) and start all again with the same command: they continue from
the last save. Without TF_CONFIG it trains on this machine alone, to the same result.

The loop is written out because `Model.fit` of Keras 3.15 does not start under MultiWorkerMirroredStrategy (keras
issue 20585). On one machine with several GPUs, MirroredStrategy and plain `fit` are enough.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # tf.distribute needs it

import keras
import tensorflow as tf

from keras_ordseg import data, datasets, losses, metrics, models


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", help="a packed dataset (data.pack, datasets.prepare), or a folder of *_image.png and "
                        "*_rater{r}.png of one size; generated images without it")
    parser.add_argument("--test", help="the same, to evaluate on at the end")
    parser.add_argument("--train-split", help="of --train, where it has several, as 'train'")
    parser.add_argument("--test-split", help="of --test, where it has several, as 'test'")
    parser.add_argument("--output", required=True, help="folder of the run; every worker must see it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="of all workers together; default 16")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=50, help="steps from one save to the next; default 50")
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32, 64], help="of the backbone's levels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.train is None) != (options.test is None):
        parser.error("--train and --test go together")
    if min(options.epochs, options.batch_size, options.save_every) < 1:
        parser.error("--epochs, --batch-size and --save-every must be 1 or more")
    return options


class Source:
    """Cases of a packed dataset, which stays on disk, or of a folder or generated, which is held in memory."""

    def __init__(self, path, split, generated):
        self.path, self.split, self.arrays = path, split, None
        if path is None:
            self.arrays = datasets.ambiguous_shapes(**generated)
        elif not tf.io.gfile.exists(os.path.join(path, "dataset_info.json")):
            self.arrays = data.load(data.cases(path))
        self.cases = data.from_packed(path, split) if self.arrays is None else data.from_arrays(self.arrays)
        self.count = int(self.cases.cardinality())

    def batches(self, size, seed=None, epochs=1, first_epoch=0):
        """`(images, ratings)` of epochs first_epoch … epochs - 1, in an order that (seed, epoch) fixes; None keeps it."""
        order = {"epochs": epochs, "first_epoch": first_epoch}
        if self.arrays is None:
            batches = data.from_packed(self.path, self.split, shuffle_seed=seed, batch_size=size, **order)
            return batches.map(lambda batch: (batch["image"], batch["ratings"]))
        return data.batches(self.arrays, size, shuffle=seed is not None, seed=seed or 0, **order)


def distributed(strategy, batches, size):
    """The part of every batch that each worker, and in it each replica, trains on: no case twice, none left out."""

    def of_this_worker(context):
        mine = data.shard_batches(batches, size, context.num_input_pipelines, context.input_pipeline_id)
        return mine.rebatch(size // strategy.num_replicas_in_sync).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_this_worker)


def backbone(channels, filters):
    """Feature maps at strides 1, 2, 4, …, with group normalisation: batch normalisation sees only a replica's part."""
    x = image = keras.Input((None, None, channels), name="image")
    maps = {}
    for level, width in enumerate(filters):
        for step in (1, 2):
            stride, name = 2 if level and step == 1 else 1, f"level{level}_{step}"
            x = keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = keras.layers.GroupNormalization(math.gcd(8, width), name=f"{name}_norm")(x)
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
        maps[f"stride_{2**level}"] = x
    return keras.Model(image, maps, name="backbone")


class Output:
    """What a run leaves: `step-000120/` to continue from (only the last one stays), `model.keras` and `results.json`.

    All of it appears by a rename. Every worker calls every method, because to read a distributed variable may need all;
    what workers other than the chief write is deleted.
    """

    def __init__(self, folder, worker):
        self.folder, self.chief = Path(folder), worker == 0
        self.temporary = self.folder / f".writing-{worker}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def restore(self, model):
        """The progress of the last save, whose weights and optimizer are then in the model."""
        saves = sorted(self.folder.glob("step-*"))
        if not saves:
            return {"step": 0, "running": 0.0, "losses": []}
        model.optimizer.build(model.trainable_variables)
        model.load_weights(saves[-1] / "state.weights.h5")
        return json.loads((saves[-1] / "progress.json").read_text())

    def save(self, model, progress):
        with self._writing() as folder:
            model.save_weights(folder / "state.weights.h5")
            (folder / "progress.json").write_text(json.dumps(progress))
            if self.chief:
                before = list(self.folder.glob("step-*"))
                os.replace(folder, self.folder / f"step-{progress['step']:06d}")
                for old in before:
                    shutil.rmtree(old)

    def finish(self, model, results):
        with self._writing() as folder:
            model.save(folder / "model.keras")
            (folder / "results.json").write_text(json.dumps(results, indent=1))
            if self.chief:
                for name in ("model.keras", "results.json"):
                    os.replace(folder / name, self.folder / name)

    @contextlib.contextmanager
    def _writing(self):
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        yield self.temporary
        shutil.rmtree(self.temporary, ignore_errors=True)


def main():
    options = arguments()
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}")
    if "worker" in cluster.get("cluster", {}):  # first of all: nothing of TensorFlow may have run before
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        worker = strategy.cluster_resolver.task_id
    else:
        strategy, worker = tf.distribute.MirroredStrategy(), 0
    if options.batch_size % strategy.num_replicas_in_sync:
        sys.exit(f"--batch-size {options.batch_size} does not divide among {strategy.num_replicas_in_sync} replicas")
    say = print if worker == 0 else lambda *args, **kwargs: None

    train, test = (
        Source(options.train, options.train_split, {"num_images": 64, "seed": 1}),
        Source(options.test, options.test_split, {"num_images": 16, "seed": 2}),
    )
    spec, size = train.cases.element_spec, options.batch_size
    num_raters, channels = spec["ratings"].shape[-1], spec["image"].shape[-1]
    steps = -(-train.count // size)  # of an epoch
    say(f"{train.count} cases, {num_raters} raters; {steps} steps an epoch on {strategy.num_replicas_in_sync} replicas")

    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        model = models.OrdinalSegmenter(
            backbone(channels, options.filters), num_raters, initial_levels=data.level_frequencies(train.cases)
        )
        model.compile(keras.optimizers.Adam(options.learning_rate), losses.OrdinalSegmentationLoss())
        scores = [metrics.MultiRaterECE(name="ece"), metrics.MultiRaterBrier(name="brier")]

    @tf.function
    def train_step(images, ratings):
        def of_replica(images, ratings):
            with tf.GradientTape() as tape:
                loss = model.loss(ratings, model(images, training=True))
            model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            return loss

        # the loss of each replica is its part of the mean over the whole batch
        return strategy.reduce("SUM", strategy.run(of_replica, (images, ratings)), axis=None)

    @tf.function
    def test_step(images, ratings):
        def of_replica(images, ratings):
            levels = model(images, training=False)
            for score in scores:
                score.update_state(ratings, levels)

        strategy.run(of_replica, (images, ratings))

    output = Output(options.output, worker)
    with strategy.scope():  # the optimizer's variables are made here
        progress = output.restore(model)
    if progress["step"]:
        say(f"continuing after step {progress['step']}")
    first = progress["step"] // steps
    if first < options.epochs:
        batches = train.batches(size, options.seed, options.epochs, first).skip(progress["step"] % steps)
        for images, ratings in distributed(strategy, batches, size):
            loss = float(train_step(images, ratings))
            if not math.isfinite(loss):
                sys.exit(f"the loss is {loss} at step {progress['step'] + 1}: try a smaller --learning-rate")
            progress["running"] += loss * min(size, train.count - progress["step"] % steps * size)
            progress["step"] += 1
            done = progress["step"] % steps == 0
            if done:  # the mean over images, as fit logs it
                progress["losses"].append(progress["running"] / train.count)
                progress["running"] = 0.0
                say(f"epoch {progress['step'] // steps}/{options.epochs}  loss {progress['losses'][-1]:.4f}", flush=True)
            if done or progress["step"] % options.save_every == 0:
                output.save(model, progress)

    for images, ratings in distributed(strategy, test.batches(size), size):
        test_step(images, ratings)
    results = {score.name: float(score.result()) for score in scores} | {"losses": progress["losses"]}
    output.finish(model, results)
    say("  ".join(f"{score.name} {results[score.name]:.4f}" for score in scores), f" {output.folder / 'model.keras'}")


if __name__ == "__main__":
    main()
