"""What results depend on: curves from made-up results, and the page beside the runs."""

import json
from dataclasses import replace

import pytest

from keras_ordseg.benchmark import Settings
from keras_ordseg.benchmark._sensitivity import by_number, by_option, write_sensitivity

METRICS = [
    {"key": "brier", "label": "Brier", "digits": 3, "lower_is_better": True},
    {"key": "rps", "label": "RPS", "digits": 3, "lower_is_better": True},
]


def results(means, raters=5, images=40):
    """Of methods `{key: mean of the Brier score}`."""
    return {
        "dataset": {"name": "made up", "num_raters": raters, "num_images": {"train": images}},
        "metrics": METRICS,
        "methods": [
            {
                "key": key,
                "label": key.upper(),
                "values": {"brier": {"mean": mean, "low": mean - 1, "high": mean + 1}, "rps": {"mean": None}},
            }
            for key, mean in means.items()
        ],
    }


def test_an_option_with_its_default():
    found = by_option(
        results({"hybrid": 3.0, "hybrid(rps_weight=0.2)": 5.0, "hybrid(rps_weight=2)": 4.0, "rps": 1.0, "rps:nested": 1.0})
    )
    assert list(found) == ["rps_weight"]
    assert found["rps_weight"] == {
        "Brier": {"Hybrid (the paper's)": [(0.8, 3.0, 2.0, 4.0), (0.2, 5.0, 4.0, 6.0), (2, 4.0, 3.0, 5.0)]}
    }


def test_two_values_or_words_are_no_curve():
    assert by_option(results({"hybrid": 3.0, "hybrid(rps_weight=0.2)": 5.0})) == {}
    words = ("rps", "rps(normalization=sum)", "rps(normalization=thresholds)")
    assert by_option(results(dict.fromkeys(words, 1.0))) == {}


def test_runs_that_differ_in_one_number(tmp_path):
    base = Settings(methods=("soft_bce", "rps"))
    runs = [
        (replace(base, train_raters=number), results({"soft_bce": 9.0 - i, "rps": 8.0 - i}))
        for i, number in enumerate((1, 3, None))
    ]
    found = by_number(runs)
    assert list(found) == [("train_raters", None)]
    assert [(x, mean) for x, mean, *_ in found["train_raters", None]["Brier"]["RPS"]] == [(1, 8.0), (3, 7.0), (5, 6.0)]
    assert by_number([*runs[:2], (replace(base, train_raters=2, epochs=7), runs[2][1])]) == {}
    folders = {}
    for i, (settings, content) in enumerate(runs):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(content))
        folders[folder] = settings
    page = write_sensitivity(tmp_path, folders)
    text = page.read_text()
    assert (tmp_path / "sensitivity_made up_raters.png").read_bytes().startswith(b"\x89PNG")
    assert "![made up: raters in training](<sensitivity_made up_raters.png>)" in text
    assert "| RPS | 5 | 6.000 [5.000, 7.000] |" in text
    assert write_sensitivity(tmp_path, dict(list(folders.items())[:2])) is None


@pytest.mark.parametrize("axis", ["train_raters", "train_images"])
def test_all_there_were_is_read_from_the_results(axis):
    base = Settings(methods=("rps",))
    runs = [(replace(base, **{axis: n}), results({"rps": 1.0}, raters=7, images=70)) for n in (2, 4, None)]
    (panels,) = by_number(runs).values()
    assert [point[0] for point in panels["Brier"]["RPS"]] == [2, 4, 7 if axis == "train_raters" else 70]
