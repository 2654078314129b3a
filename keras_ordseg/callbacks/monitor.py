"""Pictures of the validation images while a model trains."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from keras_ordseg.callbacks._pictures import Pictures
from keras_ordseg.metrics import MultiRaterECE
from keras_ordseg.ops import readout_probability
from keras_ordseg.ops.checks import check_count


class AgreementMonitor(keras.callbacks.Callback):
    """Draws, at the end of epochs, the reliability diagram and agreement maps of validation images.

    The reliability diagram is over all images given, for the expected and the majority read-out of a model with levels,
    or the one output of a binary model. The agreement maps show a few of the images with every rater's contour, the mean
    vote and the same read-outs. Both go into a folder as PNG files (`reliability_epoch0001.png`,
    `agreement_epoch0001.png`; each appears whole or not at all), into TensorBoard, or both.

    Every drawing predicts all images once; give fewer (`data.take`), or a larger `every`, where that takes too long. A
    picture that cannot be written is a warning and not the end of the training.

    Args:
        validation: A dict of `"image"` `(N, *spatial, C)` and `"ratings"` `(N, *spatial, K)`, as `data.load` returns it
            and `data.take` selects from; `"id"` names the rows. Two or three spatial axes; of a volume the slice with the
            most marks along the first one is drawn. A model with several structures may have a dict
            `{structure: ratings}`.
        folder: Folder for PNG files, made where it does not exist. Default None: no files.
        log_dir: TensorBoard's folder, which may be that of `keras.callbacks.TensorBoard`; the pictures are its run
            `agreement`, at the steps of Keras' own callback (the first epoch is 0). Needs the `tensorboard` package, not
            TensorFlow. Default None: nothing for TensorBoard.
        every: Draw every so many epochs, default 1.
        images: Number of images whose maps are drawn, spread evenly over those that anybody marks; or a list of rows.
            Default 4.
        structure: The output to look at, needed when the model's output is a dict. Default None.
        from_logits: Whether the model puts out logits (default) or probabilities.
        num_bins: Bins of the diagram, default 15.
        batch_size: Images predicted at a time, default 16.

    Raises:
        ValueError: For an argument out of range, data that `data.check_arrays` refuses (a `DataError`), and, when
            training starts, for a model whose output does not fit.
        ImportError: If `log_dir` is given and `tensorboard` is not installed.

    >>> import os
    >>> from keras_ordseg import data, datasets, losses, models
    >>> arrays = datasets.ambiguous_shapes(8, num_raters=3, size=16, seed=0)
    >>> model = models.OrdinalSegmenter(models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> model.compile("adam", losses.OrdinalSegmentationLoss())
    >>> monitor = AgreementMonitor(arrays, folder="pictures", every=2, images=2)
    >>> history = model.fit(arrays["image"], arrays["ratings"], epochs=2, verbose=0, callbacks=[monitor])
    >>> sorted(os.listdir("pictures"))
    ['agreement_epoch0002.png', 'reliability_epoch0002.png']
    """

    def __init__(
        self,
        validation,
        folder=None,
        log_dir=None,
        every=1,
        images=4,
        structure=None,
        from_logits=True,
        num_bins=15,
        batch_size=16,
    ):
        super().__init__()
        if folder is None and log_dir is None:
            raise ValueError(
                "folder, log_dir: expected where the pictures go, a folder for PNG files, a TensorBoard folder or both. "
                "Received neither."
            )
        self._pictures = Pictures(folder, log_dir, structure)
        self.every = check_count(every, "every")
        self.structure = structure
        self.from_logits = bool(from_logits)
        self.num_bins = check_count(num_bins, "num_bins")
        self.batch_size = check_count(batch_size, "batch_size")
        self._arrays = _checked(validation, structure)
        self._rows = _chosen(images, self._arrays["ratings"])
        self._eces = None

    def on_train_begin(self, logs=None):
        self._look(min(self.batch_size, len(self._arrays["image"])))  # what does not fit is found before any step

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        from keras_ordseg import plots

        reliability, maps = self._look(len(self._arrays["image"]))
        title = f"{f'{self.structure}, ' if self.structure else ''}epoch {epoch + 1}"
        one = next(iter(reliability.values())) if len(reliability) == 1 else reliability
        pictures, ratings = zip(*(self._drawn(row) for row in self._rows), strict=True)
        names = self._arrays.get("id", np.arange(len(self._arrays["image"])))
        self._pictures.write("reliability", plots.reliability_diagram(one, title=title), epoch)
        figure = plots.agreement_map(
            list(pictures),
            list(ratings),
            [maps[row] for row in self._rows],
            row_titles=[str(names[row]) for row in self._rows],
            title=title,
            counts=bool(np.any(self._arrays.get("anonymous", False))),
        )
        self._pictures.write("agreement", figure, epoch)

    def on_train_end(self, logs=None):
        self._pictures.close()

    def _look(self, stop):
        """`({label: reliability}, {row: {label: map}})` of the first `stop` images."""
        maps = {}
        for metric in (self._eces or {}).values():
            metric.reset_state()
        for start in range(0, stop, self.batch_size):
            here = range(start, min(start + self.batch_size, stop))
            y_pred = self._predict(self._arrays["image"][start : here.stop])
            if self._eces is None:
                labels = ("expected", "majority") if y_pred.shape[-1] > 1 else ("expected",)
                options = {"num_bins": self.num_bins, "from_logits": self.from_logits}
                self._eces = {f"{label} read-out": MultiRaterECE(label, **options) for label in labels}
            for metric in self._eces.values():
                metric.update_state(self._arrays["ratings"][start : here.stop], y_pred)
            for row in set(self._rows).intersection(here):
                part = y_pred[row - start]
                part = part[self._slice(row)] if part.ndim == 4 else part
                maps[row] = {
                    label: ops.convert_to_numpy(readout_probability(part, metric.readout, self.from_logits))
                    for label, metric in self._eces.items()
                }
        return {label: metric.reliability() for label, metric in self._eces.items()}, maps

    def _predict(self, images):
        y_pred = self.model.predict(images, batch_size=self.batch_size, verbose=0)
        if isinstance(y_pred, dict):
            if self.structure not in y_pred:
                raise ValueError(
                    f"structure: expected one of the model's outputs {sorted(y_pred)}. Received: {self.structure!r}. "
                    "Give fit one AgreementMonitor for each structure to be drawn."
                )
            return y_pred[self.structure]
        if self.structure is not None or isinstance(y_pred, (list, tuple)):
            raise ValueError(
                f"structure: expected None and a model with one output, or a name and a model whose output is a dict. "
                f"Received: {self.structure!r}, and the model's output is a {type(y_pred).__name__}."
            )
        return y_pred

    def _slice(self, row):
        """The slice of a volume with the most marks."""
        return int(np.argmax(np.sum(self._arrays["ratings"][row] == 1, axis=(1, 2, 3))))

    def _drawn(self, row):
        """The image, of a volume one slice, as one channel or colours, and its ratings."""
        image, ratings = self._arrays["image"][row], self._arrays["ratings"][row]
        if image.ndim == 4:
            image, ratings = image[self._slice(row)], ratings[self._slice(row)]
        return image if image.shape[-1] == 3 else image[..., :1], ratings


def _checked(validation, structure):
    """The arrays as NumPy arrays, the ratings those of the structure."""
    from keras_ordseg import data

    if not isinstance(validation, Mapping):
        raise ValueError(
            "validation: expected a dict of 'image' and 'ratings', as data.load returns it. Received: "
            f"{type(validation).__name__}. Arrays of your own go in as {{'image': images, 'ratings': ratings}}."
        )
    arrays = {name: validation[name] for name in ("image", "ratings", "id") if name in validation}
    if isinstance(arrays.get("ratings"), Mapping):
        if structure not in arrays["ratings"]:
            raise ValueError(
                f"structure: expected one of {sorted(arrays['ratings'])}, the keys of validation['ratings']. "
                f"Received: {structure!r}."
            )
        arrays["ratings"] = arrays["ratings"][structure]
    data.check_arrays(arrays)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if arrays["image"].ndim not in (4, 5):
        raise ValueError(
            "validation: expected images with two or three spatial axes, (N, height, width, C) or (N, depth, height, "
            f"width, C). Received shape {arrays['image'].shape}."
        )
    return arrays


def _chosen(images, ratings):
    """The rows to draw."""
    if isinstance(images, (list, tuple, np.ndarray)):
        rows = [int(row) for row in images]
        if not rows or not all(0 <= row < len(ratings) for row in rows):
            raise ValueError(
                f"images: expected a number, or rows in 0..{len(ratings) - 1}. Received: {images!r}."
            )
        return rows
    marked = np.flatnonzero(np.any(ratings == 1, axis=tuple(range(1, ratings.ndim))))
    rows = marked if len(marked) else np.arange(len(ratings))
    count = min(check_count(images, "images"), len(rows))
    return [int(row) for row in rows[np.arange(count) * len(rows) // count]]
