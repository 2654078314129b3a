"""Random changes of an image and its masks alike."""

from dataclasses import dataclass
from math import comb, log, pi

import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.data._geometry import (
    crop_start,
    linear_map,
    mirror_and_turn,
    positions,
    sample,
    smooth_field,
)

_SEEDS = ("intensity", "noise", "turn", "affine", "shift", "elastic", "crop", "gamma")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of one image and of all raters' masks, with the same geometry.

    `augment(image, ratings, seed)` is a function of its arguments alone: the same seed gives the same result,
    which makes a resumed training exact. Images are sampled bilinearly and every mask takes the nearest
    pixel. What turns in from outside is image 0 and ratings -1 (nobody rated there): no vote is forged.

    In volumes `(D, H, W, C)` all slices move alike, in their plane, as suits thick slices; with `voxel_size` volumes
    move in space. A crop is cut from the moved image, so that it is full where the image has something to show.
    `rotate`, `scale`, `translate` and `elastic` are one interpolation together. It smooths noisy images in training and
    not at test time: leave them at 0 where fine grain tells the classes apart.

    Args:
        flip: mirror each spatial axis with probability ½.
        rotate90: quarter turns of the last two axes, each as likely (half turns where they differ in length).
        rotate: largest angle in degrees, either way; with `voxel_size` about each of the three axes.
        scale: largest relative change of size, as 0.1 for 90 % to 110 %.
        translate: largest shift along each axis, in pixels.
        elastic: largest displacement along each axis, in pixels, of a smooth random field; its root mean square is
            about a quarter of that. At most 0.4 of `elastic_grid`, up to which nothing folds.
        elastic_grid: distance of the field's control points, in pixels: the width of its bumps.
        crop: None, or the size of a random window, as `(H, W)`.
        foreground: the probability that the crop is centred on a pixel that a rater marked.
        brightness: largest value added to the image.
        contrast: largest relative change of the distance to the image's mean.
        gamma: `image ** g` with g from `1 / (1 + gamma)` to `1 + gamma`.
        noise: largest standard deviation of white noise; each image draws its own below it.
        voxel_size: None, or the sides of a voxel along `(D, H, W)` in any unit: volumes turn about all three
            axes, grow, shift and bend in space, true to these sides.

    Raises:
        ValueError: an amount that is negative or too large, or an option that cannot apply to the image.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> augment = data.Augmentation(rotate=15, elastic=4, crop=(8, 8), foreground=0.5, brightness=0.1)
    >>> image, ratings = np.zeros((16, 16, 1), "float32"), np.ones((16, 16, 3), "int8")
    >>> image, ratings = augment(image, ratings, seed=(0, 1))
    >>> tuple(image.shape), tuple(ratings.shape), ratings.dtype.name
    ((8, 8, 1), (8, 8, 3), 'int8')
    """

    flip: bool = True
    rotate90: bool = True
    rotate: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    elastic: float = 0.0
    elastic_grid: float = 32.0
    crop: tuple[int, ...] | None = None
    foreground: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    voxel_size: tuple[float, float, float] | None = None

    def __post_init__(self):
        limits = {"rotate": 180, "scale": 0.9, "foreground": 1, "brightness": 1, "contrast": 1, "gamma": 4, "noise": 1}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must be from 0 to {limit}, came {getattr(self, name)!r}")
        if not 0 <= self.translate < float("inf"):
            raise ValueError(f"translate must be 0 or more pixels, came {self.translate!r}")
        if not 1 <= self.elastic_grid < float("inf"):
            raise ValueError(f"elastic_grid must be 1 or more pixels, came {self.elastic_grid!r}")
        if not 0 <= self.elastic <= 0.4 * self.elastic_grid:
            raise ValueError(
                f"elastic must be from 0 to 0.4 of elastic_grid, {0.4 * self.elastic_grid:g} pixels, above which the "
                f"image could fold; came {self.elastic!r}. Make elastic_grid larger for larger displacements"
            )
        if self.crop is not None and not _whole(self.crop):
            raise ValueError(f"crop must be one positive int for each spatial axis, came {self.crop!r}")
        if self.foreground and self.crop is None:
            raise ValueError(f"foreground={self.foreground} places a crop; give crop as well, as crop=(128, 128)")
        sides = self.voxel_size
        if sides is not None and not (len(sides) == 3 and all(0 < side < float("inf") for side in sides)):
            raise ValueError(f"voxel_size must be three positive sides (D, H, W), came {sides!r}")

    @property
    def makes_voids(self) -> bool:
        """Whether pixels may turn in from outside, which nobody rated."""
        return max(self.rotate, self.scale, self.translate, self.elastic) > 0

    def __call__(self, image, ratings, seed):
        """Augment one example.

        Args:
            image: float `(L, C)`, `(H, W, C)` or `(D, H, W, C)` in [0, 1].
            ratings: int8 `(L, K)`, `(H, W, K)` or `(D, H, W, K)`.
            seed: two integers; of those beyond 32 bits the lower 32 count.

        Returns:
            Image and ratings, TensorFlow tensors of the same types, of the size of the crop if there is one.
        """
        import tensorflow as tf

        image, ratings = tf.convert_to_tensor(image), tf.convert_to_tensor(ratings)
        self._check(image, ratings)
        kind, image = image.dtype, tf.cast(image, tf.float32)
        seeds = tf.unstack(tf.random.split(_two_seeds(tf, seed), num=len(_SEEDS)))
        seeds = dict(zip(_SEEDS, seeds, strict=True))
        parts = [image, ratings]
        if self.crop is not None or self.makes_voids:
            parts = self._move(tf, image, ratings, seeds)
        image, ratings, *seen = mirror_and_turn(parts, self.flip, self.rotate90, seeds["turn"])
        return tf.cast(self._intensity(tf, image, seen, seeds), kind), ratings

    def _check(self, image, ratings):
        axes = (image.shape.rank or 0) - 1
        if axes not in (1, 2, 3) or ratings.shape.rank != image.shape.rank:
            raise ValueError(
                "image and ratings must be (L, channels), (H, W, channels) or (D, H, W, channels), both alike; "
                f"came {image.shape} and {ratings.shape}"
            )
        if self.crop is not None and len(self.crop) != axes:
            raise ValueError(f"crop must have {axes} sizes for an image of {image.shape}, came {self.crop}")
        if self.voxel_size is not None and axes != 3:
            raise ValueError(f"voxel_size is for volumes (D, H, W, channels), came an image of {image.shape}")
        if self.rotate and axes == 1:
            raise ValueError(f"rotate needs two spatial axes, came an image of {image.shape}; set rotate=0")

    def _move(self, tf, image, ratings, seeds):
        """Crop and displacements: image, ratings and, with displacements, how much of each pixel was in the image."""
        whole = [known or side for known, side in zip(image.shape[:-1], tf.unstack(tf.shape(image)[:-1]), strict=True)]
        shape, start = self.crop or whole, tf.zeros([len(whole)], tf.int32)
        if self.crop is not None:
            start = crop_start(ratings, self.crop, self.foreground, seeds["crop"])
        if not self.makes_voids:
            return [tf.slice(part, tf.concat([start, [0]], 0), [*shape, -1]) for part in (image, ratings)]
        in_plane = len(shape) == 3 and self.voxel_size is None
        if in_plane:  # slices keep their place and travel behind the pixels, as channels do
            slices = slice(start[0], start[0] + shape[0])
            image, ratings = (tf.transpose(part[slices], (1, 2, 0, 3)) for part in (image, ratings))
            start, shape = start[1:], shape[1:]
        axes = len(shape)
        draws = tf.random.stateless_uniform([comb(axes, 2) + 1], seeds["affine"], -1.0, 1.0)
        angles = tf.unstack(self.rotate * pi / 180 * draws[:-1])
        matrix = linear_map(angles, 1 + self.scale * draws[-1], self.voxel_size or (1.0,) * axes)
        shift = self.translate * tf.random.stateless_uniform([axes], seeds["shift"], -1.0, 1.0)
        field = smooth_field(shape, self.elastic, self.elastic_grid, seeds["elastic"]) if self.elastic else None
        where = positions(shape, matrix, field, shift + tf.cast(start, tf.float32))
        parts = sample(image, ratings, where)
        return [tf.transpose(part, (2, 0, 1, 3)) for part in parts] if in_plane else parts

    def _intensity(self, tf, image, seen, seeds):
        if not (self.brightness or self.contrast or self.gamma or self.noise):
            return image
        shift, stretch, level = tf.unstack(tf.random.stateless_uniform([3], seeds["intensity"], -1.0, 1.0))
        mean = tf.reduce_mean(image)
        if seen:  # outside is 0, and no part of the image's mean
            mean /= tf.maximum(tf.reduce_mean(seen[0]), 1e-6)
        image = (image - mean) * (1 + self.contrast * stretch) + mean + self.brightness * shift
        if self.gamma:
            power = log(1 + self.gamma) * tf.random.stateless_uniform([], seeds["gamma"], -1.0, 1.0)
            image = tf.clip_by_value(image, 0.0, 1.0) ** tf.exp(power)
        if self.noise:
            image += self.noise * tf.abs(level) * tf.random.stateless_normal(tf.shape(image), seeds["noise"])
        image = tf.clip_by_value(image, 0.0, 1.0)
        return tf.where(seen[0] > 0, image, 0.0) if seen else image


def _two_seeds(tf, seed):
    """The seed as an int32 tensor of two numbers."""
    if not tf.is_tensor(seed):
        try:
            seed = np.asarray(seed)
            seed = seed.astype(np.int64) if seed.dtype.kind == "i" else seed
        except (TypeError, ValueError) as error:
            raise ArgumentError("seed", "two integers", str(error)) from None
        if seed.shape != (2,) or seed.dtype.kind not in "iu":
            raise ArgumentError("seed", "two integers below 2**63", f"{seed.dtype} of shape {seed.shape}")
        seed = tf.constant((seed.astype(np.uint64) & np.uint64(2**32 - 1)).astype(np.uint32).astype(np.int32))
    elif not seed.dtype.is_integer or seed.shape.rank not in (None, 1):
        raise ArgumentError("seed", "two integers", f"{seed.dtype.name} of shape {seed.shape}")
    return tf.cast(seed, tf.int32)


def _whole(sizes):
    return isinstance(sizes, (tuple, list)) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes)
