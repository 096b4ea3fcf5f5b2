"""Iterates the batches of many members of a population side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lstmreg.data.rows import Rows

from .tables import Residents, Table, table_of


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
        sources: Iterables of ``(x, y)``, or ``((x, lengths), y)``. Of loaders that take rows of tensors the rows of
            all members are taken at once, in the orders in which the loaders would have taken them.
        source_of: Which source each member reads; members with the same one see the same batches. It may be
            changed between two passes.
        residents: The tensors whose rows are taken, where they are taken. Default: where they are.

    Yields:
        Lists of :class:`Part`.
    """

    def __init__(
        self, sources: Sequence[Iterable[Any]], source_of: Sequence[int], residents: Residents | None = None
    ) -> None:
        self.sources = list(sources)
        self.source_of = list(source_of)
        self._residents = Residents() if residents is None else residents

    def __iter__(self) -> Iterator[list[Part]]:
        tables = [table_of(source) for source in self.sources]
        used = sorted(set(self.source_of))
        # One pass through each, though others may stand between the members that share it.
        orders = {source: table.order() for source in used if (table := tables[source]) is not None}
        readers = {source: _Reader(self.sources[source]) for source in used if tables[source] is None}
        strands = list(self._strands(tables, orders, readers))
        while True:
            for reader in readers.values():
                reader.read()
            batches = [strand.next() for strand in strands]
            if all(batch is None for batch in batches):
                return
            yield list(_parts(strands, batches))

    def _strands(
        self, tables: list[Table | None], orders: dict[int, Tensor], readers: dict[int, _Reader]
    ) -> Iterator[_Read | _Taken]:
        """Yield what moves side by side: neighbours that take rows of the same tensors are one."""
        first = 0
        for _, members in groupby(self.source_of, lambda source: _alike(source, tables[source])):
            own = list(members)
            last, table = first + len(own), tables[own[0]]
            if table is None:
                yield _Read(first, last, readers[own[0]])
            else:
                shared = own[:1] if table.is_in_order else own
                chosen = {source: orders[source] for source in shared}
                yield _Taken(first, last, self._residents.of(table.rows), table.batch_size, own, chosen)
            first = last


def _alike(source: int, table: Table | None) -> object:
    """Return what sources have in common that go together."""
    if table is None:
        return source
    return table.rows.memory, table.batch_size, table.is_in_order


class _Reader:
    """Reads one source; once for all that share it."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._batches = _as_far_as_it_is_long(source)
        self.batch: _Batch | None = None

    def read(self) -> None:
        """Read the next batch, if there is one."""
        batch = next(self._batches, None)
        self.batch = None if batch is None else _checked(batch)


class _Read:
    """Members that share what is read."""

    is_shared = True

    def __init__(self, first: int, last: int, reader: _Reader) -> None:
        self.first, self.last = first, last
        self._reader = reader

    def next(self) -> _Batch | None:
        """Return the batch that was read last."""
        return self._reader.batch


class _Taken:
    """Members that take rows of the same tensors, each in the order of its source."""

    def __init__(
        self, first: int, last: int, rows: Rows, batch_size: int, source_of: list[int], orders: dict[int, Tensor]
    ) -> None:
        self.first, self.last = first, last
        self.is_shared = len(orders) == 1
        self._rows, self._batch_size, self._place = rows, batch_size, 0
        order = torch.stack(list(orders.values())).to(rows.x.device)
        if self.is_shared:
            self._numbers = rows.at(order[0])
        else:
            places = {source: place for place, source in enumerate(orders)}
            own = torch.tensor([places[source] for source in source_of], device=order.device)
            self._numbers = rows.at(order[own])  # (K, M)

    def next(self) -> _Batch | None:
        """Return the next batch, if there is one; with an axis of members in front, if they do not share it."""
        numbers = self._numbers[..., self._place : self._place + self._batch_size]
        self._place += self._batch_size
        return _Batch(*self._rows.take(numbers)) if numbers.shape[-1] else None


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


def _parts(strands: Sequence[_Read | _Taken], batches: Sequence[_Batch | None]) -> Iterator[Part]:
    """Join neighbours whose batches have one shape; a member without a batch is in no part."""
    pairs = list(zip(strands, batches, strict=True))
    for shape, neighbours in groupby(pairs, lambda pair: _shape(*pair)):
        if shape is None:
            continue
        joined = [(strand, batch) for strand, batch in neighbours if batch is not None]
        first, last = joined[0][0].first, joined[-1][0].last
        if len(joined) == 1:
            yield Part(first, last, *joined[0][1])
        else:
            columns = zip(*(_of_each(strand, batch) for strand, batch in joined), strict=True)
            yield Part(first, last, *(None if t[0] is None else torch.cat(t) for t in columns))  # type: ignore[arg-type]


def _shape(strand: _Read | _Taken, batch: _Batch | None) -> object:
    """Return the shape of one member's batch, which members must share to be joined."""
    if batch is None:
        return None
    return [None if t is None else t.shape if strand.is_shared else t.shape[1:] for t in batch]


def _of_each(strand: _Read | _Taken, batch: _Batch) -> list[Tensor | None]:
    """Return a batch with an axis of members in front."""
    if not strand.is_shared:
        return list(batch)
    return [None if t is None else t.expand(strand.last - strand.first, *t.shape) for t in batch]
