"""The command line: `keras-ordseg …`, the same as `python -m keras_ordseg …`."""

import argparse
import sys
import warnings

from keras_ordseg._commands import joined


def main(argv=None) -> int:
    """Runs a command.

    Args:
        argv: Arguments after the program's name. Default: those of the process.

    Returns:
        The exit code: 0 done, 1 when a training or an image failed, 2 for what the user can mend (said without a traceback),
        130 when interrupted.
    """
    arguments = _parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            return arguments.command(arguments)
    except KeyboardInterrupt:
        resume = "run the same command with --resume to continue" if hasattr(arguments, "resume") else None
        hint = getattr(arguments, "interrupted", resume)
        print("\ninterrupted" + (f"; {hint}" if hint else ""), file=sys.stderr)
        return 130


def _show(message, *_):
    """Prints a warning without the line of code that Python shows."""
    print(f"warning: {message}", file=sys.stderr)


def _parser():
    from keras_ordseg import __version__
    from keras_ordseg._commands import benchmark, export, inspect, predict, prepare

    parser = argparse.ArgumentParser(
        prog="keras-ordseg", description="Calibrated segmentation models from several experts' masks."
    )
    parser.add_argument("--version", action="version", version=f"keras-ordseg {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (benchmark, export, inspect, predict, prepare):
        command.add(commands)
    return parser
