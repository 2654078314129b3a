"""Masks and maps that lie beside images are left out of a folder, and named; an image never is."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ordseg.cli import main
from keras_ordseg.models import BinarySegmenter, small_backbone
from keras_ordseg.serving import predict_files
from keras_ordseg.serving._predict_images import find_images, mask_files, rating_files

MASKS = [
    ("a_image.png", "a_votes.png"),
    ("a_image.png", "a_votes.PNG"),
    ("a.png", "a_mask.png"),
    ("a.png", "A_Mask2.tif"),
    ("a.JPG", "a-seg.png"),
    ("a.png", "a_seg_disc_1.png"),
    ("a_img.nii.gz", "a_1_tgt.nii.gz"),
    ("a_img.nii.gz", "a_STAPLE_tgt.nii.gz"),
    ("a.nii.gz", "a.seg.nii.gz"),
    ("img_7.png", "mask_7.png"),
    ("7.png", "label_7.npy"),
    ("a_b.png", "a_b_reader2.png"),
    ("a.png", "a_agreement.png"),
    ("a_image.png", "a_image_quorum2.png"),
]
IMAGES = [
    ("a.png", "b_mask.png"),
    ("a_image.png", "a_mask_image.png"),
    ("a.png", "ab_votes.png"),
    ("a.png", "a_cropped.png"),
    ("a.png", "a_2.png"),
    ("mask_1.png", "mask_2.png"),
    ("segment_1.png", "segment_12.png"),
    ("a.png", "a_masked.png"),
    ("votes.png", "a.png"),
]


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("image, mask", MASKS)
def test_masks_beside_their_image(image, mask, tmp_path):
    folder = folder_of(tmp_path, image, mask)
    assert [file.name for file in mask_files(folder)] == [mask]
    assert list(find_images(folder)) == [image]
    assert mask_files(folder / "*") == mask_files([folder / mask]) == mask_files(folder / mask) == []
    assert len(find_images(str(folder / "*"))) == 2


@pytest.mark.parametrize("names", IMAGES)
def test_what_is_an_image_stays(names, tmp_path):
    folder = folder_of(tmp_path, *names)
    assert mask_files(folder) == []
    assert set(find_images(folder)) == set(names)


def test_files_of_raters_are_said_apart(tmp_path):
    folder = folder_of(tmp_path, "a_image.png", "a_rater1.png", "a_votes.png", "b_rater1.png")
    assert [file.name for file in rating_files(folder)] == ["a_rater1.png"]
    assert [file.name for file in mask_files(folder)] == ["a_votes.png"]
    assert set(find_images(folder)) == {"a_image.png", "b_rater1.png"}


def test_they_are_named_by_python_and_on_the_command_line(tmp_path, capsys):
    model = BinarySegmenter(small_backbone((None, None, 1), (4,)))
    model.save(tmp_path / "model.keras")
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a_image", "a_votes", "b", "b_mask"):
        Image.fromarray(np.zeros((8, 8), "uint8")).save(folder / f"{name}.png")
    with pytest.warns(UserWarning, match="images: a_votes.png, b_mask.png left out"):
        rows = predict_files(tmp_path / "model.keras", folder, tmp_path / "out")
    assert [row["file"] for row in rows] == ["a_image.png", "b.png"]
    arguments = ["predict", "--model", str(tmp_path / "model.keras"), "--output", str(tmp_path / "out"), "--images"]
    assert main([*arguments, str(folder)]) == 0
    said = capsys.readouterr()
    assert "2 of 2 images predicted" in said.out
    assert "Left out: a_votes.png, b_mask.png (masks and maps beside their image" in said.out
    assert "Warning" not in said.err
    assert main([*arguments, str(folder / "*.png")]) == 0
    assert "4 of 4 images predicted" in capsys.readouterr().out
    keras.utils.clear_session()
