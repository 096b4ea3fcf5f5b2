"""The studies of one run in its SQLite file: who owns them, which trials are done, and running the rest."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
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

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Job:
    """One trial to run."""

    setting: Setting
    replicate: Replicate
    role: str

    @property
    def identity(self) -> tuple[str, Replicate]:
        """Equal for a job and the record of its trial."""
        return key(self.setting), self.replicate


#: Runs one job: returns the trial's value and its result.
Runner = Callable[[Job], tuple[float, dict[str, Any]]]


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
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._storage.set_trial_user_attr(trial._trial_id, "failure", INTERRUPTED)
                study.tell(trial.number, state=TrialState.FAIL)

    def records(self, stage: str) -> list[Record]:
        """Return the finished trials of a stage; interrupted ones are not, they run again."""
        done = self._studies[stage].get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        # A process may have died at any moment, so of an interrupted trial nothing is sure to be there.
        return [_record(stage, trial) for trial in done if trial.user_attrs.get("failure") != INTERRUPTED]

    def run_jobs(self, stage: str, jobs: list[Job], run: Runner) -> None:
        """Run ``jobs`` one after the other, each as a trial of the stage's study."""
        for job in jobs:
            self._run(stage, self._studies[stage].ask(), job, run)

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

        Trial ``n`` runs on replicate ``n`` modulo their number; the first trials draw the parameters ``starts``.
        """
        study = self._studies[stage]
        while (n := sum(r.role == "sampled" for r in self.records(stage))) < total:
            # Samplers forget themselves between sittings; a seed from what is done makes them repeatable.
            study.sampler = self._sampler(n)
            if n < len(starts):
                study.enqueue_trial(starts[n])
            trial = study.ask()
            self._run(stage, trial, Job(propose(trial), replicates[n % len(replicates)], "sampled"), run)

    def _sampler(self, done: int) -> optuna.samplers.BaseSampler:
        digest = hashlib.blake2b(f"{self.config.search.seed}/{done}".encode(), digest_size=4).digest()
        seed = int.from_bytes(digest, "little")
        if self.config.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self.config.search.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)

    def _run(self, stage: str, trial: optuna.Trial, job: Job, run: Runner) -> None:
        """Run one job and tell the study how it went, whatever happens."""
        study = self._studies[stage]
        trial.set_user_attr("setting", job.setting)
        trial.set_user_attr("replicate", [job.replicate.split, job.replicate.seed])
        trial.set_user_attr("role", job.role)
        try:
            value, result = run(job)
        except DivergedError as error:
            told = _fail(study, trial, str(error))
        except Exception as error:  # noqa: BLE001 - a trial may fail in any way; the study goes on
            told = _fail(study, trial, f"{type(error).__name__}: {error}", traceback.format_exc())
        except BaseException:  # Ctrl-C and the like: the trial must not stay RUNNING for ever
            _fail(study, trial, INTERRUPTED)
            raise
        else:
            trial.set_user_attr("result", result)
            told = study.tell(trial, value)
        self._heard(_record(stage, told))
        _stop_if_hopeless(study)


def _fail(study: optuna.Study, trial: optuna.Trial, reason: str, details: str | None = None) -> FrozenTrial:
    trial.set_user_attr("failure", reason)
    if details is not None:
        trial.set_user_attr("traceback", details)
    return study.tell(trial, state=TrialState.FAIL)


def _stop_if_hopeless(study: optuna.Study) -> None:
    latest = study.get_trials(deepcopy=False)[-_SAME_ERRORS:]
    tracebacks = {t.user_attrs.get("traceback") for t in latest}
    if len(latest) == _SAME_ERRORS and len(tracebacks) == 1 and None not in tracebacks:
        raise NoUsableTrialError(
            f"{_SAME_ERRORS} trials in a row failed alike: {latest[-1].user_attrs['failure']} "
            f"The study keeps the traceback of each."
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
