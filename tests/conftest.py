"""Shared fixtures. Real data: the environment variable KERAS_ORDSEG_DATA, or ../shared/data beside the repository."""

import os
import pathlib
import resource
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest

# Nearly all that the tests compile runs once, and they run on as many processes as there are cores: compilers that try
# less, and one thread each. `make test-all` compiles as users do.
QUICK = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    " --xla_llvm_disable_expensive_passes=true",
}


def is_quick(config):
    return not config.option.markexpr.startswith("slow")


def pytest_configure(config):
    """The settings above, also for the processes that tests start, before TensorFlow or JAX is imported."""
    if is_quick(config):
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)


@pytest.fixture(scope="session", autouse=True)
def _graphs_as_they_are(request):
    """TensorFlow rewrites no graph of this process before it runs it, once."""
    if is_quick(request.config) and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

if os.environ.get("KERAS_BACKEND") == "torch":
    import torch

    _as_array = torch.Tensor.__array__  # the tests read outputs as arrays, which torch refuses where it keeps a gradient
    torch.Tensor.__array__ = lambda self, dtype=None, copy=None: _as_array(self.detach(), dtype)

ROOT = pathlib.Path(__file__).resolve().parent.parent


def peak_memory():
    """The most that this process has held in memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Every test, with the fixtures of its module, draws the same weights in whatever order tests run."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(20260502)


@pytest.fixture(scope="session")
def real_data():
    """`real_data("lidc_crops")` is the folder of a real pack, or a skip that says why."""

    def find(name):
        base = pathlib.Path(os.environ.get("KERAS_ORDSEG_DATA", ROOT.parent / "shared" / "data"))
        if not (base / name).is_dir():
            pytest.skip(
                f"the real pack {name} is not there; set KERAS_ORDSEG_DATA to the folder that holds it"
            )
        return base / name

    return find


@pytest.fixture(autouse=True)
def _fresh_keras():
    """No global precision policy leaks from one test into the next."""
    import keras

    yield
    keras.config.set_dtype_policy("float32")
