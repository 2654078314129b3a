"""What is packed comes back bit for bit, in an order that a seed fixes."""

import json
import os

import numpy as np
import pytest

from keras_ordseg import data, datasets, raters
from keras_ordseg.data._bits import from_planes, to_planes


def cases_of(rng, num=11, size=(6, 5), channels=1, num_raters=4, bits=8, absent=True):
    """Cases of random numbers; where raters are absent: one in a whole case, and single pixels of others."""
    image = rng.integers(0, 2**bits, (num, *size, channels)) / np.float32(2**bits - 1)
    ratings = rng.integers(0, 2, (num, *size, num_raters)).astype(np.int8)
    if absent:
        ratings[1, ..., 0] = -1
        ratings[2][rng.random((*size, num_raters)) < 0.3] = -1
    return {
        "image": image.astype(np.float32),
        "ratings": ratings,
        "id": np.array([f"case{i}" for i in range(num)]),
        "group": np.array([f"patient{i // 2}" for i in range(num)]),
    }


def read(directory, **options):
    return list(data.from_packed(directory, **options).as_numpy_iterator())


def ids(directory, **options):
    return [case["id"].decode() for case in read(directory, **options)]


def assert_same(found, arrays):
    assert len(found) == len(arrays["image"])
    for row, case in enumerate(found):
        assert case["image"].dtype == np.float32
        assert case["ratings"].dtype == np.int8
        np.testing.assert_array_equal(case["image"], arrays["image"][row])
        np.testing.assert_array_equal(case["ratings"], arrays["ratings"][row])
        assert case["id"].decode() == arrays["id"][row]
        assert case["group"].decode() == arrays["group"][row]


@pytest.mark.parametrize("num_raters", [1, 4, 8, 9, 16])
@pytest.mark.parametrize("absent", [False, True])
def test_bits(rng, num_raters, absent):
    """Against sums of powers of two; one plane for a complete panel, a second one for who is absent."""
    ratings = rng.integers(-1 if absent else 0, 2, (3, 4, 5, num_raters)).astype(np.int8)
    planes = to_planes(ratings)
    assert planes.shape == ((2 if absent else 1), 3, 4, 5)
    assert planes.dtype == (np.uint8 if num_raters <= 8 else np.uint16)
    powers = 2 ** np.arange(num_raters)
    np.testing.assert_array_equal(planes[0], ((ratings == 1) * powers).sum(-1))
    if absent:
        np.testing.assert_array_equal(planes[1], ((ratings == -1) * powers).sum(-1))
    np.testing.assert_array_equal(from_planes(planes, num_raters), ratings)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "size, channels, num_raters", [((7,), 2, 3), ((6, 5), 3, 16), ((4, 3, 5), 1, 7)], ids=["1d", "2d", "3d"]
)
def test_everything_comes_back(rng, tmp_path, size, channels, num_raters, compress):
    arrays = cases_of(rng, 5, size, channels, num_raters)
    directory = data.pack(arrays, tmp_path / "packed", compress=compress)
    dataset = data.from_packed(directory)
    assert dataset.element_spec["image"].shape == (*size, channels)
    assert dataset.element_spec["ratings"].shape == (*size, num_raters)
    assert int(dataset.cardinality()) == 5
    assert_same(read(directory), arrays)


@pytest.mark.parametrize(
    "bits, stored", [(8, "uint8"), (16, "uint16"), (24, "float32")], ids=["8 bits", "16 bits", "more"]
)
def test_the_narrowest_width_that_loses_nothing(rng, tmp_path, bits, stored):
    arrays = cases_of(rng, bits=bits)
    if bits < 24:  # every value there is, or many of them
        arrays["image"].flat[:256] = np.linspace(0, 2**bits - 1, 256).round() / np.float32(2**bits - 1)
    data.pack(arrays, tmp_path / "packed")
    features = json.loads((tmp_path / "packed" / "features.json").read_text())["featuresDict"]["features"]
    assert json.loads(features["image"]["jsonFeature"]["json"])["stored"] == stored
    assert_same(read(tmp_path / "packed"), arrays)


def test_half_precision_is_a_choice(rng, tmp_path):
    arrays = cases_of(rng, bits=24)
    data.pack(arrays, tmp_path / "packed", image_dtype="float16")
    for row, case in enumerate(read(tmp_path / "packed")):
        np.testing.assert_array_equal(case["image"], arrays["image"][row].astype(np.float16))
    with pytest.raises(data.DataError, match=r"11 problems in the cases:\n  case case0: .* come from 8 bits; .* 'float16'"):
        data.pack(arrays, tmp_path / "other", image_dtype="uint8")
    assert os.listdir(tmp_path) == ["packed"]


@pytest.mark.parametrize("num_raters", [3, 12])
def test_votes(rng, tmp_path, num_raters):
    arrays = cases_of(rng, num_raters=num_raters, absent=False)
    data.pack(arrays, tmp_path / "packed")
    dataset = data.from_packed(tmp_path / "packed", target="votes")
    assert set(dataset.element_spec) == {"image", "votes", "id", "group"}
    expected = raters.fuse(arrays["ratings"], "votes")
    for votes, case in zip(expected, dataset.as_numpy_iterator(), strict=True):
        assert case["votes"].dtype == np.int32
        np.testing.assert_array_equal(case["votes"], votes)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("absent", [False, True])
def test_batches_hold_what_the_cases_hold(rng, tmp_path, absent, compress):
    """Decoded together or not; some cases have the plane of the absent and some have not."""
    arrays = cases_of(rng, num_raters=9, channels=3, absent=absent) | {"anonymous": np.full(11, True)}
    data.pack(arrays, tmp_path / "packed", compress=compress, shards=3)
    for target in ("ratings",) if absent else ("ratings", "votes"):
        options = {"shuffle_seed": 4, "epochs": 2, "target": target}
        cases = read(tmp_path / "packed", **options)
        dataset = data.from_packed(tmp_path / "packed", batch_size=4, **options)
        batches = list(dataset.as_numpy_iterator())
        assert [len(batch["id"]) for batch in batches] == [4, 4, 3] * 2
        assert int(dataset.cardinality()) == 6
        assert dataset.element_spec["image"].shape == (None, 6, 5, 3)
        for name in cases[0]:
            found = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(found, np.stack([case[name] for case in cases]))
            assert found.dtype == np.asarray(cases[0][name]).dtype or name in ("id", "group")


def test_votes_of_incomplete_panels(rng, tmp_path):
    """Refused from what the directory says, and in the graph where it says nothing."""
    import tensorflow as tf

    data.pack(cases_of(rng), tmp_path / "packed")
    with pytest.raises(data.DataError, match="raters are absent, and target='votes' needs all"):
        data.from_packed(tmp_path / "packed", target="votes")
    (tmp_path / "packed" / "metadata.json").unlink()
    with pytest.raises(tf.errors.InvalidArgumentError, match="votes need the answers of all raters"):
        read(tmp_path / "packed", target="votes")
    with pytest.raises(tf.errors.InvalidArgumentError, match="votes need the answers of all raters"):
        read(tmp_path / "packed", target="votes", batch_size=4)


def test_size_on_disk(rng, tmp_path):
    """8 raters and a grey image of 8 bits: two bytes a pixel, where all are there."""
    arrays = cases_of(rng, 4, (64, 64), 1, 8, absent=False)
    data.pack(arrays, tmp_path / "packed", shards=1)
    size = (tmp_path / "packed" / "packed-cases.tfrecord-00000").stat().st_size
    assert 4 * 2 * 64 * 64 <= size <= 4 * 2 * 64 * 64 + 4 * 300


def test_shards_and_order(rng, tmp_path):
    arrays = cases_of(rng)
    data.pack(arrays, tmp_path / "packed", shards=4)
    shards = list((tmp_path / "packed").glob("packed-cases.tfrecord-*"))
    assert len(shards) == 4
    assert ids(tmp_path / "packed", epochs=2) == arrays["id"].tolist() * 2
    first, second = np.split(np.array(ids(tmp_path / "packed", shuffle_seed=5, epochs=2)), 2)
    assert sorted(first) == sorted(second) == sorted(arrays["id"])
    assert len({tuple(first), tuple(second), tuple(arrays["id"])}) == 3
    assert ids(tmp_path / "packed", shuffle_seed=5) == first.tolist()
    assert ids(tmp_path / "packed", shuffle_seed=6) != first.tolist()


def test_the_seed_of_the_process_does_not_change_the_order(rng, tmp_path):
    """A resumed run may have another one; and 0 is what TensorFlow's own seeding cannot combine with a tensor."""
    import keras

    data.pack(cases_of(rng), tmp_path / "packed", shards=3)
    orders = []
    for seed in (0, 1, 7):
        keras.utils.set_random_seed(seed)
        orders.append(ids(tmp_path / "packed", shuffle_seed=4))
    assert orders[0] == orders[1] == orders[2]


def test_shuffling_reaches_every_place(rng, tmp_path):
    """Of 40 epochs' first cases 11 (1 - (10/11)^40) = 10.8 are expected to differ; a file at a time would give 3."""
    arrays = cases_of(rng, size=(2, 2), absent=False)
    data.pack(arrays, tmp_path / "packed", shards=3)
    order = np.array(ids(tmp_path / "packed", shuffle_seed=0, epochs=40)).reshape(40, 11)
    assert min(len(set(place)) for place in order.T) >= 9


def test_resuming(rng, tmp_path):
    """Epoch 1 alone is epoch 1 of two; a checkpoint of the iterator and `skip` go on in the middle."""
    import tensorflow as tf

    data.pack(cases_of(rng), tmp_path / "packed", shards=3)
    options = {"shuffle_seed": 3, "epochs": 2}
    whole = ids(tmp_path / "packed", **options)
    assert ids(tmp_path / "packed", first_epoch=1, **options) == whole[11:]
    skipped = data.from_packed(tmp_path / "packed", **options).skip(7).as_numpy_iterator()
    assert [case["id"].decode() for case in skipped] == whole[7:]
    iterator = iter(data.from_packed(tmp_path / "packed", **options))
    for _ in range(7):
        next(iterator)
    saved = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "checkpoint"))
    fresh = iter(data.from_packed(tmp_path / "packed", **options))
    tf.train.Checkpoint(iterator=fresh).read(saved)
    assert [case["id"].numpy().decode() for case in fresh] == whole[7:]


def test_the_data_service_takes_it(rng, tmp_path):
    """No Python is left in the graph: another process could run it."""
    import tensorflow as tf

    arrays = cases_of(rng)
    data.pack(arrays, tmp_path / "packed")
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    worker = service.WorkerServer(service.WorkerConfig(dispatcher.target.split("://")[1]))
    dataset = data.from_packed(tmp_path / "packed", shuffle_seed=1)
    spread = dataset.apply(service.distribute(service.ShardingPolicy.OFF, dispatcher.target))
    found = [case["id"].decode() for case in spread.as_numpy_iterator()]
    worker._stop()
    dispatcher._stop()
    assert sorted(found) == sorted(arrays["id"])


def test_random_access_without_tensorflow(rng, tmp_path):
    import tensorflow_datasets as tfds

    arrays = cases_of(rng)
    data.pack(arrays, tmp_path / "packed", file_format="array_record", compress=True)
    source = tfds.builder_from_directory(tmp_path / "packed").as_data_source("cases")
    assert_same([source[row] for row in range(11)], arrays)
    with pytest.raises(data.DataError, match="is array_record, which tf.data does not read"):
        data.from_packed(tmp_path / "packed")


def test_sources(rng, tmp_path):
    """Arrays, a tf.data.Dataset, a list, and files give the same records."""
    from PIL import Image

    arrays = cases_of(rng, 4, absent=False)
    arrays["ratings"][2, ..., 1] = -1
    folder = tmp_path / "files"
    folder.mkdir()
    for name, image, ratings in zip(arrays["id"], arrays["image"], arrays["ratings"], strict=True):
        Image.fromarray(np.rint(image[..., 0] * 255).astype(np.uint8)).save(folder / f"{name}_image.png")
        for r in range(4):
            if ratings[..., r].min() >= 0:
                Image.fromarray((ratings[..., r] == 1) * np.uint8(255)).save(folder / f"{name}_rater{r}.png")
    groups = dict(zip(arrays["id"], arrays["group"], strict=True))
    dataset = data.from_arrays(arrays)
    for name, source in {
        "arrays": arrays,
        "dataset": dataset,
        "list": list(dataset.as_numpy_iterator()),
        "files": data.cases(folder, groups=groups),
    }.items():
        packed = data.pack(source, tmp_path / f"from {name}", shards=2)
        assert_same(read(packed), arrays)
        for shard in ("packed-cases.tfrecord-00000", "packed-cases.tfrecord-00001"):
            assert (packed / shard).read_bytes() == (tmp_path / "from arrays" / shard).read_bytes()
    data.pack(data.cases(folder), tmp_path / "cropped", size=4)
    assert read(tmp_path / "cropped")[0]["image"].shape == (4, 4, 1)


def test_sizes_may_differ(rng, tmp_path):
    """And cases without id or group have their number."""
    rows = [{"image": rng.random((s, 5, 1)), "ratings": rng.integers(-1, 2, (s, 5, 3))} for s in (4, 6)]
    data.pack(rows, tmp_path / "packed")
    assert data.from_packed(tmp_path / "packed").element_spec["image"].shape.as_list() == [None, 5, 1]
    for number, (row, case) in enumerate(zip(rows, read(tmp_path / "packed"), strict=True)):
        np.testing.assert_array_equal(case["image"], row["image"].astype(np.float32))
        np.testing.assert_array_equal(case["ratings"], row["ratings"])
        assert case["id"] == case["group"] == str(number).encode()


def test_slots_of_votes_stay_nameless(rng, tmp_path):
    arrays = cases_of(rng, absent=False) | {"anonymous": np.full(11, True)}
    data.pack(arrays, tmp_path / "packed")
    assert all(case["anonymous"] for case in read(tmp_path / "packed"))


def test_a_model_trains_on_it(tmp_path):
    import keras

    from keras_ordseg.layers import OrdinalHead
    from keras_ordseg.losses import OrdinalSegmentationLoss

    arrays = datasets.ambiguous_shapes(8, size=16, num_raters=3, absent=0.3)
    data.pack(arrays, tmp_path / "packed")
    train = data.from_packed(tmp_path / "packed", shuffle_seed=0, epochs=3)
    levels = data.level_frequencies(data.from_packed(tmp_path / "packed"))
    np.testing.assert_array_equal(levels, data.level_frequencies(arrays))
    model = keras.Sequential([keras.layers.Conv2D(4, 3, padding="same"), OrdinalHead(3, initial_levels=levels)])
    model.compile("sgd", OrdinalSegmentationLoss(), run_eagerly=True)
    history = model.fit(data.fuse(train, "ratings").batch(4), shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def broken(name):
    def change(arrays):
        if name == "nan":
            arrays["image"][[2, 5], 0, 0] = np.nan
        elif name == "range":
            arrays["image"][4] *= 300
        elif name == "rating":
            arrays["ratings"][2, 0, 0, 0] = 2
        elif name == "nobody":
            arrays["ratings"][2] = -1
        elif name == "integers":
            arrays["image"] = (arrays["image"] * 255).astype(np.uint8)
        elif name == "floats":
            arrays["ratings"] = arrays["ratings"].astype(np.float32)
        elif name == "shape":
            arrays["ratings"] = arrays["ratings"][:, :5]
        elif name == "raters":
            arrays["ratings"] = np.repeat(arrays["ratings"], 5, axis=-1)
        elif name == "rows":
            arrays["ratings"] = arrays["ratings"][:3]
        elif name == "missing":
            del arrays["ratings"]
        return arrays

    return change


@pytest.mark.parametrize(
    "name, message",
    [
        ("nan", r"2 problems in the cases:\n  case case2: .* not finite .*\n  case case5: .* not finite"),
        ("range", r"case case4: the image spans .* where \[0, 1\] is expected"),
        ("rating", "case case2: ratings span -?[01] to 2"),
        ("nobody", "case case2: no rater rated any pixel"),
        ("integers", r"11 problems .*\n  case case0: the image must be float in \[0, 1\], came uint8"),
        ("floats", r"case case0: ratings must be integers \(int8\)"),
        ("shape", r"case case0: image and ratings must be .* came \(6, 5, 1\) and \(5, 5, 4\)"),
        ("raters", "case case0: has 20 raters, at most 16 can be packed"),
        ("rows", "one row for each case, have image 11, ratings 3"),
        ("missing", "must hold 'image' and 'ratings', missing: ratings"),
    ],
)
def test_every_problem_before_anything_is_written(rng, tmp_path, name, message):
    with pytest.raises(data.DataError, match=message):
        data.pack(broken(name)(cases_of(rng)), tmp_path / "packed")
    assert os.listdir(tmp_path) == []


def test_cases_that_do_not_go_together(rng, tmp_path):
    rows = [{"image": rng.random((4, 4, c)), "ratings": np.zeros((4, 4, k), int)} for c, k in ((1, 2), (3, 2), (1, 3))]
    with pytest.raises(data.DataError, match=r"2 problems in the cases:\n  case 1: .*channels.*\n  case 2: .*raters"):
        data.pack(rows, tmp_path / "packed")


def test_arguments(rng, tmp_path):
    arrays = cases_of(rng)
    for options, error, message in [
        ({"shards": 0}, ValueError, "shards must be 1 or more, came 0"),
        ({"image_dtype": "int8"}, ValueError, "image_dtype must be one of 'auto', .* came 'int8'"),
        ({"file_format": "csv"}, ValueError, "file_format must be 'tfrecord' or 'array_record'"),
        ({"size": 4}, ValueError, "size belongs to cases that are read from files"),
    ]:
        with pytest.raises(error, match=message):
            data.pack(arrays, tmp_path / "packed", **options)
    with pytest.raises(ValueError, match=r"a list of dicts \(it is read twice\); came generator"):
        data.pack((row for row in [arrays]), tmp_path / "packed")
    with pytest.raises(ValueError, match="never ends"):
        data.pack(data.from_arrays(arrays).repeat(), tmp_path / "packed")
    with pytest.raises(data.DataError, match="there are no cases"):
        data.pack([], tmp_path / "packed")
    with pytest.raises(data.DataError, match="case 0 must be a dict with 'image' and 'ratings'"):
        data.pack([{"image": arrays["image"][0]}], tmp_path / "packed")
    assert os.listdir(tmp_path) == []
    data.pack(arrays, tmp_path / "packed")
    for options, error, message in [
        ({"target": "soft"}, ValueError, "target must be 'ratings' or 'votes', came 'soft'"),
        ({"split": "train"}, ValueError, "split must be one of 'cases', came 'train'"),
        ({"epochs": 1, "first_epoch": 1}, ValueError, "epochs must be above first_epoch"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more, came 0"),
        ({"shuffle_seed": -1}, ValueError, "shuffle_seed 0 or more; came"),
    ]:
        with pytest.raises(error, match=message):
            data.from_packed(tmp_path / "packed", **options)


def full_disk(writer):
    raise OSError("disk full")


def test_nothing_is_lost(rng, tmp_path, monkeypatch):
    """An earlier dataset stays when writing fails, and what is none is never replaced."""
    import tensorflow_datasets as tfds

    first, second = cases_of(rng), cases_of(rng, 3)
    data.pack(first, tmp_path / "packed")
    with pytest.raises(FileExistsError, match="exists; give overwrite=True"):
        data.pack(second, tmp_path / "packed")
    with monkeypatch.context() as patch:
        patch.setattr(tfds.core.SequentialWriter, "close_all", full_disk)
        with pytest.raises(OSError, match="disk full"):
            data.pack(second, tmp_path / "packed", overwrite=True)
    assert os.listdir(tmp_path) == ["packed"]
    assert_same(read(tmp_path / "packed"), first)
    data.pack(second, tmp_path / "packed", overwrite=True)
    assert_same(read(tmp_path / "packed"), second)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no packed dataset, so it is not replaced"):
        data.pack(second, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert sorted(os.listdir(tmp_path)) == ["mine", "packed"]


def test_directories_that_are_none(rng, tmp_path):
    import tensorflow as tf

    with pytest.raises(data.DataError, match="no packed dataset .* is here; data.pack writes one"):
        data.from_packed(tmp_path)
    data.pack(cases_of(rng), tmp_path / "a" / "packed", shards=3)
    with pytest.raises(data.DataError, match=r"no packed dataset .* is here; there are .*packed"):
        data.from_packed(tmp_path)
    shard = tmp_path / "a" / "packed" / "packed-cases.tfrecord-00001"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(data.DataError, match=r"1 problem .*\n.*tfrecord-00001 is missing"):
        data.from_packed(tmp_path / "a" / "packed")
    shard.write_bytes(content[:-9])
    with pytest.raises(tf.errors.DataLossError):
        read(tmp_path / "a" / "packed")


def test_progress(rng, tmp_path, capsys):
    data.pack(cases_of(rng, 3), tmp_path / "packed", progress=True)
    assert capsys.readouterr().err.replace("\r", "|").endswith("checking 3\n|packing 1/3|packing 2/3|packing 3/3\n")
    data.pack(cases_of(rng, 3), tmp_path / "quiet")
    assert capsys.readouterr().err == ""


def test_real_pack(real_data, tmp_path):
    """A pack with an absent rater and mixed sizes, cropped: as `load` reads it."""
    cases = data.cases(real_data("bubil_fluo_crowd"))[:12]
    arrays = data.load(cases, size=96)
    data.pack(cases, tmp_path / "packed", size=96)
    assert_same(read(tmp_path / "packed"), arrays)
    files = sum(file.stat().st_size for file in (tmp_path / "packed").iterdir())
    assert files < 12 * 96 * 96 * 4
