"""The studies of one run in its SQLite file: who owns them, which trials are done, and running the rest."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import sqlite3
import statistics
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lstmreg.config import Config, Scalar
from lstmreg.errors import ConfigError, CorruptFileError, DataError, NoUsableTrialError
from lstmreg.training import DivergedError

from .evidence import STAGES, Record, Replicate
from .space import Setting, key

#: After so many identical errors in a row the search stops: the next trial would fail as well.
_SAME_ERRORS = 5

#: A median of fewer trials is no limit for others.
_ENOUGH_TO_PRUNE = 10

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Job:
    """One trial to run."""

    setting: Setting
    replicate: Replicate
    role: str
    position: int | None = None  #: among the sampled trials

    @property
    def identity(self) -> tuple[str, Replicate]:
        """Equal for a job and the record of its trial."""
        return key(self.setting), self.replicate


@dataclass(frozen=True)
class Outcome:
    """How a job ended: the trial's value and its result."""

    value: float
    result: dict[str, Any]


#: Told of each job that has ended: its number, and how; an exception if it failed.
Tell = Callable[[int, Outcome | Exception], None]

#: Told after each epoch of a job: its number, the epoch, and what the trial's value is by then; returns whether to
#: end it there.
Watch = Callable[[int, int, float], bool]

#: Runs some jobs at once, and tells of each.
Runner = Callable[[list[Job], Tell, Watch], None]


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone; the operating system lets go when the process ends.

    Raises:
        ConfigError: If another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    owner = directory / "owner.pid"
    lock = filelock.FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise ConfigError(
            f"{directory}: process {pid} is working on this run. Wait for it, or choose another name."
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def usable_study(directory: Path) -> Iterator[None]:
    """Say it as an ``OSError`` if the study, sound as it was when it was opened, cannot be read or written."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise OSError(
            errno.EIO, f"the study cannot be read or written ({reason})", str(directory / "study.db")
        ) from error


class Ledger:
    """The Optuna studies of one run.

    Args:
        config: The run.
        heard: Called with the record of each trial that ends.
        read_only: Whether to leave trials alone that seem to be running.

    Raises:
        CorruptFileError: If the study's file is damaged, or missing where it is to be read.
    """

    def __init__(
        self,
        config: Config,
        heard: Callable[[Record], None] = lambda record: None,
        *,
        read_only: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = config.directory / "study.db"
        _check_file(path, must_exist=read_only)
        self.config = config
        self._heard = heard
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
        self._studies = {
            stage: optuna.create_study(
                storage=self._storage, study_name=f"{config.run_name}/{stage}", load_if_exists=True
            )
            for stage in STAGES
        }
        if not read_only:
            self._close_abandoned()
        self._records = {stage: self._read(stage) for stage in STAGES}

    def check_data(self, card: dict[str, Any]) -> None:
        """Keep the data card with the study, or compare it with the one that is there.

        Raises:
            DataError: If the data are not those the run began with.
        """
        study = self._studies["baseline"]
        known = study.user_attrs.get("card")
        if known is None:
            study.set_user_attr("card", card)
        elif known["sha256"] != card["sha256"]:
            raise DataError(
                f"{self.config.data.path} is not the file that run {self.config.run_name!r} began with. "
                f"Give the run a new name, or bring the old file back."
            )

    def card(self) -> dict[str, Any]:
        """Return the data card of a run that has begun.

        Raises:
            CorruptFileError: If there is none.
        """
        card: dict[str, Any] | None = self._studies["baseline"].user_attrs.get("card")
        if card is None:
            raise CorruptFileError(f"{self.config.directory}: the search has not begun. Run 'lstmreg search'.")
        return card

    def _close_abandoned(self) -> None:
        """Close trials of a process that died; this process owns the run, so nobody else is working."""
        for study in self._studies.values():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
                self._storage.set_trial_user_attr(trial._trial_id, "failure", INTERRUPTED)
                self._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)

    def _read(self, stage: str) -> list[Record]:
        states = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)
        done = self._studies[stage].get_trials(deepcopy=False, states=states)
        # A process may have died at any moment, so of an interrupted trial nothing is sure to be there.
        return [_record(stage, trial) for trial in done if trial.user_attrs.get("failure") != INTERRUPTED]

    def records(self, stage: str) -> list[Record]:
        """Return the finished trials of a stage, in an order that does not depend on which of them ended first.

        Interrupted ones are not finished, they run again.
        """
        return sorted(self._records[stage], key=lambda r: (r.position is None, r.position or 0, r.role, r.identity))

    def run_jobs(self, stage: str, jobs: list[Job], run: Runner) -> None:
        """Run ``jobs``; each becomes a trial of the stage's study when it has ended."""

        def tell(number: int, outcome: Outcome | Exception) -> None:
            study, state = self._studies[stage], TrialState.FAIL
            attributes, value = _attributes(jobs[number]), None
            if isinstance(outcome, Outcome):
                attributes["result"], value, state = outcome.result, outcome.value, TrialState.COMPLETE
            else:
                attributes |= _reasons(outcome)
            # In one transaction, and not one for each attribute.
            ended = optuna.trial.create_trial(state=state, value=value, user_attrs=attributes)
            trial_id = self._storage.create_new_trial(study._study_id, template_trial=ended)
            ended.number = self._storage.get_trial_number_from_id(trial_id)
            self._keep(_record(stage, ended))

        run(jobs, tell, lambda number, epoch, value: False)

    def sample(
        self,
        stage: str,
        total: int,
        propose: Callable[[optuna.Trial], Setting],
        starts: list[dict[str, Scalar]],
        replicates: list[Replicate],
        run: Runner,
    ) -> None:
        """Let the sampler propose settings until ``total`` sampled trials are done, counting earlier sittings.

        They are proposed and run ``search.batch`` at a time. The trial at position ``n`` runs on replicate ``n`` modulo
        their number; the first trials draw the parameters ``starts``.
        """
        size = self.config.search.batch
        for first in range(0, total, size):
            done = {r.position for r in self._records[stage]}
            missing = [n for n in range(first, min(first + size, total)) if n not in done]
            if not missing:
                continue
            trials, jobs = [], []
            for n in missing:
                trials.append(self._ask(stage, n, starts))
                jobs.append(Job(propose(trials[-1]), replicates[n % len(replicates)], "sampled", n))
                for name, value in _attributes(jobs[-1]).items():
                    trials[-1].set_user_attr(name, value)
            self._run_trials(stage, trials, jobs, run)

    def _ask(self, stage: str, position: int, starts: list[dict[str, Scalar]]) -> optuna.Trial:
        """Ask for a trial; of one that was interrupted, for the same parameters again."""
        study = self._studies[stage]
        # Samplers forget themselves between sittings; a seed from the position makes them repeatable.
        study.sampler = self._sampler(position)
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        interrupted = [t for t in failed if t.user_attrs.get("position") == position]
        if interrupted:
            study.enqueue_trial(interrupted[0].params)
        elif position < len(starts):
            study.enqueue_trial(starts[position])
        return study.ask()

    def _patience(self) -> int:
        """Return the epochs before which no trial is given up; without a patience that is never done."""
        training = self.config.training
        return training.max_epochs if training.patience is None else training.patience

    def _run_trials(self, stage: str, trials: list[optuna.Trial], jobs: list[Job], run: Runner) -> None:
        """Run jobs that have trials already, and tell the study how each went, whatever happens."""
        study, left = self._studies[stage], set(range(len(jobs)))
        # Of the trials before this batch, so that it does not matter which of the batch end first.
        earlier = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        limits = _Medians([t.intermediate_values for t in earlier], self._patience())

        def watch(number: int, epoch: int, value: float) -> bool:
            if not math.isfinite(value):
                return False
            trials[number].report(value, epoch)
            return self.config.search.prune and value > limits.at(epoch)

        def tell(number: int, outcome: Outcome | Exception) -> None:
            trial = trials[number]
            if isinstance(outcome, Outcome):
                trial.set_user_attr("result", outcome.result)
                pruned = outcome.result["stopped"] == "callback"
                told = study.tell(trial, None if pruned else outcome.value, TrialState.PRUNED if pruned else None)
            else:
                told = _fail(study, trial, _reasons(outcome))
            left.discard(number)
            self._keep(_record(stage, told))

        try:
            run(jobs, tell, watch)
        finally:  # Ctrl-C and the like: no trial must stay RUNNING for ever
            for number in left:
                _fail(study, trials[number], {"failure": INTERRUPTED})

    def _keep(self, record: Record) -> None:
        self._records[record.stage].append(record)
        self._heard(record)
        _stop_if_hopeless(self._records[record.stage])

    def _sampler(self, done: int) -> optuna.samplers.BaseSampler:
        digest = hashlib.blake2b(f"{self.config.search.seed}/{done}".encode(), digest_size=4).digest()
        seed = int.from_bytes(digest, "little")
        if self.config.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self.config.search.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)


class _Medians:
    """At each epoch the median of what some trials had reached by then: what is worse is not worth going on with.

    Optuna's own median pruner does the same, and reads all trials from the file at each epoch of each trial.

    Args:
        curves: Of each trial what it had reached, by epoch; what has stopped stays where it was.
        patience: No limit before so many epochs: what is regularized learns more slowly.
    """

    def __init__(self, curves: list[dict[int, float]], patience: int) -> None:
        self._curves = [dict(sorted(curve.items())) for curve in curves if curve]
        self._patience = patience
        self._known: dict[int, float] = {}

    def at(self, epoch: int) -> float:
        """Return the limit at an epoch, counted from 0; infinite where there is none."""
        if epoch < self._patience or len(self._curves) < _ENOUGH_TO_PRUNE:
            return math.inf
        if epoch not in self._known:
            reached = [curve.get(epoch, list(curve.values())[-1]) for curve in self._curves]
            self._known[epoch] = statistics.median(reached)
        return self._known[epoch]


def _attributes(job: Job) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "setting": job.setting,
        "replicate": [job.replicate.split, job.replicate.seed],
        "role": job.role,
    }
    return attributes if job.position is None else attributes | {"position": job.position}


def _reasons(error: Exception) -> dict[str, str]:
    """Return what the study keeps of a failure."""
    if isinstance(error, DivergedError):
        return {"failure": str(error)}
    details = "".join(traceback.format_exception(error, chain=False))
    return {"failure": f"{type(error).__name__}: {error}", "traceback": details}


def _fail(study: optuna.Study, trial: optuna.Trial, reasons: dict[str, str]) -> FrozenTrial:
    for name, value in reasons.items():
        trial.set_user_attr(name, value)
    return study.tell(trial, state=TrialState.FAIL)


def _stop_if_hopeless(records: list[Record]) -> None:
    latest = records[-_SAME_ERRORS:]
    causes = {r.traceback for r in latest}
    if len(latest) == _SAME_ERRORS and len(causes) == 1 and None not in causes:
        raise NoUsableTrialError(
            f"{_SAME_ERRORS} trials in a row failed alike: {latest[-1].failure} The study keeps the traceback of each."
        )


def _record(stage: str, trial: FrozenTrial) -> Record:
    attributes = trial.user_attrs
    return Record(
        stage=stage,
        number=trial.number,
        role=attributes["role"],
        setting=attributes["setting"],
        replicate=Replicate(*attributes["replicate"]),
        failure=attributes.get("failure"),
        result=attributes.get("result", {}),
        position=attributes.get("position"),
        traceback=attributes.get("traceback"),
    )


def _check_file(path: Path, *, must_exist: bool) -> None:
    """Look whether an existing study is sound, before anything writes to it."""
    if not path.exists():
        if must_exist:
            raise CorruptFileError(f"{path}: no such study. Run 'lstmreg search' first.")
        return
    try:
        with sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True) as connection:
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok" or path.stat().st_size == 0:
        raise CorruptFileError(
            f"{path}: the study is damaged ({verdict}). Move the file aside and run the search again."
        )
