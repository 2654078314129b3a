"""The methods that a benchmark compares: what is trained on what, on the same network, and what is done after training."""

import inspect
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from keras_ordseg import data, raters
from keras_ordseg._checks import ArgumentError
from keras_ordseg.benchmark.catalogue import ENTRIES
from keras_ordseg.layers.links import LINKS
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter

TARGETS = ("ratings", "majority", "union", "intersection", "staple", "random")
AFTER = ("temperature", "vector", "isotonic", "ensemble")
_GRAMMAR = re.compile(r"(\w+)(?:\(([^()]*)\))?(?::(\w+))?(?:@(\w+))?(?:\+(\w+))?")


@dataclass(frozen=True)
class Method:
    """One way to train and to calibrate, as `select` reads it from a key such as `"hybrid(rps_weight=0.4):nested+isotonic"`.

    Args:
        base: Key of the loss, one of `METHODS`.
        options: Keyword arguments of the loss that differ from its defaults, as pairs.
        link: Link of the head, for losses of the levels.
        target: What the network is trained on: all ratings, a fused mask, or a random rater.
        after: What is done after training: a calibrator's method, `"ensemble"` or None.
    """

    base: str
    options: tuple = ()
    link: str = "softmax"
    target: str = "ratings"
    after: str | None = None

    @property
    def entry(self):
        return ENTRIES[self.base]

    @property
    def levels(self):
        """Whether the network puts out levels."""
        return self.entry.levels

    @property
    def key(self):
        """The key in its shortest form."""
        options = ",".join(f"{name}={value}" for name, value in self.options)
        parts = [self.base, f"({options})" if options else ""]
        parts.append(f":{self.link}" if self.link != "softmax" else "")
        parts.append(f"@{self.target}" if self.target != self.entry.target else "")
        parts.append(f"+{self.after}" if self.after else "")
        return "".join(parts)

    @property
    def folder(self):
        """The key as the name of a folder."""
        return re.sub(r"[^\w.=+@,-]", "_", self.key)

    @property
    def label(self):
        text = self.entry.label
        if self.options:
            text += f" ({', '.join(f'{name} {value}' for name, value in self.options)})"
        text += f", {self.link.replace('_', '-')} link" if self.link != "softmax" else ""
        text += f", on {self.target} masks" if self.target != self.entry.target else ""
        return text + (f" + {self.after}" if self.after else "")

    @property
    def description(self):
        text = self.entry.description
        if self.after == "ensemble":
            return f"{text} Level probabilities averaged over the seeds' models."
        return f"{text} Then {self.after} calibration on the validation images." if self.after else text

    @property
    def readout(self):
        """The readout that the loss trains, for the report."""
        if not self.levels:
            return "one probability"
        readout = getattr(self.loss(), "readout", None)
        if readout is None:
            return "the levels"
        return readout if isinstance(readout, str) else f"quorum {readout}"

    @property
    def trained(self):
        """The method without what is done after training."""
        return replace(self, after=None)

    def loss(self):
        return self.entry.loss(**dict(self.options))

    def seeds(self, seeds):
        """The seeds that this method has a result for: an ensemble of all has one."""
        return tuple(seeds[:1]) if self.after == "ensemble" else tuple(seeds)

    def build(self, network, levels, mean_vote):
        """The model, started at the prior of the training data.

        Args:
            network: Keyword arguments of `OrdinalSegmenter` and `BinarySegmenter` alike.
            levels: Level frequencies `(K+1,)`.
            mean_vote: Mean vote, in (0, 1).
        """
        if self.levels:
            return OrdinalSegmenter(num_raters=len(levels) - 1, link=self.link, initial_levels=levels, **network)
        return BinarySegmenter(initial_probability=mean_vote, **network)

    def training_arrays(self, arrays):
        """The training images with the ratings that this method may see: a fused mask is that of a single rater."""
        if self.target in ("ratings", "random"):
            return arrays
        fused = raters.fuse(arrays["ratings"], self.target)
        if self.target == "staple":
            fused = np.where(np.isnan(fused), -1, fused >= 0.5)
        return {**arrays, "ratings": fused.astype("int8")}

    def batches(self, arrays, *arguments, **options):
        """`data.batches` of `training_arrays`; a random rater is drawn there, anew in each epoch."""
        return data.batches(arrays, *arguments, method="random" if self.target == "random" else "ratings", **options)


METHODS = {key: Method(key, target=entry.target) for key, entry in ENTRIES.items()}


def select(keys) -> list[Method]:
    """The methods of these keys, in their order.

    A key is `loss`, followed by whatever differs from the default: `(option=value, …)` of the loss, `:link` of the head,
    `@target` that it is trained on, `+what` is done after training.

    Raises:
        ValueError: For an unknown, doubled or missing key, naming what is wrong with it.

    >>> [m.label for m in select(["hybrid", "soft_bce+temperature", "rps(normalization=sum):nested"])]
    ["Hybrid (the paper's)", 'Soft-label BCE + temperature', 'RPS alone (normalization sum), nested link']
    """
    methods = [_parse(str(key)) for key in keys]
    found = [method.key for method in methods]
    if not found or len({method.folder for method in methods}) != len(found):
        raise ArgumentError("methods", f"some of {', '.join(METHODS)}, each once", ", ".join(found) or "none")
    return methods


def cell_folder(output, method, seed, fold=None):
    """Where the result of a method, a seed and a fold of a cross-validation is in a run folder."""
    return Path(output) / "cells" / f"{method.folder}-seed{seed}{'' if fold is None else f'-fold{fold}'}"


def _parse(key):
    match = _GRAMMAR.fullmatch(key.replace(" ", ""))
    if match is None or match[1] not in ENTRIES:
        cut = key.count("(") != key.count(")")
        hint = ("in a YAML list, quotes keep together what has a comma in its brackets",) if cut else ()
        known = f"some of {', '.join(METHODS)}, as loss[(option=value)][:link][@target][+calibrator]"
        raise ArgumentError("methods", known, repr(key), *hint)
    base, options, link, target, after = match.groups()
    entry = ENTRIES[base]
    for name, value, known in (("link", link, LINKS), ("target", target, TARGETS), ("calibrator", after, AFTER)):
        if value is not None and value not in known:
            raise ArgumentError("methods", f"a {name} of {', '.join(known)}", f"{value!r} in {key!r}")
    if link is not None and not entry.levels:
        raise ArgumentError("methods", f"no link for {entry.label}, a binary output without levels", repr(key))
    method = Method(base, _options(key, options), link or "softmax", target or entry.target, after)
    try:
        method.loss()
    except ValueError as error:
        got = f"an error: {str(error).rstrip('.')}"
        raise ArgumentError("methods", f"options that the loss takes in {key!r}", got) from error
    except TypeError as error:
        known = inspect.signature(type(entry.loss())).parameters.values()
        names = ", ".join(p.name for p in known if p.kind is not p.VAR_KEYWORD)
        got = f"an error: {str(error).rstrip('.')}"
        raise ArgumentError("methods", f"options out of {names} in {key!r}", got) from error
    return method


def _options(key, text):
    pairs = []
    for part in (text or "").split(","):
        name, equals, value = part.partition("=")
        if part and not (name.isidentifier() and equals and value):
            raise ArgumentError("methods", f"option=value in the brackets of {key!r}", repr(part))
        if part:
            pairs.append((name, yaml.safe_load(value)))
    return tuple(pairs)
