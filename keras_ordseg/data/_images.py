"""One file to one NumPy array, with every reason to refuse it."""

import warnings

import numpy as np
from PIL import Image

from keras_ordseg.data._errors import DataError

_COLOUR = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "La": "L",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "RGBX": "RGB",
}
_COLOUR |= {"CMYK": "RGB", "YCbCr": "RGB"}
_MASKS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "F")
_ORIENTATION = 0x0112


def read_image(path):
    """An image file as float32 `(H, W, C)` in [0, 1].

    8-bit values are divided by 255 and 16-bit values by 65535; a float TIFF has to be finite and in
    [0, 1] already. Alpha is dropped and palettes are looked up.

    Raises:
        DataError: what is wrong with the file (without its name).
    """
    with _opened(path) as image:
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            image = image.convert("RGB")
            pixels = np.asarray(image)
            if (pixels[..., :1] == pixels).all():
                pixels = pixels[..., 0]
            pixels = pixels / np.float32(255)
        elif image.mode in _COLOUR:
            pixels = np.asarray(image.convert(_COLOUR[image.mode])) / np.float32(255)
        elif _is_16_bit(image):
            pixels = np.asarray(image) / np.float32(65535)
        elif image.mode == "F":
            pixels = _checked_float(np.array(image, dtype=np.float32))
        else:
            raise DataError(
                f"pixel format {image.mode!r} is not read; save 8 or 16 bits, or float TIFF in [0, 1]"
            )
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_mask(path):
    """A mask file as int8 `(H, W)` of 0 and 1: 0 (or black) is not marked, the one other value is marked.

    Raises:
        DataError: what is wrong with the file (without its name).
    """
    with _opened(path) as image:
        if image.mode not in _MASKS and not image.mode.startswith("I;16"):
            raise DataError(f"pixel format {image.mode!r} is not read for masks; save it as 8-bit greyscale")
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        pixels = np.asarray(image)
        bands = image.getbands()
    if bands[-1].upper() == "A":
        if (pixels[..., -1] != pixels.flat[pixels.shape[-1] - 1]).any():
            raise DataError("the mask has a transparency channel that varies; save it without transparency")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels[..., :1] == pixels).all():
            pixels = pixels[..., 0]
        else:  # a coloured mask: one number for each colour, black stays 0
            pixels = pixels.astype(np.int64) @ (256 ** np.arange(pixels.shape[-1])[::-1])
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError("the mask has values that are not finite")
    marked = pixels != 0
    if marked.any() and (pixels[marked] != pixels[marked][0]).any():
        values = np.unique(pixels)
        shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
        raise DataError(
            f"not a binary mask: it holds {len(values)} values ({shown}) where 0 and one other are expected; "
            "threshold it, and save masks as PNG (JPEG blurs them)"
        )
    return marked.astype(np.int8)


def _opened(path):
    """Open and decode with Pillow; whatever it raises becomes a `DataError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path)
            try:
                _refuse_ambiguous(image)
                image.load()
            except BaseException:
                image.close()
                raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            limit = Image.MAX_IMAGE_PIXELS
            raise DataError(
                f"larger than Pillow's limit of {limit} pixels; cut the image into tiles"
            ) from None
        except DataError:
            raise
        except Image.UnidentifiedImageError:
            raise DataError("cannot be read as an image; is it a PNG, JPEG or TIFF file?") from None
        except Exception as error:  # Pillow's decoders raise a dozen kinds for broken files
            raise DataError(f"cannot be read ({error}); the file is damaged or cut short") from None
    return image


def _refuse_ambiguous(image):
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise DataError(f"holds {frames} frames where one is expected; save each slice as its own file")
    if image.format in ("JPEG", "MPO"):
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation not in (0, 1):
            raise DataError(
                f"has EXIF orientation {orientation}, and viewers disagree which way is up; save it without"
            )


def _is_16_bit(image):
    # Pillow before 11 opens 16-bit PNG files in mode "I"
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def _checked_float(pixels):
    bad = np.count_nonzero(~np.isfinite(pixels))
    if bad:
        raise DataError(f"the image has {bad} values that are not finite (NaN or infinite)")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 1:
        raise DataError(f"the float image spans [{low:g}, {high:g}] where [0, 1] is expected; scale it")
    return pixels
