"""The studies of one run in its SQLite file: which trials are done, and running the rest."""

from __future__ import annotations

import dataclasses
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lstmreg.config import Config
from lstmreg.errors import CorruptFileError, DataError, NoUsableTrialError
from lstmreg.training import DivergedError

from .card import DataCard
from .records import ROLES, STAGE_OF, STAGES, Record, Replicate, Result, Role, Stage
from .space import Setting, key
from .study_file import check_file, damaged

#: After so many identical errors in a row the search stops: the next trial would fail as well.
_SAME_ERRORS = 5


@dataclass(frozen=True)
class Job:
    """One trial to run.

    Attributes:
        setting: What differs from the baseline.
        replicate: On what.
        role: Why.
    """

    setting: Setting
    replicate: Replicate
    role: Role

    @property
    def identity(self) -> tuple[str, Replicate]:
        """Equal for a job and the record of its trial."""
        return key(self.setting), self.replicate


@dataclass(frozen=True)
class Outcome:
    """How a job ended: the trial's value and its result."""

    value: float
    result: Result


#: Told of each job that has ended: its number, and how; an exception if it failed.
Tell = Callable[[int, Outcome | Exception], None]

#: Runs some jobs at once, and tells of each.
Runner = Callable[[list[Job], Tell], None]


class Ledger:
    """The Optuna studies of one run.

    Args:
        config: The run.
        card: The data, which say what the splits are.
        heard: Called with the record of each trial that ends.

    Attributes:
        learning_rate: That of the baseline, as soon as it is chosen.

    Raises:
        CorruptFileError: If the study's file is damaged.
    """

    def __init__(
        self,
        config: Config,
        card: DataCard,
        heard: Callable[[Record], None] = lambda record: None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = config.directory / "study.db"
        check_file(path)
        self.config = config
        self.learning_rate: float | None = None
        on = {"test": [card.final_key]}
        self._splits = {stage: [tuple(k) for k in on.get(stage, card.block_keys)] for stage in STAGES}
        self._heard = heard
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
        self._studies = {
            stage: optuna.create_study(
                storage=self._storage, study_name=f"{config.run_name}/{stage}", load_if_exists=True
            )
            for stage in STAGES
        }
        self._records = {stage: self._read(stage) for stage in STAGES}

    def keep_card(self, card: dict[str, Any]) -> None:
        """Keep the data card with the study, so that a report needs the data no more.

        Raises:
            DataError: If the data are not those the run began with.
        """
        study = self._studies["rates"]
        known = study.user_attrs.get("card")
        if known is not None and known["sha256"] != card["sha256"]:
            raise DataError(
                f"{card['path']}: not what run {self.config.run_name!r} began with. "
                f"Give the run a new name, or bring the old back."
            )
        if known != card:
            study.set_user_attr("card", card)

    def _read(self, stage: Stage) -> list[Record]:
        """Read the finished trials; what a process of another version left running is none."""
        states = (TrialState.COMPLETE, TrialState.FAIL)
        done = self._studies[stage].get_trials(deepcopy=False, states=states)
        try:
            return [_record(stage, trial) for trial in done if "split" in trial.user_attrs]
        except ValueError as error:
            raise damaged(self.config.directory / "study.db", str(error)) from None

    def records(self, stage: Stage) -> list[Record]:
        """Return the finished trials of a stage, in an order that does not depend on which of them ended first.

        Only those count that ran on a split as the splits are now, and whose setting differs from the baseline as it
        is now.
        """
        places = {split: number for number, split in enumerate(self._splits[stage])}
        found = [
            dataclasses.replace(record, replicate=Replicate(places[record.split], record.replicate.seed))
            for record in self._counting(stage)
        ]
        return sorted(found, key=lambda r: (ROLES.index(r.role), r.identity))

    def counts(self) -> Counter[Role]:
        """Count the finished trials of all stages by why they ran; it takes no time, however often it is asked."""
        return Counter(record.role for stage in STAGES for record in self._counting(stage))

    def _counting(self, stage: Stage) -> Iterator[Record]:
        """Go through the trials of a stage that count."""
        splits, at_any_rate = set(self._splits[stage]), stage == "rates"
        for record in self._records[stage]:
            if record.split in splits and (at_any_rate or record.learning_rate == self.learning_rate):
                yield record

    def run_jobs(self, stage: Stage, jobs: list[Job], run: Runner) -> None:
        """Run ``jobs``; each becomes a trial of the stage's study when it has ended, so that none is left open."""

        def tell(number: int, outcome: Outcome | Exception) -> None:
            study, job = self._studies[stage], jobs[number]
            attributes, value = self._attributes(stage, job), None
            if isinstance(outcome, Outcome):
                attributes["result"], value = outcome.result.to_attribute(), outcome.value
                state = TrialState.COMPLETE
            else:
                attributes |= _reasons(outcome)
                state = TrialState.FAIL
            # In one transaction, and not one for each attribute.
            ended = optuna.trial.create_trial(state=state, value=value, user_attrs=attributes)
            trial_id = self._storage.create_new_trial(study._study_id, template_trial=ended)
            ended.number = self._storage.get_trial_number_from_id(trial_id)
            self._keep(_record(stage, ended))

        run(jobs, tell)

    def _attributes(self, stage: Stage, job: Job) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "setting": job.setting,
            "replicate": [job.replicate.block, job.replicate.seed],
            "split": list(self._splits[stage][job.replicate.block]),
            "role": job.role,
        }
        return attributes if stage == "rates" else attributes | {"learning_rate": self.learning_rate}

    def _keep(self, record: Record) -> None:
        self._records[record.stage].append(record)
        self._heard(record)
        _stop_if_hopeless(self._records[record.stage])


def _reasons(error: Exception) -> dict[str, str]:
    """Return what the study keeps of a failure."""
    if isinstance(error, DivergedError):
        return {"failure": str(error)}
    details = "".join(traceback.format_exception(error, chain=False))
    return {"failure": f"{type(error).__name__}: {error}", "traceback": details}


def _stop_if_hopeless(records: list[Record]) -> None:
    latest = records[-_SAME_ERRORS:]
    causes = {r.traceback for r in latest}
    if len(latest) == _SAME_ERRORS and len(causes) == 1 and None not in causes:
        raise NoUsableTrialError(
            f"{_SAME_ERRORS} trials in a row failed alike: {latest[-1].failure} The study keeps the traceback of each."
        )


def _record(stage: Stage, trial: FrozenTrial) -> Record:
    """Return a finished trial as the experiment knows it.

    Raises:
        ValueError: If it is none that a search has written; it names the trial.
    """
    attributes = trial.user_attrs
    failure = attributes.get("failure")
    try:
        if missing := [name for name in ("role", "setting", "replicate") if name not in attributes]:
            raise ValueError(f"it has no {missing[0]}")
        if attributes["role"] not in [role for role, its_stage in STAGE_OF.items() if its_stage == stage]:
            raise ValueError(f"its role is {attributes['role']!r}")
        return Record(
            number=trial.number,
            role=attributes["role"],
            setting=attributes["setting"],
            replicate=Replicate(*attributes["replicate"]),
            result=None if failure is not None else Result.from_attribute(attributes.get("result")),
            failure=failure,
            traceback=attributes.get("traceback"),
            split=tuple(attributes["split"]),
            learning_rate=attributes.get("learning_rate"),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"trial {trial.number} of stage {stage!r}: {error}") from None


def read_card(config: Config) -> dict[str, Any]:
    """Return the data card of a run that has begun.

    Raises:
        CorruptFileError: If there is none, or the study's file is damaged or missing.
    """
    path = config.directory / "study.db"
    if not path.exists():
        raise CorruptFileError(f"{path}: no such study. Run 'lstmreg search' first.")
    check_file(path)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
    name = f"{config.run_name}/rates"
    known = name in optuna.get_all_study_names(storage)
    card: dict[str, Any] | None = (
        optuna.load_study(storage=storage, study_name=name).user_attrs.get("card") if known else None
    )
    if card is None:
        raise CorruptFileError(f"{config.directory}: the search has not begun. Run 'lstmreg search'.")
    return card
