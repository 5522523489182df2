"""A process that has imported what commands import, and forks: its copies begin to work in milliseconds, not seconds.

    python -m tests.support.fork_server SOCKET OWNER

serves ``tests.support.forked.Forked`` on a Unix socket until the process OWNER has ended, and then kills what it has
started and still runs. A copy runs a script or a module as a fresh interpreter would, from ``sys.argv`` to ``atexit``.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module

PRELOADED = (  # nothing that starts threads of Python's, or CUDA
    "torch", "lightning.pytorch", "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "datasets", "wandb", "matplotlib.figure", "torch._inductor.compile_fx", "pandas",
    "lightning_langcore.cli.run", "lightning_langcore.jobs.fit", "lightning_langcore.plots",
    "tests.support.rank_programs.strategies", "tests.support.switches",
)  # fmt: skip
NUMBER = 8
"""Bytes of a process id, and later of its wait status: what the server answers."""


class Server:
    """Forks on request: ``serve`` returns in each copy, with what it is asked to run and its three files."""

    def __init__(self, address, owner):
        self._started = {}  # process and who asked for it, by the descriptor that becomes readable at its end
        self._chosen = selectors.DefaultSelector()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{address}.new")
        self._listening.listen()
        os.rename(f"{address}.new", address)  # noqa: PTH104
        self._chosen.register(self._listening, selectors.EVENT_READ)
        self._owner = os.pidfd_open(owner)
        self._chosen.register(self._owner, selectors.EVENT_READ)

    def serve(self):
        while True:
            for key, _ in self._chosen.select():
                if key.fd == self._owner:
                    self._stop()
                elif key.fileobj is self._listening:
                    asking, _ = self._listening.accept()
                    request, files = received(asking)
                    if self._fork(asking, files) == 0:
                        return request, files
                else:
                    self._tell_end(key.fd)

    def _fork(self, asking, files):
        pid = os.fork()
        if pid == 0:
            for held in (self._listening, self._chosen, asking, *(other for _, other in self._started.values())):
                held.close()
            for fd in (self._owner, *self._started):
                os.close(fd)
        else:
            for fd in files:
                os.close(fd)
            asking.sendall(pid.to_bytes(NUMBER))
            end = os.pidfd_open(pid)
            self._started[end] = (pid, asking)
            self._chosen.register(end, selectors.EVENT_READ)
        return pid

    def _tell_end(self, end):
        self._chosen.unregister(end)
        os.close(end)
        pid, asking = self._started.pop(end)
        _, status = os.waitpid(pid, 0)
        with asking, suppress(OSError):  # who asked may have ended
            asking.sendall(status.to_bytes(NUMBER))

    def _stop(self):
        for pid, _ in self._started.values():
            os.kill(pid, signal.SIGKILL)
        sys.exit()


def received(asking):
    _, files, _, _ = socket.recv_fds(asking, 1, 3)
    with asking.makefile("rb") as rest:
        return json.loads(rest.read()), files


def become(request, files):
    """This copy as the process that was asked for, up to the first line that it runs."""
    if request["start_new_session"]:
        os.setsid()
    for number, fd in enumerate(files):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)

    import numpy as np
    from lightning.fabric.utilities import rank_zero
    from lightning.pytorch.strategies.launchers import subprocess_script
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    from tests.support import forked

    np.random.seed()  # noqa: NPY002
    rank_zero.rank_zero_only.rank = rank_zero._get_rank() or 0  # which is what its import does
    subprocess_script.subprocess, subprocess_handler.Popen = forked, forked.Popen  # ranks of Lightning and torchrun


def run(command):
    """``python SCRIPT ...`` or ``python -m MODULE ...``."""
    if command[0] == "-m":
        sys.path[0] = os.getcwd()  # noqa: PTH109
        sys.argv[:] = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(command[0]))  # noqa: PTH100, PTH120
        sys.argv[:] = command
        runpy.run_path(command[0], run_name="__main__")


def leave():
    """The end of a copy that did all it was asked for, without half a second of taking apart what was imported."""
    if asked.get("done"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    asked = {}
    atexit.register(leave)  # as the first, which is called as the last
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which is the owner
    for name in PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()
    asked, descriptors = Server(sys.argv[1], int(sys.argv[2])).serve()
    become(asked, descriptors)
    run(asked["command"])
    asked["done"] = True
