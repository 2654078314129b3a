"""What the losses need beside the logits, as JAX' compiler tells it; nothing is run."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMPILE = """
import json, math, sys
import jax
from keras_ordseg.losses import OrdinalSegmentationLoss

def maps(readout, kind, shape, num_raters):
    loss = OrdinalSegmentationLoss(readout)
    logits = jax.ShapeDtypeStruct((*shape, num_raters + 1), "float32")
    y = jax.ShapeDtypeStruct((*shape, num_raters), "int8") if kind == "ratings" else jax.ShapeDtypeStruct(shape, "uint8")
    compiled = jax.jit(jax.value_and_grad(lambda z, y: loss(y, z))).lower(logits, y).compile().memory_analysis()
    one = 4 * math.prod(shape)
    gradient = one * (num_raters + 1)
    assert gradient <= compiled.output_size_in_bytes < 1.001 * gradient  # the gradient itself, which is no temporary
    return compiled.temp_size_in_bytes / one

print(json.dumps([maps(*case) for case in json.loads(sys.argv[1])]))
"""


@pytest.mark.dear
def test_temporaries_are_a_few_maps_of_the_image():
    """Votes need three, whatever K: 0.4 of the logits at K = 7. Ratings hold the thinned levels, in a branch that the
    compiler counts whether taken or not: eight, once the logits at K = 7."""
    pytest.importorskip("jax", reason="only JAX' compiler tells")
    images, volume = ((4, 512, 512), 7), ((1, 128, 128, 128), 3)
    cases = [
        ("majority", "votes", *images),
        ("expected", "votes", *volume),
        ("majority", "ratings", *images),
    ]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    command = [sys.executable, "-c", COMPILE, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found[:2]) < 3.1, found
    assert max(found[2:]) < 8.1, found
