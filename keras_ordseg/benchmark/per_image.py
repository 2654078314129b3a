"""Metrics of each image, and of any resample of the images, from one evaluation."""

import sys

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError


class PerImage:
    """Collects what every metric says of each image, so that tables and intervals need no second prediction.

    Besides its values it keeps the metric's sums of each image. The metric of several images together, or of a bootstrap
    resample, follows from the sum of their sums: the ECE of a resample is that of its pooled answers, as if they had been
    added to one `MultiRaterECE`, and not a mean of the images' own ECEs (which is far larger: few pixels of one image
    share a bin). See `bootstrap_interval`.

    Args:
        metrics: Dict `{name: metric}` of metrics of this package or others whose state adds up. They are copied.

    Raises:
        ValueError: For anything but a dict of metrics.

    >>> from keras_ordseg.metrics import MultiRaterECE
    >>> collected = PerImage({"ece": MultiRaterECE(from_logits=False)})
    >>> ratings = np.array([[[1, 1], [0, 0]], [[0, 1], [0, 0]]], "int8")           # two images, two pixels, two raters
    >>> collected.add(ratings, np.full((2, 2, 1), 0.5), groups=["anna", "ben"])
    >>> collected.table()["ece"].tolist(), collected.value("ece")
    ([0.0, 0.25], 0.125)
    """

    def __init__(self, metrics):
        if not isinstance(metrics, dict) or not metrics:
            raise ValueError(f"metrics: expected a dict {{name: metric}}; got {metrics!r}.")
        wrong = [name for name, metric in metrics.items() if not isinstance(metric, keras.metrics.Metric)]
        if wrong or {"id", "group"} & set(metrics):
            raise ValueError(
                "metrics: expected Keras metrics under names other than 'id' and 'group', such as "
                f"{{'ece': MultiRaterECE()}}. Received under {wrong or sorted({'id', 'group'} & set(metrics))}: "
                f"{[type(metrics[name]).__name__ for name in wrong] or 'a metric'}."
            )
        self._metrics = {name: type(m).from_config(m.get_config()) for name, m in metrics.items()}
        self._states = {name: [] for name in metrics}
        self._values = {name: [] for name in metrics}
        self._counted = {name: [] for name in metrics}
        self.ids, self.groups = [], []

    def __len__(self):
        return len(self.ids)

    def add(self, y_true, y_pred, sample_weight=None, ids=None, groups=None):
        """Adds a batch of images.

        Args:
            y_true: Votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`.
            y_pred: Level scores `(batch, *spatial, K+1)` or a binary score `(batch, *spatial, 1)`.
            sample_weight: None, or weights of shape `(batch,)` or `(batch, *spatial)`.
            ids: A name for each image. Default: its number, from 0.
            groups: The group of each image (patient), which a bootstrap never splits. Default: its id.

        Raises:
            ValueError: If lengths differ, or as the metrics do.
        """
        if isinstance(y_pred, dict):
            raise ValueError(
                "y_pred: expected the scores of one structure. Received a dict of outputs "
                f"{sorted(y_pred)}: collect each in a PerImage of its own."
            )
        count = len(y_pred)
        ids = range(len(self), len(self) + count) if ids is None else ids
        groups = ids if groups is None else groups
        given = {"y_true": y_true, "ids": ids, "groups": groups, "sample_weight": sample_weight}
        for argument, value in given.items():
            if value is not None and len(value) != count:
                raise ValueError(
                    f"{argument}: expected {count} entries, one for each image of y_pred; got {len(value)}."
                )
        found = []
        for i in range(count):
            one = slice(i, i + 1)
            weight = None if sample_weight is None else sample_weight[one]
            found.append({name: _of_one(m, y_true[one], y_pred[one], weight) for name, m in self._metrics.items()})
        for image in found:  # all of the batch, or after an error nothing
            for name, (state, value, counted) in image.items():
                self._states[name].append(state)
                self._values[name].append(value)
                self._counted[name].append(counted)
        self.ids += list(ids)
        self.groups += list(groups)

    def table(self):
        """A dict of columns, one entry for each image: `id`, `group`, and each metric as float64.

        An image without an answer that the metric looks at (nobody rated it, or not the one rater of
        `MultiRaterDice(rater=0)`) is NaN there; `numpy.nanmean` leaves it out, and `counted` says how many remain.
        """
        columns = {name: np.array(values, "float64") for name, values in self._values.items()}
        return {"id": np.array(self.ids), "group": np.array(self.groups), **columns}

    def counted(self, name):
        """Returns how many images have an answer that the metric of this name looks at; the others are NaN in `table`."""
        self._check_name(name)
        return sum(self._counted[name])

    def _check_name(self, name):
        if name not in self._metrics:
            raise ArgumentError("name", f"one of {sorted(self._metrics)}", repr(name))

    def value(self, name, weights=None):
        """A metric of all images together, as if they had been added to it one after another.

        Args:
            name: Name of the metric.
            weights: None, or how often each image counts, `(images,)`; or several such rows, `(rows, images)`.

        Returns:
            A float, or an array `(rows,)`; NaN where no image with an answer counts.

        Raises:
            ValueError: If there is no such metric or no image, or the metric's state does not add up.
        """
        self._check_name(name)
        if not len(self):
            raise ValueError("value: there are no images yet. Call add first.")
        metric, states = self._metrics[name], np.stack(self._states[name])
        if any(v.aggregation != "sum" for v in metric.variables):
            raise ValueError(
                f"name: the metric {name!r} ({type(metric).__name__}) is not made of sums over pixels or images, so that "
                "several images together do not follow from each. Use another metric, or the values of table()."
            )
        rows = np.ones((1, len(self))) if weights is None else np.atleast_2d(np.asarray(weights, "float64"))
        if rows.shape[1] != len(self):
            raise ValueError(f"weights: expected {len(self)} entries in a row. Received shape {rows.shape}.")
        answered = rows @ np.array(self._counted[name], "float64") > 0
        pairs = zip(rows, answered, strict=True)
        results = np.array([_result(metric, row @ states) if any_answer else np.nan for row, any_answer in pairs])
        return results if np.ndim(weights) == 2 else float(results[0])


def per_image(model, arrays, metrics, batch_size=8, progress=False):
    """Evaluates a model, or its predictions, image by image.

    Args:
        model: A Keras model with one output, or its predictions `(images, *spatial, K+1 or 1)`.
        arrays: A dict as `data.load` gives it: `ratings` `(images, *spatial, slots)`, `image` (for a model), and if there,
            `id` and `group`.
        metrics: Dict `{name: metric}`, see `PerImage`.
        batch_size: Images that the model predicts at a time, default 8.
        progress: Whether the images are counted on the standard error stream.

    Returns:
        A `PerImage`.

    Raises:
        ValueError: If `image` is missing where there is a model, lengths differ, or as `PerImage` and its metrics do.

    >>> from keras_ordseg.metrics import MultiRaterBrier
    >>> arrays = {"ratings": np.array([[[1, 0]], [[0, 0]]]), "group": ["anna", "ben"]}
    >>> per_image(np.zeros((2, 1, 1)), arrays, {"brier": MultiRaterBrier()}).table()["brier"].tolist()
    [0.25, 0.25]
    """
    if "ratings" not in arrays:
        raise ValueError(f"arrays: expected a dict with 'ratings', as data.load gives it; got {sorted(arrays)}.")
    is_model = hasattr(model, "predict_on_batch")
    if is_model and "image" not in arrays:
        raise ValueError(
            f"arrays: expected 'image', because a model is given to predict; got {sorted(arrays)}. Give the "
            "predictions in place of the model otherwise."
        )
    count = len(arrays["ratings"])
    names = [k for k in ("image" if is_model else None, "id", "group") if k in arrays]
    lengths = {k: len(arrays[k]) for k in names} | ({} if is_model else {"predictions": len(model)})
    if any(length != count for length in lengths.values()):
        raise ValueError(f"arrays: expected {count} entries of each, as there are ratings; got {lengths}.")
    collected = PerImage(metrics)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        y_pred = model.predict_on_batch(arrays["image"][part]) if is_model else model[part]
        labels = {f"{k}s": arrays[k][part] for k in ("id", "group") if k in arrays}
        collected.add(arrays["ratings"][part], y_pred, **labels)
        if progress:
            print(f"\rscoring image {part.stop} of {count}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    return collected


def _of_one(metric, y_true, y_pred, sample_weight):
    """State and value of a metric of one image, as NumPy, and whether it has an answer that counts there."""
    metric.reset_state()
    before = None if _answered(metric, y_true, y_pred, sample_weight) else _state(metric)
    metric.update_state(y_true, y_pred, sample_weight)
    state = _state(metric)
    if before is not None and np.array_equal(before, state):  # a metric of nothing says 0, the best or the worst there is
        return state, float("nan"), False
    return state, float(metric.result()), True


def _state(metric):
    return np.concatenate([np.asarray(keras.ops.convert_to_numpy(v), "float64").ravel() for v in metric.variables])


def _answered(metric, y_true, y_pred, sample_weight):
    """Whether the metric's raters, all or one, rated any pixel that has weight."""
    y_true = np.asarray(keras.ops.convert_to_numpy(y_true))
    rated = np.ones(y_true.shape, bool)
    if y_true.ndim == len(y_pred.shape):
        rater = getattr(metric, "rater", None)
        rated = y_true >= 0
        rated = (rated if rater is None else rated[..., rater : rater + 1]).any(-1)
    if sample_weight is None:
        return bool(rated.any())
    weight = np.asarray(keras.ops.convert_to_numpy(sample_weight))
    return bool((rated & (weight.reshape(weight.shape + (1,) * (rated.ndim - weight.ndim)) != 0)).any())


def _result(metric, state):
    start = 0
    for v in metric.variables:
        size = int(np.prod(v.shape))
        v.assign(keras.ops.cast(state[start : start + size].reshape(v.shape), v.dtype))
        start += size
    return float(metric.result())
