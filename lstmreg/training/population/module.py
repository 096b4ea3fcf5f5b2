"""The LightningModule that trains a population: one step moves all members, and each ends by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lstmreg.config import TrainingConfig
from lstmreg.dropout import Streams, has_streams
from lstmreg.losses import Criterion
from lstmreg.population import Population
from lstmreg.training.fitting import Epoch, FitResult

from .formation import Formation
from .lockstep import Lockstep, Part
from .losses import Sums
from .member import Member
from .optimizers import MemberOptimizer
from .sources import Source
from .tables import Residents
from .workers import Workers

#: Told after each epoch of a member: its number, and its epochs so far. Returns whether to end it there.
Watch = Callable[[int, Sequence[Epoch]], bool]

#: Told of each member that has ended: its number, and its result.
Listener = Callable[[int, FitResult], None]

#: Members that have stopped are removed as soon as they are this share of those that go on.
_WORTH_REMOVING = 1 / 16


class PopulationModule(pl.LightningModule):
    """Trains the members that still go on, as rows of ``weights``."""

    automatic_optimization = False

    def __init__(
        self,
        population: Population,
        trainings: Sequence[TrainingConfig],
        sources: list[Source],
        source_of: list[int],
        criteria: Sequence[Criterion],
        watch: Watch | None,
        listener: Listener | None,
        crew: Workers,
    ) -> None:
        super().__init__()
        self._watch, self._listener = watch, listener
        self._sources = sources
        members = [
            Member(
                number=k,
                training=training,
                source=source,
                criterion=criterion,
                masks=population.kinds_of_masks(k),
                kinds=population.kinds_of_penalties(k),
                generator=_generator(training),
            )
            for k, (training, source, criterion) in enumerate(zip(trainings, source_of, criteria, strict=True))
        ]
        # Neighbours whose batches have one shape go through a step together.
        members.sort(key=lambda member: (member.masks, sources[member.source].sizes, member.source))
        self._formation, self._crew = Formation(population, members, crew), crew
        self._results: dict[int, FitResult] = {}
        self._waiting: list[tuple[Member, Tensor]] = []
        self.weights = nn.Parameter(population.weights.detach()[[member.number for member in members]])
        self._kept = self.weights.detach().clone()
        self._residents = Residents()
        self.train_batches = Lockstep([s.train for s in sources], self._formation.source_of, self._residents)
        self.val_batches = Lockstep([s.val for s in sources], self._formation.source_of, self._residents)
        self._begun = time.perf_counter()
        self._home = population.weights.device  # as Lightning, which takes a network back from where it was trained

    @property
    def active(self) -> int:
        """How many members still train."""
        return len(self._formation.rows(going=True))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make one optimizer for all rows."""
        members = self._formation.members
        is_proximal = members[0].training.proximal
        l1 = self._formation.population.l1([member.number for member in members]) if is_proximal else None
        return MemberOptimizer(
            self.weights, [m.training for m in members], None if l1 is None else l1.to(self.weights.device)
        )

    # ------------------------------------------------------------------ an epoch

    def on_train_start(self) -> None:
        """Move what the trainer does not know of to its device."""
        device, members = self.weights.device, self._formation.members
        for member in members:
            member.generator = _generator(member.training, device)
        streams = Streams.of([member.training.seed for member in members], device) if has_streams(device) else None
        self._formation.population.to(device)
        self._formation = Formation(self._formation.population, members, self._crew, streams)
        self._kept = self._kept.to(device)
        for source in self._sources:
            source.device = device
        self._residents.device = device

    def on_train_epoch_start(self) -> None:
        """Begin all sums, and the states of stateful layers, at zero."""
        count, device = len(self._formation.members), self.weights.device
        self._train, self._val = Sums(count, device), Sums(count, device)
        self._formation.reset_states()

    def on_validation_epoch_start(self) -> None:
        """Begin the states of stateful layers at zero."""
        self._formation.reset_states()

    def training_step(self, batch: list[Part], batch_idx: int) -> None:
        """Take a step with all members that have a batch."""
        if self.weights.grad is None:
            self.weights.grad = torch.zeros_like(self.weights)
        rows = self._formation.learn(batch, self.weights, self._train)
        optimizer: Any = self.optimizers()
        optimizer.step(rows=_joined(rows))

    def validation_step(self, batch: list[Part], batch_idx: int) -> None:
        """Evaluate all members that have a batch."""
        self._formation.evaluate(batch, self.weights.detach(), self._val, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Let each member see its epoch; remove those that have ended, if they are many."""
        self._formation.end_those_at_fault(lambda member: self._fault_in("training", member))
        self._end_epoch(self._train.means(), self._val.means())
        ended = len(self._formation.members) - self.active
        if ended >= max(1.0, self.active * _WORTH_REMOVING):
            self._remove_ended()
        self.trainer.should_stop = self.trainer.should_stop or self.active == 0

    def _fault_in(self, part: Literal["training", "validation"], member: Member) -> str:
        return self._sources[member.source].fault_in(part, member.criterion)

    def _end_epoch(self, train: dict[str, list[float]], val: dict[str, list[float]]) -> None:
        if "loss" not in train or "loss" not in val:
            raise ValueError("data must have training and validation batches, but one of them gave none.")
        members, now = self._formation.members, time.perf_counter()
        share, self._begun = (now - self._begun) / len(members), now
        advanced = []
        for row in self._formation.rows(going=True):
            member = members[row]
            member.seconds += share
            penalties = {kind: train[kind][row] for kind in train if kind in member.kinds}
            if member.end_epoch(Epoch(train["loss"][row], val["loss"][row], penalties)):
                advanced.append(row)
            if self._watch is not None and self._watch(member.number, member.history) and member.stopped is None:
                member.stopped = "callback"
        self._kept[advanced] = self.weights.detach()[advanced]

    # ------------------------------------------------------------------ ending

    def _remove_ended(self) -> None:
        """Forget the members that have ended, with all that belongs to them."""
        members = self._formation.members
        self._end([(members[row], self._kept[row].clone()) for row in self._formation.rows(going=False)])
        rows = self._formation.rows(going=True)
        kept = torch.tensor(rows, dtype=torch.int64, device=self.weights.device)
        optimizer: Any = self.optimizers()
        optimizer.optimizer.keep(kept)
        self.weights.data, self.weights.grad = self.weights.data[kept], None
        self._kept = self._kept[kept]
        streams = self._formation.streams
        streams = None if streams is None else streams.rows(kept)
        self._formation = Formation(self._formation.population, [members[row] for row in rows], self._crew, streams)
        self.train_batches.source_of = self.val_batches.source_of = self._formation.source_of

    def _end(self, ended: list[tuple[Member, Tensor]]) -> None:
        """Give members the weights that are kept; tell their results as soon as their data may be read once more."""
        self._restore(ended)
        self._waiting += ended
        ready = [pair for pair in self._waiting if self._sources[pair[0].source].can_begin_anew]
        self._waiting = [pair for pair in self._waiting if not self._sources[pair[0].source].can_begin_anew]
        self._tell(ready)

    @torch.no_grad()
    def _restore(self, ended: list[tuple[Member, Tensor]]) -> None:
        for member, kept in ended:
            self._formation.population.weights[member.number] = kept

    def _tell(self, ended: list[tuple[Member, Tensor]]) -> None:
        """Evaluate members, as they are kept, on their training data, and tell their results."""
        if not ended:
            return
        ended.sort(key=lambda pair: (self._sources[pair[0].source].sizes, pair[0].source))
        formation = Formation(self._formation.population, [member for member, _ in ended], self._crew)
        weights = torch.stack([kept for _, kept in ended])
        sums = Sums(len(ended), weights.device)
        again = [source.train_again() for source in self._sources]
        for batch in Lockstep(again, formation.source_of, self._residents):
            moved: list[Part] = self.trainer.strategy.batch_to_device(batch, weights.device)
            formation.evaluate(moved, weights, sums)
        for (member, _), train_loss in zip(ended, sums.means()["loss"], strict=True):
            if formation.is_on_gpu and member.has_no_finite_validation and not member.fault:
                member.fault = self._fault_in("validation", member)
            self._results[member.number] = result = member.result(train_loss)
            if self._listener is not None:
                self._listener(member.number, result)

    def close(self, *, interrupted: bool) -> None:
        """End all members; of an interrupted fit those that would go on have no result."""
        rows = [(member, self._kept[row]) for row, member in enumerate(self._formation.members)]
        self._restore(rows)
        ended = [pair for pair in rows if pair[0].stopped is not None or not interrupted]
        self._tell([pair for pair in [*self._waiting, *ended] if pair[0].number not in self._results])
        self._formation = Formation(self._formation.population, [], self._crew)
        self._formation.population.to(self._home).eval().reset_state()

    def results(self) -> list[FitResult]:
        """Return the results in the order of the members."""
        return [self._results[k] for k in range(len(self._formation.population))]


def _generator(training: TrainingConfig, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(training.seed)


def _joined(rows: list[slice]) -> list[slice]:
    """Join slices that follow each other, so that an optimizer has less to do."""
    joined: list[slice] = []
    for part in rows:
        if joined and joined[-1].stop == part.start:
            joined[-1] = slice(joined[-1].start, part.stop)
        else:
            joined.append(part)
    return joined
