"""What decides the result of a benchmark run."""

from dataclasses import asdict, dataclass, fields

from keras_ordseg._checks import ArgumentError
from keras_ordseg.benchmark._kinds import checked
from keras_ordseg.benchmark.methods import AFTER, METHODS, TARGETS, select
from keras_ordseg.layers.links import LINKS
from keras_ordseg.models.decoders import DECODERS

_DECODERS = tuple(DECODERS)
_SEEDS = 2**31  # TensorFlow's and Keras' seeds of both kinds end there

TFDS = "tfds:"
_LEAST = {
    "epochs": 1,
    "batch_size": 1,
    "raters": 1,
    "band": 0,
    "resamples": 10,
    "size": 8,
    "images": 4,
    "train_images": 1,
    "train_raters": 1,
    "folds": 2,
    "split_seed": 0,
}
# Settings that a grid may vary from run to run, and what they are where the settings leave them open.
AXES = {
    "train_raters": lambda dataset: dataset["num_raters"],
    "train_images": lambda dataset: dataset["num_images"]["train"],
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run. The defaults make the demo on the embedded data.

    Args:
        data: Folder of images and masks, or a CSV file of them; `"tfds:NAME"` or `"tfds:NAME/CONFIG"` for a dataset of
            `keras_ordseg.datasets`, with its own splits; None for the embedded `ambiguous_shapes`.
        data_dir: Where prepared datasets are kept, see `datasets.prepare`.
        image, ratings: Patterns of the files in the folder, see `data.cases`.
        label, void, window: Values of a folder's masks that are a mark, values that mean "did not rate", and the two values
            of its images that become 0 and 1, see `data.cases`.
        outside: Whether files of a CSV may lie outside its folder.
        size: Side in pixels (64 by default for the embedded data); None keeps a folder's images.
        fit: `"crop"` (the centre, what is around it is cut away) or `"resize"`, how a folder's images come to `size`.
        methods: Keys of `benchmark.METHODS`, with variants as in `"hybrid(rps_weight=0.4):nested+temperature"`.
        seeds: One training of each method for each seed.
        epochs, batch_size, learning_rate: Adam with a cosine schedule down to 0, the same for all methods.
        decoder: A decoder of `OrdinalSegmenter`.
        filters: Channels of the small backbone, one for each scale.
        dropout: Rate before the head.
        augment: Flips, quarter turns, and a little brightness and contrast.
        images: At most so many images (whole groups, drawn with seed 0), of a prepared dataset in each split; for the
            embedded data how many to generate.
        raters: K of the embedded data.
        train_images: Train on at most so many images (whole groups, drawn with seed 0); None for all.
        train_raters: Train on the answers of so many raters of each image, drawn with seed 0, the others absent; None for
            all. Validation and test keep every answer.
        test_data: Another folder whose images, all of them, are the test set: what a shift does. Its raters may be fewer or
            more; None for a part of `data`.
        fractions: Shares of training, validation and test images; groups are never split.
        folds: None, or how many parts cross-validation makes of the groups: each image is then tested once, by models that
            have not seen its group, and `fractions` says how the images of the other parts are shared between training and
            validation. For sets too small to set a quarter aside.
        split_seed: Of the split.
        band: Pixels around any rater's mark that count as near.
        resamples: Bootstrap resamples of the test groups (patients) and of the seeds.
        citation: Of the data set, for the report.

    Raises:
        ArgumentError: For a value out of range, naming it.
    """

    data: str | None = None
    data_dir: str | None = None
    image: str = "*_image.png"
    ratings: str = "*_rater{r}.png"
    label: tuple[int, ...] | None = None
    void: tuple[int, ...] | None = None
    window: tuple[float | str, ...] | None = None
    outside: bool = False
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
    folds: int | None = None
    split_seed: int = 0
    band: int = 5
    resamples: int = 1000
    citation: str | None = None

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), field.type))
        object.__setattr__(self, "methods", tuple(method.key for method in select(self.methods)))
        if any(key.endswith("+ensemble") for key in self.methods) and len(self.seeds) < 2:
            raise ArgumentError("seeds", "two or more for an ensemble", f"{self.seeds}")
        for name, low in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ArgumentError(name, f"a whole number of at least {low}", f"{value!r}")
        if not self.filters or min(self.filters) < 1:
            raise ArgumentError("filters", "one whole number or more, each at least 1", f"{self.filters}")
        if self.fit not in ("crop", "resize"):
            raise ArgumentError("fit", "'crop' or 'resize'", f"{self.fit!r}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or not 0 <= min(self.seeds) <= max(self.seeds) < _SEEDS:
            raise ArgumentError("seeds", f"different whole numbers from 0 to {_SEEDS - 1}", f"{self.seeds}")
        if self.split_seed >= _SEEDS:
            raise ArgumentError("split_seed", f"a whole number from 0 to {_SEEDS - 1}", f"{self.split_seed}")
        if not 0 < self.learning_rate < 10:
            raise ArgumentError("learning_rate", "a number above 0 and below 10", f"{self.learning_rate}")
        if not 0 <= self.dropout < 1:
            raise ArgumentError("dropout", "a rate in [0, 1)", f"{self.dropout}")
        if self.decoder not in _DECODERS:
            raise ArgumentError("decoder", f"one of {_DECODERS}", f"{self.decoder!r}")
        if self.folds is not None and (self.test_data is not None or str(self.data).startswith(TFDS)):
            raise ArgumentError(
                "folds", "none with a test set of its own or a prepared dataset, which say what is tested", f"{self.folds}"
            )
        if len(self.fractions) != 3:
            raise ArgumentError("fractions", "three, for training, validation and test", f"{self.fractions}")

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


def describe_methods():
    """One line for each method, for the command line's help."""
    lines = [f"  {m.key:16s} {m.description}" for m in METHODS.values()]
    return "\n".join([*lines, "", *_GRAMMAR_HELP])
