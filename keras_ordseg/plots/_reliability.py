"""Reliability diagrams: how often raters mark where a model says p."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg.plots._style import (
    GREY,
    MARKERS,
    PALETTE,
    SMALL,
    TEXT,
    axes_grid,
    method_colors,
    new_figure,
    plain,
    tidy,
)


def reliability_diagram(reliability, *, title=None, colors=None, axes=None):
    """Draws predicted probability against the share of raters that mark, with the counts below.

    Every point is one bin: the mean predicted probability on the x axis, the mean vote on the y axis. A
    calibrated model lies on the diagonal. One method gets gap bars between point and diagonal; several are
    overlaid, each with a colour and a marker of its own. The histogram below shows on a logarithmic scale how
    many answers (rater and pixel, times sample weight) each bin holds: points of nearly empty bins mean
    little. The multi-rater ECE in percent stands in the legend.

    Args:
        reliability: What `MultiRaterECE.reliability()` returns, a dict with
            - `"edges"`: `(B + 1,)`, the bins' limits in [0, 1];
            - `"counts"`: `(B,)`, weight in each bin;
            - `"confidence"`: `(B,)`, mean predicted probability (not read in an empty bin);
            - `"vote"`: `(B,)`, mean vote (not read in an empty bin);
            - `"ece"`: float in [0, 1];

            or a dict `{label: such a dict}` of at most 7 methods.
        title: Title of the figure. Default none.
        colors: Dict `{label: colour}` for some of the methods. By default the palette in the order of the
            labels, so the same labels have the same colours in `training_curves`.
        axes: One matplotlib Axes (the diagram alone) or two (diagram, histogram). By default a new figure has
            both.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If an entry is missing or has the wrong length, or more than 7 methods come.

    >>> reliability = {
    ...     "edges": [0.0, 0.5, 1.0], "counts": [90.0, 10.0],
    ...     "confidence": [0.1, 0.8], "vote": [0.12, 0.7], "ece": 0.028,
    ... }
    >>> figure = reliability_diagram(reliability)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['perfect calibration', 'ECE 2.80 %', 'gap']

    Reference:
        A. Niculescu-Mizil, R. Caruana, Predicting good probabilities with supervised learning, ICML 2005.
    """
    if not isinstance(reliability, Mapping) or not reliability:
        raise ValueError(
            "`reliability` must be a dict from `MultiRaterECE.reliability()` or a dict of such dicts."
        )
    single = "edges" in reliability and not isinstance(reliability["edges"], Mapping)
    methods = {None: reliability} if single else reliability
    methods = {label: _checked(entry, label) for label, entry in methods.items()}
    colors = {None: PALETTE[0]} if single else method_colors(list(methods), colors)
    figure, top, bottom = _canvas(axes, title, len(methods))

    top.plot(
        [0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1, label="perfect calibration", zorder=1
    )
    for (label, entry), marker in zip(methods.items(), MARKERS, strict=False):
        if single:
            _gap_bars(top, entry)
        text = f"ECE {100 * entry['ece']:.2f} %" if np.isfinite(entry["ece"]) else "ECE n/a"
        top.plot(
            entry["confidence"],
            entry["vote"],
            color=colors[label],
            marker=marker,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.3,
            clip_on=False,
            label=text if single else f"{plain(label)}: {text}",
            zorder=3,
        )
        if bottom is not None:
            _histogram(bottom, entry, colors[label], filled=single)
    top.set(xlim=(0, 1), ylim=(0, 1))
    top.set_ylabel("share of raters that mark", fontsize=TEXT)
    tidy(top)
    for axis in (top.xaxis, top.yaxis):
        axis.set_ticks(np.arange(6) / 5)
    if axes is None and len(methods) > 2:
        figure.legend(
            *top.get_legend_handles_labels(), loc="outside lower center", fontsize=SMALL, frameon=False
        )
    else:
        top.legend(loc="upper left", fontsize=SMALL, frameon=True, framealpha=0.85, edgecolor="none")
    last = top
    if bottom is not None:
        last = bottom
        top.tick_params(labelbottom=False)
        _finish_histogram(bottom, [entry["counts"] for entry in methods.values()])
    last.set_xlabel("predicted probability", fontsize=TEXT)
    return figure


def _canvas(axes, title, num_methods):
    """Returns `(figure, diagram, histogram or None)`."""
    if axes is not None:
        one = np.size(np.array(axes, dtype=object)) == 1
        figure, grid = axes_grid(axes, (1, 1) if one else (2, 1), 0, 0, title)
        return figure, grid[0, 0], None if one else grid[1, 0]
    legend = 0.17 * (num_methods + 1) + 0.12 if num_methods > 2 else 0
    figure = new_figure(4.2, 5.1 + legend + (0.3 if title is not None else 0))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.set_box_aspect(1)
    bottom.set_box_aspect(0.25)
    if title is not None:
        figure.suptitle(plain(title), fontsize=TEXT + 1)
    return figure, top, bottom


def _checked(entry, label):
    """The entry as float64 arrays of agreeing lengths."""
    name = "`reliability`" if label is None else f"`reliability[{label!r}]`"
    keys = ("edges", "counts", "confidence", "vote", "ece")
    missing = [key for key in keys if not isinstance(entry, Mapping) or key not in entry]
    if missing:
        raise ValueError(f"{name} lacks {missing}; pass what `MultiRaterECE.reliability()` returns.")
    arrays = {key: np.asarray(entry[key], dtype="float64") for key in keys}
    bins = arrays["counts"].size
    shapes = {key: array.shape for key, array in arrays.items()}
    if shapes != {"edges": (bins + 1,), "counts": (bins,), "confidence": (bins,), "vote": (bins,), "ece": ()}:
        raise ValueError(
            f"{name} must hold B + 1 edges and B counts, confidences and votes, its shapes are {shapes}."
        )
    for key in ("confidence", "vote"):
        arrays[key] = np.where(arrays["counts"] > 0, arrays[key], np.nan)
    if np.any(np.diff(arrays["edges"]) < 0):
        raise ValueError(f"{name} must have edges in rising order, {arrays['edges'].tolist()} came.")
    return arrays


def _gap_bars(ax, entry):
    """Shades the way from each bin's confidence to its mean vote; narrow bins keep a visible width."""
    low, high = entry["edges"][:-1], entry["edges"][1:]
    width = np.maximum(high - low, 0.012)
    full = entry["counts"] > 0
    confidence, vote = entry["confidence"][full], entry["vote"][full]
    ax.bar(
        ((low + high) / 2)[full],
        vote - confidence,
        bottom=confidence,
        width=width[full],
        color=PALETTE[1],
        alpha=0.25,
        edgecolor=PALETTE[1],
        linewidth=0.6,
        label="gap",
        zorder=2,
    )


def _histogram(ax, entry, color, filled):
    ax.stairs(
        entry["counts"],
        entry["edges"],
        baseline=None if not filled else 0,
        fill=filled,
        color=color,
        alpha=0.75 if filled else 1.0,
        linewidth=1.2,
    )


def _finish_histogram(ax, counts):
    counts = np.concatenate(counts)
    counts = counts[counts > 0]
    tidy(ax)
    if counts.size:
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(10 ** np.floor(np.log10(counts.min()) - 0.2), 10 ** np.ceil(np.log10(counts.max()) + 0.1))
        ax.locator_params(axis="y", numticks=4)
        ax.minorticks_off()
    ax.set_ylabel("answers", fontsize=TEXT)
