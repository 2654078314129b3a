"""Several trainings at a time."""

import multiprocessing
import os
import sys
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait


class Workers:
    """Runs jobs one after another here, or several at a time in processes that share the processors.

    Args:
        processes: How many jobs run at a time; 1 needs no other process.
        common: First arguments of every job. They travel to each process once.
        stream: Where the jobs' progress goes if they run here; other processes write lines to the standard error stream.
    """

    def __init__(self, processes, common, stream):
        if not isinstance(processes, int) or processes < 1:
            raise ValueError(f"processes: expected a whole number of at least 1. Received: {processes!r}.")
        self._processes, self._common, self._stream, self._pool = processes, common, stream, None

    def run(self, job, arguments):
        """Calls `job(*common, stream, *each)` for each of the tuples `arguments`; the first error ends it all.

        `job` is a function of a module. The last entry of the tuples is the number of jobs that follow.
        """
        if self._processes == 1:
            for each in arguments:
                job(*self._common, self._stream, *each)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes,
                multiprocessing.get_context("spawn"),  # TensorFlow does not survive a fork
                initializer=_begin,
                initargs=(self._processes, self._common),
            )
        futures = [self._pool.submit(_call, job, (*each[:-1], each[-1] / self._processes)) for each in arguments]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


class _Lines:
    """The standard error stream of a process that is not alone on the terminal: whole lines only."""

    isatty = staticmethod(lambda: False)

    def write(self, text):
        sys.stderr.write(text)

    def flush(self):
        sys.stderr.flush()


_COMMON = []


def _begin(processes, common):
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        share = max((os.cpu_count() or 1) // processes, 1)
        tf.config.threading.set_intra_op_parallelism_threads(share)
        tf.config.threading.set_inter_op_parallelism_threads(share)
    _COMMON[:] = common


def _call(job, arguments):
    job(*_COMMON, _Lines(), *arguments)
