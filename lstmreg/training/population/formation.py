"""Members of a population in rows, and how a step goes through them piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lstmreg.config import TrainingConfig
from lstmreg.dropout import Generators, Streams
from lstmreg.layers.population import States
from lstmreg.losses import Criterion
from lstmreg.population import Block, Population
from lstmreg.training.finite import fault_of_step, not_finite
from lstmreg.training.precision import autocast, is_mixed

from .faults import Faults
from .lockstep import Part
from .losses import Sums, member_losses, number_of, targets_of
from .member import Member
from .workers import Workers

#: A step goes through so many bytes of activations at a time. It bounds the memory; and what is larger would not stay
#: with the process, but be given back to the system after each step and be fetched again, at a price.
_BYTES_AT_ONCE = 32 * 2**20

#: On a GPU a step is one piece, as far as there is memory for that.
_BYTES_ON_GPU = 4 * 2**30

#: Pieces for each worker, so that none waits long for another; and members in a piece that are worth the trouble.
_PIECES_EACH, _WORTH_A_PIECE = 2, 32


Done = TypeVar("Done")


class _Asked(NamedTuple):
    """What the losses of some members are to compiled code."""

    numbers: list[int]
    targets: Tensor


class Formation:
    """Members in rows: row ``r`` of every tensor here belongs to ``members[r]``.

    Args:
        population: Whose members they are.
        members: Neighbours run together where they draw the same masks and have batches of one shape.
        workers: Who run them.
        streams: Of the random numbers of each row, on a GPU. Default: the generators of the members.
    """

    def __init__(
        self, population: Population, members: Sequence[Member], workers: Workers, streams: Streams | None = None
    ) -> None:
        self._workers, self.streams = workers, streams
        self.population = population
        self.members = list(members)
        self._training = members[0].training if members else TrainingConfig()  # what all share
        self._blocks: dict[tuple[int, int], Block] = {}
        self._known_numbers: dict[tuple[torch.dtype, torch.Size], dict[int, int | None]] = {}  # by targets, and row
        self._before: list[Part] = []  # the last batch; it may have spoilt the weights
        self._faults = Faults(len(self.members), population.weights.device)
        self.reset_states()
        network = population.networks[0]
        self._is_stateful, self._outputs = network.config.stateful, network.output_size
        # A step of one sequence leaves four gates, a cell state and an output for the backward pass.
        units = sum(layer.hidden_size for layer in network.layers)  # type: ignore[misc]
        numbers = 6 * units * (2 if network.config.bidirectional else 1)
        if network.embeddings is not None:  # of each token a vector, and the same with others beside it
            numbers += 2 * network.embeddings.output_size
        self._step_bytes = numbers * population.weights.element_size()

    @property
    def source_of(self) -> list[int]:
        """Which batches each row reads."""
        return [member.source for member in self.members]

    def rows(self, *, going: bool) -> list[int]:
        """Return the rows of those that still train, or of those that have ended."""
        return [row for row, member in enumerate(self.members) if (member.stopped is None) == going]

    def reset_states(self) -> None:
        """Let stateful members begin with zeros again."""
        self._sizes: list[int | None] = [None] * len(self.members)  # of the batch that each member had last
        self._states: dict[int, list[States]] = {}  # by that size; there are rows for all members

    def learn(self, batch: list[Part], weights: Tensor, sums: Sums) -> list[slice]:
        """Compute the gradients of a batch into ``weights.grad``, and return the rows that have one."""

        def work(piece: Part) -> tuple[dict[str, Tensor], Tensor, list[States], Tensor]:
            rows = slice(piece.first, piece.last)
            if (asked := self._at_once(piece, weights)) is not None:
                return self._learn_at_once(piece, weights, asked)
            leaf = weights.detach()[rows].requires_grad_()
            generators = self._generators(rows)
            states = self._states_of(piece)
            with autocast(self._training, weights.device):
                prediction, penalties, last = self._block(piece).run_and_penalize(
                    leaf, piece.x, states, generators, piece.lengths, proximal=self._training.proximal
                )
                data_loss = member_losses(self._criteria(piece), prediction, piece)
                total = sum(penalties.values(), data_loss)
            assert weights.grad is not None
            weights.grad[rows] = torch.autograd.grad(total.sum(), leaf)[0]
            return {"loss": data_loss.detach()} | penalties, total.detach(), last, prediction.detach()

        pieces = list(self._pieces(batch, self._kinds))
        for piece, (losses, total, last, prediction) in zip(pieces, self._map(work, pieces), strict=True):
            rows = slice(piece.first, piece.last)
            self._keep_states(piece, last)  # in place, so not before the backward pass has used those before
            sums.add(rows, piece.x.shape[-3], losses)
            self._notice(piece, total, prediction)
        self._before = pieces
        return [slice(piece.first, piece.last) for piece in pieces]

    def _at_once(self, piece: Part, weights: Tensor) -> _Asked | None:
        """Return what the members' losses are where one call of compiled code can take the step."""
        numbers = [number for number in self._numbers(piece) if number is not None]
        if not numbers or self._is_stateful or piece.lengths is not None or piece.x.is_cuda:
            return None
        targets = targets_of(self._criteria(piece), self._outputs, piece)
        asked = _Asked(numbers, targets)
        return asked if self._block(piece).learns_at_once(piece.x, targets, weights.detach()) else None

    def _kinds(self, part: Part) -> list[object]:
        """Return for each member what it must share with others to learn with them."""
        members = self.members[part.first : part.last]
        return [(m.masks, kind) for m, kind in zip(members, self._kinds_of_losses(part), strict=True)]

    def _kinds_of_losses(self, part: Part) -> list[object]:
        """Return the same of members that are judged, and draw no masks.

        Whether compiled code knows their loss: how a member is computed must not depend on its company.
        """
        return [number is None for number in self._numbers(part)]

    def _numbers(self, piece: Part) -> list[int | None]:
        """Return the number of each member's loss in compiled code, if it has one."""
        y = piece.y if piece.is_shared else piece.y[0]
        rows = range(piece.first, piece.last)
        known = self._known_numbers.setdefault((y.dtype, y.shape[1:]), {})
        for row in rows:
            if row not in known:
                known[row] = number_of(self.members[row].criterion, self._outputs, y)
        return [known[row] for row in rows]

    def _learn_at_once(
        self, piece: Part, weights: Tensor, asked: _Asked
    ) -> tuple[dict[str, Tensor], Tensor, list[States], Tensor]:
        rows = slice(piece.first, piece.last)
        assert weights.grad is not None
        predictions, losses, penalties = self._block(piece).learn(
            weights.detach()[rows],
            weights.grad[rows],
            piece.x,
            asked.targets,
            self._generators(rows),
            asked.numbers,
            proximal=self._training.proximal,
            short_products=is_mixed(self._training),
        )
        return {"loss": losses} | penalties, sum(penalties.values(), losses), [], predictions

    def _notice(self, piece: Part, losses: Tensor, predictions: Tensor) -> None:
        """Count a step, and end members whose loss is not finite."""
        members = self.members[piece.first : piece.last]
        if self.is_on_gpu:
            self._faults.notice(slice(piece.first, piece.last), losses, [member.steps for member in members])
            for member in members:
                member.steps += member.stopped is None
            return
        values = [] if bool(losses.isfinite().all()) else losses.tolist()
        for k, (member, loss) in enumerate(zip(members, values, strict=False)):
            if member.stopped is None and not math.isfinite(loss):
                before = next((part for part in self._before if part.first <= piece.first + k < part.last), None)
                known = None if before is None else before.of(piece.first + k - before.first)
                member.diverge(loss, fault_of_step(piece.of(k), predictions[k], known))
        for member in members:
            member.steps += member.stopped is None

    def end_those_at_fault(self, cause: Callable[[Member], str]) -> None:
        """End members whose loss was not finite, where that could not be seen at once.

        Args:
            cause: Returns which number of a member's data is not finite, if one is.
        """
        for row, (step, loss) in self._faults.found().items():
            member = self.members[row]
            if member.stopped is None:
                member.steps = step
                member.diverge(loss, cause(member))

    def _generators(self, rows: slice) -> Generators:
        """Return what the masks of some rows are drawn from."""
        if self.streams is not None:
            return self.streams.rows(rows)
        return [member.generator for member in self.members[rows]]

    def _map(self, work: Callable[[Part], Done], pieces: Sequence[Part]) -> Iterator[Done]:
        """Return what ``work`` makes of each piece; on a GPU one after the other, since it has workers of its own."""
        return map(work, pieces) if self.is_on_gpu else self._workers.map(work, pieces)

    @property
    def is_on_gpu(self) -> bool:
        """Whether whoever looks at a loss waits for all that a GPU has still to do."""
        return self.population.weights.is_cuda

    def evaluate(self, batch: list[Part], weights: Tensor, sums: Sums, number: int | None = None) -> None:
        """Add the losses of a batch, without masks and penalties; of the one of that number in validation, say."""

        @torch.no_grad()
        def work(piece: Part) -> tuple[Tensor, list[States], Tensor]:
            rows, block = weights[piece.first : piece.last], self._block(piece)
            if (asked := self._at_once(piece, weights)) is not None:
                short = is_mixed(self._training)
                prediction, losses = block.judge(rows, piece.x, asked.targets, asked.numbers, short_products=short)
                return losses, [], prediction
            with autocast(self._training, weights.device):
                prediction, last = block.run(rows, piece.x, self._states_of(piece), lengths=piece.lengths)
                return member_losses(self._criteria(piece), prediction, piece), last, prediction

        pieces = list(self._pieces(batch, self._kinds_of_losses))
        for piece, (losses, last, prediction) in zip(pieces, self._map(work, pieces), strict=True):
            self._keep_states(piece, last)
            sums.add(slice(piece.first, piece.last), piece.x.shape[-3], {"loss": losses})
            if number is not None and not self.is_on_gpu and not bool(losses.isfinite().all()):
                self._blame(piece, losses, prediction, number)

    def _blame(self, piece: Part, losses: Tensor, predictions: Tensor, number: int) -> None:
        """Keep in mind what is not finite in a validation batch, for a member that never has a finite loss."""
        for k, (member, is_finite) in enumerate(
            zip(self.members[piece.first : piece.last], losses.isfinite().tolist(), strict=True)
        ):
            if not is_finite and not member.fault and (fault := not_finite(*piece.of(k), predictions[k])):
                member.fault = f"{fault} in batch {number}"

    def _pieces(self, batch: list[Part], kinds_of: Callable[[Part], list[object]]) -> Iterator[Part]:
        """Cut a batch where members are not of one kind, and so that all have work and memory."""
        members = sum(part.last - part.first for part in batch)
        workers, at_once = (1, _BYTES_ON_GPU) if self.is_on_gpu else (self._workers.count, _BYTES_AT_ONCE)
        pieces_each = _PIECES_EACH if workers > 1 else 1
        enough = max(_WORTH_A_PIECE, math.ceil(members / workers / pieces_each))
        for part in batch:
            size, steps, _ = part.x.shape[-3:]
            fitting = at_once // (size * steps * self._step_bytes * workers)
            most = max(1, min(fitting, enough))
            first = part.first
            for _, group in groupby(kinds_of(part)):
                count = len(list(group))
                pieces = math.ceil(count / most)
                for i in range(pieces):
                    yield _cut(part, first + count * i // pieces, first + count * (i + 1) // pieces)
                first += count

    def _criteria(self, piece: Part) -> list[Criterion]:
        return [member.criterion for member in self.members[piece.first : piece.last]]

    def _block(self, piece: Part) -> Block:
        key = piece.first, piece.last
        if key not in self._blocks:
            self._blocks[key] = self.population.block([m.number for m in self.members[slice(*key)]])
        return self._blocks[key]

    def _states_of(self, piece: Part) -> list[States] | None:
        """Return the states in which stateful members ended their last batch."""
        size = piece.x.shape[-3]
        for known in self._sizes[piece.first : piece.last]:
            if known not in (None, size):
                raise ValueError(
                    f"a stateful layer must get the same number of sequences each time, {known}, got {size}."
                )
        states = self._states.get(size)
        return (
            None
            if states is None
            else [(h[piece.first : piece.last].clone(), c[piece.first : piece.last].clone()) for h, c in states]
        )

    def _keep_states(self, piece: Part, last: list[States]) -> None:
        if not self._is_stateful:
            return
        size, count = piece.x.shape[-3], len(self.members)
        if size not in self._states:
            self._states[size] = [(h.new_zeros(count, *h.shape[1:]), c.new_zeros(count, *c.shape[1:])) for h, c in last]
        self._sizes[piece.first : piece.last] = [size] * (piece.last - piece.first)
        for kept, found in zip(self._states[size], last, strict=True):
            for whole, some in zip(kept, found, strict=True):
                whole[piece.first : piece.last] = some.detach()


def _cut(part: Part, first: int, last: int) -> Part:
    if part.is_shared:
        return part._replace(first=first, last=last)
    own = slice(first - part.first, last - part.first)
    return Part(first, last, part.x[own], part.y[own], None if part.lengths is None else part.lengths[own])
