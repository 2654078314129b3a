"""Export for TensorFlow Serving."""

import functools
import os
import pathlib
import shutil
import tempfile

import keras

from keras_ordseg.models.described import image_description
from keras_ordseg.serving import _checks as checks
from keras_ordseg.serving._card import card_fields, make_card
from keras_ordseg.serving._float32 import as_float32
from keras_ordseg.serving._folder import writable
from keras_ordseg.serving._graph import logits_of, write_graph
from keras_ordseg.serving._signatures import by_structure, contours, readouts, summary
from keras_ordseg.serving._warmup import warmup_requests, write_warmup


def export(
    model,
    directory,
    calibrator=None,
    *,
    sample=None,
    spacing=None,
    review_threshold=0.5,
    card=None,
    max_pixels=2**26,
    multiple=None,
    value_range=(0.0, 1.0),
    dtype=None,
):
    """Writes a trained model as the next version of a TensorFlow SavedModel.

    `directory/<version>/`, with versions 1, 2, 3, ... as TensorFlow Serving reads them: the SavedModel, the requests that
    warm it up (`assets.extra/tf_serving_warmup_requests`) and `model_card.json`. Neither Keras nor this package is needed
    to load it. Its signatures, each with the calibrator in the graph, take any number of images; sides that the strides
    of the backbone do not divide are padded with the edge, and the results cut back. A model of which
    `models.describe_images` says that images were resized for training has every image resized as then, and the maps
    brought back to the image's size:

    - `serving_default`: `image` float32 `(batch, *spatial, channels)`, exactly as in training, gives float32
      `"agreement"` `(batch, *spatial)`, the chance that a rater drawn at random marks the pixel, `E[k] / K`;
      `"majority"` `(batch, *spatial)`, `P(k >= ceil(K/2))`; `"levels"` `(batch, *spatial, K+1)`, the chance that exactly
      0, 1, ..., K raters mark it; `"at_least"` `(batch, *spatial, K)`, that at least 1, ..., K do. A binary model (last
      axis 1) gives `"probability"` `(batch, *spatial)`;
    - `encoded`, for 2-D models of 1 or 3 channels: `encoded`, the bytes of PNG or JPEG files of one size, string
      `(batch,)`, gives the same at the size of the files. They are scaled as `data.cases` does it, and where the model
      takes one size only, they are brought to it and the results back;
    - `contours`: `image` gives `"masks"` uint8 `(batch, *spatial, K)`, `"ribbon"` uint8 `(batch, *spatial)`, `"area"`,
      `"area_low"`, `"area_high"` `(batch,)`: see `_signatures.contours`. A binary model gives `"masks"` of one channel and
      `"area"`;
    - `summary`: `image` gives `"expected_area"`, `"area_sd"`, `"disputed_share"` float32 `(batch,)` and `"review"` bool
      `(batch,)`: see `_signatures.summary`. A binary model gives `"expected_area"`.

    A model with structures gives each of them under `"<structure>_<output>"`. Layers run in inference mode. A version
    appears whole or not at all: it is written beside its place and renamed.

    Args:
        model: A Keras model with one image as input and logits as output: level logits, a binary logit, or a dict of
            them by structure.
        directory: Folder of the served model; made where it is missing.
        calibrator: A fitted Keras layer or model from logits to logits of the same shape, or a dict of them by
            structure. Default `None`.
        sample: An image `(*spatial, channels)`, or a batch of them, as clients send it: the model is warmed up at its
            size. Default: zeros of the model's size, or of 256 pixels a side (1024 in 1-D, 64 in 3-D).
        spacing: Distance between pixels in mm on each spatial axis, or one number for 1-D. Areas are then in mm, mm² or
            mm³. Default `None`: in pixels.
        review_threshold: An image is flagged for review where its disputed share is above it. Default 0.5: the raters
            are expected to differ on more of the structure than they agree on.
        card: Dict with your fields of the model card, such as `"data"`, `"metrics"`, `"intended_use"`, `"licence"`.
        max_pixels: The most pixels that the files of one `encoded` request may have together; their headers are read
            before they are decoded. Default 2**26.
        multiple: What the sides of images are padded to a multiple of. Default: what the graph of the model needs.
        value_range: Images with values outside it are refused, with a margin of 0.1 %, and so are NaN and infinity.
            Default `(0.0, 1.0)`; `None` takes any finite values and leaves `encoded` out. Not checked under JAX.
        dtype: `"float32"` to rebuild a model of half precision in float32, which converters need and most CPUs run
            faster. Default `None`: as the model is.

    Returns:
        `pathlib.Path` of the version written.

    Raises:
        TypeError: If `model` is not a Keras model, a calibrator not a layer, or the card not JSON.
        ValueError: If the model is not built, or its input or output is not of the kind above, as of probabilities where
            logits are expected; for an argument out of range; if the output has not the image's size; if what would be
            served is not finite, as after a training that diverged.
        RuntimeError: Under a Keras backend that cannot write a SavedModel.
        ImportError: Without TensorFlow.
        NotADirectoryError: If `directory` is a file.
        OSError: If nothing can be written there.

    >>> import keras_ordseg, tempfile
    >>> model = keras_ordseg.models.OrdinalSegmenter(
    ...     keras_ordseg.models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = export(model, folder, card={"licence": "CC BY 4.0"})
    ...     version.name, sorted(path.name for path in version.iterdir() if path.suffix)
    ('1', ['assets.extra', 'fingerprint.pb', 'model_card.json', 'saved_model.pb'])
    """
    shape, outputs = checks.check_model(model)
    checks.check_backend(shape)
    checks.check_settings(review_threshold, max_pixels, value_range)
    calibrators = checks.check_calibrators(calibrator, outputs)
    multiples = checks.check_multiples(multiple, model, shape)
    pixel_size, unit, distances = checks.check_spacing(spacing, shape)
    images = image_description(model)
    checks.check_scale(distances, images)
    size = images["size"] if images and images["fit"] == "resize" else None
    if size is not None and keras.config.backend() == "tensorflow":  # any size is brought to it
        shape = (None, *[None] * len(size), shape[-1])
    sample = checks.check_sample(sample, shape, multiples, value_range, size)
    if dtype not in (None, "float32"):
        raise ValueError(f"dtype: expected 'float32' or None. Received: {dtype!r}.")
    raters = {name: tensor.shape[-1] - 1 for name, tensor in outputs.items()}
    settings = {
        "trained_images": images,
        "spacing": distances,
        "area_unit": unit,
        "review_threshold": float(review_threshold),
        "value_range": None if value_range is None else [float(end) for end in value_range],
        "size_multiple": list(multiples),
        "max_pixels": max_pixels,
        "warmup_shape": list(sample.shape),
    }
    fields = functools.partial(card_fields, model, raters, calibrators)
    make_card(card, fields({}, {}, settings))  # refuses what it cannot hold before the model is traced
    directory = pathlib.Path(directory).expanduser()
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"directory: expected a folder for the versions of the model. '{directory}' is a file."
        )
    graph_model = model if dtype is None else as_float32(model)
    logits = logits_of(graph_model, calibrators, multiples, value_range, size)
    trial = keras.ops.convert_to_tensor(sample[:1])
    checks.check_logits(logits_of(graph_model, {}, multiples, value_range, size)(trial))
    checks.check_finite(by_structure(readouts, logits(trial)), calibrators)
    writable(directory, "directory")
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=directory))
    try:
        path = scratch / "model"
        functions = {
            "serving_default": readouts,
            "contours": functools.partial(contours, pixel_size=pixel_size),
            "summary": functools.partial(summary, pixel_size=pixel_size, review_threshold=review_threshold),
        }
        left_out = _left_out(shape, raters, value_range, images)
        limit = None if "encoded" in left_out else max_pixels
        signatures = write_graph(path, graph_model, calibrators, shape, logits, functions, limit)
        warm = [name for name in signatures if name != "encoded" or sample[..., 0].size <= max_pixels]
        if len(warm) < len(signatures):
            left_out["warm-up of encoded"] = "the sample has more pixels than max_pixels"
        write_warmup(path, directory.name, warmup_requests(warm, sample))
        text = make_card(card, fields(signatures, left_out, {**settings, "max_pixels": limit}))
        (path / "model_card.json").write_text(text, encoding="utf-8")
        return _publish(path, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _left_out(shape, raters, value_range, images):
    """What a user could miss, with the reason."""
    reasons = {}
    if len(shape) != 4 or shape[-1] not in (1, 3):
        reasons["encoded"] = "PNG and JPEG files are 2-D images of 1 or 3 channels"
    elif value_range is None or tuple(value_range) != (0, 1):
        reasons["encoded"] = "files are read into [0, 1], and the model was not exported for that range"
    elif images and images["window"]:
        reasons["encoded"] = f"files are read over their largest value, and the model was trained in {images['window']}"
    elif sum(side is None for side in shape[1:3]) == 1:
        reasons["encoded"] = "the model fixes one side of the image and leaves the other free"
    if binary := [name for name, count in raters.items() if count == 0]:
        what = "" if None in raters else f" of {', '.join(binary)}"
        reasons[f"ribbon, intervals and disputed share{what}"] = "a binary output has no levels"
    return reasons


def _publish(source, directory):
    """Renames `source` to the next free version; another process may take that number meanwhile."""
    while True:
        versions = [int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal()]
        target = directory / str(max(versions, default=0) + 1)
        try:
            os.rename(source, target)
        except OSError:
            if not target.exists():
                raise
        else:
            return target
