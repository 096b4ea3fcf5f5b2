"""Reads a Keras file as lstmreg does, in a process of its own, but in a copy of one that has loaded h5py already.

To start Python and to load h5py takes ten times as long as to read a small file.
"""

from __future__ import annotations

import json
import subprocess
import sys

#: A variable of the environment; where it is set, a process is started for each file after all.
STARTED = "LSTMREG_TEST_STARTED_READERS"

_SERVER = """
import importlib.util, json, os, select, signal, sys, time, traceback
import h5py

spec = importlib.util.spec_from_file_location("reader", sys.argv[1])
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)

def read(path, environment, ends):
    for number, end in enumerate(ends, start=1):
        os.dup2(end, number)
    os.environ.clear()
    os.environ.update(environment)
    sys.path += filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    code = 1
    try:
        reader.main(path)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)

def answer(path, environment, timeout):
    pipes = [os.pipe() for _ in range(2)]
    process = os.fork()
    if process == 0:
        read(path, environment, [writer for _, writer in pipes])
    said = {}
    for reading, writing in pipes:
        os.close(writing)
        said[reading] = b""
    waiting, end = set(said), time.monotonic() + timeout
    while waiting:
        ready, _, _ = select.select([*waiting], [], [], max(0, end - time.monotonic()))
        if not ready:
            os.kill(process, signal.SIGKILL)
        for reading in ready or waiting.copy():
            more = os.read(reading, 1 << 20)
            said[reading] += more
            if not more:
                waiting.discard(reading)
    for reading in said:
        os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return None if time.monotonic() > end and code == -signal.SIGKILL else code, said.values()

for line in sys.stdin.buffer:
    code, said = answer(*json.loads(line))
    sys.stdout.buffer.write(json.dumps([code, *map(len, said)]).encode() + b"\\n" + b"".join(said))
    sys.stdout.buffer.flush()
"""


class Readers:
    """Starts a copy for each file; :meth:`run` stands in for the function of lstmreg that starts a process."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def run(
        self, command: list[str], environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Read the last of these words, by the program before it, within so many seconds."""
        *python, reader, path = command
        if self._server is None:
            server = [*python, "-c", _SERVER, reader]
            self._server = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([path, environment, timeout]).encode() + b"\n")
        self._server.stdin.flush()
        code, *sizes = json.loads(self._server.stdout.readline())
        said = [self._server.stdout.read(size) for size in sizes]
        if code is None:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, code, *said)

    def close(self) -> None:
        """End what makes the copies."""
        if self._server is not None:
            self._server.communicate()


def has_copies() -> bool:
    """Tell whether a process can be copied here."""
    return sys.platform == "linux"
