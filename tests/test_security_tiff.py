"""TIFF files from somebody else: no other file is read, and nothing unpacks to more than it says."""

import zlib

import numpy as np
import pytest
import tifffile

from keras_ordseg import data
from keras_ordseg.data import _images
from tests.conftest import peak_memory


def test_a_part_that_unpacks_to_more_is_refused(tmp_path):
    """300 MB of zeros in the place of 30 kB: the library would unpack them all."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.ones((50, 100, 3), np.uint16), photometric="rgb", compression="zlib")
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        page = tiff.pages.first
        assert len(page.dataoffsets) == 1
        end = file.stat().st_size
        page.tags[273].overwrite(end)
        page.tags[279].overwrite(len(bomb))
    with file.open("ab") as stream:
        stream.write(bomb)
    before = peak_memory()
    with pytest.raises(data.DataError, match="a part of it unpacks to more than its 30000 bytes"):
        _images.read_image(file)
    assert peak_memory() - before < 50 * 2**20


@pytest.mark.parametrize("shape, message", [((60_000, 60_000), "larger than Pillow's limit"), ((9000, 9000), "damaged")])
def test_a_header_that_claims_too_much(tmp_path, shape, message):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.uint16), photometric="rgb")
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        for tag, side in ((257, shape[0]), (256, shape[1]), (278, shape[0])):
            tiff.pages.first.tags[tag].overwrite(side)
    before = peak_memory()
    for read in (_images.read_image, _images.read_mask, _images.read_channels):
        with pytest.raises(data.DataError, match=message):
            read(file)
    assert peak_memory() - before < 50 * 2**20


def test_later_pages_are_looked_at_too(tmp_path, monkeypatch):
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as tiff:
        for side in (4, 4, 400):
            tiff.write(np.zeros((side, side), np.int8), photometric="minisblack", contiguous=False)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(data.DataError, match="larger than Pillow's limit of 1000 pixels"):
        _images.read_channels(file)


def test_files_that_a_description_names_are_not_opened(tmp_path):
    """OME-TIFF may keep its planes in other files of the machine."""
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, np.full((2, 6, 5), 7, np.float16), photometric="minisblack", metadata=None)
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" SizeX="5" SizeY="6" SizeZ="2" '
        'SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="2"><UUID FileName="secret.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    file = tmp_path / "a.ome.tif"
    tifffile.imwrite(file, np.zeros((6, 5), np.float16), photometric="minisblack", description=xml, metadata=None)
    assert _images.shape(file) == (6, 5, 1)
    assert (_images.read_image(file) == 0).all()
