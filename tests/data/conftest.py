"""Folders of tiny images and masks."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """`folder(names, ...)` writes 8-bit files, each a square of `value` on 0, and gives their folder."""

    def write(names, size=(6, 5), value=255):
        for name in names:
            pixels = np.zeros(size, np.uint8)
            pixels[1:3, 1:4] = value
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        return tmp_path

    return write


@pytest.fixture
def panel(folder):
    """Three cases of two raters; rater 2 has no file of case b."""
    names = [f"{case}_{kind}.png" for case in "abc" for kind in ("image", "rater1", "rater2")]
    names.remove("b_rater2.png")
    return folder(names)


@pytest.fixture
def arrays(rng):
    """Seven cases of 6x6 pixels and four raters; rater 2 is absent from two of them."""
    ratings = rng.integers(0, 2, (7, 6, 6, 4)).astype(np.int8)
    ratings[[1, 5], ..., 2] = -1
    return {
        "image": rng.random((7, 6, 6, 1), dtype=np.float32),
        "ratings": ratings,
        "id": np.array([f"case{i}" for i in range(7)]),
        "group": np.array([f"patient{i // 2}" for i in range(7)]),
    }
