"""Several trainings at a time."""

import multiprocessing
import os
import sys
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

from keras_ordseg._checks import ArgumentError

_LIFE = 20  # jobs of a process: TensorFlow keeps some memory of every model


def run_jobs(job, arguments, processes, common, stream):
    """Calls `job(*common, stream, *each)` for each of the tuples `arguments`; the first error ends it all.

    Args:
        job: A function of a module. The last of its arguments is the number of jobs that follow.
        arguments: List of tuples.
        processes: How many run at a time; 1 needs no other process, several share the processors.
        common: First arguments of every job, which travel to each process once.
        stream: Where the jobs' progress goes if they run here; other processes write lines to the standard error stream.
    """
    check_processes(processes)
    if processes == 1:
        for each in arguments:
            job(*common, stream, *each)
        return
    for start in range(0, len(arguments), _LIFE * processes):
        some = arguments[start : start + _LIFE * processes]
        spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        pool = ProcessPoolExecutor(min(processes, len(some)), spawn, initializer=_begin, initargs=(processes, common))
        try:
            futures = [pool.submit(_call, job, (*each[:-1], each[-1] / processes)) for each in some]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def check_processes(processes):
    if not isinstance(processes, int) or processes < 1:
        raise ArgumentError("processes", "a whole number of at least 1", repr(processes))


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
