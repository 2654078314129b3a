"""Augmentation on the accelerator: Keras' own layers, made safe for ratings."""

import keras
from keras import ops

from keras_ordseg.ops.targets import check_ratings

_REFUSED = {
    "RandomElasticTransform": "it bends the masks by another random field than the image",
    "MixUp": "it blends the masks of two images",
    "AugMix": "it blends several turned copies of the masks",
}


def rating_planes(ratings):
    """Two float32 planes for each rater, "marked" and "rated, not marked"; both 0 where the rater did not rate.

    What Keras' layers fill in from outside is the same in both planes, whatever its value, and a blend of two answers
    is 1 in neither: `planes_to_ratings` takes both for "did not rate". (With ratings in one plane a fill value of 0
    would be a vote.)

    Args:
        ratings: Integers 1, 0, -1 of shape `(..., K)`.

    Returns:
        Float32 `(..., 2·K)`, the K planes of marked pixels first.

    >>> ops.convert_to_numpy(rating_planes(ops.array([[1, 0, -1]]))).tolist()
    [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    answers = [ops.cast(ops.equal(ratings, answer), "float32") for answer in (1, 0)]
    return ops.concatenate(answers, axis=-1)


def planes_to_ratings(planes, dtype="int8"):
    """The inverse of `rating_planes`: 1 and 0 where one plane is 1 and the other 0, -1 anywhere else.

    Args:
        planes: Float `(..., 2·K)`.
        dtype: Of the result. Default `"int8"`.

    Returns:
        Ratings `(..., K)`.

    >>> ops.convert_to_numpy(planes_to_ratings(ops.array([[1.0, 0.0, 0.7, 0.0, 1.0, 0.7]]))).tolist()
    [[1, 0, -1]]
    """
    marked, unmarked = ops.split(planes, 2, axis=-1)
    is_marked = ops.logical_and(ops.equal(marked, 1), ops.equal(unmarked, 0))
    is_unmarked = ops.logical_and(ops.equal(marked, 0), ops.equal(unmarked, 1))
    return ops.cast(2 * ops.cast(is_marked, "int32") + ops.cast(is_unmarked, "int32") - 1, dtype)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class RatingsAugmentation(keras.layers.Layer):
    """Augments images and their ratings alike with Keras' augmentation layers, and forges no vote.

    Keras' layers move masks with the image, but fill what turns in from outside with 0, which among ratings is a vote.
    Here it becomes -1, "did not rate". Works on batches `(batch, H, W, channels)` and on single images; outside
    training the input is given back as it came. The image is computed in float32 under every precision policy.

    Tested: `RandomFlip`, `RandomRotation`, `RandomZoom`, `RandomTranslation`, `RandomShear`, `RandomPerspective`,
    `RandomCrop` (one window for the whole batch), `CutMix` (images of one channel), `RandomErasing`, `RandAugment`,
    what changes the image alone (`RandomBrightness`, `RandomContrast`, `RandomGaussianBlur`), and from KerasCV
    `RandomFlip`, `RandomRotation`, `RandomCropAndResize`. Not with torch: `RandomRotation`, `RandAugment`, whose masks
    Keras turns otherwise than the image there. Images are in [0, 1]: pass `value_range=(0, 1)` to layers that ask.
    Elastic deformation, volumes, crops around foreground, and epochs that can be repeated exactly:
    `keras_ordseg.data.Augmentation`.

    Before the compiled step, with any backend and `jit_compile=True` in `compile`:

    ```python
    augment = layers.RatingsAugmentation([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.05)])
    moved = (augment(batch) for batch in data.batches(train, 8, epochs=20))
    model.fit(moved, steps_per_epoch=data.steps_per_epoch(train, 8), epochs=20, shuffle=False)
    ```

    In a `tf.data` pipeline (TensorFlow backend): `data.batches(...).map(lambda *batch: augment(batch))`, and
    `dataset.map(augment)` of dicts. Inside the training step, with the backends TensorFlow and torch:

    ```python
    class AugmentedSegmenter(models.OrdinalSegmenter):
        def train_step(self, batch):
            return super().train_step(augment(batch, training=True))
    ```

    On TensorFlow XLA compiles flips and changes of intensity only. A model that has any of the other layers among its
    own layers is not compiled (Keras says so): call these before the step.

    Args:
        layers: One Keras augmentation layer or a list of them, applied in turn. Seed them by their own `seed`. A layer
            of another precision is replaced by its float32 copy.
        name, dtype, …: As for any Keras layer.

    Input shape:
        `(image, ratings)`, or a dict with `"image"` and `"ratings"`, whose other entries pass through:
        `(batch, H, W, C)` and `(batch, H, W, K)`.

    Output shape:
        As the input; image float32, ratings of their own dtype, or int8 where that has no -1.

    Raises:
        ValueError: For a layer that cannot handle ratings, and input that is not images and ratings. Values other than
            -1, 0, 1 are an error where they can be read, and turn all ratings to 2 inside a compiled graph, which
            makes losses and metrics NaN.

    >>> augment = RatingsAugmentation(keras.layers.RandomTranslation(0.5, 0.5, fill_mode="constant", seed=1))
    >>> image, ratings = augment((ops.ones((1, 8, 8, 1)), ops.ones((1, 8, 8, 3), "int8")))
    >>> set(ops.convert_to_numpy(ratings).flatten().tolist()) == {-1, 1}
    True
    """

    def __init__(self, layers, **kwargs):
        kwargs.setdefault("dtype", "float32")  # Keras would round 8-bit images to half precision on the way in
        super().__init__(**kwargs)
        layers = list(layers) if isinstance(layers, (list, tuple)) else [layers]
        self.layers = [_checked(layer) for layer in layers]
        self.supports_jit = all(layer.supports_jit for layer in self.layers)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=True):
        image, ratings = _image_and_ratings(inputs)
        if not training:
            return inputs
        check_ratings(ratings, None, "ratings")
        impossible = ops.any(ops.abs(ops.cast(ratings, "int32")) > 1)
        kind = keras.backend.standardize_dtype(ratings.dtype)
        kind = "int8" if kind.startswith(("uint", "bool")) else kind  # -1 comes in from outside the image
        moved = {"images": ops.cast(image, "float32"), "segmentation_masks": rating_planes(ratings)}
        for layer in self.layers:
            moved = layer(moved, training=True)
        image, ratings = moved["images"], planes_to_ratings(moved["segmentation_masks"], kind)
        ratings = ops.where(impossible, ops.full_like(ratings, 2), ratings)
        if isinstance(inputs, dict):
            return {**inputs, "image": image, "ratings": ratings}
        return image, ratings

    def get_config(self):
        return {**super().get_config(), "layers": keras.saving.serialize_keras_object(self.layers)}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def _checked(layer):
    """`layer`, in float32, when it can carry ratings."""
    name = type(layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"layers: expected Keras augmentation layers, as keras.layers.RandomFlip(). Received: {layer!r}."
        )
    reason = _REFUSED.get(name)
    if name in ("RandomRotation", "RandAugment") and _matrix_is_overwritten():
        reason = "on this backend Keras overwrites the matrix of the image's turn before it turns the masks"
    if reason:
        raise ValueError(
            f"layers: expected layers that move image and masks alike. Received: {name}; {reason}. "
            "keras_ordseg.data.Augmentation (elastic=…, rotate=…) does it in the data pipeline."
        )
    if layer.compute_dtype == "float32":
        return layer
    return type(layer).from_config({**layer.get_config(), "dtype": "float32"})


def _matrix_is_overwritten():
    """Whether `affine_transform` changes its argument, as Keras 3.15 does with torch."""
    matrix = [1.0, 0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0]
    given = ops.convert_to_tensor([matrix])
    ops.image.affine_transform(ops.zeros((1, 2, 2, 1)), given)
    return ops.convert_to_numpy(given).tolist() != [matrix]


def _image_and_ratings(inputs):
    if isinstance(inputs, dict) and {"image", "ratings"} <= inputs.keys():
        pair = inputs["image"], inputs["ratings"]
    elif isinstance(inputs, (tuple, list)) and len(inputs) == 2:
        pair = inputs
    else:
        have = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(
            f"inputs: expected (image, ratings) or a dict with 'image' and 'ratings'. Received: {have}."
        )
    shapes = [tuple(part.shape) for part in pair]
    if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) not in (3, 4):
        raise ValueError(
            "inputs: expected image (batch, H, W, channels) and ratings (batch, H, W, raters). Received shapes "
            f"{shapes[0]} and {shapes[1]}. For volumes use keras_ordseg.data.Augmentation; votes have no raters to move."
        )
    return pair
