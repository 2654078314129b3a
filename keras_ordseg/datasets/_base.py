"""What the TensorFlow Datasets builders share: features, checks, and where the user's files lie."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg.data import DataError, split
from keras_ordseg.data.features import Ratings, UnitImage

VALIDATION = (0.8, 0.2)  # shares of train and validation where no validation set is shipped


class MultiRaterBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset of `image` float32 in [0, 1], `ratings` int8 `(*spatial, K)`, `id` and `group`.

    With `as_supervised=True` an example is `(image, ratings)`, which the package's losses train on.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    NUM_RATERS: int
    CHANNELS = 1
    DESCRIPTION: str
    CITATION: str
    HOMEPAGE: str | None = None
    LICENSE: str

    def _info(self):
        features = {
            "image": self._image_feature(),
            "ratings": self._ratings_feature(),
            "id": tfds.features.Text(doc="The case."),
            "group": tfds.features.Text(doc="The patient; a case of unknown patient is its own group."),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features | self._more_features()),
            supervised_keys=("image", "ratings"),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            license=self.LICENSE,
        )

    def _image_feature(self):
        return UnitImage(shape=(None, None, self.CHANNELS))

    def _ratings_feature(self):
        return Ratings(shape=(None, None, self.NUM_RATERS))

    def _more_features(self):
        return {}

    def _generate_examples(self, cases: Iterable, read: Callable, where):
        """The examples of `read(case)`; whatever it finds wrong is raised at the end, all at once."""
        problems = []
        for case in cases:
            try:
                example = read(case)
            except DataError as error:
                problems.append(str(error))
                continue
            if not problems:
                yield example["id"], example
        if problems:
            raise DataError.listing(problems, str(where))


def manual_folder(dl_manager) -> Path:
    """The folder of the files that the user fetched, or an error that says what to fetch."""
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError as error:  # TensorFlow Datasets' own, with the instructions in it
        raise DataError(str(error)) from None


def folders_in(folder: Path) -> list[Path]:
    """The folders inside, but for hidden ones and those that archivers leave."""
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def train_and_validation(cases, groups):
    """`cases` in two parts, 80 % and 20 %, no group in both; always the same ones.

    The order of the cases does not matter, only the names of the groups (`data.split` with seed 0).
    """
    return tuple([cases[i] for i in part] for part in split(groups, VALIDATION))


def stacked(masks) -> np.ndarray:
    """Masks of K raters as `(*spatial, K)`."""
    return np.stack(masks, axis=-1)
