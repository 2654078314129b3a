"""Where each pixel of an augmented example comes from, and what is found there; 1-D, 2-D and 3-D alike.

Positions are lists with one float tensor for each axis, in pixels. TensorFlow only, for use inside `tf.data`.
"""

from itertools import combinations, product


def crop_start(ratings, size, foreground, seed):
    """The first pixel of a random window of `size`, int32 `(axes,)`.

    With probability `foreground` the window is centred on a pixel drawn from those that any rater marked, as near
    as the border allows; otherwise, and where nothing is marked, every place is as likely.
    """
    import tensorflow as tf

    axes = len(size)
    if any(have is not None and have < want for have, want in zip(ratings.shape, size, strict=False)):
        raise ValueError(
            f"crop must fit into the image, came crop={tuple(size)} and an image of {tuple(ratings.shape[:-1])}; "
            "make the crop smaller, or pad the images (the size argument of from_folder and load)"
        )
    room = tf.shape(ratings)[:-1] - size
    fits = tf.debugging.assert_non_negative(room, message="crop must fit into the image, and is larger")
    with tf.control_dependencies([fits]):
        draws = tf.random.stateless_uniform([axes + 2], seed)
        start = tf.minimum(tf.cast(draws[:axes] * tf.cast(room + 1, tf.float32), tf.int32), room)
    if not foreground:
        return start
    marked = tf.cast(tf.where(tf.reduce_any(tf.equal(ratings, 1), axis=-1)), tf.int32)
    count = tf.shape(marked)[0]
    place = tf.minimum(tf.cast(draws[axes] * tf.cast(count, tf.float32), tf.int32), count - 1)
    # one row more, so that there is something to take where nothing is marked
    centre = tf.concat([marked, tf.zeros([1, axes], tf.int32)], axis=0)[tf.maximum(place, 0)]
    around = tf.clip_by_value(centre - tf.constant(size) // 2, 0, room)
    return tf.where((draws[axes + 1] < foreground) & (count > 0), around, start)


def linear_map(angles, size, voxel):
    """The matrix from the offsets of output pixels to those of input pixels, `(axes, axes)`.

    `S⁻¹ · R · S / size`, with one rotation in `R` for each pair of axes and `S` the voxel sizes: the turn is a true
    one in millimetres. Positive angles turn the first axis of a pair towards the second.
    """
    import tensorflow as tf

    axes = len(voxel)
    matrix = tf.eye(axes) / size
    for (a, b), angle in zip(combinations(range(axes), 2), angles, strict=True):
        cos, sin = tf.cos(angle), tf.sin(angle)
        places = [[a, a], [a, b], [b, a], [b, b]]
        turn = tf.tensor_scatter_nd_update(tf.eye(axes), places, tf.stack([cos, sin, -sin, cos]))
        matrix = turn @ matrix
    voxel = tf.constant(voxel, tf.float32)
    return matrix * voxel / voxel[:, None]


def smooth_field(shape, amplitude, spacing, seed):
    """A random displacement for each axis: a cubic B-spline over control points `spacing` pixels apart.

    The control points are uniform in ±`amplitude`, which bounds the field, because the spline's weights are positive
    and add up to 1. Up to 0.4 of `spacing` it folds nothing (Choi & Lee, *Injectivity conditions of 2D and 3D uniform
    cubic B-spline functions*, Graphical Models 62, 2000: 1/2.05 of it in 2-D, 1/2.48 in 3-D).

    Returns:
        Float32 `(axes, *shape)`.
    """
    import tensorflow as tf

    places = [tf.range(tf.cast(side, tf.float32)) / spacing for side in shape]
    counts = [tf.cast(place[-1], tf.int32) + 4 for place in places]
    field = tf.random.stateless_uniform([*counts, len(shape)], seed, -amplitude, amplitude)
    for place, count in zip(places, counts, strict=True):
        far = tf.abs(place - (tf.range(tf.cast(count, tf.float32)) - 1)[:, None])
        near = (4 - 6 * far**2 + 3 * far**3) / 6
        weights = tf.where(far < 1, near, tf.nn.relu(2 - far) ** 3 / 6)
        field = tf.tensordot(field, weights, [[0], [0]])  # each axis leaves in front and comes back behind
    return field


def positions(shape, matrix, field, shift):
    """Input positions of the output pixels `i`: `matrix · (i + field - centre) + centre + shift`."""
    import tensorflow as tf

    centre = [(tf.cast(side, tf.float32) - 1) / 2 for side in shape]
    offsets = [
        tf.reshape(tf.range(tf.cast(side, tf.float32)) - middle, [-1] + [1] * (len(shape) - 1 - axis))
        for axis, (side, middle) in enumerate(zip(shape, centre, strict=True))
    ]
    if field is not None:
        offsets = [offset + field[axis] for axis, offset in enumerate(offsets)]
    zero = tf.zeros(shape)
    return [
        sum((matrix[a, b] * offset for b, offset in enumerate(offsets)), zero + centre[a] + shift[a])
        for a in range(len(shape))
    ]


def sample(image, ratings, where):
    """Image bilinear, 0 outside; ratings of the nearest pixel, -1 outside; over the leading axes of both.

    Returns:
        Image, ratings, and how much of each pixel comes from the image, 0 to 1, with trailing axes of 1.
    """
    import tensorflow as tf

    axes = len(where)
    sides = tf.unstack(tf.shape(ratings)[:axes])
    low = [tf.floor(place) for place in where]
    rest = [place - floor for place, floor in zip(where, low, strict=True)]
    low = [tf.cast(floor, tf.int32) for floor in low]

    def look_up(values, corner):
        """The values at whole positions (anything outside), and which of these are inside."""
        row, inside = 0, True
        for place, side in zip(corner, sides, strict=True):
            inside &= (place >= 0) & (place < side)
            row = row * side + tf.clip_by_value(place, 0, side - 1)
        flat = tf.reshape(values, tf.concat([[-1], tf.shape(values)[axes:]], axis=0))
        wide = [None] * (len(values.shape) - axes)
        return tf.gather(flat, row), inside[(..., *wide)]

    blend = seen = 0.0
    for steps in product((0, 1), repeat=axes):
        weight = 1.0
        for step, part in zip(steps, rest, strict=True):
            weight *= part if step else 1 - part
        found, inside = look_up(image, [floor + step for floor, step in zip(low, steps, strict=True)])
        weight = tf.where(inside, weight[(..., *[None] * (len(image.shape) - axes))], 0.0)
        blend, seen = blend + weight * found, seen + weight
    nearest = [floor + tf.cast(part >= 0.5, tf.int32) for floor, part in zip(low, rest, strict=True)]
    marks, inside = look_up(ratings, nearest)
    return blend, tf.where(inside, marks, -tf.ones_like(marks)), seen


def mirror_and_turn(parts, flip, rotate90, seed):
    """Each spatial axis mirrored or not, then quarter turns of the last two: the same for all `(*spatial, C)`."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform([4], seed)
    axes = parts[0].shape.rank - 1
    for axis in range(axes) if flip else ():
        parts = [tf.where(draws[3 - axes + axis] < 0.5, tf.reverse(part, [axis]), part) for part in parts]
    if not rotate90 or axes == 1:
        return parts
    turns = tf.cast(draws[3] * 4, tf.int32)
    height, width = parts[0].shape[-3:-1]
    if height is None or width is None:
        square = tf.equal(*tf.unstack(tf.shape(parts[0])[-3:-1]))
        return [tf.image.rot90(part, tf.where(square, turns, turns - turns % 2)) for part in parts]
    if height == width:
        return [tf.ensure_shape(tf.image.rot90(part, turns), part.shape) for part in parts]
    return [tf.where(turns >= 2, tf.reverse(part, [axes - 2, axes - 1]), part) for part in parts]
