"""Results of three methods on three metrics, with a tie, a clear win, a clear loss and missing numbers."""


def value(mean, low, high, difference=None):
    entry = {"mean": mean, "low": low, "high": high, "seeds": [mean]}
    if difference is not None:
        entry["difference"] = dict(zip(("mean", "low", "high"), difference, strict=True))
    return entry


def made_up():
    return {
        "dataset": {
            "name": "nodules",
            "source": "a folder",
            "num_raters": 4,
            "num_images": {"train": 60, "validation": 20, "test": 30},
            "num_groups": {"train": 31, "validation": 9, "test": 14},
            "image_shape": [64, 64, 1],
            "level_frequencies": [0.95, 0.02, 0.01, 0.01, 0.01],
            "statistics": {"disputed share": 0.0312, "Fleiss kappa": 0.51},
            "citation": "Armato et al. 2011",
        },
        "settings": {"--epochs": 40, "--augment": True, "--seeds": [1, 2]},
        "versions": {"keras": "3.15.1"},
        "commit": "abc123",
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": {"training": 3725.0, "evaluation": 61.0, "report": 2.5},
        "metrics": [
            {
                "key": "ece",
                "label": "ECE expected, %",
                "lower_is_better": True,
                "digits": 2,
                "description": "gap",
            },
            {"key": "dice", "label": "Consensus Dice", "lower_is_better": False, "digits": 3},
            {"key": "rps", "label": "RPS", "lower_is_better": True, "digits": 3},
        ],
        "methods": [
            {
                "key": "majority_bce",
                "label": "Majority-vote BCE",
                "description": "ordinary",
                "readout": "expected",
                "seeds": [1, 2],
                "parameters": 1234567,
                "seconds_per_step": 0.0821,
                "values": {
                    "ece": value(1.5, 1.25, 1.75),
                    "dice": value(0.7, 0.65, 0.75),
                    "rps": {"mean": None, "low": None, "high": None, "seeds": []},
                },
            },
            {
                "key": "hybrid",
                "label": "Hybrid",
                "values": {
                    "ece": value(0.5, 0.25, 0.75, (-1.0, -1.25, -0.75)),
                    "dice": value(0.68, 0.63, 0.73, (-0.02, -0.05, 0.01)),
                    "rps": value(0.1, 0.05, 0.15),
                },
            },
            {
                "key": "soft",
                "label": "Soft-label BCE",
                "values": {
                    "ece": value(2.5, 2.25, 2.75, (1.0, 0.5, 1.5)),
                    "dice": value(0.7001, 0.65, 0.75, (0.0001, -0.01, 0.01)),
                },
            },
        ],
        "baseline": "majority_bce",
        "notes": ["read this"],
    }
