"""What Pillow reads of a picture and its numbers do not mean: several frames, a turn, counts that are scaled or cut."""

from keras_ordseg.data import _tiff
from keras_ordseg.data._errors import DataError

_ORIENTATION = 0x0112


def frames(image):
    """Returns how many frames a file has; the second picture of MPO is none."""
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def several(count):
    """Returns the sentence about a file of several frames where one is expected."""
    return (
        f"holds {count} frames where one is expected; save each slice as its own file, or the volume as NIfTI or NumPy"
    )


def refuse_ambiguous(image, allow_frames):
    """Raises for what the header of an opened file says.

    Raises:
        DataError: Several frames, or numbers that Pillow would scale or cut.
    """
    if frames(image) > 1 and not allow_frames:
        raise DataError(several(frames(image)))
    if image.format == "PPM" and image.tile[0][0] != "raw" and image.tile[0][3][-1:] != (255,):
        raise DataError(
            f"counts to {image.tile[0][3][-1]}, and of this format only files that count to 255, or 65535 in grey, are read "
            "as they are stored; save it as PNG or TIFF"
        )
    if image.format == "JPEG2000" and image.mode != "I;16" and _is_deep_jpeg2000(image):
        raise DataError("has more than 8 bits a colour, which are not read of JPEG 2000; save it as PNG or TIFF")


def refuse_turned(image):
    """Raises for an EXIF orientation, of any format.

    Raises:
        DataError: The orientation.
    """
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation not in (0, 1):
        raise DataError(_tiff.turned(orientation))


def _is_deep_jpeg2000(image):
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    place = head.find(b"\xff\x4f\xff\x51")  # the start of the codestream and of its table of sizes
    count = int.from_bytes(head[place + 40 : place + 42], "big")
    depths = head[place + 42 : place + 42 + 3 * count : 3]
    return place < 0 or any((depth & 127) + 1 > 8 for depth in depths)
