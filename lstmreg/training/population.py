"""``fit_population``: train hundreds of networks at once, each as ``fit`` would train it alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lstmreg.config import TrainingConfig
from lstmreg.data.lockstep import Lockstep, Part
from lstmreg.layers.population import States
from lstmreg.population import Block, Population

from . import trainer
from .fitting import CRITERIA, Batches, Epoch, FitResult, Stopped
from .module import Criterion, DivergedError
from .optimizers import MemberOptimizer

#: What :func:`lstmreg.fit` takes: a data module, or a pair of loaders.
Data = pl.LightningDataModule | tuple[Batches, Batches]

#: Told after each epoch of a member: its number, and its epochs so far. Returns whether to end it there.
Watch = Callable[[int, Sequence[Epoch]], bool]

#: Told of each member that has ended: its number, and its result.
Listener = Callable[[int, FitResult], None]

#: A step goes through so many bytes of activations at a time. It bounds the memory; and what is larger would not stay
#: with the process, but be given back to the system after each step and be fetched again, at a price.
_BYTES_AT_ONCE = 24 * 2**20

#: Members that have stopped are removed as soon as they are this share of those that go on.
_WORTH_REMOVING = 1 / 16


def fit_population(
    population: Population,
    data: Data | list[Data],
    training: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    criterion: Criterion | None = None,
    callbacks: Sequence[pl.Callback] = (),
    watch: Watch | None = None,
    listener: Listener | None = None,
) -> list[FitResult]:
    """Train every member until its own validation loss stops falling, and leave it at its own best epoch.

    One step of one trainer moves all members. Each follows the fit that :func:`lstmreg.fit` would give it alone, with
    the same ``training``, initial weights and batches, up to rounding: masks come from a generator of its own, seeded
    with ``training.seed``. A member that stops or diverges is removed, and touches no other.

    Args:
        population: Its members are trained in place.
        data: Training and validation batches for all, as :func:`lstmreg.fit` takes them; or a list with one such for
            each member (the same object for several is read once). Give loaders that shuffle a generator of their
            own.
        training: One for all, or one for each member. Optimizer and loss must be the same. Default:
            ``TrainingConfig()``.
        criterion: In place of ``training.loss``; mapped over the members by ``torch.vmap``.
        callbacks: Further Lightning callbacks.
        watch: Called after each epoch of each member, with the member's number and its epochs so far; it ends the
            member by returning true.
        listener: Called with the member's number and its result as soon as a member has ended (of a pair of loaders:
            when all have, since they would lose their place).

    Returns:
        One :class:`FitResult` for each member. One that diverged has ``stopped="diverged"``, infinite losses, and the
        reason in ``failure``.

    Raises:
        ValueError: If the lengths do not fit, or the members' optimizers or losses differ.
        KeyboardInterrupt: On Ctrl-C, with each member's best weights restored; ``listener`` has then been called for
            all that had ended.
    """
    trainings = _one_for_each(population, TrainingConfig() if training is None else training)
    sources, source_of = _sources(population, data)
    fit = _PopulationFit(population, trainings, sources, source_of, criterion, watch, listener)
    ended = False
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainings[0].seed)
            loaders = {"train_dataloaders": fit.train_batches, "val_dataloaders": fit.val_batches}
            trainer.run(fit, loaders, max_epochs=max(t.max_epochs for t in trainings), callbacks=callbacks)
            ended = True
    finally:
        fit.close(ended)
    return fit.results()


def _one_for_each(population: Population, training: TrainingConfig | Sequence[TrainingConfig]) -> list[TrainingConfig]:
    trainings = [training] * len(population) if isinstance(training, TrainingConfig) else list(training)
    if len(trainings) != len(population):
        raise ValueError(
            f"training must be one TrainingConfig or one for each of the {len(population)} members, got {len(trainings)}."
        )
    for name in ("optimizer", "loss"):
        found = sorted({getattr(t, name) for t in trainings})
        if len(found) > 1:
            raise ValueError(
                f"the members of a population must have the same {name}, got {' and '.join(found)}. "
                f"Make a population for each."
            )
    return trainings


class _Source:
    """Where some members' batches come from."""

    def __init__(self, data: Data) -> None:
        self._module = data if isinstance(data, pl.LightningDataModule) else None
        if isinstance(data, pl.LightningDataModule):
            data.prepare_data()
            data.setup("fit")
            self.train, self.val = data.train_dataloader(), data.val_dataloader()
        else:
            self.train, self.val = data

    @property
    def can_begin_anew(self) -> bool:
        """Whether the training batches can be read in between without another order of those to come."""
        return self._module is not None

    def train_again(self) -> Iterable[Any]:
        """Return the training batches, to evaluate on them."""
        return self.train if self._module is None else self._module.train_dataloader()  # type: ignore[no-any-return]


def _sources(population: Population, data: Data | list[Data]) -> tuple[list[_Source], list[int]]:
    """Return the different sources, and which of them each member reads."""
    own = data if isinstance(data, list) else [data] * len(population)
    if len(own) != len(population):
        raise ValueError(f"data must be for all or a list with one for each of the {len(population)} members, got {len(own)}.")
    different = list({id(d): d for d in own}.values())
    numbers = {id(d): i for i, d in enumerate(different)}
    return [_Source(d) for d in different], [numbers[id(d)] for d in own]


@dataclass
class _Member:
    """One member's own early stopping and records."""

    number: int
    training: TrainingConfig
    source: int
    kinds: set[str]
    generator: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    steps: int = 0
    best_value: float = math.inf
    best_epoch: int | None = None
    stopping_value: float = math.inf
    waited: int = 0
    seconds: float = 0.0
    stopped: Stopped | None = None
    failure: DivergedError | None = None

    def end_epoch(self, epoch: Epoch) -> bool:
        """Take an epoch in, and return whether its weights are the best so far."""
        self.history.append(epoch)
        value = epoch.val_loss
        is_best = math.isfinite(value) and value < self.best_value
        if is_best:
            self.best_value, self.best_epoch = value, len(self.history) - 1
        # As Lightning's EarlyStopping counts, whose best value may lie above, by min_delta.
        if value + self.training.min_delta < self.stopping_value:
            self.stopping_value, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited >= self.training.patience:
            self.stopped = "patience"
        elif len(self.history) >= self.training.max_epochs:
            self.stopped = "max_epochs"
        return is_best

    def result(self, train_loss: float) -> FitResult:
        """Return how the fit went; of one that never had a finite validation loss, that it diverged."""
        if self.failure is None and self.best_epoch is None and self.history:
            self.failure = DivergedError(self.steps, "validation", self.history[-1].val_loss)
        failed = self.failure is not None
        return FitResult(
            history=tuple(self.history),
            best_epoch=self.best_epoch or 0,
            val_loss=math.inf if failed else self.best_value,
            train_loss=math.inf if failed else train_loss,
            stopped="diverged" if failed else self.stopped or "callback",
            seconds=self.seconds,
            failure=self.failure,
        )


class _PopulationFit(pl.LightningModule):
    """The members that still train, in rows of ``weights``, sorted by their source."""

    automatic_optimization = False

    def __init__(
        self,
        population: Population,
        trainings: Sequence[TrainingConfig],
        sources: list[_Source],
        source_of: list[int],
        criterion: Criterion | None,
        watch: Watch | None,
        listener: Listener | None,
    ) -> None:
        super().__init__()
        self._population = [population]  # in a list, so that it is no part of this module
        self._criterion = CRITERIA[trainings[0].loss] if criterion is None else criterion
        self._watch, self._listener = watch, listener
        self._sources = sources
        kinds = population.block(range(len(population))).kinds
        # Neighbours that read the same batches, and then those that draw the same masks, run together.
        order = sorted(range(len(population)), key=lambda k: (source_of[k], _drops(population, k)))
        self._members = [
            _Member(k, trainings[k], source_of[k], kinds[k], torch.Generator().manual_seed(trainings[k].seed))
            for k in order
        ]
        self._results: dict[int, FitResult] = {}
        self._waiting: list[tuple[_Member, Tensor]] = []
        self.weights = nn.Parameter(population.weights.detach()[order])
        self._best = self.weights.detach().clone()
        self._blocks: dict[tuple[int, int], Block] = {}
        self._states: list[States] | None = None
        self.train_batches = Lockstep([s.train for s in sources], self._read_by())
        self.val_batches = Lockstep([s.val for s in sources], self._read_by())
        self._started = time.perf_counter()

    @property
    def population(self) -> Population:
        """The whole population."""
        return self._population[0]

    @property
    def active(self) -> int:
        """How many members still train."""
        return sum(member.stopped is None for member in self._members)

    def _read_by(self) -> list[int]:
        return [member.source for member in self._members]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make one optimizer for all rows."""
        return MemberOptimizer(self.weights, [member.training for member in self._members])

    # ------------------------------------------------------------------ an epoch

    def on_train_epoch_start(self) -> None:
        """Begin all sums, and the states of stateful layers, at zero."""
        device, count = self.weights.device, len(self._members)
        if self._members[0].generator.device != device:
            for member in self._members:
                member.generator = torch.Generator(device).manual_seed(member.training.seed)
        self._states = None
        self._train_sums, self._val_sums = _Sums(count, device), _Sums(count, device)

    def on_validation_epoch_start(self) -> None:
        """Begin the states of stateful layers at zero."""
        self._states = None

    def training_step(self, batch: list[Part], batch_idx: int) -> None:
        """Take a step with all members that have a batch."""
        if self.weights.grad is None:
            self.weights.grad = torch.zeros_like(self.weights)
        stepped = []
        for part in batch:
            for piece in self._pieces(part):
                stepped.append(slice(piece.first, piece.last))
                self._learn(piece)
        optimizer: Any = self.optimizers()
        optimizer.step(rows=_joined(stepped))

    def _learn(self, piece: Part) -> None:
        """Compute the gradients of some members."""
        rows = slice(piece.first, piece.last)
        members = self._members[rows]
        weights = self.weights.detach()[rows].requires_grad_()
        prediction, penalties, states = self._block(piece).run_and_penalize(
            weights, piece.x, self._states_of(piece), [member.generator for member in members]
        )
        data_loss = self._losses(prediction, piece.y)
        total = sum(penalties.values(), data_loss)
        self.weights.grad[rows] = torch.autograd.grad(total.sum(), weights)[0]  # type: ignore[index]
        self._keep_states(piece, states)
        size = piece.y.shape[-2]
        self._train_sums.add(rows, size, {"": data_loss} | penalties)
        if not bool(total.isfinite().all()):
            for member, loss in zip(members, total.tolist(), strict=True):
                if member.stopped is None and not math.isfinite(loss):
                    member.stopped, member.failure = "diverged", DivergedError(member.steps, "training", loss)
        for member in members:
            member.steps += 1

    def validation_step(self, batch: list[Part], batch_idx: int) -> None:
        """Evaluate all members that have a batch."""
        self._evaluate(batch, self.weights.detach(), self._val_sums)

    def _evaluate(self, batch: list[Part], weights: Tensor, sums: _Sums) -> None:
        for part in batch:
            for piece in self._pieces(part):
                rows = slice(piece.first, piece.last)
                prediction, states = self._block(piece).run(weights[rows], piece.x, self._states_of(piece))
                self._keep_states(piece, states)
                sums.add(rows, piece.y.shape[-2], {"": self._losses(prediction, piece.y)})

    def on_train_epoch_end(self) -> None:
        """Let each member see its epoch; remove those that have ended, if they are many."""
        now = time.perf_counter()
        share, self._started = (now - self._started) / len(self._members), now
        train, val = self._train_sums.means(), self._val_sums.means()
        improved = []
        for row, member in enumerate(self._members):
            member.seconds += share
            if member.stopped is not None:
                continue
            penalties = {kind: train[kind][row] for kind in train if kind in member.kinds}
            if member.end_epoch(Epoch(train[""][row], val[""][row], penalties)):
                improved.append(row)
            if self._watch is not None and self._watch(member.number, member.history) and member.stopped is None:
                member.stopped = "callback"
        self._best[improved] = self.weights.detach()[improved]
        ended = len(self._members) - self.active
        if ended >= max(1, self.active * _WORTH_REMOVING):
            self._remove_ended()
        if not self._members:
            self.trainer.should_stop = True

    # ------------------------------------------------------------------ the parts of a step

    def _pieces(self, part: Part) -> Iterable[Part]:
        """Cut a part so that what is kept of it fits."""
        batch, steps, _ = part.x.shape[-3:]
        at_once = max(1, _BYTES_AT_ONCE // (batch * steps * self._bytes_per_step()))
        pieces = math.ceil((part.last - part.first) / at_once)
        edges = [part.first + (part.last - part.first) * i // pieces for i in range(pieces + 1)]
        shared = part.y.dim() == 2
        for first, last in zip(edges, edges[1:], strict=False):
            own = slice(first - part.first, last - part.first)
            yield part._replace(first=first, last=last) if shared else Part(first, last, part.x[own], part.y[own])

    def _bytes_per_step(self) -> int:
        """Return what a step of one sequence leaves for the backward pass: four gates, cell state, output."""
        network = self.population.networks[0]
        units = sum(layer.hidden_size for layer in network.layers)
        return 6 * units * (2 if network.config.bidirectional else 1) * self.weights.element_size()

    def _block(self, piece: Part) -> Block:
        key = piece.first, piece.last
        if key not in self._blocks:
            self._blocks[key] = self.population.block([m.number for m in self._members[slice(*key)]])
        return self._blocks[key]

    def _losses(self, prediction: Tensor, y: Tensor) -> Tensor:
        return torch.vmap(self._criterion)(prediction, y.expand_as(prediction))

    def _states_of(self, piece: Part) -> list[States] | None:
        """Return the states in which stateful members ended their last batch."""
        if self._states is None:
            return None
        batch, known = piece.x.shape[-3], self._states[0][0].shape[-2]
        if batch != known:
            raise ValueError(f"a stateful layer must get the same number of sequences each time, {known}, got {batch}.")
        return [(h[piece.first : piece.last], c[piece.first : piece.last]) for h, c in self._states]

    def _keep_states(self, piece: Part, states: list[States]) -> None:
        if not self.population.networks[0].config.stateful:
            return
        if self._states is None:
            count = len(self._members)
            self._states = [(h.new_zeros(count, *h.shape[1:]), c.new_zeros(count, *c.shape[1:])) for h, c in states]
        for kept, found in zip(self._states, states, strict=True):
            for whole, some in zip(kept, found, strict=True):
                whole[piece.first : piece.last] = some.detach()

    # ------------------------------------------------------------------ ending

    def _remove_ended(self) -> None:
        """Forget the members that have ended, with all that belongs to them."""
        ended = [row for row, member in enumerate(self._members) if member.stopped is not None]
        going = [row for row, member in enumerate(self._members) if member.stopped is None]
        self._end([(self._members[row], self._best[row].clone()) for row in ended])
        kept = torch.tensor(going, dtype=torch.int64, device=self.weights.device)
        optimizer: Any = self.optimizers()
        optimizer.optimizer.keep(kept)
        self._members = [self._members[row] for row in going]
        self.weights.data, self.weights.grad = self.weights.data[kept], None
        self._best = self._best[kept]
        self._blocks = {}
        self.train_batches.source_of = self.val_batches.source_of = self._read_by()

    def _end(self, ended: list[tuple[_Member, Tensor]]) -> None:
        """Give members their best weights; tell their results as soon as their data may be read once more."""
        for member, best in ended:
            with torch.no_grad():
                self.population.weights[member.number] = best
        self._waiting += ended
        ready = [pair for pair in self._waiting if self._sources[pair[0].source].can_begin_anew]
        self._waiting = [pair for pair in self._waiting if not self._sources[pair[0].source].can_begin_anew]
        self._tell(ready)

    def _tell(self, ended: list[tuple[_Member, Tensor]]) -> None:
        """Evaluate members at their best on their training data, and tell their results."""
        if not ended:
            return
        training = self._members, self._blocks, self._states
        ended.sort(key=lambda pair: (pair[0].source, _drops(self.population, pair[0].number)))
        self._members, self._blocks, self._states = [member for member, _ in ended], {}, None
        sums = _Sums(len(ended), self.weights.device)
        weights = torch.stack([best for _, best in ended])
        with torch.no_grad():
            for batch in Lockstep([s.train_again() for s in self._sources], self._read_by()):
                moved: Any = self.trainer.strategy.batch_to_device(batch, self.weights.device)
                self._evaluate(moved, weights, sums)
        means = sums.means()[""]
        self._members, self._blocks, self._states = training
        for (member, _), train_loss in zip(ended, means, strict=True):
            self._results[member.number] = result = member.result(train_loss)
            if self._listener is not None:
                self._listener(member.number, result)

    def close(self, ended: bool) -> None:
        """End all members: those that would go on too, if the trainer ended by itself; else without a result."""
        rows = [(member, self._best[row]) for row, member in enumerate(self._members)]
        self._members, unfinished = [], [] if ended else [m.number for m, _ in rows if m.stopped is None]
        for member, best in rows:
            with torch.no_grad():
                self.population.weights[member.number] = best
        told = [pair for pair in [*self._waiting, *rows] if pair[0].number not in unfinished]
        self._waiting = []
        self._tell(told)
        self.population.eval()

    def results(self) -> list[FitResult]:
        """Return the results in the order of the members."""
        return [self._results[k] for k in range(len(self.population))]


class _Sums:
    """Sums over batches, for each member, of losses and penalties."""

    def __init__(self, members: int, device: torch.device) -> None:
        self._size = members, device
        self._counts = [0] * members
        self._sums: dict[str, Tensor] = {}

    def add(self, rows: slice, batch: int, values: dict[str, Tensor]) -> None:
        """Add values ``(K)``, means over a batch, by name."""
        for name, value in values.items():
            if name not in self._sums:
                count, device = self._size
                self._sums[name] = torch.zeros(count, dtype=torch.float64, device=device)
            self._sums[name][rows] += value.detach() * batch
        self._counts[rows] = [count + batch for count in self._counts[rows]]

    def means(self) -> dict[str, list[float]]:
        """Return the means over all batches, by name and member."""
        counts = torch.tensor(self._counts, dtype=torch.float64)
        return {name: (total.cpu() / counts).tolist() for name, total in self._sums.items()}


def _drops(population: Population, member: int) -> tuple[bool, ...]:
    """Tell what masks a member draws, to sort by."""
    config = population.networks[member].config
    layers = [config.layer(index) for index in range(config.num_layers)]
    return tuple(layer[name] > 0 for layer in layers for name in ("recurrent_dropout", "dropout"))


def _joined(rows: list[slice]) -> list[slice]:
    """Join slices that follow each other, so that an optimizer has less to do."""
    joined: list[slice] = []
    for part in rows:
        if joined and joined[-1].stop == part.start:
            joined[-1] = slice(joined[-1].start, part.stop)
        else:
            joined.append(part)
    return joined
