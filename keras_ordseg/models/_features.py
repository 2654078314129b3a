"""What every decoder checks, and the width that none exceeds by default."""

WIDEST = 256  # filters; the width of the published pyramid and of DeepLab


def sorted_features(features):
    if not features:
        raise ValueError("features: expected at least one feature map {stride: KerasTensor}. Received none.")
    return dict(sorted(features.items()))


def check_filters(filters):
    if not isinstance(filters, int) or isinstance(filters, bool) or filters < 1:
        raise ValueError(
            f"decoder_filters: expected a positive int, or None for the default. Received: {filters!r}."
        )
