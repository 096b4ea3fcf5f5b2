"""A process beside this one that measures what it is asked, in lines of JSON both ways. Nothing here loads torch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self


class Child:
    """A process that answers each line on its stdin with one on its stdout, until its stdin is closed.

    It inherits the cores that it may run on: the one limit on threads that all libraries heed.

    Args:
        name: For what is said if it ends.
        command: What starts it.
        settings: Of its environment, beside this one's.
    """

    def __init__(self, name: str, command: Sequence[str], settings: Mapping[str, str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command, env=os.environ | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def ask(self, **request: Any) -> Any:
        """Send a request, and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name}: its process has ended; see above.")
        return json.loads(answer)
