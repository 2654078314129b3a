"""Notes of an inspection on what is read and may not be meant: dark images, raters without a mark, suspicious labels."""

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, inspection

MASK = np.zeros((40, 30), np.uint8)
MASK[4:9, 3:9] = 255


@pytest.fixture
def noted(tmp_path):
    """`noted(images, masks)` writes a case for each image and gives its inspection."""

    def write(images, masks=(MASK, MASK), **options):
        for case, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{case}_image.png")
            for rater, mask in enumerate(masks, 1):
                Image.fromarray(mask).save(tmp_path / f"{case}_rater{rater}.png")
        return inspection.inspect(data.cases(tmp_path, **options))

    return write


def dark(result):
    return [note for note in result["notes"] if note.startswith("Intensities of ")]


def test_12_bits_in_16(noted, rng):
    images = [rng.integers(0, 4096, MASK.shape).astype(np.uint16) for _ in range(3)]
    images[1][0, 0] = 65535  # a text burnt in does not hide it
    result = noted(images)
    (note,) = dark(result)
    assert note.startswith("Intensities of 3 of 3 images span less than 0.2 of 0 to 1 (in 0 there is one alone)")
    assert "12 bits in 16 want a window (window=, --window) of 0 to 4095" in note
    assert result["intensities"]["highest"] == 1
    assert "intensities" in inspection.text(result)
    assert dark(noted(images, window=(0, 4095))) == []


def test_one_image_of_several(noted, rng):
    bright, faint = rng.integers(0, 256, MASK.shape).astype(np.uint8), rng.integers(0, 2, MASK.shape).astype(np.uint8)
    (note,) = dark(noted([bright, faint, bright, bright * 0]))
    assert note.startswith("Intensities of 2 of 4 images span less than 0.2 of 0 to 1 (in 1 there is one alone)")
    assert dark(noted([bright] * 4)) == []


def test_a_window_that_does_not_fit(noted, rng):
    (note,) = dark(noted([rng.integers(0, 256, MASK.shape).astype(np.uint8)], window=(1000, 4000)))
    assert "(in 1 there is one alone); all images span 0 to 0: see whether the window fits" in note


def test_a_rater_without_a_mark(noted, rng):
    image = rng.integers(0, 256, MASK.shape).astype(np.uint8)
    result = noted([image] * 2, (MASK, MASK * 0, MASK))
    assert "Rater 2 marks nothing in any of their 2 images." in result["notes"]
    assert not any("marks nothing" in note for note in noted([image] * 2, (MASK, MASK, MASK))["notes"])


def test_what_load_warns_of_is_a_note_here(noted, rng):
    image = rng.integers(0, 256, MASK.shape).astype(np.uint8)
    labels = [np.where(MASK > 0, value, 0).astype(np.uint8) for value in (1, 2)]
    notes = noted([image] * 2, labels)["notes"]
    assert any(note.startswith("Raters mark by different values (rater 1 by 1, rater 2 by 2)") for note in notes)
