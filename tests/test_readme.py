"""The code of the README runs as it stands there, but for the folder and the length of the training."""

import pathlib
import re

from tests.benchmark.test_run import folder_of_masks

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def test_python_blocks(tmp_path, monkeypatch):
    folder_of_masks(tmp_path / "masks")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    code, space = "\n".join(blocks), {}
    for there, here in (
        ('"path/to/your/masks"', '"masks"'),
        ("size=128", "size=32"),
        ("epochs, batch_size = 20, 8", "epochs, batch_size = 1, 4"),
    ):
        assert there in code
        code = code.replace(there, here)
    exec(compile(code, "README.md", "exec"), space)
    assert (tmp_path / "reliability.png").stat().st_size > 5000
    assert (tmp_path / "model.keras").is_file()
    assert (tmp_path / "export/1/saved_model.pb").is_file()
    assert space["model"].output_shape == (
        None,
        None,
        None,
        6,
    )  # the third block's: a keras-cv backbone, K = 5


def test_every_file_it_points_at_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
