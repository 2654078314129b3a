"""Batches for `fit` on any backend, from arrays or straight from the files, without TensorFlow."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_ordseg._checks import checked_integer
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._numpy_targets import targets_of
from keras_ordseg.data._reader import CaseReader
from keras_ordseg.data._sizes import check_size
from keras_ordseg.data._targets import check_method, fit_weights, warn_of
from keras_ordseg.data.arrays import case_problems, check_arrays, take
from keras_ordseg.data.batching import check_panel, checked_epochs, plan, steps_per_epoch
from keras_ordseg.data.readers import fitted, read_checked
from keras_ordseg.data.table import Cases
from keras_ordseg.raters._rules import ESTIMATED, present_raters


class PyDataset(keras.utils.PyDataset):
    """The batches of epochs `first_epoch`, …, `epochs - 1` as NumPy arrays, for JAX, torch and TensorFlow alike.

    The counterpart of `batches`, with the same methods, order and random raters for a seed. Every batch is a
    function of its number alone, so a run that stopped continues exactly:

    ```python
    train = data.PyDataset(cases, 8, epochs=20, first_epoch=start)
    steps = data.steps_per_epoch(cases, 8)
    model.fit(train, steps_per_epoch=steps, epochs=20, initial_epoch=start, shuffle=False)
    ```

    From a table of cases the files are read batch by batch, and the memory holds only the batches at hand: for
    volumes, their slices or patches. All files are read and checked once before.

    Args:
        source: arrays as `load` returns them, or `Cases`.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        method: the target, see `fuse`. Soft targets have sample weights when a pixel may have no answer.
        shuffle: whether every epoch has its own order.
        augment: a function `(image, ratings, seed) -> (image, ratings)` of one example, which draws from `seed`, two
            integers, alone: one of NumPy arrays, or `Augmentation`, which needs TensorFlow.
            On the accelerator, `layers.RatingsAugmentation` does without.
        seed: 0 or above, of any size.
        epochs: number of the last epoch, plus 1.
        first_epoch: number of the first epoch.
        size, fit: of images read from `Cases`, see `load`.
        ahead: batches that threads read or make while the model trains.
        progress: whether the check of the files counts on the standard error stream.
        **options: of `method`, see `fuse`.

    Raises:
        DataError: see `check` and `check_arrays`; absent raters with `method="votes"`; `"random"` where only votes
            are known.
        ValueError: another method, size or number of epochs.

    >>> from keras_ordseg import data, datasets
    >>> arrays = datasets.ambiguous_shapes(5, size=16, num_raters=3)
    >>> batches = data.PyDataset(arrays, batch_size=2, method="votes")
    >>> len(batches), [targets.shape for _, targets in batches]
    (3, [(2, 16, 16), (2, 16, 16), (1, 16, 16)])
    """

    def __init__(
        self,
        source: Mapping[str, np.ndarray] | Cases,
        batch_size: int,
        method: str | int = "ratings",
        shuffle: bool = True,
        augment=None,
        seed: int = 0,
        epochs: int = 1,
        first_epoch: int = 0,
        size=None,
        fit: str = "crop",
        ahead: int = 2,
        progress: bool = False,
        **options,
    ):
        super().__init__()
        if not isinstance(source, Cases):
            check_arrays(source)
        self.steps = steps_per_epoch(source, batch_size)
        seed, first_epoch, epochs = checked_epochs(seed, first_epoch, epochs)
        ahead = checked_integer("ahead", ahead)
        self.source, self.batch_size, self.method, self.augment = source, batch_size, method, augment
        self.seed, self.epochs, self.first_epoch = seed, range(first_epoch, epochs), first_epoch
        self.size, self.fit, self.options, self._limits = size, fit, options, {}
        voids = getattr(augment, "makes_voids", augment is not None)
        if isinstance(source, Cases):
            check_size(size, fit)
            check_method(method, source.num_raters, options)
            present, self.weighted, self.weights = self._survey(progress)
        else:
            ratings = np.asarray(source["ratings"], np.int8)
            check_method(method, ratings.shape[-1], options)
            check_panel(method, source, ratings, augment)
            present, self.weighted = present_raters(ratings), bool((ratings.max(axis=-1) < 0).any())
            estimates = method in ESTIMATED
            fits = [fit_weights(ratings, method, progress=progress, **options)] if estimates else []
            self.weights = self._weights(fits)
        self.weighted = self.weighted or voids
        self.order, self.raters = plan(present, method, shuffle, seed, self.epochs)
        self.ahead, self._pool, self._coming = ahead, None, {}

    def __len__(self) -> int:
        return self.steps * len(self.epochs)

    def __getitem__(self, index: int):
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        if not self.ahead:
            return self._batch(index)
        self._pool = self._pool or ThreadPoolExecutor(self.ahead, thread_name_prefix="batches")
        wanted = range(index, min(index + 1 + self.ahead, len(self)))
        self._coming = {
            number: self._coming.get(number) or self._pool.submit(self._batch, number) for number in wanted
        }
        return self._coming[index].result()

    def _batch(self, index):
        epoch, step = divmod(index, self.steps)
        places = slice(step * self.batch_size, (step + 1) * self.batch_size)
        rows = self.order[epoch, places]
        images, ratings = self._read(rows)
        if self.method == "random":
            chosen = self.raters[epoch, places].reshape((-1,) + (1,) * (ratings.ndim - 1))
            ratings = np.take_along_axis(ratings, chosen, axis=-1)
        if self.augment is not None:
            pairs = []
            for row, image, marks in zip(rows, images, ratings, strict=True):
                state = np.random.SeedSequence([self.seed, self.epochs[epoch], int(row)])
                pairs.append(self.augment(image, marks, (state.generate_state(2) >> 1).astype(np.int32)))
            images, ratings = (np.stack([np.asarray(part) for part in parts]) for parts in zip(*pairs, strict=True))
        weights = None if self.weights is None else self.weights[rows]
        restrict = self.options.get("restrict")
        return images, *targets_of(ratings, self.method, self.weighted, weights, restrict)

    def _read(self, rows):
        if not isinstance(self.source, Cases):
            part = take({name: self.source[name] for name in ("image", "ratings")}, rows)
            return part["image"].astype(np.float32), part["ratings"].astype(np.int8)
        cases = self.source[rows]
        reader, read = CaseReader(cases, self._limits), []
        for case in cases:
            image, ratings, problems = reader.read(case)
            if problems:
                named = [problem.at(source.shown(cases.path)) for source, problem in problems]
                raise DataError.listing(named, cases.where)
            values = fitted(reader, case, image, ratings, self.size, self.fit)
            read.append((values["image"], values["ratings"]))
        images, ratings = zip(*read, strict=True)
        return np.stack(images), np.stack(ratings)

    def _survey(self, progress):
        """Read all cases once: who is present, whether a pixel may have no answer, and the fitted weights."""
        present, empty, fitted_to, problems = [], False, [], []
        read = read_checked(self.source, self.size, self.fit, progress, one_size=self.size is None)
        for case, values in zip(self.source, read, strict=True):  # to the end, where images of several sizes are named
            ratings = values["ratings"][None]
            found = [f"case {case.id}: {text}" for text in case_problems(values["image"], ratings)]
            try:
                arrays = {"id": [case.id], "anonymous": values.get("anonymous", False)}
                check_panel(self.method, arrays, ratings, self.augment)
            except DataError as error:
                found += error.problems or [f"case {case.id}: {error}"]
            problems += found
            present.append(present_raters(ratings)[0])
            empty = empty or bool((ratings.max(axis=-1) < 0).any())
            if self.method in ESTIMATED and not problems:
                fitted_to.append(fit_weights(ratings, self.method, **self.options))
        if problems:
            raise DataError.listing(problems, self.source.where)
        return np.array(present), empty, self._weights(fitted_to)

    def _weights(self, fitted_to):
        """The weights of all fits, once the fits are good."""
        if self.method not in ESTIMATED:
            return None
        weights, fits = zip(*fitted_to, strict=True)
        warn_of([fit for part in fits for fit in part], self.method)
        return np.concatenate(weights)
