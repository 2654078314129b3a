"""What a method's key means, what it trains on, and the grid that multiplies keys out."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_ordseg import losses, raters
from keras_ordseg.benchmark import METHODS, Settings, read_grid, run
from keras_ordseg.benchmark._figures import telling_cases
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.evaluation import Figure
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.preparation import _fewer_raters, prepare


def test_the_parts_of_a_key():
    (method,) = select(["hybrid( rps_weight=0.4, readout=expected ):nested@staple+isotonic"])
    assert method.options == (("rps_weight", 0.4), ("readout", "expected"))
    assert (method.link, method.target, method.after) == ("nested", "staple", "isotonic")
    loss = method.loss()
    assert isinstance(loss, losses.OrdinalSegmentationLoss)
    assert (loss.rps_weight, loss.readout) == (0.4, "expected")
    assert method.key == "hybrid(rps_weight=0.4,readout=expected):nested@staple+isotonic"
    assert select([method.key]) == [method]
    assert method.trained.key == "hybrid(rps_weight=0.4,readout=expected):nested@staple"
    assert not set("/\\: ()") & set(method.folder)


def test_every_loss_of_the_catalogue_is_built():
    for key, method in METHODS.items():
        assert select([key]) == [method]
        assert isinstance(method.loss(), losses.MultiRaterLoss)
    assert {METHODS[k].target for k in METHODS} == {"ratings", "random", "staple"}


@pytest.mark.parametrize(
    "keys,message",
    [
        (["magic"], "methods: expected some of majority_bce"),
        ([], "methods: expected some of"),
        (["rps", "rps:softmax"], "each once"),
        (["rps:probit"], "expected a link of softmax, cumulative, nested, beta_binomial; got 'probit' in 'rps:probit'"),
        (["soft_bce:nested"], "expected no link for Soft-label BCE, a binary output without levels; got 'soft_bce:nested'"),
        (["rps@mean"], "expected a target of ratings, majority"),
        (["rps+magic"], "expected a calibrator of temperature"),
        (["rps(weight=3)"], "weight"),
        (["rps(normalization=half)"], "normalization: expected one of"),
        (["rps(3)"], "expected option=value in the brackets"),
        (["rps(normalization=sum"], "methods: expected some of"),
    ],
)
def test_keys_that_do_not_fit(keys, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        select(keys)


def test_what_is_trained_on():
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 2, (3, 8, 8, 4)).astype("int8")
    ratings[0, 0, 0] = -1
    arrays = {"image": np.zeros((3, 8, 8, 1), "float32"), "ratings": ratings}
    for key, method in (("soft_bce", None), ("majority_bce@union", "union"), ("rps@staple", "staple")):
        seen = select([key])[0].training_arrays(arrays)["ratings"]
        if method is None:
            assert seen is ratings
            continue
        fused = raters.fuse(ratings, method)[..., 0]
        assert seen.shape == (3, 8, 8, 1)
        assert seen[0, 0, 0, 0] == -1
        rated = (ratings >= 0).any(-1)
        np.testing.assert_array_equal(seen[..., 0][rated], (fused >= 0.5)[rated])
    batch = next(iter(select(["random_rater"])[0].batches(arrays, 3, shuffle=False)))[1].numpy()
    assert batch.shape == (3, 8, 8, 1)
    assert any((batch[0, ..., 0] == ratings[0, ..., r]).all() for r in range(4))


def test_fewer_raters_keeps_that_many_of_those_present():
    ratings = np.ones((50, 2, 2, 5), "int8")
    ratings[:10, ..., :4] = -1
    kept = (_fewer_raters(ratings, 2) >= 0).any((1, 2))
    assert (kept[:10].sum(-1) == 1).all()
    assert kept[:10, 4].all()
    assert (kept[10:].sum(-1) == 2).all()
    assert (kept[10:].sum(0) > 5).all()  # not always the same ones
    np.testing.assert_array_equal(_fewer_raters(ratings, 2), _fewer_raters(ratings, 2))


def test_train_images_and_raters_change_the_training_part_only():
    whole, part = (
        prepare(Settings(images=40, size=16, filters=(4, 8), **fewer), progress=False)
        for fewer in ({}, {"train_images": 5, "train_raters": 1})
    )
    assert part.fingerprint != whole.fingerprint
    whole, part = whole.folds[None], part.folds[None]
    assert len(part.train["image"]) == 5
    assert ((part.train["ratings"] >= 0).any((1, 2)).sum(-1) == 1).all()
    for key in ("validation", "test"):
        np.testing.assert_array_equal(getattr(part, key)["ratings"], getattr(whole, key)["ratings"])


def test_cross_validation_tests_every_image_once_and_splits_no_group():
    settings = {"images": 40, "size": 16, "filters": (4, 8)}
    prepared = prepare(Settings(**settings, folds=3), progress=False)
    assert list(prepared.folds) == [0, 1, 2]
    everything = sorted(prepare(Settings(**settings), progress=False).folds[None].train["id"])
    assert len(set(prepared.test["id"])) == len(prepared.test["id"]) == 40 > len(everything)
    for fold in prepared.folds.values():
        assert len({name for part in fold for name in part["group"]}) == sum(len(set(part["group"])) for part in fold)
        assert sum(len(part["id"]) for part in fold) == 40
    np.testing.assert_array_equal(prepared.test["id"], np.concatenate([f.test["id"] for f in prepared.folds.values()]))
    with pytest.raises(ValueError, match="folds: expected at most as many as there are groups"):
        prepare(Settings(**settings, folds=99), progress=False)
    fewer = prepare(Settings(**settings, folds=3, train_raters=2), progress=False)
    assert all(((f.train["ratings"] >= 0).any((1, 2)).sum(-1) == 2).all() for f in fewer.folds.values())
    assert (fewer.test["ratings"] >= 0).all()


def test_a_prepared_dataset_keeps_its_splits(tmp_path, rng):
    from keras_ordseg import data, datasets
    from tests.datasets.raw import write_lidc

    write_lidc(tmp_path / "raw", rng)
    builder = datasets.prepare("lidc_idri", tmp_path / "tfds", tmp_path / "raw")
    settings = {"data": "tfds:lidc_idri", "data_dir": str(tmp_path / "tfds"), "filters": (4, 8)}
    prepared = prepare(Settings(**settings, size=8), progress=False)
    fold = prepared.folds[None]
    for part in ("train", "validation", "test"):
        expected = data.load_packed(builder.data_path, part, 8)
        for name in ("id", "group", "ratings", "image"):
            np.testing.assert_array_equal(getattr(fold, part)[name], expected[name])
    assert prepared.info["name"].startswith("lidc_idri")
    few = prepare(Settings(**settings, size=8, images=4), progress=False)
    assert few.info["num_images"] == {"train": 4, "validation": 4, "test": 4}
    with pytest.raises(ValueError, match="folds: expected none with a test set of its own or a prepared dataset"):
        Settings(**settings, folds=3)
    with pytest.raises(ValueError, match="name: expected one of cocahis"):
        prepare(Settings(**{**settings, "data": "tfds:nothing"}), progress=False)
    runs = read_grid(write(tmp_path, "data: ['tfds:long_ciu/ggo', brain]\ndata_dir: tfds"))
    assert runs["long_ciu-ggo"].data == "tfds:long_ciu/ggo"
    assert runs["brain"].data_dir == str(tmp_path / "tfds")


def test_difference_to_the_best_is_paired():
    """Three groups; method b is better than a in every group by 1: no resample can make that 0. c differs by noise."""
    a, b, c = np.array([5.0, 7.0, 9.0]), np.array([4.0, 6.0, 8.0]), np.array([3.0, 7.0, 8.5])
    table = [Figure("x", "x", "", lambda sums: sums["s"][..., 0] / sums["s"][..., 1])]
    cells = {name: [{"s": np.stack([v, np.ones(3)], -1)}] for name, v in (("a", a), ("b", b), ("c", c))}
    found = tabulate(cells, table, group_weights(["p", "q", "r"], 200), "a")
    assert "to_best" not in found["b"]["x"]
    assert found["a"]["x"]["to_best"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
    assert found["c"]["x"]["to_best"]["low"] < 0 < found["c"]["x"]["to_best"]["high"]
    assert "difference" not in found["a"]["x"]
    assert found["b"]["x"]["difference"]["mean"] == -1.0


def test_telling_cases_of_few_images():
    marked = np.array([[[1]], [[0]]])
    assert telling_cases(np.array([[1.0, 1.0], [2.0, 1.0]]), marked) == [0]
    assert telling_cases(np.array([[3.0, 1.0], [2.0, 1.0]]), 0 * marked) == [1, 0]


def write(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_multiplied_out(tmp_path):
    runs = read_grid(
        write(
            tmp_path,
            """
data: [null, masks/brain]
methods: [soft_bce, rps]
grid:
  losses: [rps, "hybrid(rps_weight=0.4)", staple_bce]
  links: [softmax, nested]
  targets: [ratings, union]
seeds: [3, 4]
epochs: 7
""",
        )
    )
    assert list(runs) == ["ambiguous_shapes", "brain"]
    assert runs["brain"].data == str(tmp_path / "masks/brain")
    assert runs["ambiguous_shapes"].data is None
    assert (runs["brain"].seeds, runs["brain"].epochs) == ((3, 4), 7)
    assert runs["brain"].methods == (
        "soft_bce",
        "rps",
        "rps@union",
        "rps:nested",
        "rps:nested@union",
        "hybrid(rps_weight=0.4)",
        "hybrid(rps_weight=0.4)@union",
        "hybrid(rps_weight=0.4):nested",
        "hybrid(rps_weight=0.4):nested@union",
        "staple_bce",
    )


@pytest.mark.parametrize(
    "text,message",
    [
        ("epoch: 3", "epoch: no such setting"),
        ("[1, 2]", "expected names with values"),
        ("a: [", "expected YAML"),
        ("grid: {links: [nested]}", "grid: expected losses"),
        ("grid: {losses: rps}", "grid: losses: expected a list"),
        ("methods: rps", "methods: expected a list"),
        ("methods: [magic]", "methods: expected some of"),
        ("data: []", "expected a value or a list that is not empty"),
        ("train_raters: []", "expected a value or a list that is not empty"),
        ("folds: 2.5", "folds: expected a whole number; got 2.5"),
        ("data: [a/x, b/x]", "two runs are called 'x'"),
        ("epochs: many", "epochs: expected a whole number"),
        ("epochs: many", "got 'many'$"),
        ("epochs: true", "epochs: expected a whole number; got True"),
        ("learning_rate: 1e-3", "learning_rate: expected a number; got '1e-3'.*write 1.0e-3"),
        ("seeds: 3", "seeds: expected a list, each a whole number; got 3"),
        ("seeds: [[0, 1]]", "seeds: expected a whole number; got .0, 1."),
        ("seeds: [0.5]", "seeds: expected a whole number; got 0.5"),
        ("filters: 8", "filters: expected a list, each a whole number; got 8"),
        ("filters: []", "filters: expected one whole number or more"),
        ("split_seed: -1", "split_seed: expected a whole number of at least 0"),
        ("augment: 'no'", "augment: expected true or false; got 'no'"),
        ("test_data: [a, b]", "test_data: expected text; got"),
        ("citation: 2020", "citation: expected text; got 2020"),
        ("fit: Crop", "fit: expected 'crop' or 'resize'; got 'Crop'"),
        ("data: 5", "data: expected a folder, tfds:NAME or null, or a list of them; got 5"),
        ("methods: [hybrid(readout=expected, rps_weight=0.4)]", "'hybrid.readout=expected'. In a YAML list, quotes"),
        ("methods: [hybrid(rps=0.4)]", "options out of .*rps_weight.* in .*unexpected keyword argument 'rps'"),
    ],
)
def test_grids_that_do_not_fit(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_grid(write(tmp_path, text))


def test_settings_in_python():
    """Whole numbers of NumPy, paths and lists are taken; what is meant as a list is not a text."""
    given = {"epochs": np.int64(3), "learning_rate": 1, "data": Path("masks"), "seeds": [0, np.int32(1)]}
    settings = Settings(**given, window=("1%", "99%"))
    assert (settings.epochs, settings.learning_rate, settings.data, settings.seeds) == (3, 1.0, "masks", (0, 1))
    assert json.loads(json.dumps(settings.as_dict()))["window"] == ["1%", "99%"]
    with pytest.raises(ValueError, match="methods: expected a list, each text; got 'hybrid'"):
        Settings(methods="hybrid")
    with pytest.raises(TypeError, match="settings: expected a benchmark.Settings; got {'epochs': 3}"):
        run({"epochs": 3}, "runs/nowhere")


def test_folders_of_a_grid_are_relative_to_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    (found,) = read_grid(write(tmp_path, "data: ~/masks")).values()
    assert found.data == "/home/anna/masks"
    (found,) = read_grid(write(tmp_path, "data: masks")).values()
    assert found.data == str(tmp_path / "masks")


def test_nothing_in_the_file_is_run(tmp_path):
    with pytest.raises(ValueError, match="expected YAML"):
        read_grid(write(tmp_path, "epochs: !!python/object/apply:os.getcwd []"))
