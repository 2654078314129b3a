"""Raw files of every public set, read back value by value, and what is said when they are not as they should be."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_ordseg import data, datasets
from keras_ordseg.datasets import long_ciu
from tests.datasets.raw import save, write_cocahis, write_lidc, write_long_ciu, write_refuge


@pytest.fixture(autouse=True)
def _no_bars():
    tfds.display_progress_bar(False)
    yield
    tfds.display_progress_bar(True)


@pytest.fixture
def published(monkeypatch):
    """`published(folder)` makes the files there the published ones."""

    def publish(folder):
        files = {
            name: (number, hashlib.sha256((folder / name).read_bytes()).hexdigest())
            for name, (number, _) in long_ciu.FILES.items()
        }
        monkeypatch.setattr(long_ciu, "FILES", files)

    return publish


def load(name, manual, tmp_path):
    """Every split through `tfds.load`, by id."""
    download = tfds.download.DownloadConfig(manual_dir=str(manual))
    splits = tfds.load(
        name, data_dir=str(tmp_path / "out"), download_and_prepare_kwargs={"download_config": download}
    )
    return {
        split: {case["id"].decode(): case for case in dataset.as_numpy_iterator()}
        for split, dataset in splits.items()
    }


def examples(cls, manual, tmp_path, config=None):
    """All splits' examples, without writing them."""
    builder = cls(config=config, data_dir=tmp_path / "out")
    parts = builder._split_generators(SimpleNamespace(manual_dir=manual, download_dir=tmp_path / "downloads"))
    return {name: dict(generator) for name, generator in parts.items()}


def problems(cls, manual, tmp_path, config=None):
    with pytest.raises(data.DataError) as error:
        examples(cls, manual, tmp_path, config)
    return str(error.value)


def check_case(case, image, ratings, group):
    assert case["image"].dtype == np.float32
    assert case["ratings"].dtype == np.int8
    np.testing.assert_array_equal(case["image"], image)
    np.testing.assert_array_equal(case["ratings"], ratings)
    assert case["group"].decode() == group


def test_the_names_that_tfds_knows():
    names = {"ambiguous_shapes", "cocahis", "lidc_idri", "long_ciu", "refuge_cup", "refuge_disc"}
    assert names <= set(tfds.list_builders(with_community_datasets=False))
    assert set(dir(datasets)) >= set(datasets.__all__)
    assert {getattr(datasets, name).name for name in datasets.__all__ if name[0].isupper() and "Config" not in name} == names
    with pytest.raises(AttributeError, match="has no attribute 'Cityscapes'"):
        datasets.Cityscapes  # noqa: B018


@pytest.mark.parametrize("config", ["raw", "sn2"])
def test_cocahis(rng, tmp_path, config):
    values = write_cocahis(tmp_path, rng)
    splits = load("cocahis" if config == "raw" else f"cocahis/{config}", tmp_path, tmp_path)
    ids = ["1_1", "1_2", "2_1", "3_1", "4_1", "4_2", "5_1", "5_2"]
    for cases in splits.values():
        for name, case in cases.items():
            row = ids.index(name)
            ratings = np.stack([values[f"GT/GT{r}"][row] for r in range(1, 8)], -1)
            check_case(case, values[f"HE/{config}"][row] / np.float32(255), ratings, name[0])
    # data.split of patients 1 1 2 3 4 4, 80 % and 20 %: no patient on both sides
    assert set(splits["test"]) == {"5_1", "5_2"}
    assert set(splits["train"]) | set(splits["validation"]) == set(ids[:6])
    assert not {i[0] for i in splits["train"]} & {i[0] for i in splits["validation"]}
    train, validation = data.split(["1", "1", "2", "3", "4", "4"], (0.8, 0.2))
    assert set(splits["train"]) == {ids[i] for i in train}
    assert set(splits["validation"]) == {ids[i] for i in validation}


def test_cocahis_problems(rng, tmp_path):
    cls = datasets.Cocahis
    text = problems(cls, tmp_path, tmp_path)
    assert "CoCaHis.hdf5: there is no such file." in text
    assert "Fetch CoCaHis.hdf5 from https://cocahis.irb.hr/" in text
    write_cocahis(tmp_path, rng)
    with h5py.File(tmp_path / "CoCaHis.hdf5", "a") as file:
        del file["GT/GT3"], file["GT/GT5"], file["HE"].attrs["patient_num"]
        file["GT/GT5"] = np.zeros((8, 6, 4), np.uint8)
        file["HE"].attrs["image_num"] = np.array([b"1", b"2"])
        file["HE"].attrs["train_test_split"] = np.array([b"train"] * 7 + [b"holdout"])
    text = problems(cls, tmp_path, tmp_path)
    assert text.count("\n") == 5
    for expected in (
        "5 problems in the file",
        "no dataset GT/GT3",
        "GT/GT5 has shape (8, 6, 4), (8, 6, 5) is expected, as HE/raw",
        "group HE has no attribute patient_num",
        "attribute image_num names 2 images of 8",
        "attribute train_test_split holds ['holdout', 'train'], 'train' and 'test' are expected",
    ):
        assert expected in text
    write_cocahis(tmp_path, rng, names=("raw",))
    assert "no dataset HE/sn1" in problems(cls, tmp_path, tmp_path, "sn1")
    with h5py.File(tmp_path / "CoCaHis.hdf5", "a") as file:
        file["HE"].attrs["image_num"] = np.array([b"1"] * 8)
    assert "patient and image number come twice: 1_1, 4_1, 5_1" in problems(cls, tmp_path, tmp_path)
    write_cocahis(tmp_path, rng)
    with h5py.File(tmp_path / "CoCaHis.hdf5", "a") as file:
        file["GT/GT2"][6, 0, :3] = 0, 1, 7
        file["GT/GT4"][7, 0, :3] = 0, 1, 7
    text = problems(cls, tmp_path, tmp_path)
    assert "2 problems" in text
    assert "GT/GT2, image 5_1: not a binary mask: it holds 3 values (0, 1, 7)" in text
    content = (tmp_path / "CoCaHis.hdf5").read_bytes()
    (tmp_path / "CoCaHis.hdf5").write_bytes(content[:900])
    assert "CoCaHis.hdf5: cannot be read as HDF5" in problems(cls, tmp_path, tmp_path)


@pytest.mark.parametrize("name, cropped", [("refuge_disc", False), ("refuge_cup", True)])
def test_refuge(rng, tmp_path, name, cropped):
    """Images as Pillow decodes them; the cropped masks are JPEG, whose greys are cut in the middle."""
    masks = write_refuge(tmp_path, rng, cropped=cropped)
    end = "_cropped" if cropped else ""
    splits = load(name + ("/cropped" if cropped else ""), tmp_path, tmp_path)
    for split, cases in splits.items():
        folder = "Test-400" if split == "test" else "Training-400"
        for case_id, case in cases.items():
            with Image.open(tmp_path / folder / case_id / f"{case_id}{end}.jpg") as image:
                pixels = np.asarray(image) / np.float32(255)
            check_case(case, pixels, masks[case_id, name[-4:].strip("_")], case_id)
    assert {split: len(cases) for split, cases in splits.items()} == {"train": 4, "validation": 1, "test": 2}
    assert set(splits["test"]) == {"g0005", "g0006"}


def test_refuge_is_what_the_folder_reader_reads(rng, tmp_path):
    write_refuge(tmp_path, rng, ("disc",))
    found = examples(datasets.RefugeDisc, tmp_path, tmp_path)["test"]
    cases = data.cases(tmp_path / "Test-400", "*/*.jpg", "*/*_seg_disc_{r}.png")
    for case in cases:
        expected = data.load(cases[[cases.items.index(case)]])
        np.testing.assert_array_equal(found[case.id]["ratings"], expected["ratings"][0])


def test_refuge_problems(rng, tmp_path):
    cls = datasets.RefugeCup
    (tmp_path / "Test-400").mkdir()
    text = problems(cls, tmp_path, tmp_path)
    assert "2 problems" in text
    assert "Training-400: there is no such folder" in text
    assert "Test-400: holds 0 cases, too few" in text
    write_refuge(tmp_path, rng)
    assert "no g0001_seg_cup_1_cropped.jpg" in problems(cls, tmp_path, tmp_path, "cropped")
    (tmp_path / "Training-400" / "g0001" / "g0001_seg_cup_4.png").unlink()
    (tmp_path / "Test-400" / "g0005" / "g0005.jpg").unlink()
    (tmp_path / "Training-400" / "g0002" / "g0002_seg_disc_4.png").unlink()  # not the cup's
    text = problems(cls, tmp_path, tmp_path)
    assert text.endswith("  Training-400/g0001: no g0001_seg_cup_4.png\n  Test-400/g0005: no g0005.jpg")
    write_refuge(tmp_path, rng)
    place = tmp_path / "Test-400" / "g0005"
    save(np.zeros((7, 24), np.uint8), place / "g0005_seg_cup_2.png")
    save(rng.integers(0, 256, (21, 24), dtype=np.uint8), place / "g0005_seg_cup_3.png")
    save(np.full((21, 24), 90, np.uint8) - np.eye(21, 24, dtype=np.uint8), place / "g0005_seg_cup_5.png")
    (place / "g0005_seg_cup_7.png").write_bytes(b"\x89PNG")
    save(np.zeros((22, 24), np.uint8), tmp_path / "Test-400" / "g0006" / "g0006.jpg")
    text = problems(cls, tmp_path, tmp_path)
    for expected in (
        "g0005/g0005_seg_cup_2.png: the mask has 24x7 pixels, its image 24x21",
        "g0005/g0005_seg_cup_3.png: not a mask in black and white",
        "g0005/g0005_seg_cup_5.png: not a mask in black and white",
        "g0005/g0005_seg_cup_7.png: cannot be read",
        "g0006/g0006.jpg: is JPEG in mode L, where a JPEG in RGB is expected",
    ):
        assert expected in text
    (tmp_path / "Training-400" / "g0000" / "g0000.jpg").write_bytes(
        (tmp_path / "Training-400" / "g0000" / "g0000.jpg").read_bytes()[:300]
    )
    assert "g0000/g0000.jpg: cannot be read" in problems(cls, tmp_path, tmp_path)


def test_lidc(rng, tmp_path):
    """By patient; a folder inside LIDC-IDRI-slices is found from there as well."""
    values = write_lidc(tmp_path, rng)
    splits = load("lidc_idri", tmp_path / "LIDC-IDRI-slices", tmp_path)
    for cases in splits.values():
        for name, case in cases.items():
            image, ratings = values[name]
            check_case(case, image[..., None] / np.float32(255), ratings, name.split("/")[0])
    assert sum(map(len, splits.values())) == 32
    patients = [{name.split("/")[0] for name in cases} for cases in splits.values()]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 8


def test_lidc_problems(rng, tmp_path):
    cls = datasets.LidcIdri
    text = problems(cls, tmp_path, tmp_path)
    assert "LIDC-IDRI-slices: there is no such folder." in text
    assert "LIDC-IDRI-slices/<patient>/nodule-<i>/mask-0/slice-<j>.png" in text
    root = tmp_path / "LIDC-IDRI-slices"
    root.mkdir()
    assert "no patient's folder is there" in problems(cls, tmp_path, tmp_path)
    write_lidc(tmp_path, rng)
    nodule = root / "LIDC-IDRI-0003" / "nodule-1"
    shutil.rmtree(nodule / "mask-2")
    (nodule / "images" / "slice-0.png").unlink()
    (root / "LIDC-IDRI-0099").mkdir()
    text = problems(cls, tmp_path, tmp_path)
    assert "3 problems" in text
    assert "LIDC-IDRI-0003/nodule-1: no folder mask-2" in text
    assert "LIDC-IDRI-0003/nodule-1: no images/slice-0.png" in text
    assert "LIDC-IDRI-0099: holds no folder nodule-<i>" in text
    shutil.rmtree(root)
    write_lidc(tmp_path, rng)
    save(rng.integers(0, 65536, (6, 5), dtype=np.uint16), nodule / "images" / "slice-0.png")
    save(np.zeros((3, 3), np.uint8), nodule / "mask-1" / "slice-1.png")
    with pytest.raises(data.DataError, match="LIDC-IDRI-0003/nodule-1/") as error:
        examples(cls, tmp_path, tmp_path)
    assert "images/slice-0.png: is not an 8-bit grey image" in str(error.value)
    assert "mask-1/slice-1.png: the mask has 3x3 pixels, its image 5x6" in str(error.value)


def test_lidc_grey_in_colour(rng, tmp_path):
    values = write_lidc(tmp_path, rng)
    for file in (tmp_path / "LIDC-IDRI-slices").glob("*/*/images/*.png"):
        with Image.open(file) as image:
            colour = image.convert("RGB")
        colour.save(file)
    for cases in examples(datasets.LidcIdri, tmp_path, tmp_path).values():
        for name, case in cases.items():
            np.testing.assert_array_equal(case["image"][..., 0], values[name][0])


@pytest.mark.parametrize("config, labels", [("infection", (1, 2)), ("ggo", (1,)), ("consolidation", (2,))])
def test_long_ciu(rng, tmp_path, published, config, labels):
    """HU -1024 … 600 to 0 … 1, slices of the last axis, nothing turned."""
    values = write_long_ciu(tmp_path, rng)
    published(tmp_path)
    splits = load("long_ciu" if config == "infection" else f"long_ciu/{config}", tmp_path, tmp_path)
    assert {name: sorted(cases) for name, cases in splits.items()} == {
        "train": ["000", "003", "004", "007", "008"],
        "validation": ["001", "006"],
        "test": ["002", "005"],
    }
    for cases in splits.values():
        for name, case in cases.items():
            hounsfield = values["longciu_img.nii.gz"][:, :, int(name)].astype(np.float64)
            expected = (np.clip(hounsfield, -1024, 600) + 1024) / 1624
            np.testing.assert_allclose(case["image"][..., 0], expected, atol=1e-7)
            masks = [np.isin(values[f"longciu_{r}_tgt.nii.gz"][:, :, int(name)], labels) for r in (1, 2, 3)]
            check_case(case, case["image"], np.stack(masks, -1), name)


def test_long_ciu_downloads_itself(rng, tmp_path, published):
    """Each file once, from its own address, kept under its name; a damaged one is thrown away."""
    write_long_ciu(tmp_path / "server", rng)
    published(tmp_path / "server")
    asked = []

    def download(urls):
        files = {}
        for name, url in urls.items():
            asked.append(url)
            files[name] = tmp_path / "cache" / str(len(asked))
            files[name].parent.mkdir(exist_ok=True)
            shutil.copyfile(tmp_path / "server" / name, files[name])
        return files

    def missing():
        raise AssertionError("Manual directory does not exist or is empty.")

    class Manager(SimpleNamespace):
        manual_dir = property(lambda self: missing())

    manager = Manager(download=download, download_dir=tmp_path / "downloads")
    builder = datasets.LongCIU(data_dir=tmp_path / "out")
    first = {name: dict(part) for name, part in builder._split_generators(manager).items()}
    base = "https://iro.uiowa.edu/view/fileRedirect?instCode=01IOWA_INST&download=true&filePid="
    numbers = ["5260", "5300", "5290", "5280", "5240"]
    assert asked == [f"{base}1393139{number}002771" for number in numbers]
    examples(datasets.LongCIU, tmp_path / "server", tmp_path, "ggo")  # the manual directory needs no download
    again = {name: dict(part) for name, part in builder._split_generators(manager).items()}
    assert len(asked) == 5
    np.testing.assert_array_equal(first["test"]["002"]["image"], again["test"]["002"]["image"])
    (tmp_path / "downloads" / "long_ciu" / "files" / "longciu_2_tgt.nii.gz").write_bytes(b"cut short")
    (tmp_path / "server" / "longciu_2_tgt.nii.gz").write_bytes(b"an error page")
    with pytest.raises(data.DataError, match=r"longciu_2_tgt.nii.gz: is not the published file[\s\S]*deleted; run it"):
        builder._split_generators(manager)
    assert not (tmp_path / "cache" / "6").exists()
    assert asked[5:] == [f"{base}13931395290002771"]


def test_long_ciu_checksums():
    """As published with doi 10.25820/data.007301."""
    assert {name: (number, checksum[:16]) for name, (number, checksum) in long_ciu.FILES.items()} == {
        "longciu_img.nii.gz": ("526", "af54aff713e7054d"),
        "longciu_1_tgt.nii.gz": ("530", "f9cd0e605f6fcd70"),
        "longciu_2_tgt.nii.gz": ("529", "4e54ec5add75b2ee"),
        "longciu_3_tgt.nii.gz": ("528", "aee04feddb18cbbe"),
        "longciu_splits.json": ("524", "7f4d62f33f68a16c"),
    }
    assert all(len(checksum) == 64 for _, checksum in long_ciu.FILES.values())


def test_long_ciu_problems(rng, tmp_path, published):
    cls = datasets.LongCIU
    write_long_ciu(tmp_path, rng)
    text = problems(cls, tmp_path, tmp_path)
    assert "5 problems" in text
    assert "longciu_img.nii.gz: is not the published file (SHA-256 " in text
    (tmp_path / "longciu_2_tgt.nii.gz").unlink()
    text = problems(cls, tmp_path, tmp_path)
    assert "longciu_2_tgt.nii.gz: there is no such file" in text
    assert "fetch these files from https://doi.org/10.25820/data.007301" in text

    def spoil(name, array, affine=None):
        affine = np.diag([-0.7, -0.7, 5.0, 1.0]) if affine is None else affine
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / name)

    write_long_ciu(tmp_path, rng)
    spoil("longciu_1_tgt.nii.gz", np.full((6, 5, 9), 3, np.uint8))
    spoil("longciu_2_tgt.nii.gz", np.zeros((6, 5), np.uint8))
    (tmp_path / "longciu_splits.json").write_text('{"train": [0], "val": [1]}')
    content = (tmp_path / "longciu_img.nii.gz").read_bytes()
    (tmp_path / "longciu_img.nii.gz").write_bytes(content[: len(content) // 2])
    published(tmp_path)
    text = problems(cls, tmp_path, tmp_path)
    for expected in (
        "4 problems",
        "longciu_1_tgt.nii.gz: must hold the labels 0, 1 and 2, holds 1 values (3)",
        "longciu_2_tgt.nii.gz: has shape (6, 5), (x, y, slices) is expected",
        "longciu_img.nii.gz: cannot be read",
        'longciu_splits.json: must hold "train", "val" and "test", lists of slice numbers (KeyError',
    ):
        assert expected in text
    write_long_ciu(tmp_path, rng)
    spoil("longciu_1_tgt.nii.gz", np.zeros((6, 5, 8), np.uint8))
    spoil("longciu_3_tgt.nii.gz", np.zeros((6, 5, 9), np.uint8), np.diag([0.7, 0.7, 5.0, 1.0]))
    (tmp_path / "longciu_splits.json").write_text(json.dumps({"train": [0], "val": [1, 9], "test": [2]}))
    published(tmp_path)
    text = problems(cls, tmp_path, tmp_path)
    for expected in (
        "longciu_1_tgt.nii.gz: has shape (6, 5, 8), its image (6, 5, 9)",
        "longciu_3_tgt.nii.gz: another affine than its image",
        "longciu_splits.json: validation names slices [9] of 9",
    ):
        assert expected in text
    for content in ("{", "[]", '{"train": [0], "val": [0], "test": [2]}', '{"train": [], "val": [0], "test": [2]}'):
        (tmp_path / "longciu_splits.json").write_text(content)
        published(tmp_path)
        assert "longciu_splits.json: " in problems(cls, tmp_path, tmp_path)


@pytest.mark.parametrize("dims, size", [(2, 16), (3, 16)])
def test_ambiguous_shapes(tmp_path, dims, size):
    """The truth comes along, and the whole goes straight into fusion, the level counts and training."""
    import keras

    from keras_ordseg.layers import OrdinalHead
    from keras_ordseg.losses import OrdinalSegmentationLoss

    config = datasets.AmbiguousShapesConfig(
        name=f"tiny{dims}", num_images=(8, 4, 4), size=size, num_raters=3, dims=dims, absent=0.3, seed=2
    )
    builder = datasets.AmbiguousShapes(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    arrays = datasets.ambiguous_shapes(16, size, 3, seed=2, dims=dims, absent=0.3)
    rows = {"train": range(8), "validation": range(8, 12), "test": range(12, 16)}
    groups = {}
    for split, expected in rows.items():
        cases = {case["id"].decode(): case for case in builder.as_dataset(split).as_numpy_iterator()}
        assert sorted(cases) == [arrays["id"][row] for row in expected]
        for row in expected:
            for name in ("image", "ratings", "probability", "levels"):
                np.testing.assert_array_equal(cases[arrays["id"][row]][name], arrays[name][row])
        groups[split] = {case["group"] for case in cases.values()}
    assert len(set.union(*groups.values())) == sum(map(len, groups.values()))
    train = builder.as_dataset("train")
    levels = data.level_frequencies(train)
    np.testing.assert_allclose(levels, data.level_frequencies(arrays["ratings"][:8]), rtol=1e-12)
    convolution = (keras.layers.Conv2D if dims == 2 else keras.layers.Conv3D)(4, 3, padding="same")
    model = keras.Sequential([convolution, OrdinalHead(3, initial_levels=levels)])
    model.compile("sgd", OrdinalSegmentationLoss(), run_eagerly=True)
    loss = model.fit(data.fuse(train, "ratings").batch(4), shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    supervised = builder.as_dataset("train", as_supervised=True).batch(4)
    assert np.isfinite(model.evaluate(supervised, verbose=0))
    packed = data.from_packed(builder.data_path, split="train", shuffle_seed=0)
    assert sorted(case["id"].decode() for case in packed.as_numpy_iterator()) == list(arrays["id"][:8])


def test_ambiguous_shapes_of_patients(tmp_path):
    config = datasets.AmbiguousShapesConfig(name="odd", num_images=(8, 4, 3), size=16)
    with pytest.raises(ValueError, match=r"num_images must be three multiples of 4, .* came \(8, 4, 3\)"):
        datasets.AmbiguousShapes(config=config, data_dir=tmp_path).download_and_prepare()


def test_every_builder_says_whose_data_it_is(tmp_path):
    for name in ("Cocahis", "RefugeDisc", "RefugeCup", "LongCIU", "LidcIdri", "AmbiguousShapes"):
        cls = getattr(datasets, name)
        info = cls(data_dir=tmp_path).info
        assert {"image", "ratings", "id", "group"} <= set(info.features)
        assert info.description
        assert cls.LICENSE
        assert cls is datasets.AmbiguousShapes or ("@article" in info.citation and info.homepage.startswith("https"))
        assert cls is datasets.AmbiguousShapes or "manual directory" in cls.MANUAL_DOWNLOAD_INSTRUCTIONS.replace("\n", " ")


def test_a_failure_leaves_nothing_behind(rng, tmp_path):
    values = write_lidc(tmp_path / "raw", rng)
    assert values
    save(np.zeros((3, 3), np.uint8), next(Path(tmp_path / "raw").glob("*/*/nodule-0/mask-1")) / "slice-1.png")
    with pytest.raises(data.DataError, match="3x3 pixels"):
        datasets.prepare("lidc_idri", tmp_path / "out", tmp_path / "raw")
    assert not [file for file in (tmp_path / "out").rglob("*") if "tfrecord" in file.name or "incomplete" in file.name]
