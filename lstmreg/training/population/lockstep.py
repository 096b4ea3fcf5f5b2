"""Iterates the batches of many members of a population side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A batch of each of some neighbouring members, all of one shape.

    ``x`` is ``(B, T, D)`` and ``y`` ``(B, O)``, or classes ``(B)``, where they share one batch; else both
    have an axis of members in front.
    """

    first: int
    last: int  #: the member after the last one
    x: Tensor
    y: Tensor

    @property
    def is_shared(self) -> bool:
        """Whether the members share one batch."""
        return self.x.dim() == 3


class Lockstep:
    """Takes a step through all sources at once: at each, a batch from every source that still has one.

    Args:
        sources: Iterables of ``(x, y)``.
        source_of: Which source each member reads; members with the same one see the same batches. It may be
            changed between two passes.

    Yields:
        Lists of :class:`Part`.
    """

    def __init__(self, sources: Sequence[Iterable[Any]], source_of: Sequence[int]) -> None:
        self.sources = list(sources)
        self.source_of = list(source_of)

    def __iter__(self) -> Iterator[list[Part]]:
        runs = [(source, len(list(members))) for source, members in groupby(self.source_of)]
        running = {source: _as_far_as_it_is_long(self.sources[source]) for source, _ in runs}
        while True:
            batches: dict[int, Sequence[Tensor]] = {}
            for source, iterator in running.items():
                batch = next(iterator, None)
                if batch is not None:
                    batches[source] = _checked(batch)
            if not batches:
                return
            running = {source: running[source] for source in batches}
            yield list(_parts(runs, batches))


def _as_far_as_it_is_long(source: Iterable[Any]) -> Iterator[Any]:
    """Iterate without asking beyond the end, where that is known.

    Lightning does so too; and a sampler that is asked beyond its end draws from its generator once more, so that its
    next order would be another than in a single fit.
    """
    try:
        length = len(source)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):  # a stream
        return iter(source)
    return islice(iter(source), length)


def _checked(batch: Any) -> Sequence[Tensor]:
    for name, value in zip("xy", batch, strict=False):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"a population needs {name} as a tensor, whose first axis is the batch, got {type(value).__name__}. "
                f"Give it sequences of one length, or train one network after the other with lstmreg.fit."
            )
    tensors: Sequence[Tensor] = batch
    return tensors


def _parts(runs: list[tuple[int, int]], batches: dict[int, Sequence[Tensor]]) -> Iterator[Part]:
    """Join neighbours whose batches have one shape; a member without a batch is in no part."""
    first = 0
    placed = []
    for source, count in runs:
        placed.append((first, first + count, batches.get(source)))
        first += count
    for shape, neighbours in groupby(placed, lambda run: run[2] and tuple(t.shape for t in run[2])):
        joined = list(neighbours)
        if shape is None:
            continue
        first, last = joined[0][0], joined[-1][1]
        x, y = zip(*(batch for _, _, batch in joined if batch is not None), strict=True)
        if len(joined) == 1:
            yield Part(first, last, x[0], y[0])
        else:
            counts = torch.tensor([end - begin for begin, end, _ in joined])
            yield Part(first, last, *(torch.stack(t).repeat_interleave(counts, dim=0) for t in (x, y)))
