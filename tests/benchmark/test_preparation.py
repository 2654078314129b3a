"""What a benchmark says of the folder that it reads."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from keras_ordseg.benchmark import preparation

SETTINGS = {"image": "*_image.png", "ratings": "*_rater{r}.png", "outside": False}
SETTINGS |= dict.fromkeys(("label", "void", "window", "size"))


def test_unknown_groups_and_files_that_are_not_read(tmp_path):
    for name in ("1_image", "1_rater1", "2_image", "2_rater1", "3_rater1"):
        Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / f"{name}.png")
    settings = SimpleNamespace(**SETTINGS, data=tmp_path, fit="crop")
    _, notes = preparation._from_folder(settings, "data", progress=False)
    assert notes[0].startswith("No groups are known: each image is its own group")
    assert notes[1] == f"Files of {tmp_path} that are not read: 1, as 3_rater1.png (a mask of no image)."
    (tmp_path / "3_rater1.png").unlink()
    (tmp_path / "index.csv").write_text("id,group\n1,p\n2,p\n")
    assert preparation._from_folder(settings, "data", progress=False)[1] == []
