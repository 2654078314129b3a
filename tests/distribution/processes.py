"""Processes of one job on this machine: started together, ended together, their output in files."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time

from tests.conftest import ROOT


def free_ports(count):
    """Ports of the loopback interface that nothing listens on, below those that systems give out by themselves."""
    found = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 500):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("there is no free port")


def tf_config(count):
    """The TF_CONFIG of each of `count` workers."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        for index in range(count)
    ]


class Job:
    """`python *arguments`, once for each dict of environment variables, `{index}` in an argument being its number.

    Leaving the context kills what still runs.
    """

    def __init__(self, folder, arguments, environments):
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"worker-{index}.log" for index in range(len(environments))]
        base = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
        self.processes = []
        for index, (log, environment) in enumerate(zip(self.logs, environments, strict=True)):
            command = [str(argument).replace("{index}", str(index)) for argument in arguments]
            with open(log, "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        cwd=ROOT,
                        env={**base, **environment},
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()

    def text(self):
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in self.logs)

    def finish(self, timeout=900):
        """Waits until all have ended well; the output of the first one."""
        until = time.monotonic() + timeout
        while any(process.poll() is None for process in self.processes):
            assert time.monotonic() < until, f"not done after {timeout} s\n{self.text()}"
            assert not any(process.poll() for process in self.processes), self.text()
            time.sleep(0.02)
        assert not any(process.returncode for process in self.processes), self.text()
        return self.logs[0].read_text()

    def wait_for(self, condition, timeout=900):
        """Waits until `condition()` is true, while all run."""
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"not there after {timeout} s\n{self.text()}"
            assert all(process.poll() is None for process in self.processes), f"ended too early\n{self.text()}"
            time.sleep(0.005)
