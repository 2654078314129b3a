"""Every public layer and loss, as the contract tests build it, and what each gives: the same on every backend."""

import keras
import numpy as np

from keras_ordseg import layers, losses
from tests.tracing import made_ready

K = 4
JIT = keras.backend.backend() != "torch"  # torch.compile takes minutes for what XLA compiles in seconds
LINKS = ("softmax", "cumulative", "nested", "beta_binomial")
LEVELS = [0.7, 0.1, 0.1, 0.06, 0.04]

# each with arguments that make every term of it count
LOSSES = {
    "CoralLoss": lambda **kw: losses.CoralLoss(**kw),
    "EarthMoverLoss": lambda **kw: losses.EarthMoverLoss("thresholds", **kw),
    "FocalLoss": lambda **kw: losses.FocalLoss(1.5, readout=2, **kw),
    "LabelSmoothingCrossEntropy": lambda **kw: losses.LabelSmoothingCrossEntropy(0.2, **kw),
    "LevelCrossEntropy": lambda **kw: losses.LevelCrossEntropy(**kw),
    "MajorityCrossEntropy": lambda **kw: losses.MajorityCrossEntropy(**kw),
    "MarginLabelSmoothing": lambda **kw: losses.MarginLabelSmoothing(0.5, 0.3, **kw),
    "MarginalL1ACELoss": lambda **kw: losses.MarginalL1ACELoss(0.7, 5, readout="expected", **kw),
    "NeighborAwareCalibrationLoss": lambda **kw: losses.NeighborAwareCalibrationLoss(0.4, **kw),
    "OrdinalSegmentationLoss": lambda **kw: losses.OrdinalSegmentationLoss(**kw),
    "RankedProbabilityLoss": lambda **kw: losses.RankedProbabilityLoss(**kw),
    "SORDLoss": lambda **kw: losses.SORDLoss("absolute", 1.5, **kw),
    "SoftLabelCrossEntropy": lambda **kw: losses.SoftLabelCrossEntropy(**kw),
    "SpatiallyVaryingLabelSmoothing": lambda **kw: losses.SpatiallyVaryingLabelSmoothing(0.8, **kw),
}
HYBRIDS = {
    "expected_bce_dice": lambda: losses.OrdinalSegmentationLoss("expected", "bce_dice"),
    "quorum_dice": lambda: losses.OrdinalSegmentationLoss(3, "dice", level_weights=[1, 2, 3, 4, 5]),
    "focal_entropy": lambda: losses.OrdinalSegmentationLoss(
        "majority", losses.FocalLoss(), 0.5, ordinal=losses.LevelCrossEntropy(), binary_weight=2.0
    ),
    "keras_tversky": lambda: losses.OrdinalSegmentationLoss(binary=keras.losses.Tversky(alpha=0.3)),
}
LAYERS = {
    **{f"OrdinalHead {link}": (lambda link=link: layers.OrdinalHead(K, link, name=f"head_{link}")) for link in LINKS},
    **{
        f"OrdinalHead {link} prior": (lambda link=link: layers.OrdinalHead(K, link, LEVELS, name=f"prior_{link}"))
        for link in LINKS
    },
    "AgreementReadout": lambda: layers.AgreementReadout(3, "probability", name="readout"),
    "BilinearUpsampling": lambda: layers.BilinearUpsampling(2, name="up"),
    "TemperatureScaling": lambda: layers.TemperatureScaling(1.7, name="temperature"),
    "VectorScaling": lambda: layers.VectorScaling([1, 0.5, 2, 1, 1], [0, 0.1, -0.2, 0.3, 0], name="vector"),
    "IsotonicCalibration": lambda: layers.IsotonicCalibration([([0.1, 0.6, 0.9], [0.0, 0.5, 0.8])] * K, name="isotonic"),
}


def features(rng, spatial=(6, 4), channels=5):
    return rng.normal(size=(3, *spatial, channels)).astype("float32")


def all_ratings(rng, spatial=(6, 4)):
    """Two kinds of `y_true`: votes of a complete panel, and ratings in which raters and whole pixels are missing."""
    ratings = rng.integers(-1, 2, (3, *spatial, K)).astype("int8")
    ratings[0, 0] = -1
    return {"votes": rng.integers(0, K + 1, (3, *spatial)), "ratings": ratings}


def model_of_all(spatial=(6, 4), some=slice(None)):
    """One model with an output for each loss (or each of `some`), over every layer, compiled with every loss."""
    image = keras.Input((*spatial, 5), name="image")
    x = keras.layers.Dense(6, activation="relu")(image)
    heads = [LAYERS[f"OrdinalHead {link}"]() for link in LINKS]
    pool = keras.layers.AveragePooling1D if len(spatial) == 1 else keras.layers.AveragePooling2D
    small = LAYERS["BilinearUpsampling"]()(pool(2)(x))
    maps = [head(x + small) for head in heads]
    maps.append(layers.NestedLevels(name="inside")([maps[0], maps[2]]))
    for name in ("TemperatureScaling", "VectorScaling", "IsotonicCalibration"):
        maps.append(LAYERS[name]()(maps[1]))
    outputs, terms = {}, {}
    for index, (name, build) in list(enumerate({**LOSSES, **HYBRIDS}.items()))[some]:
        scale = keras.layers.Rescaling(1.0 + 0.1 * index, dtype="float32", name=name)  # one output of its own for each
        outputs[name], terms[name] = scale(maps[index % len(maps)]), build()
    outputs["readout"] = LAYERS["AgreementReadout"]()(maps[0])
    terms["readout"] = losses.MajorityCrossEntropy(from_logits=False, num_raters=K)
    return keras.Model(image, outputs), terms


def _prepared(flip, some=slice(None)):
    """The model of all with fixed weights, its losses, and inputs: every other loss reads ratings, the rest votes."""
    rng = np.random.default_rng(3)
    model, terms = model_of_all(some=some)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    x, kinds = features(rng), all_ratings(rng)
    y = {name: kinds["ratings" if (index + flip) % 2 else "votes"] for index, name in enumerate(terms)}
    return model, terms, x, y


def fit_of_all(policy="float32", jit_compile=True, epochs=1, flip=0, some=slice(None)):
    """History of `epochs` steps of all losses together under a precision policy."""
    keras.config.set_dtype_policy(policy)
    model, terms, x, y = _prepared(flip, some)
    model.compile(keras.optimizers.SGD(1e-3), terms, jit_compile=jit_compile and JIT)
    history = made_ready(model, x, y).fit(x, y, epochs=epochs, verbose=0, batch_size=3).history
    keras.config.set_dtype_policy("float32")
    return {name: [float(v) for v in values] for name, values in history.items()}


def losses_by_hand(flip=0, some=slice(None)):
    """What the first step's losses are, called one by one on the model's outputs."""
    model, terms, x, y = _prepared(flip, some)
    outputs = model(x)
    values = {name: loss(y[name], outputs[name]) for name, loss in terms.items()}
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in values.items()}


def check_training_steps(policy, jit_compile, flip, some=slice(None)):
    """Every layer and loss in one compiled step, with loss scaling under float16: finite, falling, and the eager values."""
    # float16 skips steps until its loss scale fits
    history = fit_of_all(policy, jit_compile, epochs=8, flip=flip, some=some)
    for name, value in losses_by_hand(flip, some).items():
        logged = history[f"{name}_loss"]
        assert np.isfinite(logged).all(), name
        rtol = 1e-5 if policy == "float32" else 0.05
        np.testing.assert_allclose(logged[0], value, rtol=rtol, err_msg=name)
    assert history["loss"][-1] < history["loss"][0]


def values():
    """A number for every layer, and for every loss with each kind of `y_true`, from a fixed seed."""
    rng = np.random.default_rng(7)
    out = {}
    x = features(rng)
    for name, build in LAYERS.items():
        layer = build()
        layer.build(x.shape)
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
        y = keras.ops.convert_to_numpy(keras.ops.softmax(layer(x), axis=-1) if "Head" in name else layer(x))
        out[name] = float((y * np.random.default_rng(1).normal(size=y.shape)).sum())
    z = (rng.normal(size=(3, 6, 4, K + 1)) * 3).astype("float32")
    binary = rng.normal(size=(3, 6, 4, 1)).astype("float32")
    weight = rng.random((3, 6, 4)).astype("float32")
    for kind, y in all_ratings(rng).items():
        for name, build in {**LOSSES, **HYBRIDS}.items():
            out[f"{name} {kind}"] = float(build()(y, z, weight))
        for name in BINARY:
            out[f"{name} {kind} binary"] = float(LOSSES[name](num_raters=K)(y, binary))
    return out


BINARY = [name for name in LOSSES if issubclass(getattr(losses, name), losses.baselines.ReadoutLoss)]
