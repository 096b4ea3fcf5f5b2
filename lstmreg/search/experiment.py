"""The experiment: its method says what to train next, and this has it trained, kept and told."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config
from lstmreg.errors import ConfigError, NoUsableTrialError
from lstmreg.executors import Executor, Failure, Material, Place, Value, Worker, opened
from lstmreg.tasks import Split, Splits, Task, read_task
from lstmreg.training.memory import check_fits, told_if_it_ends
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained, train_configured

from . import arms, decisions, explaining, held_out, method, valuing
from . import shown as showing
from .arms import LEARNING_RATE
from .card import kept, make_card
from .config_file import read_config, settle, write_config
from .decisions import Conclusion
from .evidence import Evidence
from .method import BASELINE, Candidate
from .planning import Clock, Planner, most_blocks, trainings
from .proposals import proposer
from .records import STAGE_OF, STAGES, Record, Replicate, Result, Role, Stage
from .shown import Shown
from .space import about_configured_knobs, baseline_config, key, trained_config
from .study.file import owned
from .study.ledger import Job, Ledger, Outcome, Tell, read_card
from .study.place import storage_of
from .study.storage import Storage


@dataclass(frozen=True)
class Progress:
    """What a search tells while it runs: before it starts, where a step begins, after each epoch, and at its end.

    Attributes:
        role: What the trainings are for that it is at; ``plan`` before the first.
        record: The training that just ended, if one did.
        done: Trainings done so far, earlier sittings included.
        planned: Trainings in all, at most.
        together: Trainings that run at once in this step, at most; 0 if all have been.
        epoch: The epoch that just ended, counted from 1; 0 where a step begins.
        seconds_left: How long it will take from here, about; ``None`` where that cannot be said yet.
        notes: What to know before it starts, or has happened to those who train, a sentence each.
        shown: At the end of a step: what its settings have shown.
        step: How many trainings this step began with.
        ended: How many of them have ended.
        workers: Who trains at this moment.
    """

    role: Role | Literal["plan"]
    record: Record | None
    done: int
    planned: int
    together: int = 1
    epoch: int = 0
    seconds_left: float | None = None
    notes: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()
    step: int = 0
    ended: int = 0
    workers: tuple[Worker, ...] = ()

    @property
    def alive(self) -> int:
        """How many trainings go on at this moment."""
        return sum(worker.trainings for worker in self.workers)


Listener = Callable[[Progress], None]

#: What the study keeps of what came back of a training, and its trial's value.
Kept = Callable[[Any], Outcome]


def _outcome_of(result: Result) -> Outcome:
    return Outcome(result.loss, result)


def run(
    config: Config,
    listener: Listener = lambda progress: None,
    *,
    data: Any = None,
    task: Task | None = None,
    executor: futures.Executor | None = None,
) -> Evidence:
    """Run the experiment in ``config.directory``, or go on with it.

    Every finished training is kept at once: after an interruption the same call goes on where it was. What the
    configuration leaves open is planned by a measurement when the run begins, and kept in its ``config.yaml``.

    Args:
        config: The run.
        listener: Told of each step and each training.
        data: The data themselves, in place of those that ``config.data.path`` names, which then only names them: a data
            frame, columns by name, or an array; of sequences also ``(x, y)``, ``(x, y, groups)`` or a ``Dataset``.
        task: In place of both: a task with its data, such as :class:`lstmreg.tasks.Own` of data modules and a network
            of one's own.
        executor: Where trainings run, in place of ``config.search.workers`` and ``config.search.cluster``: any executor
            of ``concurrent.futures``, such as loky's, mpi4py's or Ray's. It stays open.

    Returns:
        The evidence; :func:`lstmreg.report.answer` draws the answer from it.

    Raises:
        ConfigError: If the run's folder holds another configuration, or another process works on the run; or if there
            is not enough memory for a size that it would try, or for the baseline.
        DataError: If the data cannot be used, or have too few rows for the blocks.
        NoUsableTrialError: If there is nothing to answer from.
        CorruptFileError: If the study is damaged.
        OSError: If it cannot be written, as when the disk is full or the database's server is gone; what was told
            before is kept.
        KeyboardInterrupt: On Ctrl-C; what had ended is kept.
    """
    task = read_task(config, data) if task is None else task
    with owned(config.directory), contextlib.ExitStack() as held, told_if_it_ends(config, task):
        config = settle(task.completed(config), task)
        storage = storage_of(config)
        held.enter_context(storage.held())
        _trained_splits(config, task)  # raises where there are too few cases, before anything is written
        storage.check()
        _check_all_fit(config, task)
        planner = None if (config.directory / "config.yaml").exists() else Planner(config, task)
        if planner is not None:
            config = dataclasses.replace(config, search=planner.choose())
        with opened(config.search, _material(config, task), executor) as trains:
            write_config(config)
            return _Experiment(config, task, listener, planner, storage, trains).run()


def _material(config: Config, task: Task) -> Material:
    """Return what whoever trains must know."""
    splits = _trained_splits(config, task)
    return Material(task, {split.key: split for split in (*splits.blocks, splits.final)})


def _check_all_fit(config: Config, task: Task) -> None:
    """See that the machine has room for every size that the search would try.

    Raises:
        ConfigError: If it has not; it names the size.
    """
    alone = dataclasses.replace(config, model=dataclasses.replace(config.model, members=1))
    check_fits(alone, task)
    for arm in arms.arms(alone):
        for value in arm.ladder:
            check_fits(trained_config(alone, arm.at(value).setting), task, f"search.space: {arm.path}={value}: ")


def read(directory: Path) -> Evidence:
    """Read the evidence of a finished run.

    Raises:
        CorruptFileError: If it is not one, or damaged.
    """
    config = read_config(directory)
    storage = storage_of(config)
    with storage.usable():
        card = read_card(config, storage)
        ledger = Ledger(config, card, storage)
        evidence = Evidence(config, card)
        evidence.records["rates"] = ledger.records("rates")
        if len(evidence.records["rates"]) == trainings(config, 0)["learning rate"]:  # or it is not chosen yet
            ledger.learning_rate = decisions.chosen_learning_rate(evidence)
            evidence.records |= {stage: ledger.records(stage) for stage in STAGES}
        return evidence


class _Experiment:
    """One sitting: asks the method what to run next, and has the ledger run it."""

    def __init__(
        self,
        config: Config,
        task: Task,
        listener: Listener,
        planner: Planner | None,
        storage: Storage,
        executor: Executor,
    ) -> None:
        self.task, self.executor = task, executor
        self.splits = _trained_splits(config, task)
        card = make_card(config, task, self.splits, most_blocks(config, task))
        self.ledger = Ledger(config, card, storage, self._heard)
        self.ledger.keep_beginning(card, task.fingerprint())
        self.evidence = Evidence(config, card)
        self.listener = listener
        self.progress = Progress("learning rate", None, 0, 0)
        # What is searched is off from the first training on.
        self.base = baseline_config(config, config.search.learning_rates[0], len(task.features))
        self.planned = trainings(config, explaining.columns(task))
        self.clock = Clock(None if planner is None else planner.seconds_a_training(config.search))
        self.plan_in_words = () if planner is None else (planner.describe(config.search),)

    def run(self) -> Evidence:
        self._announce()
        self._choose_learning_rate()
        self._experiment()
        conclusion = Conclusion.of(self.evidence)
        self._test(conclusion)
        self._save_model(conclusion)
        self._explain(conclusion)
        return self.evidence

    # ------------------------------------------------------------------ parts

    def _choose_learning_rate(self) -> None:
        search = self.evidence.config.search
        jobs = [
            Job({LEARNING_RATE: float(rate)}, Replicate(block, seed), "learning rate")
            for rate in search.learning_rates
            for seed in range(arms.BASELINE_SEEDS)
            for block in range(search.amount.blocks)
        ]
        self._run_jobs("learning rate", jobs)
        self._tell(
            "learning rate",
            showing.alone(self.evidence, [{LEARNING_RATE: float(rate)} for rate in search.learning_rates], "rates"),
        )
        rate = decisions.chosen_learning_rate(self.evidence)
        self.ledger.learning_rate = rate
        self.base = baseline_config(self.evidence.config, rate, len(self.task.features))

    def _experiment(self) -> None:
        """Go through the steps of the method; what ran in an earlier sitting is known."""
        self._refresh("choose", "judge")
        plan, known = decisions.plan(self.evidence), decisions.log_losses(self.evidence)
        for step in method.steps(plan, known, proposer(self.evidence.config, self.base)):
            missing = [cell for cell in step.cells if cell not in known]
            jobs = [Job(cell.candidate.setting, Replicate(cell.block, cell.seed), step.stage) for cell in missing]
            self._run_jobs(step.stage, jobs)
            for cell, job in zip(missing, jobs, strict=True):
                result = self.ledger.ended(STAGE_OF[step.stage], job).result
                known.add(cell, None if result is None else result.log_loss)
            if jobs:
                tried = dict.fromkeys(cell.candidate for cell in step.cells if cell.candidate != BASELINE)
                seeds = range(plan.most_seeds) if step.stage != "judge" else range(plan.most_seeds, _MANY)
                self._tell(step.stage, showing.compared(known, list(tried), seeds, self._failure_of))
        self.planned["experiment"] = self._done()["experiment"]

    def _test(self, conclusion: Conclusion) -> None:
        jobs = [
            Job(setting, Replicate(0, seed), "test")
            for setting in conclusion.tested
            for seed in range(self.evidence.config.search.amount.test_seeds)
        ]

        def outcome(tested: valuing.Tested) -> Outcome:
            test_error = held_out.error(self.evidence, tested.predictions)
            predictions = _rounded(tested.predictions)
            return Outcome(
                test_error, dataclasses.replace(tested.result, test_error=test_error, predictions=predictions)
            )

        self.planned["test"] = len(jobs)
        self._run_jobs("test", jobs, valuing.tested, outcome)
        self._tell("test", showing.alone(self.evidence, conclusion.tested, "test"))

    def _explain(self, conclusion: Conclusion) -> None:
        """Train what says more of the answer, which stands; so it does if these trainings all fail."""
        extent = explaining.extent(self.evidence.config, explaining.columns(self.task))
        jobs = explaining.jobs(self.evidence, conclusion, extent)
        self.planned["explain"] = len(jobs)
        with contextlib.suppress(NoUsableTrialError):
            self._run_jobs("explain", jobs)
        self._refresh("explain")
        if jobs:
            settings = {key(job.setting): job.setting for job in jobs}
            self._tell("explain", showing.alone(self.evidence, list(settings.values()), "explain"))

    def _save_model(self, conclusion: Conclusion) -> None:
        """Train the answer's model once more, from the test seed that validated best, and save it."""
        directory = self.evidence.config.directory
        setting = conclusion.recommended
        tested = self.evidence.results(setting, "test")
        if not tested:
            return
        replicate = min(tested, key=lambda r: tested[r].val_loss)

        def save(number: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Exception):
                raise outcome
            outcome.predictor().save(directory)

        assignment = self._assignment(Job(setting, replicate, "test"))
        if assignment.config.model.members > 1:
            save(0, train_configured(assignment.config, self.task, assignment.split))
        else:  # as it was tested, to the last digit
            train_together([assignment], self.task, save)

    # ------------------------------------------------------------------ trainings

    def _run_jobs(
        self, role: Role, jobs: list[Job], value: Value = valuing.judged, kept_of: Kept = _outcome_of
    ) -> None:
        """Have those trained that have not been, and kept.

        Args:
            role: Why they run.
            jobs: All that are wanted.
            value: What comes back of each.
            kept_of: What is kept of that.
        """
        stage = STAGE_OF[role]
        if missing := self.ledger.missing(stage, jobs):
            assignments = [self._assignment(job) for job in missing]
            together = self.executor.at_once(assignments)
            self.progress = dataclasses.replace(
                self.progress, role=role, together=together, shown=(), step=len(missing), ended=0, workers=()
            )
            self._say(record=None, epoch=0)

            def run(jobs: list[Job], tell: Tell) -> None:
                def ended(number: int, outcome: Any | Failure, place: Place) -> None:
                    tell(number, outcome if isinstance(outcome, Failure) else kept_of(outcome), place)

                self.executor.train(assignments, value, ended, self._hear_of)

            self.ledger.run_jobs(stage, missing, run)
        self._refresh(stage)

    def _hear_of(self, workers: tuple[Worker, ...], notes: tuple[str, ...]) -> None:
        """Tell who works, and what happened to them."""
        if notes or workers != self.progress.workers:
            self.progress = dataclasses.replace(self.progress, workers=workers, notes=notes)
            self._say(record=None, epoch=max((worker.epoch for worker in workers), default=0))
            self.progress = dataclasses.replace(self.progress, notes=())

    def _assignment(self, job: Job) -> Assignment:
        setting, column = explaining.apart(job.setting)
        config = trained_config(self.base, setting)
        is_test = job.role == "test"
        split = self.splits.final if is_test else self.splits.blocks[job.replicate.block]
        seed = _seed(self.base.search.seed, "test" if is_test else "blocks", split, job.replicate.seed)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
        return Assignment(config, split, None if column is None else self.task.features.index(column))

    # ------------------------------------------------------------------ telling

    def _announce(self) -> None:
        """Say before the first training what will be done, and what becomes of the knobs that are configured."""
        notes = (*self.plan_in_words, *about_configured_knobs(self.evidence.config))
        done = self._done()
        self.listener(Progress("plan", None, done.total(), self._total(done), notes=notes))

    def _heard(self, record: Record) -> None:
        self.clock.heard(record)
        self.progress = dataclasses.replace(self.progress, ended=self.progress.ended + 1)
        self._say(record=record, epoch=self.progress.epoch)

    def _say(self, *, record: Record | None, epoch: int) -> None:
        done = self._done()
        total = self._total(done)
        left = self.clock.seconds_left(total - done.total(), self.executor.width)
        self.progress = dataclasses.replace(
            self.progress, record=record, epoch=epoch, done=done.total(), planned=total, seconds_left=left
        )
        self.listener(self.progress)

    def _tell(self, role: Role, shown: Iterator[Shown]) -> None:
        self.progress = dataclasses.replace(self.progress, role=role, shown=tuple(shown))
        self._say(record=None, epoch=self.progress.epoch)
        self.progress = dataclasses.replace(self.progress, shown=())

    def _failure_of(self, candidate: Candidate) -> str | None:
        stages: tuple[Stage, ...] = ("judge", "choose")
        failures = [r.failure for s in stages for r in self.evidence.trials(candidate.setting, s).values() if r.failure]
        return failures[-1] if failures else None

    def _done(self) -> Counter[str]:
        """Count the trainings that are done, earlier sittings included, by the parts of the plan."""
        done: Counter[str] = Counter()
        for role, count in self.ledger.counts().items():
            done[role if role in self.planned else "experiment"] += count
        return done

    def _total(self, done: Counter[str]) -> int:
        return sum(max(done[part], most) for part, most in self.planned.items())

    def _refresh(self, *stages: Stage) -> None:
        self.evidence.records |= {stage: self.ledger.records(stage) for stage in stages}


def _trained_splits(config: Config, task: Task) -> Splits:
    """Return the splits, whose blocks train on as many cases as the search says at most.

    Raises:
        ConfigError: If it says so of data modules of somebody's own.
    """
    splits = task.splits(config.search)
    if config.search.cases is None:
        return splits
    if task.has_own_networks:
        raise ConfigError("search.cases must be null where data modules say what trains, got a number.")
    return splits.thinned(config.search.cases)


#: Nobody judges with so many seeds.
_MANY = 1_000_000


_KINDS = {"blocks": 0, "test": 2}


def _seed(seed: int, kind: str, split: Split, number: int) -> int:
    """Return a replicate's seed; the same for every setting, so that settings can be paired.

    It belongs to the cases and not to the number of the split among others, which is another one where there are more.
    """
    entropy = (seed, _KINDS[kind], *split.key, number)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _rounded(predictions: NDArray[np.float64]) -> list[Any]:
    """Return predictions as the study keeps them, as precise as the network's 32 bits."""
    digits = [float(f"{value:.8g}") for value in predictions.ravel()]
    return kept(np.array(digits).reshape(predictions.shape))
