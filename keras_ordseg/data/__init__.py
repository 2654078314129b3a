"""Reading, checking, splitting, fusing and feeding multi-rater data.

Files are read into NumPy arrays; TensorFlow is imported only by what returns a `tf.data.Dataset`.
"""

from keras_ordseg.data._errors import DataError
from keras_ordseg.data.arrays import check_arrays, from_arrays, take
from keras_ordseg.data.augmentation import Augmentation
from keras_ordseg.data.batching import batches, steps_per_epoch
from keras_ordseg.data.cases import Case, Cases, find_cases
from keras_ordseg.data.folder import check, from_folder, load
from keras_ordseg.data.frequencies import level_frequencies, mean_vote
from keras_ordseg.data.fusion import fuse
from keras_ordseg.data.splitting import split

__all__ = [
    "Augmentation",
    "Case",
    "Cases",
    "DataError",
    "batches",
    "check",
    "check_arrays",
    "find_cases",
    "from_arrays",
    "from_folder",
    "fuse",
    "level_frequencies",
    "load",
    "mean_vote",
    "split",
    "steps_per_epoch",
    "take",
]
