"""Draws docs/images/readouts.png: why the expected and the majority read-out answer different questions.

Levels are drawn for a million pixels, votes are drawn from them, and both read-outs of these very levels, a model that is
right everywhere, are held against the raters' answers and against the majority label.

    python docs/readouts.py
"""

import pathlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from keras_ordseg import metrics

K, PIXELS, SEED = 5, 1_000_000, 0
OUTPUT = pathlib.Path(__file__).parent / "images" / "readouts.png"


def main():
    rng = np.random.default_rng(SEED)
    logits = (rng.normal(size=(1, PIXELS, K + 1)) * 1.5).astype("float32")
    levels = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    votes = (levels.cumsum(-1)[..., :-1] < rng.random((1, PIXELS, 1))).sum(-1)
    majority = (votes >= -(-K // 2)).astype("int8")[..., None]  # the label, as the one answer of one rater
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.5), sharex=True, sharey=True, layout="constrained")
    for axis, readout in zip(axes, ("expected", "majority"), strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        for y, marker, label in ((votes, "o", "raters' answers"), (majority, "s", "majority label")):
            metric = metrics.MultiRaterECE(readout)
            metric.update_state(y, logits)
            diagram = metric.reliability()
            text = f"{label}: ECE {100 * diagram['ece']:.1f} %"
            axis.plot(diagram["confidence"], diagram["vote"], marker=marker, markersize=5, linewidth=1, label=text)
        axis.set_title(f'readout="{readout}"')
        axis.set_xlabel("predicted probability")
        axis.legend(loc="upper left", frameon=False, fontsize=9)
        axis.set_aspect("equal")
    axes[0].set_ylabel("share that is marked")
    figure.suptitle(f"A model whose levels are true (K = {K})")
    OUTPUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUTPUT, dpi=130)
    print(OUTPUT)


if __name__ == "__main__":
    main()
