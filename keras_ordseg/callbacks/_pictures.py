"""Where the pictures of a training go: PNG files, TensorBoard, or both."""

import importlib.util
import io
import os
import struct
import time
import warnings
from pathlib import Path


class Pictures:
    """Writes figures of an epoch; a picture that cannot be written is a warning and not the end of the training.

    Args:
        folder: Folder for PNG files, or None.
        log_dir: TensorBoard's folder, or None.
        structure: Name that tells the pictures of several structures apart, or None.

    Raises:
        ImportError: If `log_dir` is given and `tensorboard` is not installed.
    """

    def __init__(self, folder, log_dir, structure):
        if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "log_dir: pictures for TensorBoard need the package tensorboard. Run "
                "`pip install 'keras_ordseg[tensorboard]'`, or give folder= for PNG files."
            )
        self.folder = None if folder is None else Path(folder)
        self.log_dir = None if log_dir is None else os.path.join(log_dir, "agreement", structure or "")
        self._prefix = f"{structure}_" if structure else ""
        self._writer = None

    def write(self, name, figure, epoch):
        """Writes a matplotlib figure as `name` of this epoch, counted from 0."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        png = buffer.getvalue()
        try:
            if self.folder is not None:
                _replace(self.folder / f"{self._prefix}{name}_epoch{epoch + 1:04d}.png", png)
            if self.log_dir is not None:
                self._log(name, png, epoch)
        except OSError as error:
            warnings.warn(f"AgreementMonitor could not write the picture '{name}': {error}", stacklevel=3)

    def close(self):
        """Closes TensorBoard's file; the next picture opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _log(self, name, png, epoch):
        # TensorBoard's own writer: tf.summary would bring TensorFlow into a JAX or torch process
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is None:
            self._writer = EventFileWriter(self.log_dir)
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._writer.add_event(Event(wall_time=time.time(), step=epoch, summary=summary))
        self._writer.flush()  # a training that is killed leaves what was drawn


def _replace(path, content):
    """Writes bytes to a temporary file beside `path`, then renames it: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
