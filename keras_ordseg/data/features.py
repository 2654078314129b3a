"""The TensorFlow Datasets features of a multi-rater case: the image in [0, 1] and the ratings as bits.

Prepared and packed datasets name these classes in their `features.json`, so their names and arguments stay.
"""

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg._checks import ArgumentError
from keras_ordseg.data._bits import answers, from_planes, plane_dtype, to_planes

_ENCODINGS = ("bytes", "zlib", "jpeg")
_STORED = ("uint8", "uint16", "float16", "float32")


class UnitImage(tfds.features.FeatureConnector):
    """An image in [0, 1]: stored as it came, read as float32 `(*spatial, C)`.

    Whole numbers are stored as they are and divided by their largest value, 255 or 65535, when they are read;
    that is bit for bit what `data.load` makes of the same file.

    Args:
        shape: `(*spatial, C)`, with None for what differs from case to case.
        stored: `"uint8"`, `"uint16"`, `"float16"` or `"float32"`.
        encoding: `"zlib"`, `"bytes"` (larger and faster), or `"jpeg"` for the path of a JPEG file, whose bytes
            are kept.

    >>> import numpy as np
    >>> from keras_ordseg.data.features import UnitImage
    >>> feature = UnitImage(shape=(1, 3, 1), stored="uint8", encoding="bytes")
    >>> stored = feature.encode_example(np.float32([[[0], [0.2], [1]]]))
    >>> stored, feature.decode_example(stored).numpy().ravel()
    (b'\\x003\\xff', array([0. , 0.2, 1. ], dtype=float32))
    """

    def __init__(self, *, shape, stored="uint8", encoding="zlib", doc=None):
        super().__init__(doc=doc)
        if encoding not in _ENCODINGS or stored not in _STORED or (encoding == "jpeg" and stored != "uint8"):
            raise ValueError(
                f"encoding must be one of {', '.join(map(repr, _ENCODINGS))}, and stored of "
                f"{', '.join(map(repr, _STORED))} (JPEG: 'uint8'); came {encoding!r} and {stored!r}"
            )
        self._shape, self._stored, self._encoding = tuple(shape), np.dtype(stored), encoding
        if encoding == "jpeg":
            self._inner = tfds.features.Image(shape=self._shape, encoding_format="jpeg")
        else:
            self._inner = tfds.features.Tensor(shape=self._shape, dtype=self._stored, encoding=encoding)

    def get_tensor_info(self):
        return tfds.features.TensorInfo(shape=self._shape, dtype=np.float32)

    def get_serialized_info(self):
        return self._inner.get_serialized_info()

    def encode_example(self, image):
        """A path for `"jpeg"`; otherwise an array of what is stored, or of floats in [0, 1]."""
        if self._encoding != "jpeg":
            image = np.asarray(image)
            if self._scale and image.dtype.kind == "f":
                image = np.rint(image * image.dtype.type(self._scale))
            if self._scale and image.size and not (image.min() >= 0 and image.max() <= self._scale):
                raise ArgumentError(
                    "image", f"floats in [0, 1], or integers of 0 to {self._scale}", "values outside or not finite"
                )
            image = image.astype(self._stored)
        return self._inner.encode_example(image)

    def decode_example(self, example):
        import tensorflow as tf

        if self._encoding == "jpeg":  # the exact transform, as Pillow uses it; TensorFlow's default is off by up to 11
            image = tf.io.decode_jpeg(example, channels=self._shape[-1], dct_method="INTEGER_ACCURATE")
        else:
            image = self._inner.decode_example(example)
        image = tf.cast(image, tf.float32)
        if self._scale:
            image /= self._scale
        return tf.ensure_shape(image, self._shape)

    @property
    def can_decode_batch(self):
        """Whether cases can be decoded together: of one size, and plain bytes."""
        return self._encoding == "bytes" and None not in self._shape

    def decode_cases(self, examples):
        """Many cases at once, float32 `(batch, *spatial, C)`; the work for each is far less."""
        import tensorflow as tf

        image = tf.cast(tf.reshape(tf.io.decode_raw(examples, self._stored), [-1, *self._shape]), tf.float32)
        return image / self._scale if self._scale else image

    def decode_example_np(self, example):
        image = np.asarray(self._inner.decode_example_np(example), np.float32)
        return image / np.float32(self._scale) if self._scale else image

    @property
    def _scale(self):
        return np.iinfo(self._stored).max if self._stored.kind == "u" else None

    def to_json_content(self):
        return {"shape": list(self._shape), "stored": self._stored.name, "encoding": self._encoding}


class Ratings(tfds.features.FeatureConnector):
    """Ratings int8 `(*spatial, K)` of 1, 0 and -1, stored as bits: one or two numbers a pixel, up to 16 raters.

    The second number, who did not rate the pixel, is stored only for cases where somebody did not.

    Args:
        shape: `(*spatial, K)`, with None for what differs from case to case, but for K.
        encoding: `"zlib"`, or `"bytes"` (larger and faster).

    >>> import numpy as np
    >>> from keras_ordseg.data.features import Ratings
    >>> feature = Ratings(shape=(2, 3), encoding="bytes")
    >>> stored = feature.encode_example(np.array([[1, 0, 1], [0, 1, -1]]))
    >>> stored, feature.decode_example(stored).numpy().tolist()
    (b'\\x05\\x02\\x00\\x04', [[1, 0, 1], [0, 1, -1]])
    """

    def __init__(self, *, shape, encoding="zlib", doc=None):
        super().__init__(doc=doc)
        self._shape, self._encoding = tuple(shape), encoding
        dtype = plane_dtype(self.num_raters)
        self._inner = tfds.features.Tensor(shape=(None, *self._shape[:-1]), dtype=dtype, encoding=encoding)

    @property
    def num_raters(self):
        """K."""
        return self._shape[-1]

    def get_tensor_info(self):
        return tfds.features.TensorInfo(shape=self._shape, dtype=np.int8)

    def get_serialized_info(self):
        return self._inner.get_serialized_info()

    def encode_example(self, ratings):
        ratings = np.asarray(ratings)
        if ratings.shape[-1] != self.num_raters:
            raise ValueError(f"ratings must have {self.num_raters} raters, came shape {ratings.shape}")
        if ratings.size and not (ratings.min() >= -1 and ratings.max() <= 1):
            got = f"{ratings.min()} to {ratings.max()}"
            raise ArgumentError("ratings", "1 (marked), 0 (not marked) and -1 (did not rate)", got)
        return self._inner.encode_example(to_planes(ratings))

    def decode_example(self, example):
        import tensorflow as tf

        planes = self._inner.decode_example(example)
        ratings = tf.cond(
            tf.shape(planes)[0] > 1, lambda: self._look_up(planes, 2), lambda: self._look_up(planes, 1)
        )
        return tf.ensure_shape(ratings, self._shape)

    def decode_votes(self, example):
        """The votes int32 `(*spatial)`, without unpacking the ratings; for complete panels only."""
        import tensorflow as tf

        planes = self._inner.decode_example(example)
        return tf.ensure_shape(_count(planes[0], planes[1:]), self._shape[:-1])

    @property
    def can_decode_batch(self):
        """Whether cases can be decoded together: of one size, and plain bytes."""
        return self._encoding == "bytes" and None not in self._shape

    def decode_cases(self, examples, votes=False, complete=False):
        """Ratings `(batch, *spatial, K)`, or votes, of many cases at once; the work for each is far less."""
        import tensorflow as tf

        dtype, count = plane_dtype(self.num_raters), 1 if complete else 2
        length = count * int(np.prod(self._shape[:-1])) * dtype().itemsize
        # zeros, "nobody was absent", stand in for the second plane of a complete panel
        planes = tf.io.decode_raw(examples, dtype, fixed_length=length)
        planes = tf.reshape(planes, [-1, count, *self._shape[:-1]])
        if votes:
            return _count(planes[:, 0], planes[:, 1:])
        return self._look_up(tf.unstack(planes, axis=1), count)

    def _look_up(self, planes, count):
        import tensorflow as tf

        table = tf.constant(answers(self.num_raters))
        marked, *absent = (tf.gather(table, tf.cast(planes[i], tf.int32)) for i in range(count))
        return marked - absent[0] if absent else marked

    def decode_example_np(self, example):
        return from_planes(self._inner.decode_example_np(example), self.num_raters)

    def to_json_content(self):
        return {"shape": list(self._shape), "encoding": self._encoding}


def _count(marked, absent):
    """The bits that are set; where anyone is absent, an error."""
    import tensorflow as tf

    message = "votes need the answers of all raters for every pixel; read the ratings"
    nobody = tf.debugging.assert_equal(tf.reduce_any(absent != 0), False, message=message)
    with tf.control_dependencies([nobody]):
        return tf.cast(tf.raw_ops.PopulationCount(x=marked), tf.int32)


class DecodeVotes(tfds.decode.Decoder):
    """`decoders={"ratings": DecodeVotes()}` reads the votes in place of `Ratings`.

    >>> import tensorflow_datasets as tfds
    >>> from keras_ordseg.data.features import DecodeVotes, Ratings
    >>> decoder = DecodeVotes()
    >>> decoder.setup(feature=Ratings(shape=(2, 3), encoding="bytes"))
    >>> decoder.decode_example(b"\\x05\\x02").numpy()
    array([2, 1], dtype=int32)
    """

    @property
    def dtype(self):
        return np.int32

    def decode_example(self, example):
        return self.feature.decode_votes(example)
