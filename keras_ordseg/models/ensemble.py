"""Several models, and several views of the image, as one model."""

import functools
import itertools
import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_ordseg.models._base import check_image
from keras_ordseg.models._inside import size_multiple
from keras_ordseg.models._outputs import logit_outputs, output_of
from keras_ordseg.models._structures import StructuredModel
from keras_ordseg.models.described import common_description
from keras_ordseg.ops.levels import as_float


@keras.saving.register_keras_serializable(package="keras_ordseg")
class Ensemble(StructuredModel):
    """Models that answer as one: the mean of their level probabilities, over mirrored views of the image as well.

    `z = log(mean_m softmax(z_m))`, by logsumexp and never out of log space: the output is level logits again, so that
    every loss and metric, `models.sliding_window_inference` and `serving.export` take an ensemble as they take a model.
    Averaging probabilities is asking a member drawn at random; the mean of logits would be another and sharper
    distribution, calibrated to nobody. Binary logits are averaged alike, `logit(mean_m sigmoid(z_m))`.

    Args:
        members: Functional Keras models of the same input and output, one or more: level logits
            `(batch, *spatial, K+1)`, a binary logit `(batch, *spatial, 1)`, or a dict of them by structure. They are
            kept, not copied; they may not share layers.
        flips: Test-time augmentation. `None` (default): the image as it is. `"all"`: every combination of mirrored
            axes, `2^spatial` views. Or the views beside the image itself, a list of spatial axes, counted from 0, or of
            tuples of them: `[0, 1, (0, 1)]`. Every member sees every view, and its answer is mirrored back. Only
            for images whose mirror image could occur: not where left and right differ, as the heart's do.
        name: Name of the model.
        trainable: `False` freezes all members. Default `True`.

    Input shape:
        `(batch, *spatial, channels)`, as the members take it; where some fix a side and others do not, it is fixed.

    Output shape:
        That of the members, float32 under every policy.

    Raises:
        TypeError: If a member is not a Keras model.
        ValueError: If there is no member, one is not functional or does not give logits, their inputs or outputs differ,
            two share layers, they were trained on images of different scale, or a flip names an axis that is not there.

    Reference: Lakshminarayanan, Pritzel and Blundell, *Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles*, NeurIPS 2017.

    >>> from keras_ordseg import models
    >>> members = [models.OrdinalSegmenter(models.small_backbone(filters=(4, 8)), num_raters=3) for _ in range(2)]
    >>> ensemble = Ensemble(members, flips="all")
    >>> ensemble.output_shape, len(ensemble.views)
    ((None, None, None, 4), 4)
    """

    def __init__(self, members, flips=None, name="ensemble", trainable=True):
        members = [members] if isinstance(members, keras.Model) else list(members)
        image = keras.Input(_common_shape(members), name="image")
        common_description(members, "members")
        views = flip_views(flips, len(image.shape) - 2)
        super().__init__(image, MeanOfMembers(members, views, name="mean_of_members")(image), name=name)
        self.flips = flips if flips is None or flips == "all" else [list(axes) for axes in views[1:]]
        self.views = views
        if not trainable:
            self.trainable = False

    @functools.cached_property
    def strides(self):
        """What every side of the image must be a multiple of, as the only one."""
        return (size_multiple(self) or 1,)

    @property
    def members(self):
        """The models, in their order."""
        return tuple(self.get_layer("mean_of_members").members)

    def predict(self, x, *args, **kwargs):
        if hasattr(x, "shape"):  # before a graph traced for any size meets it
            check_image(x.shape, self, self.strides[-1])
        return super().predict(x, *args, **kwargs)

    predict.__doc__ = keras.Model.predict.__doc__

    def get_config(self):
        return {"members": _serialized(self.members), "flips": self.flips, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return _with_members(cls, config, custom_objects)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MeanOfMembers(keras.layers.Layer):
    """The layer of an `Ensemble`: members need no names that differ, as layers of one graph would.

    Args:
        members: List of models.
        views: List of tuples of mirrored spatial axes.
        **kwargs: Keyword arguments of `keras.layers.Layer`.
    """

    def __init__(self, members, views=((),), **kwargs):
        kwargs.setdefault("dtype", "float32")  # each member has its own policy, and their mean none of half precision
        super().__init__(**kwargs)
        self.members = members
        self.views = [tuple(view) for view in views]

    def build(self, input_shape):
        self.built = True  # the members are

    def call(self, inputs, training=None):
        total = None
        for view in self.views:
            axes = tuple(axis + 1 for axis in view)
            seen = ops.flip(inputs, axis=axes) if axes else inputs
            for member in self.members:
                answer = keras.tree.map_structure(_log_probabilities, member(seen, training=training))
                if axes:
                    answer = keras.tree.map_structure(lambda x, axes=axes: ops.flip(x, axis=axes), answer)
                # added one by one, so that no more than two of them are held
                total = answer if total is None else keras.tree.map_structure(ops.logaddexp, total, answer)
        count = math.log(len(self.views) * len(self.members))
        return keras.tree.map_structure(lambda x, y: _logits(x, y, count), total, output_of(self.members[0]))

    def compute_output_spec(self, inputs, training=None):
        outputs = [output_of(member) for member in self.members]
        sides = tuple(inputs.shape[1:-1])
        if None not in sides:  # the strides of the members say whether the size comes back
            outputs = [member.compute_output_spec(inputs) for member in self.members]
            given = {tuple(x.shape[1:-1]) for x in keras.tree.flatten(outputs)}
            sides = next((each for each in given if each != sides), sides)  # one that loses pixels speaks for all

        def spec(tensor):
            return keras.KerasTensor((inputs.shape[0], *sides, tensor.shape[-1]), dtype="float32")

        return keras.tree.map_structure(spec, outputs[0])

    def get_config(self):
        return {**super().get_config(), "members": _serialized(self.members), "views": [list(view) for view in self.views]}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return _with_members(cls, config, custom_objects)


def _log_probabilities(logits):
    """Log probabilities of the levels; a binary logit has two, unmarked and marked."""
    z = as_float(logits)
    return ops.log_softmax(ops.concatenate([ops.zeros_like(z), z], axis=-1) if z.shape[-1] == 1 else z, axis=-1)


def _logits(total, output, count):
    """The mean's level logits, or its binary logit, from the sum of `exp(count)` distributions."""
    return total[..., 1:] - total[..., :1] if output.shape[-1] == 1 else total - count


def flip_views(flips, rank):
    """The views of an image as tuples of mirrored axes, the image itself first; a ValueError for what is no view."""
    axes = range(rank)
    if flips is None:
        return [()]
    if isinstance(flips, str) and flips == "all":
        return [view for size in range(rank + 1) for view in itertools.combinations(axes, size)]
    wrong = isinstance(flips, str) or not hasattr(flips, "__iter__")
    views = [] if wrong else [tuple(sorted(v if isinstance(v, Sequence) else (v,))) for v in flips]
    known = all(view and all(axis in axes for axis in view) and len(set(view)) == len(view) for view in views)
    if wrong or not known or len(set(views)) < len(views):
        raise ValueError(
            "flips: expected None, 'all', or a list of different views, each a spatial axis or a tuple of them out of "
            f"0..{rank - 1}, such as [0{', (0, 1)' if rank > 1 else ''}]; the image itself is always one. Received: "
            f"{flips!r}."
        )
    return [(), *(tuple(int(axis) for axis in view) for view in views)]


def _common_shape(members):
    """The shape of the image that all members take; an error where they do not agree."""
    if not members:
        raise ValueError("members: expected one model or more. Received none.")
    outputs = [logit_outputs(member, f"members[{index}]") for index, member in enumerate(members)]
    shapes = [tuple(member.inputs[0].shape[1:]) for member in members]
    sides = [{side for side in axis if side is not None} for axis in zip(*shapes, strict=False)]
    if len({len(shape) for shape in shapes}) > 1 or any(len(found) > 1 for found in sides):
        raise ValueError(
            f"members: expected models of the same image (*spatial, channels). Received {_listed(members, shapes)}."
        )
    kinds = [{name: tensor.shape[-1] for name, tensor in found.items()} for found in outputs]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError(
            "members: expected models of the same outputs, with the same number of raters K. Received "
            f"{_listed(members, map(_named_kinds, kinds))}."
        )
    seen = {}
    for index, member in enumerate(members):
        for variable in {id(variable): variable for variable in member.variables}.values():
            if seen.setdefault(id(variable), index) != index:
                raise ValueError(
                    f"members: expected models of their own weights. members[{seen[id(variable)]}] and members[{index}] "
                    f"share '{variable.path}', and a file of the ensemble could not be loaded again; load each from a file "
                    "of its own, or copy one with keras.models.clone_model and set_weights."
                )
    return [next(iter(found), None) for found in sides]


def _named_kinds(kinds):
    said = {name: "a binary logit" if size == 1 else f"K = {size - 1}" for name, size in kinds.items()}
    return said.get(None, said)


def _listed(members, what):
    pairs = enumerate(zip(members, what, strict=True))
    return "; ".join(f"members[{index}] '{member.name}': {text}" for index, (member, text) in pairs)


def _serialized(members):
    return [keras.saving.serialize_keras_object(member) for member in members]


def _with_members(cls, config, custom_objects):
    members = [keras.saving.deserialize_keras_object(x, custom_objects=custom_objects) for x in config["members"]]
    return cls(**{**config, "members": members})
