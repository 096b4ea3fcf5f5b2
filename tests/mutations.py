"""Damages the bytes of files at random, and holds whoever reads them to bounds of time and memory."""

from __future__ import annotations

import random
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lstmreg.errors import LstmregError

VALUES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]


def spot(content: bytes, rng: random.Random) -> int:
    """Return a place in a file, more often near its beginning, where headers are."""
    return rng.randrange(rng.choice([min(200, len(content)), min(2_000, len(content)), len(content)]))


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[spot(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, rng: random.Random) -> bytes:
    width = rng.choice([1, 2, 4, 8])
    value = rng.choice([*VALUES, rng.randrange(1 << 64), len(content)]) % (1 << 8 * width)
    start = spot(content, rng) // width * width
    return (content[:start] + value.to_bytes(width, "little") + content[start + width :])[: len(content)]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: spot(content, rng)]


def swap(content: bytes, rng: random.Random) -> bytes:
    size = rng.choice([1, 8, 64, 512])
    first, second = sorted((spot(content, rng), spot(content, rng)))
    second = max(second, first + size)
    middle = content[first + size : second]
    return (
        content[:first]
        + content[second : second + size]
        + middle
        + content[first : first + size]
        + content[second + size :]
    )


def repeat(content: bytes, rng: random.Random) -> bytes:
    start, size = spot(content, rng), rng.choice([1, 8, 64, 512])
    return content[: start + size] + content[start:]


def cut(content: bytes, rng: random.Random) -> bytes:
    start, size = spot(content, rng), rng.choice([1, 8, 64, 512])
    return content[:start] + content[start + size :]


def blank(content: bytes, rng: random.Random) -> bytes:
    start, size = spot(content, rng), rng.choice([8, 64, 512])
    return (content[:start] + rng.choice([b"\0", b"\xff"]) * size + content[start + size :])[: len(content)]


BYTES: list[Callable[[bytes, random.Random], bytes]] = [flip, overwrite, overwrite, truncate, swap, repeat, cut, blank]


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 3])):
        if content:
            content = rng.choice(BYTES)(content, rng)
    return content


class TooLongError(BaseException):
    """A file took more than its seconds."""


@contextmanager
def limits() -> Iterator[None]:
    """End what takes too long, and refuse this process more than a few gigabytes."""

    def ring(number: int, frame: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (3 << 30), hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fault(use: Callable[[], object], seconds: int, *, must_be_printable: bool = False) -> str | None:
    """Use a damaged file within :func:`limits`; return what is wrong with how that ended.

    Args:
        use: What uses it; returns what is wrong with what it found, or nothing.
        seconds: It may take.
        must_be_printable: Whether a refusal must have no control characters.
    """
    signal.alarm(seconds)
    try:
        wrong = use()
        return None if wrong is None else str(wrong)
    except LstmregError as error:
        message = str(error)
        is_one_line = len(message.splitlines()) == 1 and (message.isprintable() or not must_be_printable)
        return None if is_one_line else f"says {message[:300]!r}"
    except TooLongError:
        return "takes too long"
    except Exception as error:  # noqa: BLE001
        return f"ends in {type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
