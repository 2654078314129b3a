"""What the figures share: a figure outside pyplot's global state, colours, checks of arguments."""

import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours that stand out on white, the most different first; told apart with every common
# colour blindness. Lines carry a marker of their own as well, for print in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# The same family for lines on an image, which may be dark or light.
CONTOURS = ("#56B4E9", "#E69F00", "#00C795", "#F0E442", "#FF8AD8", "#FF5A36", "#2F8BFF")
GREY = "#5A5A5A"
TEXT, SMALL = 9, 8


class OrdsegFigure(Figure):
    """A `matplotlib.figure.Figure` that a notebook shows without pyplot or `%matplotlib inline`."""

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def new_figure(width, height, layout="constrained"):
    """An empty figure of `width` × `height` inches; by default matplotlib keeps its parts apart."""
    return OrdsegFigure(figsize=(width, height), dpi=150, layout=layout)


def figure_of(ax):
    """The figure that holds `ax`, also when it sits in a subfigure."""
    figure = ax.figure
    while getattr(figure, "figure", figure) is not figure:
        figure = figure.figure
    return figure


def axes_grid(axes, shape, width, height, title):
    """Returns `(figure, axes of this shape)`: the caller's axes, checked, or those of a new figure."""
    if axes is None:
        figure = new_figure(width, height)
        grid = figure.subplots(*shape, squeeze=False)
        if title is not None:
            figure.suptitle(plain(title), fontsize=TEXT + 2)
        return figure, grid
    found = np.array([axes] if isinstance(axes, Axes) else axes, dtype=object)
    if found.size != shape[0] * shape[1] or not all(isinstance(ax, Axes) for ax in found.ravel()):
        expected = " × ".join(str(n) for n in shape)
        raise ValueError(
            f"`axes` must hold {expected} matplotlib Axes for this figure, it holds {found.size} objects. "
            "Make them with `figure.subplots(...)`, or leave `axes` out."
        )
    grid = found.reshape(shape)
    for ax in grid.ravel():
        ax.set_title("")
    if title is not None:
        grid[0, 0].set_title(plain(title), fontsize=TEXT + 1)
    return figure_of(grid[0, 0]), grid


def tidy(ax):
    """Small ticks, no box on the right and above, a faint grid behind the data."""
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def add_title(ax, text):
    """Sets the title of a panel, below the caller's where one stands there already."""
    above = ax.get_title()
    ax.set_title(f"{above}\n{text}" if above else text, fontsize=SMALL + 0.5, linespacing=1.25)


def plain(text):
    """`text` as it stands: a dollar sign starts no formula."""
    return str(text).replace("$", r"\$")


def method_colors(labels, colors=None):
    """Returns `{label: colour}`: the palette in the order of the labels, `colors` where it names one."""
    if len(labels) > len(PALETTE):
        raise ValueError(
            f"One figure holds at most {len(PALETTE)} methods that can still be told apart, "
            f"{len(labels)} came. Draw several figures."
        )
    colors = colors or {}
    unknown = [label for label in colors if label not in labels]
    if unknown:
        raise ValueError(f"`colors` names {unknown}, which is none of the labels {list(labels)}.")
    return {label: colors.get(label, PALETTE[i]) for i, label in enumerate(labels)}


def rater_colors(num_raters):
    """One colour for each rater, distinct on dark and light images."""
    if num_raters <= len(CONTOURS):
        return list(CONTOURS[:num_raters])
    return [tuple(c) for c in matplotlib.colormaps["turbo"](np.linspace(0.08, 0.95, num_raters))]


def as_image(image, name="image"):
    """`(H, W)`, `(H, W, 1)` or `(H, W, 3)` in [0, 1], as float64 ready for `imshow`; raises ValueError."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] == 3):
        raise ValueError(f"`{name}` must have shape (H, W), (H, W, 1) or (H, W, 3), it has {image.shape}.")
    image = image.astype("float64")
    if not np.all(np.isfinite(image)):
        raise ValueError(f"`{name}` holds NaN or infinite values.")
    if image.size and (image.min() < -1e-3 or image.max() > 1 + 1e-3):
        raise ValueError(
            f"`{name}` must lie in [0, 1], it spans {image.min():g} to {image.max():g}. "
            "Divide an 8-bit image by 255."
        )
    return np.clip(image, 0.0, 1.0)


def show_image(ax, image):
    """Draws an image in [0, 1] without ticks; returns the artist."""
    ax.set_xticks([])
    ax.set_yticks([])
    return ax.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
