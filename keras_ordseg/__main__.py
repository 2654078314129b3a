"""`python -m keras_ordseg …` is `keras-ordseg …`."""

import sys

from keras_ordseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
