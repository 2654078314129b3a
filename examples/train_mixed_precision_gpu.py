"""Trains an ordinal segmenter on one GPU with mixed precision and XLA, survives a kill, evaluates, calibrates and exports.

    python train_mixed_precision_gpu.py --data path/to/masks --size 256 --output runs/gpu

The folder holds `01_image.png`, `01_rater1.png`, `01_rater2.png`, …, and, where several images are of one patient, an
`index.csv` with the columns id and group. Without --data it trains on generated images. Start the same command again after
a kill: it goes on after the last whole epoch, on the batches that it would have seen.

With --packed the training images are packed once into records and read from there, for sets larger than memory. A CPU
runs all of it too: add --no-jit and --precision mixed_bfloat16. Several GPUs or machines: docs/scaling.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whose data pipeline and export are used here

import keras
import numpy as np
import tensorflow as tf

from keras_ordseg import calibration, data, datasets, losses, metrics, models, serving


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="folder of images and masks; generated images without it")
    parser.add_argument("--image", default="*_image.png", help="pattern of the images")
    parser.add_argument("--ratings", default="*_rater{r}.png", help="pattern of the masks")
    parser.add_argument("--size", type=int, default=128, help="side in pixels, cropped; divisible by 32; default 128")
    parser.add_argument("--images", type=int, default=320, help="how many images are generated without --data")
    parser.add_argument("--output", required=True, help="folder of the run")
    parser.add_argument("--packed", action="store_true", help="train from packed records instead of from memory")
    parser.add_argument("--precision", default="mixed_float16", choices=["mixed_float16", "mixed_bfloat16", "float32"])
    parser.add_argument("--jit", action=argparse.BooleanOptionalAction, default=True, help="compile the step with XLA")
    parser.add_argument("--preset", help="of a keras-cv ResNetV2 with pretrained weights, such as resnet50_v2_imagenet")
    parser.add_argument("--filters", type=int, nargs="+", default=[32, 64, 128, 256], help="of the backbone's stages")
    parser.add_argument("--small-backbone", action="store_true", help="a plain encoder, without keras-cv")
    parser.add_argument("--decoder", default="fpn", help="fpn, unet, attention_unet or deeplabv3plus")
    parser.add_argument("--readout", default="expected", choices=["expected", "majority"], help="that the loss trains")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--band", type=float, default=5, help="pixels around all marks that the table looks at too")
    parser.add_argument("--tensorboard", action="store_true", help="write curves for TensorBoard")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if min(options.epochs, options.batch_size, options.size) < 1:
        parser.error("--epochs, --batch-size and --size must be 1 or more")
    if options.preset and options.small_backbone:
        parser.error("--preset and --small-backbone exclude each other")
    return options


def read(options):
    """Training cases (arrays, or a table of files where they are packed), and the arrays of validation and test."""
    if options.data is None:
        arrays = datasets.ambiguous_shapes(options.images, size=options.size, num_raters=5)
        return [data.take(arrays, part) for part in data.split(arrays["group"], seed=options.seed)]
    table = data.cases(options.data, options.image, options.ratings)
    train, validation, test = (table[part] for part in data.split(table.groups, seed=options.seed))
    held_out = [data.load(part, size=options.size, progress=True) for part in (validation, test)]
    return [train if options.packed else data.load(train, size=options.size, progress=True), *held_out]


def batches(train, options, first_epoch):
    """`(images, ratings)` of the epochs that are left, in an order and with an augmentation that (seed, epoch) fixes."""
    augment = data.Augmentation(rotate=15, scale=0.1, brightness=0.1, contrast=0.2)
    order = {"epochs": options.epochs, "first_epoch": first_epoch}
    if not options.packed:
        return data.batches(train, options.batch_size, augment=augment, seed=options.seed, **order)
    folder, size = Path(options.output, "packed"), options.batch_size
    if not folder.exists():
        data.pack(train, folder, size=options.size, progress=True)
    steps = data.steps_per_epoch(train, size)

    def augmented(number, batch):
        images, ratings = batch["image"], batch["ratings"]
        seeds = tf.stack([tf.fill([tf.shape(images)[0]], number), tf.range(tf.shape(images)[0])], axis=1)
        kinds = tf.TensorSpec(images.shape[1:], images.dtype), tf.TensorSpec(ratings.shape[1:], ratings.dtype)
        return tf.map_fn(lambda case: augment(*case), (images, ratings, seeds), fn_output_signature=kinds)

    records = data.from_packed(folder, shuffle_seed=options.seed, batch_size=size, **order)
    numbers = tf.data.Dataset.range(first_epoch * steps, options.epochs * steps, output_type=tf.int32)
    records = tf.data.Dataset.zip(numbers, records).map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    return records.prefetch(tf.data.AUTOTUNE)


def backbone(options, channels):
    """An encoder in the precision of the run; a keras-cv one takes grey images by `input_channels=1`."""
    if options.small_backbone:
        return models.small_backbone((None, None, channels), filters=tuple(options.filters))
    import keras_cv

    if options.preset:
        return keras_cv.models.ResNetV2Backbone.from_preset(options.preset)
    return keras_cv.models.ResNetV2Backbone(
        stackwise_filters=options.filters,
        stackwise_blocks=[2] * len(options.filters),
        stackwise_strides=[1] + [2] * (len(options.filters) - 1),
        include_rescaling=False,  # images stay in [0, 1]
        input_shape=(None, None, 3),
    )


def same_run(options):
    """Refuses a folder that holds a run with other settings: what it would go on with is another training."""
    file, settings = Path(options.output, "settings.json"), vars(options)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and (before := json.loads(file.read_text())) != settings:
        changed = sorted(name for name in settings if before.get(name) != settings[name])
        sys.exit(f"{file.parent} holds a run with other settings of {', '.join(changed)}; give another --output")
    file.write_text(json.dumps(settings, indent=1))


def epochs_done(backup):
    file = backup / "training_metadata.json"
    return json.loads(file.read_text())["epoch"] if file.exists() else 0


def evaluate(logits, arrays, band):
    """The metrics near a mark, then of all pixels, where even a model that marks nothing looks calibrated."""
    near = data.restrict(arrays, data.region(arrays, "union", margin=band))
    found = {}
    for where, part in (("near marks", near), ("all", arrays)):
        for name, metric in {
            "ECE expected": metrics.MultiRaterECE("expected"),
            "ECE majority": metrics.MultiRaterECE("majority"),
            "Brier": metrics.MultiRaterBrier(),
            "consensus Dice": metrics.ConsensusDice(),
        }.items():
            for i in range(0, len(logits), 16):
                metric.update_state(part["ratings"][i : i + 16], logits[i : i + 16])
            found[f"{name}, {where}"] = float(metric.result())
    return found


def main():
    options = arguments()
    same_run(options)
    output, backup = Path(options.output), Path(options.output, "backup")
    keras.config.set_dtype_policy(options.precision)  # before any layer; losses, metrics and the head stay in float32
    keras.utils.set_random_seed(options.seed)
    gpus = [gpu.name for gpu in tf.config.list_physical_devices("GPU")]

    train, validation, test = read(options)
    start, steps = epochs_done(backup), data.steps_per_epoch(train, options.batch_size)
    training = batches(train, options, min(start, options.epochs - 1))
    channels, num_raters = validation["image"].shape[-1], validation["ratings"].shape[-1]
    print(f"{len(train) if options.data and options.packed else len(train['image'])} training images, {num_raters} raters; "
          f"{steps} steps an epoch in {options.precision} on {', '.join(gpus) or 'the CPU'}", flush=True)

    model = models.OrdinalSegmenter(
        backbone(options, channels), num_raters, decoder=options.decoder,
        initial_levels=data.level_frequencies(train), input_channels=channels,
    )
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps * options.epochs)
    model.compile(  # which scales the loss by itself under mixed_float16
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        losses.OrdinalSegmentationLoss(options.readout),
        metrics=[metrics.MultiRaterBrier(name="brier"), metrics.MultiRaterECE(name="ece")],
        jit_compile=options.jit,
    )
    callbacks = [
        keras.callbacks.BackupAndRestore(str(backup), double_checkpoint=True, delete_checkpoint=False),
        keras.callbacks.CSVLogger(str(output / "log.csv"), append=start > 0),
        keras.callbacks.TerminateOnNaN(),
    ]
    if options.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(str(output / "tensorboard")))
    if start:
        print(f"continuing after epoch {start}", flush=True)
    near = data.restrict(validation, data.region(validation, "union", margin=options.band))
    model.fit(
        training, steps_per_epoch=steps, epochs=options.epochs, initial_epoch=start, shuffle=False, verbose=2,
        validation_data=data.batches(near, options.batch_size, shuffle=False), callbacks=callbacks,
    )

    predict = {"batch_size": options.batch_size, "verbose": 0}
    calibrator = calibration.fit(validation["ratings"], model.predict(validation["image"], **predict))
    logits = model.predict(test["image"], **predict)
    results = {"as trained": evaluate(logits, test, options.band)}
    results["calibrated"] = evaluate(np.asarray(calibrator(logits)), test, options.band)
    print(" " * 26, *(f"{name:>12s}" for name in results))
    for name in results["as trained"]:
        print(f"{name:26s}", *(f"{row[name]:12.4f}" for row in results.values()))
    calibration.attach(model, calibrator).save(output / "model.keras")
    version = serving.export(model, output / "serving", calibrator)
    (output / "results.json").write_text(json.dumps(results, indent=1))
    print(f"{output / 'model.keras'}  {version}")


if __name__ == "__main__":
    main()
