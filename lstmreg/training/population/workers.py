"""Threads that work through the pieces of a step, each alone with one core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Done = TypeVar("Done")


class Workers:
    """As many threads as torch would use for one operation, which is then one thread's work.

    Threads that share each operation wait for each other after each, spinning: beside another busy process that
    was measured to take ten times as long. These meet once in a step, asleep.

    Attributes:
        count: How many they are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
        """Return what ``work`` makes of each piece, in their order."""
        return map(work, pieces) if self._pool is None else self._pool.map(work, pieces)

    def close(self) -> None:
        """Wait for what is being worked on, and end."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def workers() -> Iterator[Workers]:
    """Give torch's threads another way of working for a while."""
    threads = torch.get_num_threads()
    crew = Workers(threads)
    torch.set_num_threads(1)
    try:
        yield crew
    finally:
        crew.close()
        torch.set_num_threads(threads)
