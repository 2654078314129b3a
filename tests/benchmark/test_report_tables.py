"""The tables as text and Markdown, the best marks and the sentences above them."""

import copy

import pytest

from keras_ordseg.benchmark._report import headline
from keras_ordseg.benchmark._report_tables import comparison, markdown_table, text_table
from tests.benchmark.made_up import made_up


@pytest.fixture
def results():
    return made_up()


def test_best_is_marked_with_its_ties_and_only_among_several(results):
    best = [[cell["best"] for cell in row["cells"]] for row in comparison(results)]
    # Dice: 0.700 and 0.7001 read the same at three digits; RPS: one method only, nothing to compare
    assert best == [[False, True, False], [True, False, False], [False, True, False]]
    results["metrics"][1]["lower_is_better"] = True
    assert [row["cells"][1]["best"] for row in comparison(results)] == [False, True, False]


def test_headline_says_who_wins(results):
    assert headline(results) == [
        "Lowest ECE expected, %: Hybrid with 0.50 (95 % interval [0.25, 0.75]). Difference to the baseline, "
        "Majority-vote BCE: -1.00 [-1.25, -0.75]; the interval excludes 0.",
        "Best means among 2 metrics, ties counted for each: 1 by Majority-vote BCE; 1 by Hybrid; "
        "1 by Soft-label BCE.",
    ]
    unclear = copy.deepcopy(results)
    unclear["methods"][1]["values"]["ece"]["difference"]["high"] = 0.25
    assert "the interval includes 0" in headline(unclear)[0]
    results["metrics"] = results["metrics"][1:]
    assert headline(results) == [
        "Highest Consensus Dice: Majority-vote BCE and Soft-label BCE with 0.700 "
        "(95 % interval [0.650, 0.750]). One of them is the baseline."
    ]
    results["methods"][0]["values"]["dice"]["mean"] = 0.9
    assert headline(results)[0].endswith("That is the baseline.")


def test_text_table(results):
    text = text_table(results)
    assert text.splitlines()[2:8] == [
        "                      ECE expected, %         Consensus Dice                   RPS",
        "                         lower better          higher better          lower better",
        "-----------------  ------------------  ---------------------  --------------------",
        "Majority-vote BCE   1.50 [1.25, 1.75]  *0.700 [0.650, 0.750]                   n/a",
        "Hybrid             *0.50 [0.25, 0.75]   0.680 [0.630, 0.730]  0.100 [0.050, 0.150]",
        "Soft-label BCE      2.50 [2.25, 2.75]  *0.700 [0.650, 0.750]                   n/a",
    ]
    assert "Difference to Majority-vote BCE" in text
    assert "-1.00 [-1.25, -0.75] better" in text


@pytest.mark.parametrize("width", [60, 100, 120])
def test_text_table_fits(results, width):
    for i in range(9):
        results["metrics"].append(
            {**results["metrics"][0], "key": f"m{i}", "label": f"a long name of metric {i}, %"}
        )
        for method in results["methods"]:
            method["values"][f"m{i}"] = method["values"]["ece"]
    results["methods"][1]["label"] = "a method whose name is much longer than the others"
    text = text_table(results, width)
    assert max(map(len, text.splitlines())) <= width
    joined = " ".join(text.split())
    assert all(f"metric {i}, %" in joined for i in range(9))
    # every metric once in the means of each method, and once in the differences of two
    assert joined.count("*0.50 [0.25, 0.75]") == 10
    assert joined.count("-1.00 [-1.25, -0.75] better") == 10


def test_markdown_table(results):
    assert markdown_table(results) == (
        "| method | ECE expected, % ↓ | Consensus Dice ↑ | RPS ↓ |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| Majority-vote BCE | 1.50 [1.25, 1.75] | **0.700** [0.650, 0.750] | n/a |\n"
        "| Hybrid | **0.50** [0.25, 0.75] | 0.680 [0.630, 0.730] | 0.100 [0.050, 0.150] |\n"
        "| Soft-label BCE | 2.50 [2.25, 2.75] | **0.700** [0.650, 0.750] | n/a |\n"
    )
