"""What makes trainings of a few steps cheap where tracing them is nearly all of the time."""

import keras


def made_ready(model, x, y, **kwargs):
    """The compiled model with all variables of its training, which Keras makes in the first step and then traces it anew."""
    if keras.backend.backend() == "tensorflow":
        model.optimizer.build(model.trainable_variables)
        model.run_eagerly = True
        model.evaluate(x, y, verbose=0, **kwargs)
        model.run_eagerly = False
    return model
