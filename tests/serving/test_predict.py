"""Files predicted: against the served signatures, in every format, resumed, and with files that are wrong."""

import csv
import functools

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, serving
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from keras_ordseg.serving import _predict, _predict_models, predict_files
from keras_ordseg.serving._predict_images import rating_files
from tests.serving.test_export import shaken

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A grey 2-D model of three raters, exported and as a `.keras` file."""
    folder = tmp_path_factory.mktemp("model")
    model = shaken(OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 3))
    model.save(folder / "model.keras")
    serving.export(model, folder / "export", spacing=(0.5, 2.0), review_threshold=0.2)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _loaded_once():
    """The versions of an export, which do not change, are loaded once each; to load takes longer than to predict."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", functools.cache(tf.saved_model.load))
        yield


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported / "export" / "1")).signatures


@pytest.fixture
def scans(tmp_path, rng):
    """Pictures of two sizes that the stride does not divide, in three formats, as float32 images by name."""
    folder = tmp_path / "scans"
    folder.mkdir()
    images = {}
    for name, shape in {"a.png": (13, 18), "b.tif": (13, 18), "c.png": (9, 7), "d.npy": (8, 10)}.items():
        pixels = rng.integers(0, 256, shape).astype("uint8")
        images[name] = pixels[..., None].astype("float32") / 255
        if name.endswith("npy"):
            np.save(folder / name, images[name][..., 0])
        else:
            Image.fromarray(pixels).save(folder / name)
    return folder, images


def table(folder):
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def served(signatures, image):
    """All outputs for one image."""
    batch = tf.constant(image[None])
    names = ("serving_default", "contours", "summary")
    return {key: value.numpy()[0] for name in names for key, value in signatures[name](image=batch).items()}


@pytest.mark.parametrize("model", ["export", "export/1", "model.keras"])
def test_pictures(exported, signatures, scans, tmp_path, model):
    folder, images = scans
    rows = predict_files(exported / model, folder, tmp_path / "out", quorum=[1, "majority"], spacing=(0.5, 2.0))
    assert [row["file"] for row in rows] == list(images)
    for row in rows:
        wanted, base = served(signatures, images[row["file"]]), tmp_path / "out" / row["file"][0]
        agreement = np.asarray(Image.open(f"{base}_agreement.png"))
        assert agreement.dtype == "uint16"
        np.testing.assert_allclose(agreement / 65535, wanted["agreement"], atol=1.2e-5)
        masks = Image.open(f"{base}_masks.png")
        np.testing.assert_array_equal(np.asarray(masks), wanted["masks"].sum(-1))
        np.testing.assert_array_equal(np.asarray(masks.convert("L")), 85 * wanted["masks"].sum(-1))  # seen as grey
        for quorum in (1, 2):
            mask = np.asarray(Image.open(f"{base}_quorum{quorum}.png"))
            np.testing.assert_array_equal(mask, 255 * wanted["masks"][..., quorum - 1])
        for name in ("expected_area", "area_sd", "disputed_share"):
            assert row[name] == pytest.approx(wanted[name], rel=2e-6, abs=2e-6), name
        threshold = 0.2 if model != "model.keras" else 0.5  # the export's
        assert row["review"] == (wanted["disputed_share"] > threshold)
        assert (row["status"], row["unit"]) == ("done", "mm²")
    sides = ["13x18", "13x18", "9x7", "8x10"]
    assert [row["size"] for row in table(tmp_path / "out")] == sides
    assert len(list((tmp_path / "out").iterdir())) == 4 * 4 + 1


def test_the_reader_of_the_package_reads_the_results(exported, scans, tmp_path):
    """As masks of a data set, and as its images."""
    folder, images = scans
    predict_files(exported / "export", folder / "a.png", tmp_path / "out")
    masks = np.asarray(Image.open(tmp_path / "out" / "a_masks.png"))
    label = int(masks.max())
    assert label > 0
    arrays = data.load(data.cases(tmp_path / "out", image="*_agreement.png", ratings="*_{r}.png", label=label))
    np.testing.assert_array_equal(arrays["ratings"][0, ..., 0], masks == label)


@pytest.mark.slow
def test_structures_and_binary_models(tmp_path, rng):
    two = {"disc": 2, "cup": 4}
    model = shaken(OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), two, structures=tuple(two)))
    serving.export(model, tmp_path / "two")
    model.save(tmp_path / "two.keras")
    binary = shaken(BinarySegmenter(small_backbone((None, None, 1), (4, 8))))
    serving.export(binary, tmp_path / "binary")
    binary.save(tmp_path / "binary.keras")
    np.save(tmp_path / "a.npy", rng.random((10, 12), dtype="float32"))
    found = {}
    for name in ("two", "two.keras", "binary", "binary.keras"):
        (found[name],) = predict_files(tmp_path / name, tmp_path / "a.npy", tmp_path / f"{name}-out")
    assert {path.name for path in (tmp_path / "two-out").glob("*.png")} == {
        "a_disc_agreement.png",
        "a_disc_masks.png",
        "a_cup_agreement.png",
        "a_cup_masks.png",
    }
    assert set(found["two"]) >= {"disc_expected_area", "disc_area_sd", "cup_disputed_share", "cup_review"}
    assert [key for key in found["binary"] if "area" in key or "share" in key] == ["expected_area"]
    for name in ("two", "binary"):
        for key, value in found[name].items():
            if isinstance(value, float):
                assert found[f"{name}.keras"][key] == pytest.approx(value, rel=1e-5)
    with pytest.raises(ValueError, match="numbers from 1 to 2"):
        predict_files(tmp_path / "two", tmp_path / "a.npy", tmp_path / "x", quorum=3)
    with pytest.raises(ValueError, match="table of a model with other outputs"):
        predict_files(tmp_path / "two", tmp_path / "a.npy", tmp_path / "binary-out")
    predict_files(tmp_path / "two", tmp_path / "a.npy", tmp_path / "binary-out", overwrite=True)


class TestVolumes:
    AFFINE = np.array([[0.0, -0.7, 0, 10], [0.8, 0, 0, -20], [0, 0.0, 3, 5], [0, 0, 0, 1]])  # turned, flipped

    @pytest.fixture
    def scan(self, tmp_path, rng):
        """int16, axes not those of the world, scale and intercept in the header."""
        nibabel = pytest.importorskip("nibabel")
        stored = rng.integers(0, 1500, (9, 11, 5)).astype("int16")
        image = nibabel.Nifti1Image(stored, self.AFFINE)
        image.header.set_slope_inter(1, -1024)
        image.header.set_xyzt_units("mm", "sec")
        image.set_qform(self.AFFINE, code=1)
        image.set_sform(self.AFFINE, code=2)
        nibabel.save(image, tmp_path / "scan.nii.gz")
        return tmp_path / "scan.nii.gz", np.clip((stored - 1024.0 + 1000) / 1400, 0, 1).astype("float32")

    def same_place(self, path, like):
        import nibabel

        result, image = nibabel.load(path), nibabel.load(like)
        assert result.shape == image.shape
        np.testing.assert_array_equal(result.affine, image.affine)
        assert nibabel.aff2axcodes(result.affine) == nibabel.aff2axcodes(image.affine)
        assert result.header.get_zooms() == image.header.get_zooms()
        assert result.header.get_xyzt_units() == image.header.get_xyzt_units()
        assert (int(result.header["qform_code"]), int(result.header["sform_code"])) == (1, 2)
        return np.asanyarray(result.dataobj)

    @pytest.mark.parametrize("axis", [-1, 0])
    def test_slice_by_slice(self, exported, signatures, scan, tmp_path, axis):
        file, values = scan
        (row,) = predict_files(exported / "export", file, tmp_path / "out", window=(-1000, 400), quorum=3, axis=axis)
        wanted = [served(signatures, plane[..., None]) for plane in np.moveaxis(values, axis, 0)]
        agreement = self.same_place(tmp_path / "out" / "scan_agreement.nii.gz", file)
        masks = self.same_place(tmp_path / "out" / "scan_masks.nii.gz", file)
        quorum = self.same_place(tmp_path / "out" / "scan_quorum3.nii.gz", file)
        assert (agreement.dtype, masks.dtype) == ("float32", "uint8")
        stacked = {key: np.stack([w[key] for w in wanted], axis) for key in ("agreement", "ribbon")}
        np.testing.assert_allclose(agreement, stacked["agreement"], atol=1e-6)
        levels = np.stack([w["masks"].sum(-1) for w in wanted], axis)
        np.testing.assert_array_equal(masks, levels)
        np.testing.assert_array_equal(quorum, levels == 3)
        assert row["unit"] == "mm³"
        assert row["expected_area"] == pytest.approx(0.7 * 0.8 * 3 * stacked["agreement"].sum(), rel=1e-5)

    def test_a_model_of_volumes_in_windows(self, scan, tmp_path):
        """Against the sliding window of `models`, with sides that neither stride nor window divide."""
        from keras_ordseg.models.sliding_window import sliding_window_inference

        file, values = scan
        model = shaken(OrdinalSegmenter(small_backbone((None, None, None, 1), (4, 8)), 2))
        model.save(tmp_path / "model.keras")
        serving.export(model, tmp_path / "export")
        window = (4, 6, 4)
        p = sliding_window_inference(model, values[..., None], window, verbose=0)
        for name in ("model.keras", "export"):
            out = tmp_path / f"{name}-out"
            predict_files(tmp_path / name, file, out, window=(-1000, 400), sliding_window=window, batch_size=3)
            agreement = self.same_place(out / "scan_agreement.nii.gz", file)
            np.testing.assert_allclose(agreement, p @ np.array([0, 0.5, 1]), atol=2e-6)
            predict_files(tmp_path / name, file, tmp_path / f"{name}-whole", window=(-1000, 400))
        whole = [self.same_place(tmp_path / f"{n}-whole" / "scan_agreement.nii.gz", file) for n in ("model.keras", "export")]
        np.testing.assert_allclose(*whole, atol=2e-6)
        assert np.abs(whole[0] - agreement).max() > 1e-3

    def test_units_and_single_slices(self, exported, tmp_path, rng):
        nibabel = pytest.importorskip("nibabel")
        image = nibabel.Nifti1Image(rng.random((8, 10, 1), dtype="float32"), np.diag([500.0, 250, 1000, 1]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, tmp_path / "slide.nii")
        (row,) = predict_files(exported / "export", tmp_path / "slide.nii", tmp_path / "out")
        result = nibabel.load(tmp_path / "out" / "slide_agreement.nii.gz")
        assert result.shape == (8, 10, 1)
        assert (row["unit"], row["size"]) == ("mm²", "8x10")
        assert row["expected_area"] == pytest.approx(0.5 * 0.25 * np.asarray(result.dataobj).sum(), rel=1e-5)

    def test_numpy_volumes(self, exported, signatures, tmp_path, rng, capsys):
        values = rng.random((8, 9, 4), dtype="float32")
        np.save(tmp_path / "v.npy", values)
        out = tmp_path / "out"
        (row,) = predict_files(exported / "export", tmp_path / "v.npy", out, spacing=(1, 2, 3), progress=True)
        assert "4/4" in capsys.readouterr().out  # slices
        wanted = np.stack([served(signatures, values[..., i, None])["agreement"] for i in range(4)], -1)
        found = np.load(tmp_path / "out" / "v_agreement.npy")
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert row["expected_area"] == pytest.approx(6 * wanted.sum(), rel=1e-5)


def test_a_model_of_one_size(tmp_path, rng):
    """Larger images in windows of that size, smaller ones continued by their edge."""
    model = shaken(OrdinalSegmenter(small_backbone((8, 8, 1), (4, 8)), 2))
    serving.export(model, tmp_path / "export")
    for name, shape in {"small": (5, 8), "same": (8, 8), "large": (13, 9)}.items():
        np.save(tmp_path / f"{name}.npy", rng.random(shape, dtype="float32"))
    rows = predict_files(tmp_path / "export", tmp_path, tmp_path / "out")
    assert {row["file"]: (row["size"], row["status"]) for row in rows} == {
        "large.npy": ("13x9", "done"),
        "same.npy": ("8x8", "done"),
        "small.npy": ("5x8", "done"),
    }
    small = np.pad(np.load(tmp_path / "small.npy"), [(0, 3), (0, 0)], mode="edge")[None, ..., None]
    serve = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["serving_default"]
    wanted = serve(image=tf.constant(small))["agreement"].numpy()[0, :5]
    np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "out" / "small_agreement.png")) / 65535, wanted, atol=1e-5)


def bad_files(folder):
    """Name -> words of the error that is wanted."""
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "empty.nii.gz").write_bytes(b"")
    np.save(folder / "hounsfield.npy", np.full((8, 8), -1000, "int16"))
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(folder / "nan.npy", np.full((8, 8), np.nan, "float32"))
    np.save(folder / "four.npy", np.zeros((4, 4, 4, 4), "float32"))
    return {
        "cut.png": "damaged or cut short",
        "empty.nii.gz": "cannot be read as NIfTI",
        "hounsfield.npy": "give window=",
        "objects.npy": "Python objects",
        "nan.npy": "not finite",
        "four.npy": "has shape 4x4x4x4",
    }


def test_bad_files_do_not_stop_the_rest(exported, scans, tmp_path):
    folder, images = scans
    wanted = bad_files(folder)
    rows = {row["file"]: row for row in predict_files(exported / "export", folder, tmp_path / "out")}
    assert set(rows) == set(wanted) | set(images)
    assert {name for name, row in rows.items() if row["status"] == "done"} == set(images)
    written = {row["file"]: row for row in table(tmp_path / "out")}
    for name, words in wanted.items():
        assert words in rows[name]["error"], rows[name]
        assert words in written[name]["error"]
        assert written[name]["expected_area"] == written[name]["review"] == ""
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith((".", "cut", "nan"))]


def pictures(folder, rng):
    """Grey and colour, 8 and 16 bits, palette and alpha, JPEG, as PNG and JPEG files of two sizes."""
    folder.mkdir()
    colour = Image.fromarray(rng.integers(0, 256, (10, 14, 3)).astype("uint8"))
    colour.putpixel((3, 4), (7, 7, 7))
    grey = Image.fromarray(rng.integers(0, 256, (9, 7)).astype("uint8"))
    colour.save(folder / "colour.png")
    colour.quantize(20).save(folder / "palette.png")
    Image.merge("RGBA", [*colour.split(), colour.split()[0]]).save(folder / "alpha.png")
    colour.save(folder / "photo.jpg", quality=90)
    grey.save(folder / "grey.png")
    grey.convert("RGB").save(folder / "grey_as_colour.png")
    Image.fromarray(rng.integers(0, 2**16, (9, 7)).astype("uint16")).save(folder / "deep.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_other_channels_are_those_of_the_signature_encoded(channels, tmp_path, rng):
    pictures(tmp_path / "scans", rng)
    model = shaken(OrdinalSegmenter(small_backbone((None, None, channels), (4, 8)), 3))
    serving.export(model, tmp_path / "export")
    model.save(tmp_path / "model.keras")
    encoded = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["encoded"]
    for name in ("export", "model.keras"):
        rows = predict_files(tmp_path / name, tmp_path / "scans", tmp_path / f"{name}-out")
        assert [row["status"] for row in rows] == ["done"] * 7, rows
        for row in rows:
            content = (tmp_path / "scans" / row["file"]).read_bytes()
            wanted = encoded(encoded=tf.constant([content]))["agreement"].numpy()[0]
            assert row["expected_area"] == pytest.approx(wanted.sum(), rel=1e-5), row["file"]
            found = Image.open(tmp_path / f"{name}-out" / f"{row['file'][:-4]}_agreement.png")
            np.testing.assert_allclose(np.asarray(found) / 65535, wanted, atol=1.2e-5, err_msg=row["file"])


def test_a_picture_of_channels_that_no_file_has(tmp_path, rng):
    pictures(tmp_path / "scans", rng)
    OrdinalSegmenter(small_backbone((None, None, 2), (4, 8)), 2).save(tmp_path / "model.keras")
    rows = predict_files(tmp_path / "model.keras", tmp_path / "scans" / "*y.png", tmp_path / "out")
    assert "9x7x1, and the model takes images of 2 axes and 2 channels" in rows[0]["error"]


def test_masks_of_a_training_folder_are_no_images(exported, scans, tmp_path):
    """By the names of `data.cases`, and only beside their image; what is asked for by pattern or name is taken."""
    folder, images = scans
    plain = Image.new("L", (8, 8))
    masks = ["e_rater1.png", "e_raterB_2.tif", "f_rater_x_rater1.png", "f_rater_x_rater2.npy"]
    others = ["e_image.png", "f_rater_x_image.png", "g_rater1.png"]
    for name in [*masks, *others, "e_votes.png"]:
        np.save(folder / name, np.zeros((8, 8), "float32")) if name.endswith("npy") else plain.save(folder / name)
    with pytest.warns(UserWarning, match="images: e_votes.png left out"):
        rows = predict_files(exported / "export", folder, tmp_path / "out")
    assert {row["file"] for row in rows} == {*images, *others}
    assert {file.name for file in rating_files(str(folder))} == set(masks)
    rows = predict_files(exported / "export", folder / "e_*.png", tmp_path / "pattern")
    assert [row["file"] for row in rows] == ["e_image.png", "e_rater1.png", "e_votes.png"]
    assert len(predict_files(exported / "export", folder / "e_rater1.png", tmp_path / "file")) == 1
    for images in (folder / "*", folder / "e_rater1.png", [folder / "e_rater1.png"]):
        assert rating_files(images) == []


def test_a_model_that_diverged(scans, tmp_path):
    folder, images = scans
    model = OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 2)
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, np.nan))
    model.save(tmp_path / "model.keras")
    rows = predict_files(tmp_path / "model.keras", folder, tmp_path / "out")
    assert ["is not finite" in row["error"] for row in rows] == [True] * 4


class TestAgain:
    @pytest.fixture
    def asked(self, monkeypatch):
        """Counts the images that reach a model."""
        counted, load = [], _predict_models.load_predictor

        def counting(model):
            predictor = load(model)
            ask = predictor.ask
            object.__setattr__(predictor, "ask", lambda batch: counted.append(len(batch)) or ask(batch))
            return predictor

        monkeypatch.setattr(_predict, "load_predictor", counting)
        return counted

    def test_what_is_done_is_left_out(self, exported, scans, tmp_path, asked):
        folder, images = scans
        first = predict_files(exported / "export", folder, tmp_path / "out")
        before = (tmp_path / "out" / "summary.csv").read_bytes()
        assert sum(asked) == 4
        assert predict_files(exported / "export", folder, tmp_path / "out") == first
        assert sum(asked) == 4
        assert (tmp_path / "out" / "summary.csv").read_bytes() == before
        predict_files(exported / "export", folder, tmp_path / "out", overwrite=True)
        assert sum(asked) == 8

    def test_changes_are_noticed(self, exported, scans, tmp_path, asked):
        folder, _ = scans
        out, model = tmp_path / "out", exported / "export"
        predict_files(model, folder, out)
        Image.fromarray(np.zeros((5, 6), "uint8")).save(folder / "a.png")
        (out / "c_masks.png").unlink()
        asked.clear()
        predict_files(model, folder, out)
        assert sum(asked) == 2
        with Image.open(out / "a_masks.png") as masks:
            assert masks.size == (6, 5)
        predict_files(model, folder, out, review_threshold=0.9)
        predict_files(exported / "model.keras", folder, out)
        assert sum(asked) == 10
        (folder / "a.png").write_bytes(b"no picture")
        predict_files(exported / "model.keras", folder, out)
        assert sum(asked) == 10
        assert not (out / "a_masks.png").exists()  # of what a.png was before
        assert (out / "b_masks.png").exists()

    def test_after_an_interruption(self, exported, scans, tmp_path, asked, monkeypatch):
        folder, images = scans
        run = _predict.Job.run

        def interrupted(self, name, *args):
            if name == "c.png":
                raise KeyboardInterrupt
            return run(self, name, *args)

        monkeypatch.setattr(_predict.Job, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_files(exported / "export", folder, tmp_path / "out")
        assert [row["file"] for row in table(tmp_path / "out")] == ["a.png", "b.tif"]
        monkeypatch.setattr(_predict.Job, "run", run)
        asked.clear()
        predict_files(exported / "export", folder, tmp_path / "out")
        assert sum(asked) == 2
        assert [row["file"] for row in table(tmp_path / "out")] == list(images)

    def test_other_images_stay_in_the_table(self, exported, scans, tmp_path):
        folder, images = scans
        for pattern in ("*.tif", "*.png"):
            rows = predict_files(exported / "export", folder / pattern, tmp_path / "out")
        assert [row["file"] for row in rows] == ["a.png", "c.png"]
        assert [row["file"] for row in table(tmp_path / "out")] == ["b.tif", "a.png", "c.png"]


def test_a_server(exported, scans, tmp_path):
    """The same rows and files over REST and gRPC as from the folder; a refusal is the image's, a server gone is not."""
    stand_in = pytest.importorskip("tests.serving.stand_in", reason="needs pip install 'keras_ordseg[serving]'")
    folder, images = scans
    export = exported / "export"
    wanted = predict_files(export, folder, tmp_path / "direct", review_threshold=0.2, spacing=(0.5, 2.0))
    with pytest.MonkeyPatch.context() as patch, stand_in.StandIn(export) as server:
        patch.setenv("no_proxy", "127.0.0.1")
        for url in (f"http://127.0.0.1:{server.rest}", f"grpc://127.0.0.1:{server.grpc}"):
            out = tmp_path / url[:4]
            with serving.Client(url) as client:
                rows = predict_files(client, folder, out, review_threshold=0.2, spacing=(0.5, 2.0))
            for row, want in zip(rows, wanted, strict=True):
                for key in set(want) - {"model"}:
                    assert row[key] == (pytest.approx(want[key], rel=1e-5) if isinstance(want[key], float) else want[key])
                for path in (tmp_path / "direct").glob("*_masks.png"):
                    assert (out / path.name).read_bytes() == path.read_bytes()
    with serving.Client(url) as client, pytest.raises(ConnectionError, match="no server answers there"):
        predict_files(client, folder, out, overwrite=True)


def test_subfolders_and_lists(exported, scans, tmp_path, capsys):
    folder, images = scans
    (folder / "deep").mkdir()
    (folder / "a.png").rename(folder / "deep" / "a.png")
    rows = predict_files(exported / "export", folder / "**" / "*.png", tmp_path / "out", progress=True)
    shown = capsys.readouterr()
    assert "2/2 deep/a.png" in shown.err
    assert shown.out == ""
    assert [row["file"] for row in rows] == ["c.png", "deep/a.png"]
    assert (tmp_path / "out" / "deep" / "a_masks.png").is_file()
    rows = predict_files(exported / "export", [folder / "b.tif", folder / "deep" / "a.png"], tmp_path / "list")
    assert [row["file"] for row in rows] == ["b.tif", "deep/a.png"]


@pytest.mark.parametrize(
    "changed, kind, words",
    [
        ({"model": "nowhere"}, FileNotFoundError, "there is no"),
        ({"model": "scans"}, ValueError, "holds no version of a model"),
        ({"model": "scans/a.png"}, ValueError, "expected a .keras file"),
        ({"images": "scans/*.bmp"}, FileNotFoundError, "nothing matches"),
        ({"images": "nowhere"}, FileNotFoundError, "nothing matches"),
        ({"images": []}, FileNotFoundError, "nothing matches"),
        ({"output": "scans"}, ValueError, "is the folder of the images"),
        ({"output": "scans/a.png"}, NotADirectoryError, "is a file"),
        ({"output": "/proc/out"}, OSError, "output: expected a folder that can be made and written to. '/proc/out'"),
        ({"output": "/proc"}, OSError, "output: expected a folder .* written to. '/proc'.*another place"),
        ({"output": "scans/a.png/out"}, NotADirectoryError, "output: expected a folder"),
        ({"window": (5, 1)}, ValueError, "window must be"),
        ({"sliding_window": (4, 4, 4)}, ValueError, "each of the 2 axes"),
        ({"sliding_window": 0}, ValueError, "sliding_window"),
        ({"overlap": 1.0}, ValueError, "overlap"),
        ({"axis": 3}, ValueError, "axis"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"quorum": 4}, ValueError, "numbers from 1 to 3"),
        ({"quorum": "most"}, ValueError, "'majority'"),
        ({"spacing": (0.5, 0)}, ValueError, "spacing"),
        ({"review_threshold": 2}, ValueError, "review_threshold"),
    ],
)
def test_arguments(exported, scans, tmp_path, monkeypatch, changed, kind, words):
    monkeypatch.chdir(tmp_path)
    arguments = {"model": exported / "export", "images": "scans", "output": "out", **changed}
    with pytest.raises(kind, match=words):
        predict_files(**arguments)
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name(exported, scans, tmp_path):
    folder, _ = scans
    Image.new("L", (8, 8)).save(folder / "b.png")
    with pytest.raises(ValueError, match="b.png and b.tif would have results of one name"):
        predict_files(exported / "export", folder, tmp_path / "out")


def test_a_model_of_other_values(scans, tmp_path):
    folder, _ = scans
    model = OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 2)
    serving.export(model, tmp_path / "export", value_range=(-1000, 400))
    with pytest.raises(ValueError, match="files are read into"):
        predict_files(tmp_path / "export", folder, tmp_path / "out")
