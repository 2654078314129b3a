"""Maps of 'valid' convolutions brought to the size that their stride promises."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ordseg")
class AlignToStride(keras.layers.Layer):
    """Brings a feature map to the size of the image divided by its stride, centred.

    Backbones with unpadded convolutions (Inception, Xception) lose a few pixels at every border. What is missing is
    filled by repeating the edge, what is too much is cut off, the same on both sides.

    Args:
        stride: Int, the stride of the map.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `[map (batch, *spatial, channels), image (batch, *sides, c)]`, sides divisible by the stride.

    >>> AlignToStride(2)([ops.ones((1, 3, 3, 5)), ops.ones((1, 8, 8, 1))]).shape == (1, 4, 4, 5)
    True
    """

    def __init__(self, stride, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs):
        x, image = inputs
        for axis in range(1, len(x.shape) - 1):
            size, target = ops.shape(x)[axis], ops.shape(image)[axis] // self.stride
            places = ops.arange(target, dtype="int32") - (target - size) // 2
            x = ops.take(x, ops.clip(places, 0, size - 1), axis=axis)
        return x

    def compute_output_spec(self, inputs):
        x, image = inputs
        sides = (None if side is None else side // self.stride for side in image.shape[1:-1])
        return keras.KerasTensor((x.shape[0], *sides, x.shape[-1]), dtype=x.dtype)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}
