"""Reading: layouts of pictures, votes, labels, windows, sizes of volumes, memory."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, raters
from keras_ordseg.data import _npy


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def masks(rng):
    return rng.integers(0, 2, (6, 5, 4)).astype(np.uint8)


class TestChannels:
    @pytest.mark.parametrize("channels, ending", [(2, "png"), (3, "png"), (4, "png"), (3, "tif")])
    def test_channels_of_a_picture(self, folder, masks, channels, ending):
        path = folder(["a_image.png"])
        save(path / f"a_masks.{ending}", masks[..., :channels] * 255)
        cases = data.cases(path, ratings=f"*_masks.{ending}[..., {{r}}]")
        np.testing.assert_array_equal(data.load(cases)["ratings"][0], masks[..., :channels])

    def test_frames_of_a_tiff(self, folder, masks):
        path = folder(["a_image.png"])
        first, *rest = (Image.fromarray(mask * 255) for mask in np.moveaxis(masks, -1, 0))
        first.save(path / "a_masks.tif", save_all=True, append_images=rest)
        cases = data.cases(path, ratings="*_masks.tif[..., {r}]")
        assert cases.num_raters == 4
        np.testing.assert_array_equal(data.load(cases)["ratings"][0], masks)

    def test_grey_is_one_channel(self, panel):
        cases = data.cases(panel, ratings="*_rater1.png[..., {r}]")
        assert cases.raters == ("0",)
        np.testing.assert_array_equal(
            data.load(cases)["ratings"][..., 0], data.load(data.cases(panel))["ratings"][..., 0]
        )

    def test_colour_where_a_channel_is_not_named_is_one_mask(self, folder, masks):
        path = folder(["a_image.png"])
        save(path / "a_rater1.png", masks[..., :3] * 255)
        with pytest.raises(data.DataError, match="a_rater1.png: not a binary mask"):
            data.load(data.cases(path))


class TestVotes:
    @pytest.fixture
    def counted(self, folder, masks):
        path = folder(["a_image.png", "b_image.png"])
        votes = masks.sum(-1).astype(np.uint8)
        for key in "ab":
            save(path / f"{key}_votes.png", votes)
        return path, votes

    def test_votes_become_nameless_slots(self, counted):
        path, votes = counted
        cases = data.cases(path, votes="*_votes.png", num_raters=4)
        assert (cases.num_raters, cases.raters[0], cases.num_absent) == (4, "slot1", 0)
        arrays = data.load(cases)
        assert arrays["anonymous"].tolist() == [True, True]
        np.testing.assert_array_equal(raters.fuse(arrays["ratings"], "votes"), np.stack([votes, votes]))
        np.testing.assert_array_equal(arrays["ratings"][0, ..., 2], votes >= 3)
        np.testing.assert_array_equal(data.load(cases.patches(2))["ratings"][0], arrays["ratings"][0, :2, :2])

    def test_what_is_known_trains_and_a_single_rater_is_refused(self, counted):
        arrays = data.load(data.cases(counted[0], votes="*_votes.png", num_raters=4))
        assert data.level_frequencies(arrays).shape == (5,)
        next(data.batches(arrays, 2, "votes").as_numpy_iterator())
        for use in (data.batches, data.PyDataset):
            with pytest.raises(data.DataError, match="of these cases only votes are known; use method='votes'"):
                use(arrays, 2, "random")

    def test_in_a_csv(self, counted):
        path, votes = counted
        (path / "cases.csv").write_text("id,image,votes\nx,a_image.png,a_votes.png\n")
        arrays = data.load(data.cases(path / "cases.csv", num_raters=6))
        np.testing.assert_array_equal((arrays["ratings"] == 1).sum(-1)[0], votes)
        assert arrays["ratings"].shape[-1] == 6

    def test_voids(self, folder, masks):
        path = folder(["a_image.png"])
        votes = masks.sum(-1).astype(np.int8)
        votes[0] = -1
        np.save(path / "a_votes.npy", votes)
        ratings = data.load(data.cases(path, votes="*_votes.npy", num_raters=4))["ratings"][0]
        np.testing.assert_array_equal(ratings[0], -1)
        np.testing.assert_array_equal((ratings[1:] == 1).sum(-1), votes[1:])

    def test_errors(self, counted):
        path, _ = counted
        save(path / "a_votes.png", np.full((6, 5), 85, np.uint8))
        save(path / "b_votes.png", np.ones((4, 5), np.uint8))
        with pytest.raises(data.DataError) as caught:
            data.check(data.cases(path, votes="*_votes.png", num_raters=4))
        assert list(caught.value.problems) == [
            "a_votes.png: no votes: it holds 1 values (85) where the integers 0 to num_raters=4 are expected; "
            "if 85 means that nobody rated, give void=85",
            "b_votes.png: the mask has 5x4 pixels, its image b_image.png has 5x6",
        ]
        for options in ({"votes": "*_votes.png"}, {"num_raters": 4}):
            with pytest.raises(ValueError, match="num_raters: expected a number with votes"):
                data.cases(path, **options)
        with pytest.raises(ValueError, match="raters: expected none where only the raters' votes are known"):
            data.cases(path, votes="*_votes.png", num_raters=4, raters=["1"])
        with pytest.raises(ValueError, match="num_raters: expected 1 or more; got 0"):
            data.cases(path, votes="*_votes.png", num_raters=0)
        with pytest.raises(ValueError, match='votes: expected a pattern with "\\*"'):
            data.cases(path, votes="*_{r}.png", num_raters=4)


class TestOptions:
    def test_label_and_void_of_pictures(self, folder):
        path = folder(["a_image.png"])
        labels = np.arange(30, dtype=np.uint8).reshape(6, 5) % 4
        save(path / "a_rater1.png", labels)
        ratings = data.load(data.cases(path, label=(1, 3), void=2))["ratings"][0, ..., 0]
        np.testing.assert_array_equal(ratings, np.array([0, 1, -1, 1])[labels])

    def test_label_of_a_palette_is_its_number(self, folder):
        path = folder(["a_image.png"])
        labels = np.arange(30, dtype=np.uint8).reshape(6, 5) % 3
        picture = Image.fromarray(labels, "P")
        picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
        picture.save(path / "a_rater1.png")
        np.testing.assert_array_equal(data.load(data.cases(path, label=2))["ratings"][0, ..., 0], labels == 2)

    def test_window_of_pictures(self, folder, rng):
        path = folder(["a_rater1.png"])
        pixels = rng.integers(0, 4096, (6, 5), np.uint16)
        save(path / "a_image.png", pixels)
        image = data.load(data.cases(path, window=(100, 4000)))["image"][0, ..., 0]
        np.testing.assert_allclose(image, np.clip((pixels - 100.0) / 3900, 0, 1), atol=1e-6)
        image = data.load(data.cases(path, window=("10%", "90%")))["image"][0, ..., 0]
        low, high = np.percentile(pixels, [10, 90])
        np.testing.assert_allclose(image, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-6)

    def test_a_constant_image_has_no_percentiles_to_divide_by(self, folder):
        path = folder(["a_rater1.png"])
        save(path / "a_image.png", np.full((6, 5), 77, np.uint8))
        assert data.load(data.cases(path, window=("1%", "99%")))["image"].max() == 0

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"window": (1, 1)}, "window must be .lo, hi. with lo < hi"),
            ({"window": (0, np.inf)}, "window must be"),
            ({"window": 5}, "window must be"),
            ({"window": ("1%", 99)}, "window must be"),
            ({"window": ("50%", "101%")}, "window must be"),
            ({"label": 1.0}, "label must be an integer or several, came 1.0"),
            ({"label": ()}, "label must be"),
            ({"void": True}, "void must be an integer"),
            ({"label": (1, 2), "void": 2}, r"label and void must differ, both hold \[2\]"),
        ],
    )
    def test_errors(self, panel, options, message):
        with pytest.raises(ValueError, match=message):
            data.cases(panel, **options)


class TestVolumes:
    @pytest.fixture
    def volume(self, tmp_path, rng):
        image, mask = rng.random((6, 4, 5), dtype=np.float32), rng.integers(0, 2, (6, 4, 5)).astype(np.int8)
        np.save(tmp_path / "a_image.npy", image)
        np.save(tmp_path / "a_rater1.npy", mask)
        return data.cases(tmp_path, "*_image.npy", "*_rater{r}.npy"), image, mask

    def test_crop_and_pad(self, volume):
        cases, image, mask = volume
        arrays = data.load(cases, size=(4, 4, 9))
        np.testing.assert_array_equal(arrays["image"][0, ..., 2:7, 0], image[1:5])
        np.testing.assert_array_equal(arrays["ratings"][0, ..., 2:7, 0], mask[1:5])
        assert (arrays["ratings"][0, ..., [0, 1, 7, 8], 0] == -1).all()

    def test_resize(self, volume):
        """Twice the size repeats voxels of the mask; half of it keeps the mean of a linear ramp."""
        cases, image, mask = volume
        double = data.load(cases, size=(12, 8, 10), fit="resize")["ratings"][0, ..., 0]
        np.testing.assert_array_equal(double, np.kron(mask, np.ones((2, 2, 2), np.int8)))
        ramp = np.broadcast_to(np.linspace(0, 1, 6, dtype=np.float32)[:, None, None], (6, 4, 5))
        np.save(cases.path / "a_image.npy", ramp)
        half = data.load(cases, size=(3, 4, 5), fit="resize")["image"][0, ..., 0]
        np.testing.assert_allclose(half.mean(), 0.5, atol=1e-6)
        assert (np.diff(half, axis=0) > 0).all()
        np.testing.assert_allclose(half, half[:, :1, :1] * np.ones_like(half), atol=1e-6)

    def test_size_of_another_rank(self, volume):
        with pytest.raises(ValueError, match="size must be one number, or 3 for images of 3 axes"):
            data.load(volume[0], size=(4, 4))

    def test_several_sizes(self, volume, rng):
        folder = volume[0].path
        np.save(folder / "b_image.npy", rng.random((3, 4, 5)))
        np.save(folder / "b_rater1.npy", np.ones((3, 4, 5), np.int8))
        with pytest.raises(data.DataError, match="images of 2 sizes, as a_image.npy with 6x4x5 and b_image.npy with 3x4"):
            data.load(data.cases(folder, "*_image.npy", "*_rater{r}.npy"))

    def test_more_than_the_memory(self, volume, monkeypatch, capsys):
        cases = volume[0]
        data.load(cases, progress=True)
        assert capsys.readouterr().err.startswith("1 cases of 6x4x5x1 and 1 raters need 6e-07 GB\n")
        monkeypatch.setattr("os.sysconf", lambda name: 20)
        with pytest.raises(data.DataError, match=r"need 6e-07 GB and the machine has 4e-07 GB; read .*data.PyDataset"):
            data.load(cases)


def test_nothing_to_read(panel):
    with pytest.raises(data.DataError, match="there is no case"):
        data.load(data.cases(panel)[:0])


def test_a_file_that_went_away(panel):
    cases = data.cases(panel)
    (panel / "a_image.png").unlink()
    with pytest.raises(data.DataError, match="^1 problem in .*\n  a_image.png: is not there any more$"):
        data.check(cases)


def test_files_that_hold_several_masks_are_unpacked_once(tmp_path, masks, monkeypatch):
    """Eight masks and slices from one archive: one decompression, not one for each."""
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((6, 5, 4)), masks=masks[..., None].repeat(2, -1))
    cases = data.cases(tmp_path, "*.npz::image", "*.npz::masks[..., {r}]").slices()
    opened, load = [], np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: opened.append(args) or load(*args, **kwargs))
    arrays = data.load(cases)
    assert len(opened) == 2
    np.testing.assert_array_equal(arrays["ratings"][..., 1], np.moveaxis(masks, -1, 0))


class Disturber:
    """Garbage that hands over to another thread when it is collected, as in the middle of the parsing of a header."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0)


def test_threads_that_read_numpy_files_do_not_disturb_each_other(tmp_path, rng):
    """Python up to 3.11.7 and 3.12.1 fails in about one of twenty of these reads with a SystemError of its parser."""
    one, several = rng.random((2, 3)), rng.random((3, 2))
    np.save(tmp_path / "one.npy", one)
    np.savez(tmp_path / "several.npz", several=several)

    def read(depth):
        if depth:  # each thread at its own depth: the parser compares depths
            return read(depth - 1)
        for _ in range(200):
            Disturber()
            assert _npy.shape(tmp_path / "one.npy") == (2, 3)
            np.testing.assert_array_equal(_npy.read(tmp_path / "one.npy"), one)
            np.testing.assert_array_equal(_npy.read(tmp_path / "several.npz", "several"), several)

    threshold = gc.get_threshold()
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read, range(4)))
    finally:
        gc.set_threshold(*threshold)


def test_a_disturbed_read_is_repeated(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.arange(3))
    parse, failures = np.lib.format.read_magic, [SystemError("AST constructor recursion depth mismatch")] * 2

    def disturbed(stream):
        if failures:
            raise failures.pop()
        return parse(stream)

    monkeypatch.setattr(np.lib.format, "read_magic", disturbed)
    assert _npy.read(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert not failures
