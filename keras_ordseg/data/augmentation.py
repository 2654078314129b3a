"""Random changes of an image and its masks alike."""

from dataclasses import dataclass
from math import pi


@dataclass(frozen=True)
class Augmentation:
    """Random changes of one image and of all raters' masks, with the same geometry.

    `augment(image, ratings, seed)` is a function of its arguments alone: the same seed gives the same result,
    which makes a resumed training exact. Images are sampled bilinearly and every mask takes the nearest
    pixel. What turns in from outside is image 0 and ratings -1 (nobody rated there): no vote is forged. In
    volumes `(D, H, W, C)` all slices turn alike, in their plane. `rotate` and `scale` interpolate, which smooths noisy
    images in training and not at test time: leave them at 0 where fine grain tells the classes apart.

    Args:
        flip: mirror each spatial axis with probability ½.
        rotate90: quarter turns, each as likely (half turns where height and width differ).
        rotate: largest angle in degrees, either way.
        scale: largest relative change of size, as 0.1 for 90 % to 110 %.
        brightness: largest value added to the image.
        contrast: largest relative change of the distance to the image's mean.
        noise: largest standard deviation of white noise; each image draws its own below it.

    Raises:
        ValueError: an amount that is negative or too large.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> augment = data.Augmentation(rotate=15, brightness=0.1)
    >>> image, ratings = np.zeros((8, 8, 1), "float32"), np.ones((8, 8, 3), "int8")
    >>> image, ratings = augment(image, ratings, seed=(0, 1))
    >>> tuple(image.shape), tuple(ratings.shape), ratings.dtype.name
    ((8, 8, 1), (8, 8, 3), 'int8')
    """

    flip: bool = True
    rotate90: bool = True
    rotate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0

    def __post_init__(self):
        limits = {"rotate": 180, "scale": 0.9, "brightness": 1, "contrast": 1, "noise": 1}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must be from 0 to {limit}, came {getattr(self, name)!r}")

    @property
    def makes_voids(self) -> bool:
        """Whether pixels may turn in from outside, which nobody rated."""
        return self.rotate > 0 or self.scale > 0

    def __call__(self, image, ratings, seed):
        """Augment one example.

        Args:
            image: float `(H, W, C)` or `(D, H, W, C)` in [0, 1].
            ratings: int8 `(H, W, K)` or `(D, H, W, K)`.
            seed: two integers.

        Returns:
            Image and ratings, TensorFlow tensors of the same types.
        """
        import tensorflow as tf

        image, ratings = tf.convert_to_tensor(image), tf.convert_to_tensor(ratings)
        if image.shape.rank not in (3, 4) or ratings.shape.rank != image.shape.rank:
            raise ValueError(
                "image and ratings must be (H, W, channels) or (D, H, W, channels), "
                f"came {image.shape} and {ratings.shape}"
            )
        volume, channels, kind = image.shape.rank == 4, image.shape[-1], image.dtype
        seeds = tf.unstack(tf.random.split(tf.cast(tf.convert_to_tensor(seed), tf.int32), num=4))
        picture = self._intensity(tf, tf.cast(image, tf.float32), seeds[0], seeds[1])
        # one tensor of picture and masks moves as one; masks are one up, so that 0 is "did not rate"
        stack = tf.concat([picture, tf.cast(ratings, tf.float32) + 1], axis=-1)
        stack = stack if volume else stack[None]
        stack = self._mirror_and_turn(tf, stack, seeds[2], volume)
        picture, masks = stack[..., :channels], stack[..., channels:]
        if self.makes_voids:
            picture, masks = self._affine(tf, picture, masks, seeds[3])
        if not volume:
            picture, masks = picture[0], masks[0]
        return tf.cast(picture, kind), tf.cast(tf.round(masks) - 1, ratings.dtype)

    def _intensity(self, tf, image, seed, noise_seed):
        if not (self.brightness or self.contrast or self.noise):
            return image
        shift, stretch, level = tf.unstack(tf.random.stateless_uniform([3], seed, -1.0, 1.0))
        mean = tf.reduce_mean(image)
        image = (image - mean) * (1 + self.contrast * stretch) + mean + self.brightness * shift
        if self.noise:
            image += self.noise * tf.abs(level) * tf.random.stateless_normal(tf.shape(image), noise_seed)
        return tf.clip_by_value(image, 0.0, 1.0)

    def _mirror_and_turn(self, tf, stack, seed, volume):
        draws = tf.random.stateless_uniform([4], seed)
        if self.flip:
            for axis in (0, 1, 2) if volume else (1, 2):
                stack = tf.where(draws[axis] < 0.5, tf.reverse(stack, [axis]), stack)
        if self.rotate90:
            turns = tf.cast(draws[3] * 4, tf.int32)
            height, width = stack.shape[1:3]
            if height is None or width is None:
                square = tf.shape(stack)[1] == tf.shape(stack)[2]
                stack = tf.image.rot90(stack, tf.where(square, turns, turns - turns % 2))
            elif height == width:
                stack = tf.ensure_shape(tf.image.rot90(stack, turns), stack.shape)
            else:
                stack = tf.where(turns >= 2, tf.reverse(stack, [1, 2]), stack)
        return stack

    def _affine(self, tf, picture, masks, seed):
        draws = tf.random.stateless_uniform([2], seed, -1.0, 1.0)
        angle, size = self.rotate * pi / 180 * draws[0], 1 + self.scale * draws[1]
        cos, sin = tf.cos(angle) / size, tf.sin(angle) / size
        shape = tf.shape(picture)[1:3]
        y, x = tf.unstack(tf.cast(shape - 1, tf.float32) / 2)
        # output pixel (x, y) is taken from input (cos x - sin y + …, sin x + cos y + …), about the centre
        matrix = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0]
        matrix = tf.reshape(tf.stack(matrix), [1, 8])
        moved = [
            tf.raw_ops.ImageProjectiveTransformV3(
                images=part, transforms=matrix, output_shape=shape, fill_value=0.0, interpolation=how
            )
            for part, how in ((picture, "BILINEAR"), (masks, "NEAREST"))
        ]
        return [
            tf.ensure_shape(after, before.shape)
            for after, before in zip(moved, (picture, masks), strict=True)
        ]
