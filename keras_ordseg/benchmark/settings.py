"""What a benchmark run is made of: its settings, and the data set they name, read and split."""

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_ordseg import data, datasets, raters
from keras_ordseg.benchmark.methods import AFTER, METHODS, TARGETS, select
from keras_ordseg.layers.links import LINKS
from keras_ordseg.models.decoders import DECODERS

_DECODERS = tuple(DECODERS)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run. The defaults make the demo on the embedded data.

    Args:
        data: Folder of images and masks, or None for the embedded `ambiguous_shapes`.
        image, ratings: Patterns of the files in the folder, see `data.cases`.
        size: Side in pixels: centre crop of a folder's images (64 by default for the embedded data); None keeps them.
        fit: `"crop"` or `"resize"`, how a folder's images come to `size`.
        methods: Keys of `benchmark.METHODS`, with variants as in `"hybrid(rps_weight=0.4):nested+temperature"`.
        seeds: One training of each method for each seed.
        epochs, batch_size, learning_rate: Adam with a cosine schedule down to 0, the same for all methods.
        decoder: A decoder of `OrdinalSegmenter`.
        filters: Channels of the small backbone, one for each scale.
        dropout: Rate before the head.
        augment: Flips, quarter turns, and a little brightness and contrast.
        images: At most so many images (whole groups, drawn with seed 0); for the embedded data how many to generate.
        raters: K of the embedded data.
        train_images: Train on at most so many images (whole groups, drawn with seed 0); None for all.
        train_raters: Train on the answers of so many raters of each image, drawn with seed 0, the others absent; None for
            all. Validation and test keep every answer.
        test_data: Another folder whose images, all of them, are the test set: what a shift does. Its raters may be fewer or
            more; None for a part of `data`.
        fractions: Shares of training, validation and test images; groups are never split.
        split_seed: Of the split.
        band: Pixels around any rater's mark that count as near.
        resamples: Bootstrap resamples of the test groups.
        citation: Of the data set, for the report.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    data: str | None = None
    image: str = "*_image.png"
    ratings: str = "*_rater{r}.png"
    size: int | None = None
    fit: str = "crop"
    methods: tuple[str, ...] = ("majority_bce", "hybrid")
    seeds: tuple[int, ...] = (0,)
    epochs: int = 20
    batch_size: int = 8
    learning_rate: float = 5e-3
    decoder: str = "unet"
    filters: tuple[int, ...] = (8, 16, 32, 64)
    dropout: float = 0.1
    augment: bool = True
    images: int | None = None
    raters: int = 5
    train_images: int | None = None
    train_raters: int | None = None
    test_data: str | None = None
    fractions: tuple[float, ...] = (0.6, 0.15, 0.25)
    split_seed: int = 0
    band: int = 5
    resamples: int = 1000
    citation: str | None = None

    def __post_init__(self):
        for field in fields(self):
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        object.__setattr__(self, "methods", tuple(method.key for method in select(self.methods)))
        if any(key.endswith("+ensemble") for key in self.methods) and len(self.seeds) < 2:
            raise ValueError(f"seeds: an ensemble needs two or more. Received: {self.seeds}.")
        for name, low in (("epochs", 1), ("batch_size", 1), ("raters", 1), ("band", 0), ("resamples", 10)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < low:
                raise ValueError(
                    f"{name}: expected a whole number of at least {low}. Received: {getattr(self, name)}."
                )
        for name, low in (("size", 8), ("images", 4), ("train_images", 1), ("train_raters", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name}: expected at least {low}. Received: {value}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(
                f"seeds: expected different whole numbers of at least 0. Received: {self.seeds}."
            )
        if not 0 < self.learning_rate < 10:
            raise ValueError(
                f"learning_rate: expected a number above 0 and below 10. Received: {self.learning_rate}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a rate in [0, 1). Received: {self.dropout}.")
        if self.decoder not in _DECODERS:
            raise ValueError(f"decoder: expected one of {_DECODERS}. Received: {self.decoder!r}.")
        if len(self.fractions) != 3:
            raise ValueError(
                f"fractions: expected three, for training, validation and test. Received: {self.fractions}."
            )

    def as_dict(self):
        """The settings as JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


_GRAMMAR_HELP = (
    "variants, each part as needed, in this order:",
    "  loss(option=value)   an argument of the loss, such as hybrid(rps_weight=0.4) or rps(normalization=sum)",
    f"  loss:link            a head of another link: {', '.join(LINKS)}",
    f"  loss@target          trained on fused masks: {', '.join(TARGETS)}",
    f"  loss+after           on the trained models: {', '.join(AFTER)}",
)


class Prepared(NamedTuple):
    """The data of a run."""

    train: dict
    validation: dict
    test: dict
    info: dict  # for the report
    fingerprint: str  # of everything above: a resumed run must see the same
    notes: list


def prepare(settings: Settings, progress=True) -> Prepared:
    """Reads, checks and splits the data of a run.

    Raises:
        DataError: For anything wrong in the folder, naming the files.
        ValueError: If there are fewer groups than parts, or the size does not fit the network.
    """
    notes = []
    if settings.data is None:
        arrays = datasets.ambiguous_shapes(
            settings.images or 320, size=settings.size or 64, num_raters=settings.raters, seed=0
        )
        name, source = "AmbiguousShapes", "generated by keras_ordseg.datasets.ambiguous_shapes(seed=0)"
    else:
        cases = data.cases(settings.data, image=settings.image, ratings=settings.ratings)
        arrays = data.load(cases, size=settings.size, fit=settings.fit, progress=progress)
        name, source = Path(settings.data).resolve().name, "a folder of masks"
        if cases.num_absent:
            notes.append(
                f"{cases.num_absent} rater files are missing; those raters count as absent for those images."
            )
    if settings.data is not None and settings.images is not None:
        arrays = data.take(arrays, _subset(arrays["group"], settings.images))
    data.check_arrays(arrays)
    num_raters = arrays["ratings"].shape[-1]
    if num_raters == 1:
        notes.append(
            "There is one rater: levels are 0 and 1, and every method is an ordinary binary model (K = 1)."
        )
    stride = 2 ** (len(settings.filters) - 1)
    odd = [side for side in arrays["image"].shape[1:-1] if side % stride]
    if odd:
        shape = "×".join(map(str, arrays["image"].shape[1:-1]))
        raise ValueError(
            f"size: expected images whose sides are divisible by {stride}, the network's largest stride. The images "
            f"are {shape}. Pass --size, for example --size {max(odd[0] // stride, 1) * stride}."
        )
    parts = data.split(arrays["group"], settings.fractions, settings.split_seed)
    train, validation, test = (data.take(arrays, part) for part in parts)
    if settings.test_data is not None:
        test = _other_folder(settings, num_raters, arrays["image"].shape[1:], progress)
    if settings.train_images is not None:
        train = data.take(train, _subset(train["group"], settings.train_images))
    if settings.train_raters is not None:
        train = {**train, "ratings": _fewer_raters(train["ratings"], settings.train_raters)}
    digest = hashlib.sha256()
    for key in ("image", "ratings", "id"):
        for part in (train, validation, test):
            digest.update(np.ascontiguousarray(part[key]).tobytes())
    statistics = raters.agreement(arrays["ratings"])
    named = {"train": train, "validation": validation, "test": test}
    info = {
        "name": name,
        "source": source,
        "num_raters": num_raters,
        "num_images": {k: len(v["image"]) for k, v in named.items()},
        "num_groups": {k: len(np.unique(v["group"])) for k, v in named.items()},
        "image_shape": list(arrays["image"].shape[1:]),
        "level_frequencies": [float(x) for x in data.level_frequencies(train["ratings"])],
        "statistics": {
            "mean pairwise Dice": statistics["pairwise_dice"],
            "disputed share of all pixels": statistics["disputed"],
            "disputed share of marked pixels": statistics["disputed_of_marked"],
            "Fleiss' kappa": statistics["fleiss_kappa"],
        },
        "citation": settings.citation,
    }
    return Prepared(train, validation, test, info, digest.hexdigest(), notes)


def _other_folder(settings, num_raters, shape, progress):
    """All images of `test_data`, read as those of `data`, with as many rater slots as the model has levels for."""
    cases = data.cases(settings.test_data, image=settings.image, ratings=settings.ratings)
    arrays = data.load(cases, size=settings.size, fit=settings.fit, progress=progress)
    data.check_arrays(arrays)
    if arrays["image"].shape[1:] != shape:
        raise ValueError(
            f"test_data: expected images of {shape}, as in data. Received {arrays['image'].shape[1:]}; give a size."
        )
    missing = num_raters - arrays["ratings"].shape[-1]
    if missing < 0:
        raise ValueError(
            f"test_data: expected at most {num_raters} raters, as in data. Received {arrays['ratings'].shape[-1]}."
        )
    ratings = np.pad(arrays["ratings"], [(0, 0)] * (arrays["ratings"].ndim - 1) + [(0, missing)], constant_values=-1)
    return {**arrays, "ratings": ratings}


def _fewer_raters(ratings, count):
    """The ratings with all but `count` of the raters present in each image absent, drawn in a fixed way."""
    present = (ratings >= 0).any(axis=tuple(range(1, ratings.ndim - 1)))
    order = np.random.default_rng(0).random(present.shape) + ~present
    kept = order.argsort(-1).argsort(-1) < count
    return np.where(kept.reshape(len(kept), *[1] * (ratings.ndim - 2), -1), ratings, -1).astype(ratings.dtype)


def _subset(groups, count):
    """Whole groups, drawn in a fixed order, until `count` images are there."""
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    enough = np.searchsorted(np.cumsum(sizes[order]), count, side="right") + 1
    return np.flatnonzero(np.isin(groups, names[order[:enough]]))[:count]


def describe_methods():
    """One line for each method, for the command line's help."""
    lines = [f"  {m.key:16s} {m.description}" for m in METHODS.values()]
    return "\n".join([*lines, "", *_GRAMMAR_HELP])
