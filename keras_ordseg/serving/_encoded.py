"""PNG and JPEG bytes to images in [0, 1], inside a TensorFlow graph."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# EXIF, little and big endian: tag 0x0112 (orientation), one unsigned short, 2 to 8
_TURNED = (
    r"\C*Exif\x00\x00(II\C*\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]"
    r"|MM\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*"
)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L"


def decode(contents, channels, max_pixels):
    """Decodes the files of one request, which are refused before decoding where that would not end well.

    The numbers are those of `data.cases`: 8 bits over 255, 16 bits over 65535, palettes looked up, alpha dropped. A grey
    file for three channels is repeated; a colour file for one is turned into its luma. The sides are read from the
    headers first, so a file that claims to be huge takes no memory.

    Args:
        contents: String tensor `(batch,)`.
        channels: 1 or 3.
        max_pixels: The most pixels that all files of a request may have together.

    Returns:
        float32 `(batch, H, W, channels)`.

    Raises:
        tf.errors.InvalidArgumentError: For other formats, damaged files, a turned JPEG, files of different sizes, and too
            many pixels, when the graph runs.

    >>> import tensorflow as tf
    >>> png = tf.io.encode_png(tf.constant([[[0], [255]]], tf.uint8))
    >>> decode(tf.stack([png]), 1, 100).numpy().ravel().tolist()
    [0.0, 1.0]
    """
    import tensorflow as tf

    known = tf.logical_or(_is(_PNG, contents), _is(_JPEG, contents))
    checks = [
        require(tf.size(contents) > 0, "encoded: expected at least one file."),
        require(known, "encoded: expected the bytes of PNG or JPEG files (in REST as {'b64': ...})."),
    ]
    with tf.control_dependencies(checks):
        contents = tf.identity(contents)
    sides = tf.map_fn(_sides, contents, fn_output_signature=tf.TensorSpec([2], tf.int64))
    pixels = tf.reduce_sum(tf.reduce_prod(tf.cast(sides, tf.float64), axis=-1))
    checks = [
        require(sides > 0, "encoded: a file is damaged or cut short: its header gives no size."),
        require(
            pixels <= max_pixels,
            f"encoded: the images of the request are larger than the limit of {max_pixels} pixels together (max_pixels of "
            "the export); send fewer images, or tiles.",
        ),
        require(
            sides == sides[:1], "encoded: all images of a request must have one size; send one request for each size."
        ),
        require(
            tf.logical_not(_turned(contents)),
            "encoded: a JPEG has an EXIF orientation, and viewers disagree which way is up; save it without.",
        ),
    ]
    with tf.control_dependencies(checks):
        contents = tf.identity(contents)
    spec = tf.TensorSpec([None, None, channels], tf.float32)
    return tf.map_fn(lambda content: _pixels(content, channels), contents, fn_output_signature=spec)


def _is(signature, contents):
    import tensorflow as tf

    return tf.strings.substr(contents, 0, len(signature)) == signature


def require(condition, message):
    """The operation that fails with `message` where `condition` does not hold everywhere."""
    import tensorflow as tf

    return tf.debugging.Assert(tf.reduce_all(condition), [message])


def _turned(contents):
    """Whether a JPEG's EXIF header, at the start of the file, asks for the image to be turned or mirrored."""
    import tensorflow as tf

    head = tf.strings.substr(contents, 0, 2**16)
    return tf.logical_and(_is(_JPEG, contents), tf.strings.regex_full_match(head, _TURNED))


def _sides(content):
    """Height and width, from the header alone."""
    import tensorflow as tf

    def png():
        # IHDR comes first: width and height are the bytes 16 to 23, big-endian; zeros stand for what is cut off
        header = tf.io.decode_raw(tf.strings.substr(content, 0, 24), tf.uint8, little_endian=False)
        header = tf.pad(header, [[0, 24 - tf.size(header)]])
        numbers = tf.reshape(tf.cast(header[16:24], tf.int64), (2, 4))
        return tf.reverse(tf.linalg.matvec(numbers, tf.constant([2**24, 2**16, 2**8, 1], tf.int64)), [0])

    def jpeg():
        return tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64)

    return tf.cond(_is(_PNG, content), png, jpeg)


def _pixels(content, channels):
    """One file as float32 `(H, W, channels)` in [0, 1]."""
    import tensorflow as tf

    def png():  # 8 bits come as 257 times their value, so that one divisor is right for both
        return tf.cast(tf.io.decode_png(content, 3, tf.uint16), tf.float32) / 65535

    def jpeg():
        pixels = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE")
        return tf.cast(pixels, tf.float32) / 255

    pixels = tf.cond(_is(_PNG, content), png, jpeg)
    if channels == 3:
        return pixels
    grey = tf.reduce_all(pixels == pixels[..., :1], axis=-1)
    return tf.where(grey, pixels[..., 0], tf.tensordot(pixels, LUMA, 1))[..., None]


def resize_outputs(outputs, sides):
    """Maps `(batch, h, w, ...)` by name, brought to `(batch, *sides, ...)` linearly: they are linear in the levels."""
    import tensorflow as tf

    def resized(x):
        flat = x[..., None] if len(x.shape) == 3 else x
        flat = tf.image.resize(flat, sides, antialias=True)
        return flat[..., 0] if len(x.shape) == 3 else flat

    return {name: resized(x) for name, x in outputs.items()}
