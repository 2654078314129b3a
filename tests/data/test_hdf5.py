"""HDF5 and NumPy files: datasets by name, and every way in which a file may be wrong."""

import io
import pickle
import sys
import zipfile

import numpy as np
import pytest

from keras_ordseg import data

h5py = pytest.importorskip("h5py")


@pytest.fixture
def panel(tmp_path, rng):
    """Cases a and b, each in one HDF5 file with its raters as datasets; rater 2 has not rated b."""
    arrays = {key: (rng.integers(0, 256, (6, 5, 3), np.uint8), rng.integers(0, 2, (2, 6, 5))) for key in "ab"}
    for key, (image, masks) in arrays.items():
        with h5py.File(tmp_path / f"{key}.h5", "w") as file:
            file["HE/raw"] = image
            for r in (1, 2) if key == "a" else (1,):
                file[f"GT/GT{r}"] = masks[r - 1].astype(np.uint8) * 255
    return tmp_path, arrays


def test_one_file_a_case(panel):
    folder, arrays = panel
    cases = data.cases(folder, "*.h5::HE/raw", "*.h5::GT/GT{r}")
    assert cases.raters == ("1", "2")
    loaded = data.load(cases)
    for row, (image, masks) in enumerate(arrays.values()):
        np.testing.assert_array_equal(loaded["image"][row], image / np.float32(255))
        np.testing.assert_array_equal(loaded["ratings"][row, ..., 0], masks[0])
    np.testing.assert_array_equal(loaded["ratings"][0, ..., 1], arrays["a"][1][1])
    np.testing.assert_array_equal(loaded["ratings"][1, ..., 1], -1)


def test_one_file_for_all(tmp_path, rng):
    image, masks = rng.random((5, 4, 6)), rng.integers(-1, 2, (5, 4, 6, 3)).astype(np.int8)
    masks[:, 0, 0] = 1
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file.create_dataset("train/images", data=image, compression="gzip", chunks=(1, 4, 6))
        file["train/labels"] = masks
    cases = data.cases(tmp_path, "all.hdf5::train/images[*]", "all.hdf5::train/labels[*, ..., {r}]")
    loaded = data.load(cases)
    np.testing.assert_array_equal(loaded["image"][..., 0], image.astype(np.float32))
    np.testing.assert_array_equal(loaded["ratings"], masks)  # -1 is "did not rate" here too


def test_refused_hdf5(panel):
    folder, _ = panel
    rows = [
        {"id": "a", "image": folder / "a.h5::HE/sn1", "rater1": folder / "a.h5::GT/GT1"},
        {"id": "b", "image": folder / "b.h5::HE/raw", "rater1": folder / "b.h5"},
        {"id": "c", "image": folder / "c.h5::HE/raw", "rater1": folder / "d.h5::names"},
    ]
    whole = (folder / "a.h5").read_bytes()
    (folder / "c.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(folder / "d.h5", "w") as file:
        file["names"] = ["x", "y"]
    with pytest.raises(data.DataError) as caught:
        data.check(data.cases(rows))
    missing, unnamed, cut, text = (problem.removeprefix(f"{folder}/") for problem in caught.value.problems)
    assert missing == "a.h5::HE/sn1: has no dataset 'HE/sn1'; there are: GT/GT1, GT/GT2, HE/raw"
    assert unnamed == "b.h5: holds 2 datasets: name one as file::dataset; there are: GT/GT1, HE/raw"
    assert cut.startswith("c.h5::HE/raw: cannot be read as HDF5 (")
    assert text == "d.h5::names: holds object where numbers are expected"


def test_without_h5py(panel, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'HDF5 files need h5py: pip install "keras_ordseg\[medical\]"'):
        data.cases(panel[0], "*.h5::HE/raw", "*.h5::GT/GT{r}")


class Malicious:
    """Leaves a trace when it is unpickled."""

    trace: list = []

    def __reduce__(self):
        return self.trace.append, ("ran",)


class TestNumPy:
    def problem(self, folder, name, dataset=""):
        mask = folder / "mask.npy"
        np.save(mask, np.ones((4, 5), np.uint8))
        with pytest.raises(data.DataError) as caught:
            data.load(data.cases([{"id": "a", "image": f"{folder / name}{dataset}", "rater1": mask}]))
        return caught.value.problems[0].removeprefix(f"{folder}/")

    def test_pickles_are_never_read(self, tmp_path):
        array = np.empty(1, object)
        array[0] = Malicious()
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        np.savez(tmp_path / "a.npz", image=array)
        (tmp_path / "b.npy").write_bytes(pickle.dumps(Malicious()))
        refused = "holds Python objects (a pickle), which may run code when read; save plain numbers instead"
        assert self.problem(tmp_path, "a.npy") == f"a.npy: {refused}"
        assert self.problem(tmp_path, "a.npz", "::image") == f"a.npz::image: {refused}"
        assert self.problem(tmp_path, "b.npy") == "b.npy: is not a NumPy file, or is damaged"
        assert Malicious.trace == []

    def test_damaged(self, tmp_path, rng):
        np.save(tmp_path / "a.npy", rng.random((4, 5)))
        whole = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(whole[:-8])
        assert self.problem(tmp_path, "a.npy").startswith("a.npy: cannot be read (")
        np.savez_compressed(tmp_path / "a.npz", image=rng.random((4, 5)))
        whole = bytearray((tmp_path / "a.npz").read_bytes())
        whole[200] ^= 255
        (tmp_path / "a.npz").write_bytes(whole)
        assert self.problem(tmp_path, "a.npz", "::image") == "a.npz::image: is not a NumPy file, or is damaged"
        np.savez(tmp_path / "a.npz", image=rng.random((40, 50)))
        stored = bytearray((tmp_path / "a.npz").read_bytes())
        stored[9000] ^= 255  # a byte of the values: the checksum tells
        (tmp_path / "a.npz").write_bytes(stored)
        assert self.problem(tmp_path, "a.npz", "::image").startswith("a.npz::image: cannot be read (Bad CRC-32")
        (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
        assert self.problem(tmp_path, "a.npz", "::image") == (
            "a.npz::image: is not an .npz file, or is damaged or cut short"
        )

    def test_names(self, tmp_path):
        np.savez(tmp_path / "a.npz", one=np.zeros((4, 5)), two=np.zeros((4, 5)))
        assert self.problem(tmp_path, "a.npz") == (
            "a.npz: holds 2 datasets: name one as file::dataset; there are: one, two"
        )
        np.save(tmp_path / "a.npy", np.zeros((4, 5)))
        assert self.problem(tmp_path, "a.npy", "::one") == "a.npy::one: is one array without names; leave out ::one"

    def test_kinds_of_numbers(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((4, 5), complex))
        assert self.problem(tmp_path, "a.npy") == "a.npy: holds complex128 where numbers are expected"
        np.save(tmp_path / "a.npy", np.zeros((4, 5), [("r", "u1"), ("g", "u1")]))
        assert "where numbers are expected" in self.problem(tmp_path, "a.npy")

    def test_channels_first_are_named(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
        assert self.problem(tmp_path, "a.npy") == (
            "mask.npy: the mask has shape (4, 5), its image a.npy (3, 4, 5); channels go last; "
            "move the first axis of the image to the end"
        )

    def test_a_bomb_is_refused_before_it_is_unpacked(self, tmp_path):
        """A header of 2^40 values in a small archive."""
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20)})
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("image.npy", header.getvalue())
        assert self.problem(tmp_path, "a.npz", "::image") == (
            "a.npz::image: has 1048576x1048576 values, above the limit of 2147483648; cut it into parts"
        )

    @pytest.mark.parametrize(
        "dtype, scale", [("uint8", 255), ("uint16", 65535), ("bool", 1), ("float64", 1), (">u2", 65535)]
    )
    def test_values(self, tmp_path, dtype, scale):
        values = (np.array([[0, 0.25, 1]]) * scale).astype(dtype)
        np.save(tmp_path / "a.npy", values)
        np.save(tmp_path / "mask.npy", np.array([[-1, 0, 1]], np.float32))
        arrays = data.load(data.cases([{"id": 1, "image": tmp_path / "a.npy", "rater": tmp_path / "mask.npy"}]))
        np.testing.assert_array_equal(arrays["image"][0, ..., 0], values.astype(np.float32) / np.float32(scale))
        assert arrays["ratings"][0, 0, :, 0].tolist() == [-1, 0, 1]


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_values_of_other_files_are_not_read(kind, tmp_path):
    (tmp_path / "other.bin").write_bytes(bytes(range(16)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros((4, 4), "uint8")
    with h5py.File(tmp_path / "a_image.h5", "w") as file:
        if kind == "external":
            file.create_dataset("image", (4, 4), dtype="uint8", external=[(str(tmp_path / "other.bin"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4, 4), dtype="uint8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 4))
            file.create_virtual_dataset("image", layout)
    with h5py.File(tmp_path / "a_rater1.h5", "w") as file:
        file["mask"] = np.zeros((4, 4), "uint8")
    with pytest.raises(data.DataError, match="dataset /image keeps its values in other files"):
        data.load(data.cases(tmp_path, "*_image.h5", "*_rater{r}.h5"))
