"""The tokens of a vision transformer as a feature map."""

import math

from keras import layers


def token_grid(tokens, image, patch_size=None):
    """How a row of tokens lies over the image.

    Args:
        tokens: Shape `(batch, tokens, channels)`.
        image: Shape `(batch, height, width, channels)`, a size that is known.
        patch_size: The transformer's, where it is known: tokens before those of the patches (class, registers) are then
            left out. Without it, or where a later stage has merged patches, there must be none.

    Returns:
        `(stride, number of leading tokens that are no patches)`, or `None` where the numbers do not fit.

    >>> token_grid((None, 21, 32), (None, 64, 64, 3), patch_size=16)
    (16, 5)
    >>> token_grid((None, 64, 32), (None, 64, 64, 3), patch_size=4)
    (8, 0)
    """
    if len(tokens) != 3 or len(image) != 4 or None in (*tokens[1:], *image[1:3]):
        return None
    height, width, count = *image[1:3], tokens[1]
    patch = patch_size[0] if isinstance(patch_size, (tuple, list)) else patch_size
    if patch and height % patch == width % patch == 0:
        leading = count - (height // patch) * (width // patch)
        if leading >= 0:
            return patch, leading
    stride = math.isqrt(height * width // count) if count else 0
    fits = stride and height % stride == width % stride == 0 and (height // stride) * (width // stride) == count
    return (stride, 0) if fits else None


def tokens_to_map(tokens, image, grid, name):
    """`(batch, tokens, channels)` as `(batch, height / stride, width / stride, channels)`."""
    stride, leading = grid
    if leading:
        tokens = layers.Cropping1D((leading, 0), name=f"{name}_patches")(tokens)
    return layers.Reshape(
        (image.shape[1] // stride, image.shape[2] // stride, tokens.shape[-1]), name=f"{name}_map"
    )(tokens)
