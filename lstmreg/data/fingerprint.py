"""A fingerprint of data, by which it can be said which rows of them are others than they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

#: So many digests are kept at most, each of one row or of several.
_MOST = 1000

#: So many places are named.
_NAMED = 3


@dataclass(frozen=True)
class Fingerprint:
    """Digests of rows, or of sequences, in their order.

    Attributes:
        digests: One for each stretch.
        together: How many are in a stretch.
        count: How many there are.
        parts_are: What they are called.
    """

    digests: list[str] = field(default_factory=list)
    together: int = 1
    count: int = 0
    parts_are: str = "rows"

    @classmethod
    def of(cls, count: int, content: Callable[[int, int], bytes], parts_are: str = "rows") -> Fingerprint:
        """Take it.

        Args:
            count: How many rows there are.
            content: Returns what stands in those from one number to another, the last one not.
            parts_are: What they are called.
        """
        together = 1
        while together * _MOST < count:
            together *= 2
        firsts = range(0, count, together)
        digests = [_digest(content(first, min(first + together, count))) for first in firsts]
        return cls(digests, together, count, parts_are)

    def difference(self, now: Fingerprint) -> str:
        """Say where other data differ from these; empty where nobody knows."""
        if not self.digests or not now.digests:
            return ""
        said = [] if self.count == now.count else [f"{self.count:,} {self.parts_are} then, {now.count:,} now"]
        if self.together == now.together:
            pairs = zip(self.digests, now.digests, strict=False)
            if places := _stretches([k for k, (then, other) in enumerate(pairs) if then != other]):
                said.append(f"{self._named(places)} {'is' if self._is_one(places) else 'are'} not the same")
            elif self.count == now.count:
                said.append(f"no value of the {self.parts_are} in use, but how it is written, or what is not in use")
        return "; ".join(said)

    def _named(self, places: list[tuple[int, int]]) -> str:
        named = []
        for first, last in places[:_NAMED]:
            begin, end = first * self.together + 1, min(self.count, (last + 1) * self.together)
            named.append(f"{begin:,}" if begin == end else f"{begin:,} to {end:,}")
        more = f" and {len(places) - _NAMED} further places" if len(places) > _NAMED else ""
        return (
            f"{self.parts_are.removesuffix('s') if self._is_one(places) else self.parts_are} {', '.join(named)}{more}"
        )

    def _is_one(self, places: list[tuple[int, int]]) -> bool:
        return self.together == 1 and len(places) == 1 and places[0][0] == places[0][1]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=4).hexdigest()


def _stretches(numbers: list[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of neighbours."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
