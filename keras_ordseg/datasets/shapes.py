"""AmbiguousShapes as a TensorFlow dataset: generated, nothing to fetch."""

from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg.data.features import Ratings, UnitImage
from keras_ordseg.datasets._base import MultiRaterBuilder
from keras_ordseg.datasets.ambiguous_shapes import _PER_PATIENT, ambiguous_shapes


@dataclass(eq=False)
class AmbiguousShapesConfig(tfds.core.BuilderConfig):
    """What to generate; the arguments are those of `ambiguous_shapes`, `num_images` for each split."""

    num_images: tuple[int, int, int] = (320, 80, 80)
    size: int = 64
    num_raters: int = 5
    seed: int = 0
    dims: int = 2
    absent: float = 0.0


class AmbiguousShapes(MultiRaterBuilder):
    """Generated lesions with ambiguous borders, with the true probability that a rater marks each pixel.

    Beside the usual features, `probability` float32 `(*spatial)` and `levels` float32 `(*spatial, K+1)` are the truth,
    see `ambiguous_shapes`. Configurations: `2d` (64², five raters), `2d_absent` (a rater did not rate with probability
    0.3) and `3d` (32³); an `AmbiguousShapesConfig` of your own makes another. No simulated patient is in two splits.
    """

    BUILDER_CONFIGS = [
        AmbiguousShapesConfig(name="2d", description="Images of 64², five raters."),
        AmbiguousShapesConfig(name="2d_absent", description="The same; three in ten ratings absent.", absent=0.3),
        AmbiguousShapesConfig(
            name="3d", description="Volumes of 32³, five raters.", size=32, dims=3, num_images=(64, 16, 16)
        ),
    ]
    DESCRIPTION = (
        "Generated lesions with ambiguous borders, several simulated raters' masks, and the true probability of a mark."
    )
    LICENSE = "Apache-2.0, as keras_ordseg"
    CITATION = ""

    @property
    def _spatial(self):
        return (self.builder_config.size,) * self.builder_config.dims

    def _image_feature(self):
        return UnitImage(shape=(*self._spatial, 1), stored="float32")

    def _ratings_feature(self):
        return Ratings(shape=(*self._spatial, self.builder_config.num_raters))

    def _more_features(self):
        levels = (*self._spatial, self.builder_config.num_raters + 1)
        return {
            "probability": tfds.features.Tensor(shape=self._spatial, dtype=np.float32, encoding="zlib"),
            "levels": tfds.features.Tensor(shape=levels, dtype=np.float32, encoding="zlib"),
        }

    def _split_generators(self, dl_manager):
        config = self.builder_config
        if any(number < 1 or number % _PER_PATIENT for number in config.num_images):
            raise ValueError(
                f"num_images must be three multiples of {_PER_PATIENT}, the images of a patient; came "
                f"{config.num_images}"
            )
        arrays = ambiguous_shapes(
            sum(config.num_images), config.size, config.num_raters, config.seed, config.dims, config.absent
        )
        ends = np.cumsum(config.num_images)
        return {
            name: self._generate_examples(
                range(end - count, end), lambda row: {key: values[row] for key, values in arrays.items()}, self.name
            )
            for name, count, end in zip(("train", "validation", "test"), config.num_images, ends, strict=True)
        }
