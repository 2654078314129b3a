"""Tries every backbone and writes docs/backbones.md: where feature maps are found, and whether a segmenter on them works.

    python docs/backbones.py                 # all of them, and the page (needs keras-cv and keras-hub)
    python docs/backbones.py ResNet50 …      # only these, only printed

Weights are random, architectures are small where the library lets them be; presets have the same graphs.
"""

import importlib
import pathlib
import sys
import tempfile

import keras
import numpy as np

from keras_ordseg import losses, models

OUTPUT = pathlib.Path(__file__).parent / "backbones.md"
ANY, FIXED = (None, None, 3), (64, 64, 3)
EFFICIENT = {  # the first stages of B0
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5],
    "stackwise_num_repeats": [1, 1, 1, 1, 1],
    "stackwise_input_filters": [32, 16, 24, 32, 48],
    "stackwise_output_filters": [16, 24, 32, 48, 64],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 2],
}
SQUEEZE = {"stackwise_squeeze_and_excite_ratios": [0.25] * 5}
RESNET = {"stackwise_filters": [64, 64, 64, 64], "stackwise_blocks": [2] * 4, "stackwise_strides": [1, 2, 2, 2]}
WIDTHS = {"width_coefficient": 1.0, "depth_coefficient": 1.0}
MIT = {
    "num_layers": 4,
    "layerwise_sr_ratios": [8, 4, 2, 1],
    "layerwise_depths": [1] * 4,
    "layerwise_num_heads": [1, 2, 5, 8],
}
HGNET = [[16, 16, 32, 1, 3, 3], [32, 16, 32, 1, 3, 3], [32, 16, 64, 1, 3, 5], [64, 32, 64, 1, 3, 5]]
MOBILE = {
    "stackwise_expansion": [1, 4, 4, 4, 4],
    "stackwise_filters": [16, 24, 32, 40, 48],
    "stackwise_kernel_size": [3, 3, 5, 5, 5],
    "stackwise_stride": [2, 2, 2, 2, 1],
    "stackwise_se_ratio": [0.25, None, 0.25, 0.25, 0.25],
    "stackwise_activation": ["relu", "relu", "hard_swish", "hard_swish", "hard_swish"],
}


def _cv(name, **arguments):
    library = importlib.import_module("keras_cv")
    return getattr(library.models, name)(**{"include_rescaling": True, "input_shape": ANY, **arguments})


def _hub(name, **arguments):
    return getattr(importlib.import_module("keras_hub").models, name)(**arguments)


def _app(name, shape=ANY):
    return getattr(keras.applications, name)(include_top=False, weights=None, input_shape=shape)


def _hub_resnet(shape=ANY):
    return _hub(
        "ResNetBackbone",
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[2] * 4,
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=shape,
    )


def _hub_mit():
    return _hub(
        "MiTBackbone",
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        hidden_dims=[32, 64, 160, 256],
        image_shape=FIXED,
        **MIT,
    )


def _own_encoder():
    image = x = keras.Input(ANY)
    for width in (8, 16, 32):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = keras.layers.Add()([x, keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)])
    return keras.Model(image, x, name="encoder")


BACKBONES = {
    "own": {
        "small_backbone": lambda: models.small_backbone(ANY, (8, 16)),
        "a functional encoder of one output": _own_encoder,
    },
    "keras-cv": {
        "ResNetBackbone": lambda: _cv("ResNetBackbone", block_type="basic_block", **RESNET),
        "ResNetV2Backbone": lambda: _cv("ResNetV2Backbone", block_type="basic_block", **RESNET),
        "DenseNetBackbone": lambda: _cv("DenseNetBackbone", stackwise_num_repeats=[2, 2, 2, 2]),
        "CSPDarkNetBackbone": lambda: _cv(
            "CSPDarkNetBackbone", stackwise_channels=[16, 32, 64, 128], stackwise_depth=[1, 1, 1, 1]
        ),
        "EfficientNetV1Backbone": lambda: _cv("EfficientNetV1Backbone", **WIDTHS, **EFFICIENT, **SQUEEZE),
        "EfficientNetLiteBackbone": lambda: _cv("EfficientNetLiteBackbone", **WIDTHS, **EFFICIENT),
        "EfficientNetV2Backbone": lambda: _cv(
            "EfficientNetV2Backbone", stackwise_conv_types=["fused"] * 2 + ["unfused"] * 3, **WIDTHS, **EFFICIENT, **SQUEEZE
        ),
        "MobileNetV3Backbone": lambda: _cv("MobileNetV3Backbone", **MOBILE),
        "MiTBackbone": lambda: _cv(
            "MiTBackbone", depths=[1, 1, 1, 1], embedding_dims=[32, 64, 160, 256], input_shape=FIXED
        ),
        "VGG16Backbone": lambda: _cv("VGG16Backbone", include_top=False),
        "YOLOV8Backbone": lambda: _cv(
            "YOLOV8Backbone", stackwise_channels=[16, 32, 64, 128], stackwise_depth=[1, 1, 1, 1], activation="swish"
        ),
        "ViTDetBackbone": lambda: _cv(
            "ViTDetBackbone", embed_dim=32, depth=2, mlp_dim=64, num_heads=2, out_chans=32, window_size=2,
            global_attention_indices=[1], input_shape=FIXED,
        ),
        "VideoSwinBackbone": lambda: _cv(
            "VideoSwinBackbone", embed_dim=24, depths=[1, 1], num_heads=[2, 2], window_size=[2, 2, 2],
            patch_size=[2, 2, 2], input_shape=(16, 32, 32, 3),
        ),
    },
    "keras-hub": {
        "ResNetBackbone": _hub_resnet,
        "DenseNetBackbone": lambda: _hub("DenseNetBackbone", stackwise_num_repeats=[2, 2, 2, 2]),
        "CSPNetBackbone": lambda: _hub(
            "CSPNetBackbone", stem_filters=32, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 1, 1, 1],
            stackwise_strides=[2, 2, 2, 2], stackwise_num_filters=[32, 64, 64, 128], stage_type="dark",
            block_type="dark_block", stem_padding="same",
        ),
        "EfficientNetBackbone": lambda: _hub(
            "EfficientNetBackbone", stackwise_width_coefficients=[1.0] * 5, stackwise_depth_coefficients=[1.0] * 5,
            stackwise_block_types=["v1"] * 5, stackwise_force_input_filters=[0] * 5, stackwise_nores_option=[False] * 5,
            **EFFICIENT, **SQUEEZE,
        ),
        "MiTBackbone": _hub_mit,
        "RetinaNetBackbone": lambda: _hub(
            "RetinaNetBackbone", image_encoder=_hub_resnet(), min_level=3, max_level=5, use_p5=False,
        ),
        "DINOV2Backbone": lambda: _hub(
            "DINOV2Backbone", patch_size=14, num_layers=2, hidden_dim=32, num_heads=2, intermediate_dim=64,
            image_shape=(56, 56, 3), position_embedding_shape=(56, 56, 3),
        ),
        "DINOV3Backbone": lambda: _hub(
            "DINOV3Backbone", patch_size=16, num_layers=2, hidden_dim=32, num_heads=2, intermediate_dim=64, image_shape=FIXED
        ),
        "VGGBackbone": lambda: _hub("VGGBackbone", stackwise_num_repeats=[1, 1, 1], stackwise_num_filters=[16, 32, 64]),
        "XceptionBackbone": lambda: _hub(
            "XceptionBackbone", stackwise_conv_filters=[[32, 64], [96, 96], [128, 128], [160, 160]],
            stackwise_pooling=[False, True, True, False]
        ),
        "HGNetV2Backbone": lambda: _hub(
            "HGNetV2Backbone", depths=[1, 1, 1, 1], embedding_size=16, hidden_sizes=[32, 32, 64, 64],
            stem_channels=[3, 16, 16], hidden_act="relu", use_learnable_affine_block=False,
            stackwise_stage_filters=HGNET, apply_downsample=[False, True, True, True],
            use_lightweight_conv_block=[False, False, True, True],
        ),
        "SwinTransformerBackbone": lambda: _hub(
            "SwinTransformerBackbone", image_shape=FIXED, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
        ),
        "ViTBackbone": lambda: _hub(
            "ViTBackbone", image_shape=FIXED, patch_size=16, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=64
        ),
    },
    "keras.applications": {
        name: lambda name=name: _app(name)
        for name in (
            "ResNet50", "ResNet50V2", "VGG16", "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0",
            "EfficientNetV2B0", "DenseNet121", "ConvNeXtTiny", "InceptionV3", "InceptionResNetV2", "Xception",
        )
    }
    | {"NASNetMobile": lambda: _app("NASNetMobile", (128, 128, 3))},
    "segmenters, by with_ordinal_head": {
        "keras_cv DeepLabV3Plus": lambda: importlib.import_module("keras_cv").models.DeepLabV3Plus(
            backbone=_cv("ResNetV2Backbone", block_type="basic_block", **RESNET), num_classes=2
        ),
        "keras_cv DeepLabV3Plus, built for one size": lambda: importlib.import_module("keras_cv").models.DeepLabV3Plus(
            backbone=_cv("ResNetV2Backbone", block_type="basic_block", input_shape=FIXED, **RESNET), num_classes=2
        ),
        "keras_cv SegFormer": lambda: importlib.import_module("keras_cv").models.SegFormer(
            backbone=BACKBONES["keras-cv"]["MiTBackbone"](), num_classes=2, projection_filters=32
        ),
        "keras_hub DeepLabV3ImageSegmenter": lambda: _hub(
            "DeepLabV3ImageSegmenter",
            backbone=_hub(
                "DeepLabV3Backbone", image_encoder=_hub_resnet(FIXED), low_level_feature_key="P2",
                spatial_pyramid_pooling_key="P5", upsampling_size=8, dilation_rates=[1, 2, 3], image_shape=FIXED,
            ),
            num_classes=2,
        ),
        "keras_hub SegFormerImageSegmenter": lambda: _hub(
            "SegFormerImageSegmenter",
            backbone=_hub("SegFormerBackbone", image_encoder=_hub_mit(), projection_filters=32),
            num_classes=2,
        ),
    },
}
_NOTES = {
    "segmenters, by with_ordinal_head": [
        "",
        "A segmenter's own layers stay: that of keras-cv enlarges by Keras' bilinear layer, which Keras 3.14 and 3.15",
        "cannot export for images of any size; built for one size it is exported.",
    ]
}
COLUMNS = ("strides", "input", "trains", "`.keras`", "serving, any size")


def attempt(build, existing=False):
    """One row: the strides found and what works, or a single text that says why there are none."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    given = build()
    try:
        build = models.with_ordinal_head if existing else models.OrdinalSegmenter
        model = build(given, 3, decoder_filters=8)
    except (TypeError, ValueError) as error:
        return {"strides": "none: " + _first_sentence(error)}
    shape = model.inputs[0].shape[1:]
    scaling = model.layers[1] if type(model.layers[1]).__name__ == "ImageScaling" else None
    row = {"strides": " ".join(map(str, model.strides)), "input": _scaled(scaling)}
    rng = np.random.default_rng(0)
    side = max(64, 2 * model.strides[-1], 96 if "inception" in given.name or given.name == "xception" else 0)
    x = rng.uniform(size=(2, *(side if s is None else s for s in shape[:-1]), 3)).astype("float32")
    model.compile("sgd", losses.OrdinalSegmentationLoss(), jit_compile=False)
    loss = model.fit(x, rng.integers(0, 4, x.shape[:-1]), verbose=0).history["loss"][0]
    row["trains"] = "yes" if np.isfinite(loss) else f"loss {loss}"
    expected = np.asarray(model(x[:1], training=False))
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
        row["`.keras`"] = _close(loaded(x[:1], training=False), expected)
        row["serving, any size"] = _served(model, folder, x, expected)
    return row


def _first_sentence(error):
    text = str(error).removeprefix("backbone: ").split("; ")[0].split(". ")[0]
    return text[:160]


def _scaled(scaling):
    if scaling is None:
        return "[0, 1]"
    if scaling.reverse_channels:
        return "caffe"
    return {255.0: "0-255", 2.0: "tf"}.get(scaling.scale if isinstance(scaling.scale, float) else None, "torch")


def _close(found, expected):
    difference = np.abs(np.asarray(found) - expected).max()
    return "yes" if difference <= 1e-4 * max(1, np.abs(expected).max()) else f"differs by {difference:.1g}"


def _served(model, folder, x, expected):
    """The exported graph against the model, at the size it was trained on and, where sizes are free, at another one."""
    import tensorflow as tf

    from keras_ordseg import serving

    try:
        version = serving.export(model, folder)
    except Exception as error:  # a library's own layers; the page shows what it said
        return "no: " + type(error).__name__
    graph = tf.saved_model.load(str(version)).signatures["serving_default"]
    levels = keras.ops.softmax(expected)
    found = _close(graph(image=tf.constant(x[:1]))["levels"], np.asarray(levels))
    if None not in model.inputs[0].shape[1:]:
        return found if found != "yes" else "fixed size"
    wide = np.concatenate([x[:1], x[1:]], axis=2)
    again = _close(graph(image=tf.constant(wide))["levels"], np.asarray(keras.ops.softmax(model(wide, training=False))))
    return found if found != "yes" else again


def main(names):
    lines = [
        "# Backbones tried",
        "",
        "Made by `docs/backbones.py`, which `tests/models/test_tried.py` holds against this page. Weights are random and",
        "most architectures small. *strides*: the feature maps that `models.feature_maps` finds. *input*: what",
        '`preprocessing="auto"` makes of images in [0, 1]. *trains*: one step of the paper\'s loss under the FPN decoder.',
        "*`.keras`*: saved, loaded, same output. *serving, any size*: exported, loaded without Keras, same output at two",
        "sizes; *fixed size* where the library's model itself takes only one.",
        "",
        '`"auto"` goes by the graph: a scaling that the model begins with, a layer or plain arithmetic, and the first',
        "layers of the models of `keras.applications`, which stay when a model is cut to feature maps, renamed, cloned or",
        "wrapped. A name tells nothing: an encoder of your own called `resnet50_own` is given images in [0, 1]. Where the",
        "first layers could be another network's (VGG cut before its third block, a segmenter under",
        "`with_ordinal_head`), a warning says what was assumed. A `.keras` file holds what `auto` came to; files of earlier",
        "releases keep what they were trained with.",
    ]
    for library, entries in BACKBONES.items():
        chosen = [name for name in entries if not names or name in names]
        if not chosen:
            continue
        lines += ["", f"## {library}", *_NOTES.get(library, []), "", "| model | " + " | ".join(COLUMNS) + " |"]
        lines.append("| --- " * (len(COLUMNS) + 1) + "|")
        for name in chosen:
            row = attempt(entries[name], existing=library.startswith("segmenters"))
            lines.append(f"| {name} | " + " | ".join(row.get(column, "") for column in COLUMNS) + " |")
            print(lines[-1], flush=True)
    if not names:
        OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
