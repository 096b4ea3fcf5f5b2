"""Iterates the batches of many members of a population side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A batch of each of some neighbouring members, all of one shape.

    ``x`` is ``(B, T, D)``, ``lengths`` ``(B)``, and ``y`` ``(B, O)``, or classes ``(B)``, or the same for each step,
    where they share one batch; else all have an axis of members in front.
    """

    first: int
    last: int  #: the member after the last one
    x: Tensor
    y: Tensor
    lengths: Tensor | None = None  #: of sequences that are shorter than ``T``

    @property
    def is_shared(self) -> bool:
        """Whether the members share one batch."""
        return self.x.dim() == 3

    def of(self, k: int) -> tuple[Any, Tensor]:
        """Return the batch ``(x, y)`` of the k-th of these members; ``x`` is ``(x, lengths)`` where there are some."""
        x, y, lengths = self.x, self.y, self.lengths
        if not self.is_shared:
            x, y, lengths = x[k], y[k], None if lengths is None else lengths[k]
        return x if lengths is None else (x, lengths), y


class Lockstep:
    """Takes a step through all sources at once: at each, a batch from every source that still has one.

    Args:
        sources: Iterables of ``(x, y)``, or ``((x, lengths), y)``.
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
            batches: dict[int, _Batch] = {}
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


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    lengths: Tensor | None

    @property
    def shape(self) -> tuple[torch.Size | None, ...]:
        """Return what batches must share to be joined."""
        return tuple(None if t is None else t.shape for t in self)


def _checked(batch: Any) -> _Batch:
    x, y = batch
    x, lengths = x if type(x) is tuple and len(x) == 2 else (x, None)
    for name, value in (("x", x), ("y", y), ("lengths", lengths)):
        if not isinstance(value, Tensor) and not (name == "lengths" and value is None):
            raise TypeError(
                f"a population needs {name} as a tensor, whose first axis is the batch, got {type(value).__name__}. "
                f"Give it padded sequences ((x, lengths), y), or train one network after the other with lstmreg.fit."
            )
    return _Batch(x, y, lengths)


def _parts(runs: list[tuple[int, int]], batches: dict[int, _Batch]) -> Iterator[Part]:
    """Join neighbours whose batches have one shape; a member without a batch is in no part."""
    first = 0
    placed = []
    for source, count in runs:
        placed.append((first, first + count, batches.get(source)))
        first += count
    for shape, neighbours in groupby(placed, lambda run: run[2] and run[2].shape):
        joined = list(neighbours)
        if shape is None:
            continue
        first, last = joined[0][0], joined[-1][1]
        own = [batch for _, _, batch in joined if batch is not None]
        if len(joined) == 1:
            yield Part(first, last, *own[0])
        else:
            counts = [end - begin for begin, end, _ in joined]
            yield Part(first, last, *(_side_by_side(tensors, counts) for tensors in zip(*own, strict=True)))


def _side_by_side(tensors: Sequence[Any], counts: Sequence[int]) -> Any:
    """Return the tensors of neighbours with an axis of members in front, each as often as it has members."""
    if tensors[0] is None:
        return None
    return torch.stack([tensor for tensor, count in zip(tensors, counts, strict=True) for _ in range(count)])
