"""The studies of one run where they are kept: which trials are done, and running the rest."""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from lstmreg.config import Config
from lstmreg.data.fingerprint import Fingerprint
from lstmreg.errors import ConfigError, CorruptFileError, DataError, NoUsableTrialError
from lstmreg.executors import Failure, Place
from lstmreg.search.card import DataCard
from lstmreg.search.config_file import differences
from lstmreg.search.records import ROLES, STAGE_OF, STAGES, Record, Replicate, Result, Role, Stage
from lstmreg.search.space import Setting, key

from .kept import check_seal, check_sealed_texts, fields_of, fits, sealed
from .kept_trials import KeptTrial, kept_trials, uncollected
from .parameters import distributions, parameters
from .storage import Storage

#: After so many identical errors in a row the search stops: the next trial would fail as well.
_SAME_ERRORS = 5


#: Of what a study holds; a study with a larger one is a newer version's.
SCHEMA = 1

#: Attributes of the first study: what the run was begun with, and the data card alone, which an earlier version kept.
_BEGUN, _OLDER = "begun", "card"


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


#: Told of each job that has ended: its number, how, and where it ran.
Tell = Callable[[int, Outcome | Failure, Place], None]

#: Runs some jobs at once, and tells of each.
Runner = Callable[[list[Job], Tell], None]


class Ledger:
    """The Optuna studies of one run, whose storage has been looked at (:meth:`~.storage.Storage.check`).

    Args:
        config: The run.
        card: The data, which say what the splits are.
        storage: Where the studies are kept.
        heard: Called with the record of each trial that ends.

    Raises:
        CorruptFileError: If the studies are damaged.
    """

    def __init__(
        self,
        config: Config,
        card: DataCard,
        storage: Storage,
        heard: Callable[[Record], None] = lambda record: None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.config = config
        on = {"test": [card.final_key]}
        self._splits = {stage: [tuple(k) for k in on.get(stage, card.block_keys)] for stage in STAGES}
        self._blocks = {stage: {key: block for block, key in enumerate(keys)} for stage, keys in self._splits.items()}
        self._heard = heard
        self._distributions = distributions(config)
        self._storage = storage
        with storage.reading():
            self._opened = storage.opened()
            self._studies = self._open()
            attributes = self._studies["rates"].user_attrs
            self._is_older = _OLDER in attributes
            # Perhaps of other data than those now: that is said where they are compared.
            self._began_with = _begun_with(config, storage, attributes) or card
            self._fingerprint = _fingerprint_of(attributes)
            with uncollected():
                self._records = {stage: self._read(stage) for stage in STAGES}
        self.learning_rate = None

    def _open(self) -> dict[Stage, optuna.Study]:
        """Open the studies; those of a new run are made.

        Raises:
            ValueError: If one of a run that has begun is missing.
        """
        names = {stage: f"{self.config.run_name}/{stage}" for stage in STAGES}
        known = set(optuna.get_all_study_names(self._opened))
        studies: dict[Stage, optuna.Study] = {}
        for stage, name in names.items():  # the first is made first, and its attribute is written when all are there
            if name in known:
                studies[stage] = optuna.load_study(storage=self._opened, study_name=name)
            elif stage in _stages(studies["rates"].user_attrs if studies else {}):
                raise ValueError(f"its study {name!r} is missing")
            else:
                studies[stage] = optuna.create_study(storage=self._opened, study_name=name)
        return studies

    def keep_beginning(self, card: DataCard, fingerprint: Fingerprint) -> None:
        """Keep with the study what it was begun with, so that a report needs the data no more.

        Args:
            card: The data.
            fingerprint: By which it can be said where others differ from them.

        Raises:
            DataError: If the data are not those the run began with.
        """
        study = self._studies["rates"]
        if self._began_with.sha256 != card.sha256:
            difference = self._began_with.other_columns(card) or self._fingerprint.difference(fingerprint)
            raise DataError(
                f"{card.path}: not what run {self.config.run_name!r} began with{difference and f' ({difference})'}. "
                f"Give the run a new name, or bring the old back."
            )
        if not self._is_older:
            begun = {
                "schema": SCHEMA,
                "stages": list(STAGES),
                "config": dataclasses.asdict(self.config),
                "card": dataclasses.asdict(card),
                "fingerprint": dataclasses.asdict(fingerprint),
            }
            as_kept = json.loads(json.dumps(sealed(begun, _BEGUN)))
            if study.user_attrs.get(_BEGUN) != as_kept:
                study.set_user_attr(_BEGUN, as_kept)

    def _read(self, stage: Stage) -> list[Record]:
        """Read the finished trials; what a process of another version left running is none.

        Raises:
            ValueError: If one is not as it was written, or missing.
        """
        records, numbers = [], []
        for trial in kept_trials(self._opened, self._studies[stage]):
            numbers.append(trial.number)
            if trial.state in (TrialState.COMPLETE, TrialState.FAIL) and "split" in trial.texts:
                records.append(_record(stage, trial, self._place(stage)))
        if missing := set(range(len(numbers))) - set(numbers):
            raise ValueError(f"trial {min(missing)} of stage {stage!r} is missing")
        return records

    def _place(self, stage: Stage) -> str | None:
        """Name where the seals of a stage's trials belong; ``None`` where an earlier version gave them none."""
        return None if self._is_older else f"{self._began_with.sha256}/{stage}"

    @property
    def learning_rate(self) -> float | None:
        """That of the baseline, as soon as it is chosen."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float | None) -> None:
        self._learning_rate = rate
        self._counting = {stage: self._counted(stage) for stage in STAGES}
        self._counts = Counter(record.role for records in self._counting.values() for record in records)
        self._done = {stage: {record.identity: record for record in of} for stage, of in self._counting.items()}

    def records(self, stage: Stage) -> list[Record]:
        """Return the finished trials of a stage, in an order that does not depend on which of them ended first.

        Only those count that ran on a split as the splits are now, and whose setting differs from the baseline as it
        is now.
        """
        return list(self._counting[stage])

    def missing(self, stage: Stage, jobs: Iterable[Job]) -> list[Job]:
        """Return those jobs of which no trial has ended."""
        return [job for job in jobs if job.identity not in self._done[stage]]

    def ended(self, stage: Stage, job: Job) -> Record:
        """Return the trial of a job that has ended."""
        return self._done[stage][job.identity]

    def counts(self) -> Counter[Role]:
        """Count the finished trials of all stages by why they ran; it takes no time, however often it is asked."""
        return Counter(self._counts)

    def _counted(self, stage: Stage) -> list[Record]:
        """Return the trials of a stage that count, in their order."""
        return sorted(filter(None, map(self._as_it_counts, self._records[stage])), key=_order)

    def _as_it_counts(self, record: Record) -> Record | None:
        """Return a trial's record with the number that its split has now; ``None`` if it does not count."""
        block = self._blocks[record.stage].get(record.split)
        if block is None or (record.stage != "rates" and record.learning_rate != self._learning_rate):
            return None
        if block == record.replicate.block:
            return record
        return dataclasses.replace(record, replicate=Replicate(block, record.replicate.seed))

    def run_jobs(self, stage: Stage, jobs: list[Job], run: Runner) -> None:
        """Run ``jobs``; each becomes a trial of the stage's study when it has ended, so that none is left open."""

        def tell(number: int, outcome: Outcome | Failure, place_of_training: Place) -> None:
            study, job = self._studies[stage], jobs[number]
            attributes, value = self._attributes(stage, job), None
            attributes |= {"place": place_of_training.name, "machine": place_of_training.machine}
            if isinstance(outcome, Outcome):
                attributes["result"], value = outcome.result.to_attribute(), outcome.value
                state = TrialState.COMPLETE
            else:
                attributes |= _reasons(outcome)
                state = TrialState.FAIL
            place = self._place(stage)
            if place is not None:
                attributes = sealed({**attributes, "value": value}, place)
            shown = parameters(job.setting, self._distributions)
            ended = optuna.trial.create_trial(
                state=state,
                value=value,
                params=shown,
                distributions={path: self._distributions[path] for path in shown},
                user_attrs=attributes,
            )
            number = self._storage.write(self._opened, study, ended)
            self._keep(_record(stage, KeptTrial.of(number, ended), place))

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
        if (counting := self._as_it_counts(record)) is not None:
            bisect.insort(self._counting[record.stage], counting, key=_order)
            self._counts[counting.role] += 1
            self._done[record.stage][counting.identity] = counting
        self._heard(record)
        _stop_if_hopeless(self._records[record.stage])


def _order(record: Record) -> tuple[int, str, int, int]:
    return _RANK[record.role], record.key, record.replicate.block, record.replicate.seed


_ROLES_OF = {stage: [role for role, its_stage in STAGE_OF.items() if its_stage == stage] for stage in STAGES}

_RANK = {role: rank for rank, role in enumerate(ROLES)}


def _reasons(failure: Failure) -> dict[str, str]:
    """Return what the study keeps of a failure."""
    found = {"failure": failure.reason}
    return found if failure.traceback is None else found | {"traceback": failure.traceback}


def _stop_if_hopeless(records: list[Record]) -> None:
    latest = records[-_SAME_ERRORS:]
    causes = {r.traceback for r in latest}
    if len(latest) == _SAME_ERRORS and len(causes) == 1 and None not in causes:
        raise NoUsableTrialError(
            f"{_SAME_ERRORS} trials in a row failed alike: {latest[-1].failure} The study keeps the traceback of each."
        )


def _record(stage: Stage, trial: KeptTrial, place: str | None) -> Record:
    """Return a finished trial as the experiment knows it.

    Raises:
        ValueError: If it is none that a search has written there; it names the trial.
    """
    try:
        return _read_record(stage, trial, place)
    except (TypeError, ValueError) as error:
        raise ValueError(f"trial {trial.number} of stage {stage!r}: {error}") from None


def _read_record(stage: Stage, trial: KeptTrial, place: str | None) -> Record:
    attributes = trial.attributes()
    failure = attributes.get("failure")
    if missing := [name for name in ("role", "setting", "replicate") if name not in attributes]:
        raise ValueError(f"it has no {missing[0]}")
    if attributes["role"] not in _ROLES_OF[stage]:
        raise ValueError(f"its role is {attributes['role']!r}")
    for name, kind in _TYPES.items():
        if not fits(attributes.get(name), kind):
            raise ValueError(f"its {name} is {attributes.get(name)!r}")
    record = Record(
        number=trial.number,
        role=attributes["role"],
        setting=attributes["setting"],
        replicate=Replicate(*attributes["replicate"]),
        result=None if failure is not None else Result.from_attribute(attributes.get("result")),
        failure=failure,
        traceback=attributes.get("traceback"),
        split=tuple(attributes["split"]),
        learning_rate=attributes.get("learning_rate"),
        place=attributes.get("place"),
        machine=attributes.get("machine"),
    )
    if place is not None:
        check_sealed_texts(trial.texts, attributes, place)
        has_ended_so = TrialState.COMPLETE if failure is None else TrialState.FAIL
        if trial.state != has_ended_so or trial.value != attributes["value"]:
            raise ValueError("its value is not what was written")
    return record


#: Of what a trial's attributes are; the result has types of its own.
_TYPES: dict[str, Any] = {
    "setting": dict[str, int | float | str | bool],
    "replicate": tuple[int, int],
    "split": list[int],
    "failure": str | None,
    "traceback": str | None,
    "learning_rate": float | None,
    "place": str | None,
    "machine": str | None,
}


def read_card(config: Config, storage: Storage) -> DataCard:
    """Return the data card of a run that has begun.

    Raises:
        ConfigError: If its ``config.yaml`` was changed since.
        CorruptFileError: If there is none, or the studies are damaged or missing.
    """
    if not storage.exists():
        raise CorruptFileError(f"{storage.where}: no such study. Run 'lstmreg search' first.")
    storage.check()
    with storage.reading():
        opened = storage.opened()
        name = f"{config.run_name}/rates"
        known = name in optuna.get_all_study_names(opened)
        attributes = optuna.load_study(storage=opened, study_name=name).user_attrs if known else {}
        card = _begun_with(config, storage, attributes)
    if card is None:
        raise CorruptFileError(f"{config.directory}: the search has not begun. Run 'lstmreg search'.")
    return card


def _begun_with(config: Config, storage: Storage, attributes: dict[str, Any]) -> DataCard | None:
    """Return the data card that the attributes of the first study hold; ``None`` before a run has begun.

    Raises:
        ConfigError: If the run's ``config.yaml`` was changed since.
        CorruptFileError: If a newer version wrote them.
        ValueError: If they are not what was written.
    """
    if _BEGUN in attributes:
        return _card(config, storage, attributes[_BEGUN])
    return DataCard.from_kept(attributes[_OLDER]) if _OLDER in attributes else None


def _card(config: Config, storage: Storage, begun: Any) -> DataCard:
    """Return the data card of what a run was begun with.

    Raises:
        ConfigError: If its ``config.yaml`` is another one.
        CorruptFileError: If a newer version wrote it.
        ValueError: If it is not what was written.
    """
    schema = begun.get("schema") if isinstance(begun, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise CorruptFileError(
            f"{storage.where}: written by a newer lstmreg (schema {schema}; this one reads up to {SCHEMA}). "
            f"Upgrade lstmreg."
        )
    if not fits(begun, dict[str, Any]):
        raise ValueError(f"what it was begun with is no mapping: {begun!r}")
    check_seal(begun, _BEGUN)
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    if different := differences(begun["config"], now):
        raise ConfigError(
            f"{config.directory / 'config.yaml'} is not what the search was begun with ({different}). Bring the old "
            f"back, or give another run another name (--name=...)."
        )
    return DataCard.from_kept(begun["card"])


def _fingerprint_of(attributes: dict[str, Any]) -> Fingerprint:
    """Return the fingerprint of the data that a run was begun with; an empty one where none was kept.

    Raises:
        ValueError: If it is not what was written.
    """
    kept = attributes.get(_BEGUN, {}).get("fingerprint")
    return Fingerprint() if kept is None else Fingerprint(**fields_of(Fingerprint, kept, "fingerprint"))


def _stages(attributes: dict[str, Any]) -> list[Stage]:
    """Return the stages that a run had when it was begun; none if it was not."""
    if _OLDER in attributes:
        return list(STAGES)
    begun = attributes.get(_BEGUN, {})
    return list(begun.get("stages", []))
