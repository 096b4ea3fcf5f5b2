"""``fit_population``: train hundreds of networks at once, each as ``fit`` would train it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl

from lstmreg.config import TrainingConfig
from lstmreg.losses import Criterion
from lstmreg.population import Population
from lstmreg.training import trainer
from lstmreg.training.batches import Data
from lstmreg.training.criteria import criterion_for
from lstmreg.training.fitting import FitResult

from .module import Listener, PopulationModule, Watch
from .sources import as_sources
from .workers import workers

#: What the trainings of a population have in common.
SHARED = ("optimizer", "loss", "proximal", "precision")


def fit_population(
    population: Population,
    data: Data | list[Data],
    training: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    criterion: Criterion | Sequence[Criterion] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    watch: Watch | None = None,
    listener: Listener | None = None,
) -> list[FitResult]:
    """Train every member until its own validation loss stops falling, and leave it at its own best epoch.

    A member with ``patience=None`` trains to its ``max_epochs``, and with ``keep="last"`` it is left at its last epoch.

    One step of one trainer moves all members. Each follows the fit that :func:`lstmreg.fit` would give it alone, with
    the same ``training``, initial weights and batches, up to rounding: masks come from a generator of its own, seeded
    with ``training.seed``. A member that stops or diverges is removed, and touches no other.

    Args:
        population: Its members are trained in place.
        data: Training and validation batches for all, as :func:`lstmreg.fit` takes them; or a list with one such for
            each member (the same object for several is read once; of datasets and arrays, once for each order that a
            seed gives). Give every loader a generator of its own: without
            one, even a loader that does not shuffle draws from torch's, which in a single fit draws the masks.
        training: One for all, or one for each member. Optimizer, loss, ``proximal`` and ``precision`` must be the same.
            Default: ``TrainingConfig()``.
        criterion: In place of ``training.loss``; one for all, or one for each member. A loss of ``lstmreg.losses``
            says what each case costs; any other is mapped over the members by ``torch.vmap``.
        callbacks: Further Lightning callbacks.
        watch: Called after each epoch of each member, with the member's number and its epochs so far; it ends the
            member by returning true.
        listener: Called with the member's number and its result soon after it has ended: when some have, and are
            removed (of a pair of loaders: when all have, since they would lose their place).

    Returns:
        One :class:`FitResult` for each member. One that diverged has ``stopped="diverged"``, infinite losses, and the
        reason in ``failure``.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If the lengths do not fit, the members' optimizers, losses, ``proximal`` or ``precision`` differ, a
            batch or a loss has another shape, or there are no batches.
        KeyboardInterrupt: On Ctrl-C, with the weights that each member keeps restored; ``listener`` has then been
            called for all that had ended.
    """
    if not isinstance(population, Population):
        raise TypeError(f"population must be a Population, got {type(population).__name__}. Use lstmreg.fit for one.")
    trainings = _one_for_each(population, TrainingConfig() if training is None else training)
    sources, source_of = as_sources(population, data, trainings)
    criteria = _criteria(population, data, trainings, criterion)
    with workers() as crew:
        fit = PopulationModule(population, trainings, sources, source_of, criteria, watch, listener, crew)
        interrupted = True
        try:
            with trainer.randomness(trainings[0].seed):
                loaders = {"train_dataloaders": fit.train_batches, "val_dataloaders": fit.val_batches}
                trainer.run(fit, loaders, max_epochs=max(t.max_epochs for t in trainings), callbacks=callbacks)
                interrupted = False
        finally:
            fit.close(interrupted=interrupted)
    return fit.results()


def _criteria(
    population: Population,
    data: Data | list[Data],
    trainings: list[TrainingConfig],
    criterion: Criterion | Sequence[Criterion] | None,
) -> list[Criterion]:
    """Return the criterion of each member."""
    if criterion is None:
        own = data if isinstance(data, list) else [data] * len(trainings)
        return [criterion_for(t, n, d) for t, n, d in zip(trainings, population.networks, own, strict=True)]
    criteria: list[Any] = list(criterion) if isinstance(criterion, Sequence) else [criterion] * len(population)
    if len(criteria) != len(population):
        raise ValueError(
            f"criterion must be one function or one for each of the {len(population)} members, got {len(criteria)}."
        )
    for one in criteria:
        if not callable(one):
            raise TypeError(f"criterion must be callable, got {one!r}. Name one of torch's as training.loss.")
    return criteria


def _one_for_each(population: Population, training: TrainingConfig | Sequence[TrainingConfig]) -> list[TrainingConfig]:
    trainings = [training] * len(population) if isinstance(training, TrainingConfig) else list(training)
    for own in trainings:
        if not isinstance(own, TrainingConfig):
            raise TypeError(f"training must be a TrainingConfig, or a list of them, got {own!r}.")
    if len(trainings) != len(population):
        raise ValueError(
            f"training must be one TrainingConfig or one for each of the {len(population)} members, "
            f"got {len(trainings)}."
        )
    for name in SHARED:
        found = sorted({str(getattr(t, name)) for t in trainings})
        if len(found) > 1:
            raise ValueError(
                f"the members of a population must have the same {name}, got {' and '.join(found)}. "
                f"Make a population for each."
            )
    return trainings
