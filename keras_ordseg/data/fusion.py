"""Several raters' masks to one target, over a `tf.data.Dataset`."""

import itertools
import sys

import numpy as np

from keras_ordseg._checks import checked_integer
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._targets import check_method, fit_weights, target_of, warn_of
from keras_ordseg.data.arrays import case_problems
from keras_ordseg.data.batching import seed_of_32_bits
from keras_ordseg.raters._rules import ESTIMATED


def fuse(
    dataset,
    method: str | int = "ratings",
    seed: int = 0,
    first_epoch: int = 0,
    check: bool = True,
    progress: bool = False,
    **options,
):
    """Turn a dataset of ratings into pairs for `fit`, with the rules of `raters.fuse`.

    | method | target of one case | pixels without an answer |
    | --- | --- | --- |
    | `"ratings"` | the ratings, int8 `(*spatial, K)` | -1 |
    | `"votes"` | votes, int32 `(*spatial,)`, for complete panels only | an error |
    | `"majority"`, `"union"`, `"intersection"`, an integer quorum | 1, 0, -1, int8 `(*spatial, 1)` | -1 |
    | `"soft"` | `v/n`, float32 `(*spatial, 1)`, as Keras' own losses take it | weight 0, see below |
    | `"staple"`, `"dawid_skene"` | probability of foreground, float32 `(*spatial, 1)` | weight 0, see below |
    | `"random"` | one rater's ratings, int8 `(*spatial, 1)`, one who rated this image | -1 |

    `"soft"`, `"staple"` and `"dawid_skene"` have a third element, the sample weight (float32 `(*spatial,)`, 1 where anyone
    rated), when any pixel of the dataset has no answer at all, or when that is not known because `check=False`.

    `"staple"` and `"dawid_skene"` are fitted once, now, to each case that the dataset gives; afterwards a case is
    found by its ratings, in any order. Whatever changes ratings (augmentation) comes after `fuse`, or use `batches`.

    `"random"` draws anew each time the dataset is iterated: a draw is a function of `seed`, the number of the
    iteration (from `first_epoch`) and the place of the case. `batches` goes further and makes shuffling and
    augmentation such functions too, which an exact resume needs.

    Args:
        dataset: a finite, unbatched `tf.data.Dataset` of dicts with `"image"`, `"ratings"`, perhaps `"id"`.
        method: one of the above.
        seed: of the draws of `"random"`; 0 or above, of any size.
        first_epoch: number of the first iteration, for `"random"`.
        check: whether to read the whole dataset once, now, and refuse NaN in images, values that are no
            ratings, and absent raters under `"votes"`, before training starts.
        progress: whether reading the dataset counts on the standard error stream.
        options: `prior`, `restrict` (None or `"disputed"`), `tolerance`, `max_iterations`, see `raters.fuse`.

    Returns:
        An unbatched dataset of `(image, target)`.

    Raises:
        DataError: what `check` finds; names the cases.
        ValueError: another method, or a dataset that is batched, infinite or without ratings.
        TypeError: an option that the method does not have.

    >>> from keras_ordseg import data, datasets
    >>> dataset = data.from_arrays(datasets.ambiguous_shapes(4, size=16, num_raters=3))
    >>> image, votes = next(data.fuse(dataset, "votes").batch(4).as_numpy_iterator())
    >>> image.shape, votes.shape, int(votes.max())
    ((4, 16, 16, 1), (4, 16, 16), 3)
    """
    import tensorflow as tf

    seed, first_epoch = checked_integer("seed", seed), checked_integer("first_epoch", first_epoch)
    num_cases = _check_dataset(dataset)
    check_method(method, dataset.element_spec["ratings"].shape[-1], options)
    weighted, weights_of = True, lambda ratings: None
    if check or method in ESTIMATED:
        weighted, keys, weights = _read(dataset, method, check, progress, options)
        weighted = weighted or not check
        if method in ESTIMATED:
            weights_of = _lookup(keys, weights)
    if method != "random":
        return dataset.map(
            lambda case: target_of(
                case["image"],
                case["ratings"],
                method,
                weighted,
                weights_of(case["ratings"]),
                options.get("restrict"),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    epochs = itertools.count(first_epoch)
    epoch = tf.data.Dataset.from_generator(
        lambda: iter([next(epochs)]), output_signature=tf.TensorSpec((), tf.int32)
    )
    drawn = epoch.flat_map(
        lambda epoch: dataset.enumerate().map(lambda i, case: _draw(tf, case, seed, epoch, i))
    )
    return drawn.apply(tf.data.experimental.assert_cardinality(num_cases)) if num_cases >= 0 else drawn


def _draw(tf, case, seed, epoch, index):
    ratings = case["ratings"]
    present = tf.reduce_any(tf.reshape(ratings, [-1, ratings.shape[-1]]) >= 0, axis=0)
    key = tf.random.fold_in(tf.stack([tf.constant(seed_of_32_bits(seed), tf.int32), epoch]), tf.cast(index, tf.int32))
    scores = tf.random.stateless_uniform(tf.shape(present), key)
    chosen = tf.argmax(tf.where(present, scores, -1.0))
    return case["image"], tf.gather(ratings, chosen[None], axis=-1)


def _check_dataset(dataset):
    """The number of cases (negative: unknown), once it is certain that these are unbatched ratings."""
    spec = getattr(dataset, "element_spec", None)
    if not isinstance(spec, dict) or not {"image", "ratings"} <= set(spec):
        raise ValueError(
            "dataset must be a tf.data.Dataset of dicts with 'image' and 'ratings', as from_folder gives"
        )
    image, ratings = spec["image"].shape, spec["ratings"].shape
    if image.rank != ratings.rank or ratings[-1] is None or ("id" in spec and spec["id"].shape.rank):
        raise ValueError(
            "dataset must be unbatched, with image (*spatial, C) and ratings (*spatial, K); "
            f"came {image} and {ratings}. Fuse first, then .batch()"
        )
    num_cases = int(dataset.cardinality())
    if num_cases == -1:
        raise ValueError("the dataset never ends; fuse it before .repeat()")
    return num_cases


def _read(dataset, method, check, progress, options):
    """Whether any pixel has no answer; and for fitted methods the key and the weights of every case.

    Raises for every case with bad values when they are to be checked.
    """
    problems, empty, number, keys, weights, fits = [], False, -1, [], [], []
    for number, case in enumerate(dataset.as_numpy_iterator()):
        name = np.asarray(case.get("id", number)).item()
        name = name.decode() if isinstance(name, bytes) else name
        found = case_problems(case["image"], case["ratings"]) if check else []
        if not found and method == "votes" and case["ratings"].min() < 0:
            found = ["a rater is absent, and method='votes' needs all; use method='ratings'"]
        if not found and method == "random" and np.any(case.get("anonymous", False)):
            found = ["only votes are known, and method='random' draws one rater; use method='soft'"]
        problems += [f"case {name}: {text}" for text in found]
        empty = empty or bool((case["ratings"].max(axis=-1) < 0).any())
        if method in ESTIMATED and not problems:
            row, fit = fit_weights(case["ratings"][None], method, **options)
            keys.append(_key(case["ratings"]))
            weights.append(row[0])
            fits += fit
        if progress:
            print(f"\rreading case {number + 1}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    if number < 0:
        raise DataError("the dataset is empty")
    if problems:
        raise DataError.listing(problems, "the dataset")
    if fits:
        warn_of(fits, method)
    return empty, keys, weights


def _key(ratings):
    """A number for the ratings of a case, the same eagerly and in a graph."""
    import tensorflow as tf

    return tf.strings.to_hash_bucket_fast(tf.io.serialize_tensor(ratings), 2**63 - 1)


def _lookup(keys, weights):
    """A function from the ratings of a case to its weights."""
    import tensorflow as tf

    rows = dict(zip((int(key) for key in keys), weights, strict=True))  # equal ratings have equal weights
    keys = tf.constant(list(rows), tf.int64)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(rows), dtype=tf.int64)), default_value=-1
    )
    values = tf.constant(np.stack(list(rows.values())))
    message = "ratings that were not there when data.fuse read the dataset: fuse before what changes them"

    def weights_of(ratings):
        row = table.lookup(_key(ratings))
        with tf.control_dependencies([tf.debugging.assert_non_negative(row, message=message)]):
            return tf.gather(values, row)

    return weights_of
