"""What a data set holds, before anything is trained on it: sizes, raters, agreement, a contact sheet."""

from keras_ordseg.inspection._collect import inspect
from keras_ordseg.inspection._report import check_output, write
from keras_ordseg.inspection._text import text

__all__ = ["check_output", "inspect", "text", "write"]
