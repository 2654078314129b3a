"""PNG files of 16 bits in colour or with alpha, which Pillow cuts to their upper 8 bits."""

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {2: 3, 4: 2, 6: 4}  # of the colour types RGB, grey with alpha, RGB with alpha


def samples(path):
    """Returns how many samples of 16 bits a pixel of the file has, 0 where Pillow reads it as it is."""
    with open(path, "rb") as file:
        head = file.read(26)
    deep = head.startswith(_SIGNATURE) and head[12:16] == b"IHDR" and head[24:25] == b"\x10"
    return _SAMPLES.get(head[25], 0) if deep and len(head) == 26 else 0


def read(path, image):
    """Returns the numbers as they are stored, uint16 `(H, W, samples)`.

    Pillow's decoder runs over the same stream again, for the lower bytes or for all of them, so its limits and checks
    hold here too.

    Args:
        path: The file.
        image: The same, opened and loaded by Pillow: the upper bytes.
    """
    count = samples(path)
    if count == 2:  # four bytes a pixel, as 8 bits of RGB with alpha have
        return _unpacked(path, "RGBA").view(">u2").astype(np.uint16)
    upper = np.asarray(image).astype(np.uint16)
    return upper << 8 | _unpacked(path, {3: "RGB;16L", 4: "RGBA;16L"}[count])


def _unpacked(path, stored):
    with Image.open(path, formats=("PNG",)) as image:
        image.tile = [(*image.tile[0][:3], stored)]
        image.load()
        return np.array(image)
