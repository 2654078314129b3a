"""No case twice and none left out, whatever the source and the number of parts; filled-up cases weigh nothing."""

from collections import Counter

import numpy as np
import pytest

from keras_ordseg import data, datasets, losses, metrics
from tests.distribution.shared import SIZE, K, arrays

COUNT, BATCH = 11, 4


def marked(count=COUNT):
    """Cases whose image says which case it is."""
    made = arrays(count)
    made["image"][:] = (np.arange(count) / 64).reshape(-1, 1, 1, 1)
    return made


def numbers(images, ratings):
    """The cases of a batch, without those that only fill up."""
    there = (np.asarray(ratings) >= 0).any(axis=(1, 2, 3))
    return np.rint(np.asarray(images)[there, 0, 0, 0] * 64).astype(int).tolist()


def write_folder(folder, made):
    from PIL import Image

    folder.mkdir()
    for row, ratings in enumerate(made["ratings"]):
        Image.fromarray((np.rint(made["image"][row, ..., 0] * 255)).astype(np.uint8)).save(folder / f"{row:02d}_image.png")
        for r in range(K):
            Image.fromarray((ratings[..., r] == 1) * np.uint8(255)).save(folder / f"{row:02d}_rater{r}.png")
    return data.from_folder(folder)


def sources(tmp_path):
    """Batches of two epochs by the name of the reader."""
    made = marked()
    data.pack(made, tmp_path / "packed", shards=3)
    packed = data.from_packed(tmp_path / "packed", shuffle_seed=1, epochs=2, batch_size=BATCH)
    folder = data.fuse(write_folder(tmp_path / "folder", made), "ratings").batch(BATCH)
    return {
        "batches": data.batches(made, BATCH, epochs=2),
        "from_packed": packed.map(lambda batch: (batch["image"], batch["ratings"])),
        "from_folder": folder.concatenate(folder),
    }


@pytest.mark.parametrize("num_shards", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_parts_of_batches(tmp_path, num_shards):
    """Of the parts: the whole batch, each of the same size, the last one filled up."""
    for name, whole in sources(tmp_path).items():
        parts = [data.shard_batches(whole, BATCH, num_shards, i) for i in range(num_shards)]
        assert {int(part.cardinality()) for part in parts} == {int(whole.cardinality())} == {6}, name
        read = [list(part.as_numpy_iterator()) for part in parts]
        assert {len(images) for part in read for images, _ in part} == {BATCH // num_shards}, name
        for step, batch in enumerate(whole.as_numpy_iterator()):
            found = sorted(n for part in read for n in numbers(*part[step]))
            assert found == sorted(numbers(*batch)), name
            assert len(found) == len(batch[0]), name
        seen = Counter(n for part in read for batch in part for n in numbers(*batch))
        assert sorted(seen.values()) == [2] * COUNT, name


def test_filled_up_cases_weigh_nothing():
    """Loss and metrics of the filled batch are those of the smaller one; soft targets get a weight of 0."""
    made = marked()
    z = np.random.default_rng(0).normal(size=(BATCH, SIZE, SIZE, K + 1)).astype("float32")
    filled = list(data.shard_batches(data.batches(made, BATCH, shuffle=False), BATCH).as_numpy_iterator())[-1]
    rest = made["ratings"][8:]
    assert filled[1].shape == (BATCH, SIZE, SIZE, K)
    np.testing.assert_array_equal(filled[1][3], -1)
    for score in (losses.OrdinalSegmentationLoss(), losses.OrdinalSegmentationLoss(binary="dice")):
        np.testing.assert_allclose(float(score(filled[1], z)), float(score(rest, z[:3])), rtol=1e-6)
    for score in (metrics.MultiRaterECE(), metrics.MultiRaterDice(), metrics.SoftDice(), metrics.VolumeCRPS()):
        expected = float(score(rest, z[:3]))
        score.reset_state()
        np.testing.assert_allclose(float(score(filled[1], z)), expected, rtol=1e-6, err_msg=score.name)
    soft = list(data.shard_batches(data.batches(made, BATCH, "soft", shuffle=False), BATCH).as_numpy_iterator())[-1]
    np.testing.assert_array_equal(soft[2].reshape(BATCH, -1).max(1), [1, 1, 1, 0])


def test_what_cannot_be_void_is_refused():
    with pytest.raises(TypeError, match="dataset must be a tf.data.Dataset"):
        data.shard_batches([1, 2], 2)
    made = marked()
    made["ratings"] = abs(made["ratings"])
    votes = data.batches(made, BATCH, "votes")
    for bad in (votes, votes.map(lambda x, y: x), data.batches(made, BATCH, "soft")):
        with pytest.raises(ValueError, match=r"dataset must give .* so that filled-up cases can be void"):
            data.shard_batches(bad, BATCH)
    with pytest.raises(ValueError, match="dataset must be in batches"):
        data.shard_batches(data.from_arrays(made), BATCH)
    for size, count, index in ((4, 3, 0), (4, 2, 2), (0, 1, 0), (4, 2, -1)):
        with pytest.raises(ValueError, match="(batch_size|index): expected"):
            data.shard_batches(votes, size, count, index)


def names(cases):
    return [case["id"].decode() for case in cases.as_numpy_iterator()]


@pytest.mark.parametrize("num_shards", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_each_worker_reads_its_own_cases(tmp_path, num_shards):
    """`Dataset.shard`, sub-splits, and whole files: of packed data, of a folder, and of a builder's several files."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from keras_ordseg.datasets.shapes import AmbiguousShapesConfig

    made = marked()
    packed = data.pack(made, tmp_path / "packed", shards=3)
    config = AmbiguousShapesConfig(name="tiny", num_images=(12, 4, 4), size=16, num_raters=K, absent=0.3)
    built = datasets.AmbiguousShapes(config=config, data_dir=tmp_path)
    built.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    assert built.info.splits["train"].num_shards == 4
    # file and case of each are shuffled by the builder, but the same everywhere
    for reader, split in ((tfds.builder_from_directory(packed), "cases"), (built, "train")):
        whole = names(reader.as_dataset(split=split))
        assert len(set(whole)) == len(whole) == reader.info.splits[split].num_examples
        parts = tfds.even_splits(split, n=num_shards, drop_remainder=False)
        assert sorted(sum((names(reader.as_dataset(split=part)) for part in parts), [])) == sorted(whole)
        files = [
            tfds.ReadConfig(input_context=tf.distribute.InputContext(num_shards, i)) for i in range(num_shards)
        ]
        found = [names(reader.as_dataset(split=split, read_config=part)) for part in files]
        assert sorted(sum(found, [])) == sorted(whole)
        assert all(found)
    for cases in (data.from_packed(packed, shuffle_seed=0), write_folder(tmp_path / "folder", made)):
        found = [names(cases.shard(num_shards, i)) for i in range(num_shards)]
        assert sorted(sum(found, [])) == sorted(names(cases))
