"""What a file from somebody else must not do: run code, fill the memory, or make the package read elsewhere."""

import ast
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_ordseg
from keras_ordseg import data
from keras_ordseg.data._images import read_image
from tests.conftest import peak_memory

FILES = sorted(Path(keras_ordseg.__file__).parent.rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
UNSAFE_CALLS = {"eval", "exec", "extractall", "unpack_archive", "enable_unsafe_deserialization", "full_load", "unsafe_load"}
UNSAFE_OPTIONS = {"allow_pickle": True, "safe_mode": False, "shell": True, "autoescape": False}


def unsafe(source):
    """What in a module's text runs code from files, or unpacks archives without looking."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        found += [name for name in names if name.split(".")[0] in UNSAFE_MODULES]
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found += [called] if called in UNSAFE_CALLS else []
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                found += [keyword.arg] if value is not None and value is UNSAFE_OPTIONS.get(keyword.arg) else []
    return found


def test_the_package_unpickles_and_unpacks_nothing():
    assert len(FILES) > 50
    assert {str(file): bad for file in FILES if (bad := unsafe(file.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "np.load(f, allow_pickle=True)",
        "load_model(f, safe_mode=False)",
        "eval(x)",
        "archive.extractall(folder)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert unsafe(source)


def test_a_keras_file_with_code_in_it_is_not_loaded(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="(?i)lambda.*(unsafe|disallowed)"):
        keras.saving.load_model(tmp_path / "model.keras")


def bomb(path, side):
    """A grey PNG of `side` x `side` black pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A file of 140 kB that would be 144 MB, above Pillow's limit of 89 million pixels."""
    bomb(tmp_path / "a_image.png", 12_000)
    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / "a_rater1.png")
    assert (tmp_path / "a_image.png").stat().st_size < 200_000
    before = peak_memory()
    with pytest.raises(data.DataError, match="larger than Pillow's limit"):
        data.load(data.cases(tmp_path))
    assert peak_memory() - before < 50 * 2**20


def test_formats_that_start_other_programs_are_not_opened(tmp_path):
    """Pillow hands EPS to Ghostscript, whatever the file's ending says."""
    path = tmp_path / "a_image.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(path) as opened:
        assert opened.format == "EPS"
    with pytest.raises(data.DataError, match="cannot be read as an image"):
        read_image(path)


def test_a_table_cannot_name_files_elsewhere(tmp_path):
    """Above its folder, absolute, or through a pattern; `outside=True` is for tables that one wrote oneself."""
    (tmp_path / "set" / "sub").mkdir(parents=True)
    for name in ("secret_image.png", "secret_rater1.png", "set/a_image.png", "set/a_rater1.png"):
        Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / name)
    table = tmp_path / "set" / "index.csv"
    for cell in ("../secret_image.png", "sub/../../secret_image.png", str(tmp_path / "secret_image.png")):
        table.write_text(f"id,image,rater1\nx,{cell},a_rater1.png\n")
        with pytest.raises(data.DataError, match="lies outside the table's folder"):
            data.cases(table)
    table.write_text("id,image,ratings\nx,a_image.png,../secret_rater{r}.png\n")
    with pytest.raises(data.DataError, match="inside the table's folder"):
        data.cases(table)
    with pytest.raises(ValueError, match="pattern inside the folder"):
        data.cases(tmp_path / "set", image="../*_image.png", ratings="../*_rater{r}.png")
    table.write_text("id,image,rater1\nx,sub/../a_image.png,a_rater1.png\n")
    assert len(data.cases(table)) == 1
