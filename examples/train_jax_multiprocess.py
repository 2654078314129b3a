"""Trains on several machines with JAX and plain Keras `fit`, saving each epoch and continuing from the last.

Start it once on each machine, the same but for --process; the address is that of machine 0, at any free port:

    python train_jax_multiprocess.py --coordinator 10.0.0.1:1234 --processes 2 --process 0 \\
        --train /shared/packed/train --test /shared/packed/test --output /shared/run

Each process drives all devices of its machine. --output must be a folder that all machines see; what process 0
writes there stays. When a process dies, stop the others and start all again with the same command. Without
--coordinator it trains on this machine alone, to the same result.

`fit` and `evaluate` work over several processes, `predict` does not (Keras 3.15): load the saved model in one
process for that.
"""

import argparse
import contextlib
import json
import os
import shutil
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras

from keras_ordseg import data, losses, metrics, models


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0, help="number of this one, from 0")
    parser.add_argument("--train", required=True, help="a packed dataset (data.pack, datasets.prepare)")
    parser.add_argument("--test", required=True, help="the same, to evaluate on at the end")
    parser.add_argument("--train-split", help="of --train, where it has several, as 'train'")
    parser.add_argument("--test-split", help="of --test, where it has several, as 'test'")
    parser.add_argument("--output", required=True, help="folder of the run; every process must see it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="of all processes together; default 16")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32, 64, 128], help="of the backbone's levels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.coordinator is None) != (options.processes == 1) or not 0 <= options.process < options.processes:
        parser.error("--coordinator goes with --processes of 2 or more, and --process counts from 0")
    return options


class Saves(keras.callbacks.Callback):
    """Weights, optimizer and losses after each epoch, in a folder that process 0 puts in place by a rename.

    Every process writes, because to read a variable takes all of them; what the others write is deleted.
    """

    def __init__(self, folder, process):
        super().__init__()
        self.folder, self.chief, self.losses = Path(folder), process == 0, []
        self.temporary = self.folder / f".writing-{process}"

    def restore(self, model):
        """The number of epochs done, whose weights and optimizer are then in the model."""
        done = sorted(self.folder.glob("epoch-*"))
        if done:
            model.optimizer.build(model.trainable_variables)
            model.load_weights(done[-1] / "state.weights.h5")
            self.losses = json.loads((done[-1] / "losses.json").read_text())
        return len(self.losses)

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])
        with self._writing() as folder:
            self.model.save_weights(folder / "state.weights.h5")
            (folder / "losses.json").write_text(json.dumps(self.losses))
            if self.chief:
                before = list(self.folder.glob("epoch-*"))
                os.replace(folder, self.folder / f"epoch-{epoch + 1:06d}")
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
        self.temporary.mkdir(parents=True)
        yield self.temporary
        shutil.rmtree(self.temporary, ignore_errors=True)


def main():
    options = arguments()
    keras.utils.set_random_seed(options.seed)  # the same initial weights everywhere
    if options.coordinator:
        keras.distribution.initialize(options.coordinator, options.processes, options.process)
    # every process reads its own part, see below
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    devices = len(keras.distribution.list_devices())
    size, chief = options.batch_size, options.process == 0
    if size % devices:
        raise SystemExit(f"--batch-size {size} does not divide among {devices} devices")

    cases = data.from_packed(options.train, options.train_split)
    steps = -(-int(cases.cardinality()) // size)
    spec = cases.element_spec
    model = models.OrdinalSegmenter(
        models.small_backbone((None, None, spec["image"].shape[-1]), options.filters),
        spec["ratings"].shape[-1],
        initial_levels=data.level_frequencies(cases),
    )
    scores = [metrics.MultiRaterECE(name="ece"), metrics.MultiRaterBrier(name="brier")]
    model.compile(keras.optimizers.Adam(options.learning_rate), losses.OrdinalSegmentationLoss(), metrics=scores)

    def batches(path, split, **order):
        """This process's part of every batch: no case twice, none left out, the same number of steps everywhere."""
        whole = data.from_packed(path, split, batch_size=size, **order)
        whole = whole.map(lambda batch: (batch["image"], batch["ratings"]))
        return data.shard_batches(whole, size, options.processes, options.process)

    saves = Saves(options.output, options.process)
    start = saves.restore(model)
    if start < options.epochs:
        order = {"shuffle_seed": options.seed, "epochs": options.epochs, "first_epoch": start}
        model.fit(
            batches(options.train, options.train_split, **order),
            steps_per_epoch=steps,
            epochs=options.epochs,
            initial_epoch=start,
            shuffle=False,
            verbose=2 if chief else 0,
            callbacks=[saves, keras.callbacks.TerminateOnNaN()],
        )
    results = model.evaluate(batches(options.test, options.test_split), return_dict=True, verbose=0)
    saves.finish(model, {"losses": saves.losses, **{name: float(value) for name, value in results.items()}})
    if chief:
        print("  ".join(f"{name} {value:.4f}" for name, value in results.items()), saves.folder / "model.keras")


if __name__ == "__main__":
    main()
