"""Reading, checking, splitting, fusing and feeding multi-rater data.

Files are read into NumPy arrays; TensorFlow is imported only by what returns a `tf.data.Dataset`.
"""

from keras_ordseg.data._errors import DataError
from keras_ordseg.data.arrays import check_arrays, from_arrays, take
from keras_ordseg.data.augmentation import Augmentation
from keras_ordseg.data.batching import batches, steps_per_epoch
from keras_ordseg.data.frequencies import level_frequencies, mean_vote
from keras_ordseg.data.fusion import fuse
from keras_ordseg.data.packed import pack
from keras_ordseg.data.packed_arrays import load_packed
from keras_ordseg.data.pydataset import PyDataset
from keras_ordseg.data.readers import check, from_folder, load
from keras_ordseg.data.regions import region, restrict
from keras_ordseg.data.sharding import shard_batches
from keras_ordseg.data.splitting import split
from keras_ordseg.data.table import Case, Cases, cases
from keras_ordseg.data.unpacked import from_packed

__all__ = [
    "Augmentation",
    "Case",
    "Cases",
    "DataError",
    "PyDataset",
    "batches",
    "cases",
    "check",
    "check_arrays",
    "from_arrays",
    "from_folder",
    "from_packed",
    "fuse",
    "level_frequencies",
    "load",
    "load_packed",
    "mean_vote",
    "pack",
    "region",
    "restrict",
    "shard_batches",
    "split",
    "steps_per_epoch",
    "take",
]
