"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import keras_ordseg

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(keras_ordseg.__path__, "keras_ordseg.")
    if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    with np.printoptions(legacy=False):
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_examples_are_there():
    """The runner finds the examples: a public class without one is a gap."""
    for room in (keras_ordseg.layers, keras_ordseg.losses, keras_ordseg.metrics, keras_ordseg.ops):
        for name in room.__all__:
            if name.startswith("MultiRater") and name.endswith(("Loss", "Metric")):
                continue  # the bases, which nobody builds
            assert ">>>" in getattr(room, name).__doc__, name
