"""The experiment: baseline, each knob alone, all together, confirmation on fresh splits, and the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config, with_settings
from lstmreg.knobs import KNOBS
from lstmreg.tasks import Split, Task, read_task
from lstmreg.training.fitting import Epoch
from lstmreg.training.population.together import Assignment, populations, train_together
from lstmreg.training.single import Trained, train_configured

from . import decisions, held_out
from .card import DataCard, kept, make_card
from .config_file import read_config, settle, write_config
from .evidence import Evidence
from .ledger import Job, Ledger, Outcome, Runner, Tell, check_file, owned, read_card, usable_study
from .planning import Clock, Planner, most_splits, trainings
from .proposals import propose
from .pruning import Medians
from .records import STAGE_OF, STAGES, Record, Replicate, Result, Role, Stage
from .space import (
    Setting,
    about_configured_knobs,
    baseline_config,
    key,
    knobs_of,
    ladder,
    without_knobs,
)


@dataclass(frozen=True)
class Progress:
    """What a search tells while it runs: before it starts, where a stage begins, after each epoch, and of each trial.

    Attributes:
        role: Why the trainings run that it is at; ``plan`` before the first.
        record: The trial that just ended, if one did.
        done: Trials done so far, earlier sittings included.
        planned: Trials in all, as far as can be said now.
        together: Trials that are trained at once in this stage, at most; 0 if all have been.
        replicates: On how many replicates this stage runs each setting.
        epoch: The epoch that just ended, counted from 1; 0 where a stage begins.
        seconds_left: How long it will take from here, about; ``None`` where that cannot be said yet.
        notes: What to know before it starts, a sentence each.
    """

    role: Role | Literal["plan"]
    record: Record | None
    done: int
    planned: int
    together: int = 1
    replicates: int = 1
    epoch: int = 0
    seconds_left: float | None = None
    notes: tuple[str, ...] = ()


Listener = Callable[[Progress], None]

#: The splits on which trainings run: those that choose settings, those that confirm them, and the test.
Kind = Literal["choose", "confirm", "test"]

#: What a trained job is worth, and what the study keeps of it.
Valued = Callable[[Job, Trained], Outcome]

#: Tells after an epoch of a replicate, counted from 0, whether a training that reached a loss is to end there.
Limit = Callable[[Replicate, int, float], bool]


def run(
    config: Config, listener: Listener = lambda progress: None, *, data: Any = None, task: Task | None = None
) -> Evidence:
    """Run the experiment in ``config.directory``, or go on with it.

    Every finished trial is kept at once: after an interruption the same call goes on where it was. What the
    configuration leaves open is planned by a measurement when the run begins, and kept in its ``config.yaml``.

    Args:
        config: The run. One that has begun may be widened: more splits, seeds, trials, values and learning rates.
        listener: Told of each stage and each trial.
        data: The data themselves, in place of those that ``config.data.path`` names, which then only names them: a data
            frame, columns by name, or an array; of sequences also ``(x, y)``, ``(x, y, groups)`` or a ``Dataset``.
        task: In place of both: a task with its data, such as :class:`lstmreg.tasks.Own` of data modules and a network
            of one's own.

    Returns:
        The evidence; :func:`lstmreg.report.answer` draws the answer from it.

    Raises:
        ConfigError: If the run's folder holds another configuration, or another process works on it.
        DataError: If the data cannot be used, or have too few rows for the splits.
        NoUsableTrialError: If there is nothing to answer from.
        CorruptFileError: If the study's file is damaged.
        OSError: If it cannot be written, as when the disk is full; what was told before is kept.
        KeyboardInterrupt: On Ctrl-C, after the trial at hand was closed.
    """
    task = read_task(config, data) if task is None else task
    with owned(config.directory), usable_study(config.directory):
        config = settle(task.completed(config), task)
        task.splits(config.search)
        check_file(config.directory / "study.db")
        planner = None if (config.directory / "config.yaml").exists() else Planner(config, task)
        if planner is not None:
            config = dataclasses.replace(config, search=config.search.planned(planner.choose()))
        write_config(config)
        return _Experiment(config, task, listener, planner).run()


def read(directory: Path) -> Evidence:
    """Read the evidence of a finished run.

    Raises:
        CorruptFileError: If it is not one, or damaged.
    """
    config = read_config(directory)
    with usable_study(directory):
        card = DataCard(**read_card(config))
        ledger = Ledger(config, card)
        evidence = Evidence(config, card, config.search.dimensions)
        evidence.looks, evidence.tested = ledger.looks(), ledger.tested()
        evidence.records["baseline"] = ledger.records("baseline")
        if evidence.records["baseline"]:
            ledger.learning_rate = decisions.chosen_learning_rate(evidence)
            evidence.records |= {stage: ledger.records(stage) for stage in STAGES}
        return evidence


class _Experiment:
    """One sitting: decides what to run next from the evidence, and has the ledger run it."""

    def __init__(self, config: Config, task: Task, listener: Listener, planner: Planner | None) -> None:
        self.task = task
        self.splits = task.splits(config.search)
        card = make_card(config, task, self.splits, most_splits(config, task))
        self.ledger = Ledger(config, card, self._heard)
        self.ledger.keep_card(dataclasses.asdict(card))
        self.evidence = Evidence(config, card, config.search.dimensions)
        self.knobs = {p: d for p, d in self.evidence.dimensions.items() if p in KNOBS}
        self.listener = listener
        self.progress = Progress("baseline", None, 0, 0)
        # What is searched is off from the first training on.
        self.base = baseline_config(config, config.search.learning_rates[0], len(task.features))
        self.baseline_losses: dict[Replicate, float] = {}
        self.planned = trainings(config, config.search.plan)
        self.clock = Clock(None if planner is None else planner.seconds_a_training(config.search.plan))
        self.plan_in_words = () if planner is None else (planner.describe(config.search.plan),)

    def run(self) -> Evidence:
        self._announce()
        self._baseline()
        self._alone()
        self._together()
        self._leave_out()
        self._confirm()
        self._test()
        self._save_model()
        return self.evidence

    # ------------------------------------------------------------------ stages

    def _baseline(self) -> None:
        rates = self.evidence.config.search.learning_rates
        jobs = [
            Job({decisions.LEARNING_RATE: float(rate)}, replicate, "baseline")
            for rate in rates
            for replicate in decisions.choosing_replicates(self.evidence)
        ]
        self._run_jobs("baseline", jobs, "choose", _plain)
        rate = decisions.chosen_learning_rate(self.evidence)
        self.ledger.learning_rate = rate
        self.base = baseline_config(self.evidence.config, rate, len(self.task.features))
        self.baseline_losses = {
            replicate: result.val_loss for replicate, result in decisions.baseline_results(self.evidence).items()
        }

    def _alone(self) -> None:
        settings: list[Setting] = [{p: v} for p, d in self.knobs.items() for v in ladder(d)]
        self._run_jobs("alone", self._on_all(settings, "alone"), "choose", self._paired)

    def _together(self) -> None:
        """Let the sampler propose settings, some at a time, and run each on the same replicates."""
        search, replicates = self.evidence.config.search, decisions.sampling_replicates(self.evidence)
        total = search.plan.trials
        self._refresh("together")
        sampled = sum(r.role == "sampled" for r in self.evidence.records["together"])
        at_once = min(search.batch * len(replicates), total * len(replicates) - sampled)
        self._begin("sampled", total * len(replicates), together=at_once, replicates=len(replicates))
        for first in range(0, total, search.batch):
            jobs = self._proposed(first, min(search.batch, total - first), replicates)
            if jobs:
                limit = Medians(self.evidence, before=first).are_exceeded if search.prune else None
                self.ledger.run_jobs("together", jobs, self._runner("choose", self._relative, limit))
                self._refresh("together")
        jobs = self._on_all(decisions.shortlist(self.evidence), "shortlist")
        self._run_jobs("shortlist", jobs, "choose", self._relative)

    def _proposed(self, first: int, count: int, replicates: list[Replicate]) -> list[Job]:
        """Return what is left to run of some proposals; what ran of them in an earlier sitting stays theirs."""
        ran = {r.position: r.setting for r in self.evidence.records["together"] if r.position is not None}
        done = {(r.position, r.replicate) for r in self.evidence.records["together"]}
        wanted = range(first, first + count)
        if all((n, replicate) in done for n in wanted for replicate in replicates):
            return []
        known = decisions.known_points(self.evidence) + decisions.sampled_scores(self.evidence, before=first)
        begin_with = decisions.sum_of_singles(self.evidence) if first == 0 else None
        proposals = propose(self.base, self.evidence.dimensions, known, first, count, begin_with)
        return [
            Job(ran.get(n, p.setting), replicate, "sampled", n, p.parameters, p.distributions)
            for n, p in zip(wanted, proposals, strict=True)
            for replicate in replicates
            if (n, replicate) not in done
        ]

    def _leave_out(self) -> None:
        """Turn off, one by one, the knobs of the best setting that are not worth having."""
        setting: Setting | None = decisions.favourite(self.evidence)
        while setting is not None:
            variants = [decisions.without(setting, path) for path in knobs_of(setting)]
            jobs = self._on_all([v for v in variants if v], "leave one out")
            self._run_jobs("leave one out", jobs, "choose", self._relative)
            expendable = decisions.expendable_knob(self.evidence, setting)
            setting = None if expendable is None else decisions.without(setting, expendable)

    def _confirm(self) -> None:
        plan = self.evidence.config.search.plan
        judged = {key(s): s for s in [*self._finalists(), *decisions.left_out_settings(self.evidence)]}
        jobs = [
            Job(setting, Replicate(split, seed), "confirm")
            for setting in judged.values()
            for seed in range(plan.confirm_seeds)
            for split in range(plan.confirm_splits)
        ]
        self._run_jobs("confirm", jobs, "confirm", _plain)
        self.ledger.note_look()
        self.evidence.looks = self.ledger.looks()

    def _test(self) -> None:
        jobs = [
            Job(setting, Replicate(0, seed), "test")
            for setting in self._finalists()
            for seed in range(self.evidence.config.search.plan.test_seeds)
        ]

        def tested(job: Job, trained: Trained) -> Outcome:
            predictions = trained.predict(self.splits.final.judged)
            test_error = held_out.error(self.evidence, predictions)
            result = dataclasses.replace(_result(trained), test_error=test_error, predictions=_rounded(predictions))
            return Outcome(test_error, result)

        self._run_jobs("test", jobs, "test", tested)
        self.evidence.tested = self.ledger.tested()

    def _save_model(self) -> None:
        """Train the answer's model once more, from the test seed that validated best, and save it."""
        directory = self.evidence.config.directory
        setting = decisions.recommended(self.evidence)
        tested = self.evidence.results(setting, ["test"])
        if not tested:
            return
        replicate = min(tested, key=lambda r: tested[r].val_loss)

        def save(number: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Exception):
                raise outcome
            outcome.predictor().save(directory)

        assignment = self._assignment(Job(setting, replicate, "test"), "test")
        if assignment.config.model.members > 1:
            save(0, train_configured(assignment.config, self.task, assignment.split))
        else:  # as it was tested, to the last digit
            train_together([assignment], self.task, save)

    # ------------------------------------------------------------------ parts of a stage

    def _finalists(self) -> list[Setting]:
        """The winner, the same sizes without its knobs, and the baseline; those that differ."""
        winner = decisions.winner(self.evidence)
        settings: list[Setting] = [{}, without_knobs(winner), winner]
        return list({key(s): s for s in settings}.values())

    def _on_all(self, settings: list[Setting], role: Role) -> list[Job]:
        replicates = decisions.choosing_replicates(self.evidence)
        return [Job(setting, replicate, role) for setting in settings for replicate in replicates]

    def _run_jobs(self, role: Role, jobs: list[Job], kind: Kind, valued: Valued) -> None:
        stage = STAGE_OF[role]
        # What a knob showed alone it need not show again together.
        stages: tuple[Stage, ...] = ("alone", "together") if stage == "together" else (stage,)
        done = {r.identity for s in stages for r in self.ledger.records(s) if not r.is_cut}
        missing = [job for job in jobs if job.identity not in done]
        finished = sum(r.role == role for r in self.ledger.records(stage))
        together = max((len(p) for p in populations([self._assignment(job, kind) for job in missing])), default=0)
        replicates = len({job.replicate for job in jobs})
        self._begin(role, finished + len(missing), together=together, replicates=replicates)
        self.ledger.run_jobs(stage, missing, self._runner(kind, valued))
        self._refresh(stage)

    def _runner(self, kind: Kind, valued: Valued, limit: Limit | None = None) -> Runner:
        """Return what trains jobs of one kind at once, and tells what each is worth."""

        def run(jobs: list[Job], tell: Tell) -> None:
            def ended(number: int, outcome: Trained | Exception) -> None:
                tell(number, outcome if isinstance(outcome, Exception) else valued(jobs[number], outcome))

            def epoch_ended(number: int, epochs: Sequence[Epoch]) -> bool:
                if len(epochs) > self.progress.epoch:
                    self._say(record=None, epoch=len(epochs))
                best = min(epoch.val_loss for epoch in epochs)
                return limit is not None and limit(jobs[number].replicate, len(epochs) - 1, best)

            self.progress = dataclasses.replace(self.progress, epoch=0)
            train_together([self._assignment(job, kind) for job in jobs], self.task, ended, epoch_ended)

        return run

    def _assignment(self, job: Job, kind: Kind) -> Assignment:
        config = with_settings(self.base, job.setting)
        split = self._split(kind, job.replicate)
        seed = _seed(self.base.search.seed, kind, split, job.replicate.seed)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
        return Assignment(config, split)

    def _paired(self, job: Job, trained: Trained) -> Outcome:
        """Note a trial's loss relative to the baseline's on the same replicate."""
        outcome = _plain(job, trained)
        relative = outcome.value / self.baseline_losses[job.replicate]
        return Outcome(outcome.value, dataclasses.replace(outcome.result, relative=relative))

    def _relative(self, job: Job, trained: Trained) -> Outcome:
        """Value a trial by its relative loss: Optuna compares trials, and losses of two splits do not compare."""
        result = self._paired(job, trained).result
        assert result.relative is not None
        return Outcome(result.relative, result)

    def _split(self, kind: Kind, replicate: Replicate) -> Split:
        if kind == "test":
            return self.splits.final
        return (self.splits.choose if kind == "choose" else self.splits.confirm)[replicate.split]

    # ------------------------------------------------------------------ telling

    def _announce(self) -> None:
        """Say before the first training what will be done, and what becomes of the knobs that are configured."""
        notes = (*self.plan_in_words, *about_configured_knobs(self.evidence.config, self.evidence.dimensions))
        self.listener(Progress("plan", None, self._done(), self._total(), notes=notes))

    def _begin(self, role: Role, size: int, *, together: int, replicates: int = 1) -> None:
        self.planned[role] = size
        self.progress = Progress(role, None, 0, 0, together, replicates)
        self._say(record=None, epoch=0)

    def _heard(self, record: Record) -> None:
        self.clock.heard(record)
        self._say(record=record, epoch=self.progress.epoch)

    def _say(self, *, record: Record | None, epoch: int) -> None:
        done, total = self._done(), self._total()
        left = self.clock.seconds_left(total - done)
        self.progress = dataclasses.replace(
            self.progress, record=record, epoch=epoch, done=done, planned=total, seconds_left=left
        )
        self.listener(self.progress)

    def _done(self) -> int:
        return sum(len(self.ledger.records(stage)) for stage in STAGES)

    def _total(self) -> int:
        return max(sum(self.planned.values()), self._done())

    def _refresh(self, stage: Stage) -> None:
        self.evidence.records[stage] = self.ledger.records(stage)


def _plain(job: Job, trained: Trained) -> Outcome:
    """Value a trial by its validation loss."""
    return Outcome(trained.result.val_loss, _result(trained))


def _result(trained: Trained) -> Result:
    """Return what the study keeps of a training."""
    fit = trained.result
    return Result(
        val_loss=fit.val_loss,
        train_loss=fit.train_loss,
        best_epoch=fit.best_epoch,
        stopped=fit.stopped,
        train=[float(f"{epoch.train_loss:.5g}") for epoch in fit.history],
        val=[float(f"{epoch.val_loss:.5g}") for epoch in fit.history],
        seconds=round(fit.seconds, 4),
    )


_KINDS: dict[Kind, int] = {"choose": 0, "confirm": 1, "test": 2}


def _seed(seed: int, kind: Kind, split: Split, number: int) -> int:
    """Return a replicate's seed; the same for every setting, so that settings can be paired.

    It belongs to the cases and not to the number of the split among others, which changes when a run is widened.
    """
    entropy = (seed, _KINDS[kind], *split.key, number)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _rounded(predictions: NDArray[np.float64]) -> list[Any]:
    """Return predictions as the study keeps them, as precise as the network's 32 bits."""
    digits = [float(f"{value:.8g}") for value in predictions.ravel()]
    return kept(np.array(digits).reshape(predictions.shape))
