"""Processes that do not import PyTorch and Lightning again: copies of one that has."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

from tests.support.fork_server import NUMBER
from tests.support.paths import ROOT

ADDRESS = "LANGCORE_FORK_SERVER"
"""The environment variable with the socket of the server: all workers of pytest, and all that they start, share it."""


def share_server():
    """Called by the process that outlives all others of pytest: whoever needs the server first starts it."""
    folder = mkdtemp(prefix="forks-")
    os.environ[ADDRESS] = f"{folder}/{os.getpid()}"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


@cache
def server():
    """The address of the server, which is there."""
    address = Path(os.environ[ADDRESS])
    with FileLock(f"{address}.lock"):
        if not address.exists():
            command = [sys.executable, "-m", "tests.support.fork_server", str(address), address.name]
            more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
            started = subprocess.Popen(command, cwd=ROOT, **more)
            while not address.exists():
                assert started.poll() is None
                time.sleep(0.01)
    return str(address)


class Forked(subprocess.Popen):
    """``subprocess.Popen`` of ``[sys.executable, SCRIPT or "-m" and MODULE, ...]``, in a copy of the fork server.

    A process with its own id, files, folder, environment and, if wanted, session. Its parent is the server, what a
    program reads from its environment when it is imported was read before, and ``/proc/PID/environ`` is the server's.
    """

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        _, _, _, *pipes, _, _, _, _, _, start_new_session, _ = more
        python, *command = map(str, args)
        assert python == sys.executable
        command = command[command[0] == "-u" :]
        files = [
            default if fd == -1 else fd for fd, default in zip((pipes[0], pipes[3], pipes[5]), range(3), strict=True)
        ]
        env, cwd = dict(os.environ if env is None else env), os.fspath(cwd or Path.cwd())
        request = {"command": command, "cwd": cwd, "env": env, "start_new_session": start_new_session}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(server())
        socket.send_fds(self._server, [b"\n"], files)
        self._server.sendall(json.dumps(request).encode())
        self._server.shutdown(socket.SHUT_WR)
        self.pid = int.from_bytes(self._server.recv(NUMBER))
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags):
        try:
            status = self._server.recv(NUMBER, socket.MSG_DONTWAIT if wait_flags else 0)
        except BlockingIOError:
            return 0, 0
        assert status, "the fork server has ended"
        self._server.close()
        return self.pid, int.from_bytes(status)

    def _internal_poll(self, **_):
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                pid, status = (0, 0) if self.returncode is not None else self._try_wait(os.WNOHANG)
                if pid == self.pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


Popen = Forked if hasattr(os, "pidfd_open") else subprocess.Popen


def run(command, timeout, **more):
    """``subprocess.run``, with its output captured as text."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Popen(command, **pipes, **more) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
