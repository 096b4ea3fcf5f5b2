"""The experiment: baseline, each knob alone, all together, confirmation on fresh splits, and the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstmreg import models
from lstmreg.config import KNOBS, Config, with_settings
from lstmreg.data.floors import forecast_error
from lstmreg.data.splits import Split, make_splits
from lstmreg.data.table import Series, read_series
from lstmreg.training.fitting import Epoch
from lstmreg.training.single import Trained, train_configured
from lstmreg.training.together import Task, populations, train_together

from . import decisions
from .card import DataCard, make_card, shown_predictions
from .config_file import read_config, write_config
from .evidence import STAGES, Evidence, Record, Replicate
from .ledger import Job, Ledger, Outcome, Runner, Tell, Watch, owned, usable_study
from .space import (
    Setting,
    as_parameters,
    baseline_config,
    key,
    knobs_of,
    ladder,
    searched_dimensions,
    suggest,
    without_knobs,
)


@dataclass(frozen=True)
class Progress:
    """What a search tells while it runs: at the beginning of a stage, after each epoch, and of each trial.

    Attributes:
        stage: Which stage it is in.
        record: The trial that just ended, if one did.
        done: Trials done so far, earlier sittings included.
        planned: Trials in all, as far as can be said now.
        together: Trials that are trained at once in this stage, at most; 0 if all have been.
        replicates: On how many replicates this stage runs each setting.
        epoch: The epoch that just ended, counted from 1; 0 where a stage begins.
    """

    stage: str
    record: Record | None
    done: int
    planned: int
    together: int = 1
    replicates: int = 1
    epoch: int = 0


Listener = Callable[[Progress], None]

#: What a trained job is worth, and what the study keeps of it.
Valued = Callable[[Job, Trained], Outcome]


def run(config: Config, listener: Listener = lambda progress: None) -> Evidence:
    """Run the experiment in ``config.directory``, or go on with it.

    Every finished trial is kept at once: after an interruption the same call goes on where it was.

    Args:
        config: The run. On a run that has begun, only ``search.trials`` may have changed.
        listener: Told of each stage and each trial.

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
    series = read_series(config.data)
    with owned(config.directory), usable_study(config.directory):
        return _Experiment(write_config(config), series, listener).run()


def read(directory: Path) -> Evidence:
    """Read the evidence of a finished run.

    Raises:
        CorruptFileError: If it is not one, or damaged.
    """
    config = read_config(directory)
    with usable_study(directory):
        ledger = Ledger(config, read_only=True)
        card = DataCard(**ledger.card())
        return Evidence(
            config=config,
            card=card,
            dimensions=searched_dimensions(config, len(card.features)),
            records={stage: ledger.records(stage) for stage in STAGES},
        )


class _Experiment:
    """One sitting: decides what to run next from the evidence, and has the ledger run it."""

    def __init__(self, config: Config, series: Series, listener: Listener) -> None:
        self.series = series
        self.splits = make_splits(len(series), config.data, config.search)
        self.ledger = Ledger(config, self._heard)
        card = make_card(config, series, self.splits)
        self.ledger.check_data(dataclasses.asdict(card))
        self.evidence = Evidence(config, card, searched_dimensions(config, len(series.features)))
        self.knobs = {p: d for p, d in self.evidence.dimensions.items() if p in KNOBS}
        self.listener = listener
        self.progress = Progress("baseline", None, 0, 0)
        self.base = config
        self.baseline_losses: dict[Replicate, float] = {}
        self.planned = self._expected()

    def run(self) -> Evidence:
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
        self._run_jobs("baseline", "baseline", jobs, "choose", _plain)
        rate = decisions.chosen_learning_rate(self.evidence)
        self.base = baseline_config(self.evidence.config, self.evidence.dimensions, rate)
        self.baseline_losses = {
            replicate: record.result["val_loss"]
            for replicate, record in decisions.baseline_records(self.evidence).items()
        }

    def _alone(self) -> None:
        settings: list[Setting] = [{p: v} for p, d in self.knobs.items() for v in ladder(d)]
        self._run_jobs("alone", "alone", self._on_all(settings, "alone"), "choose", self._paired)

    def _together(self) -> None:
        """Sample settings, one replicate each, valued relative to the baseline on the same replicate."""
        dimensions, search = self.evidence.dimensions, self.evidence.config.search
        missing = search.trials - sum(r.role == "sampled" for r in self.ledger.records("together"))
        self._begin("sampled", search.trials, together=min(search.batch, missing))
        self.ledger.sample(
            "together",
            search.trials,
            lambda trial: suggest(trial, dimensions, self.base),
            [as_parameters(s, dimensions, self.base) for s in decisions.starting_points(self.evidence)],
            decisions.choosing_replicates(self.evidence),
            self._runner("choose", self._relative),
        )
        self._refresh("together")
        jobs = self._on_all(decisions.shortlist(self.evidence), "shortlist")
        self._run_jobs("together", "shortlist", jobs, "choose", self._relative)

    def _leave_out(self) -> None:
        """Turn off, one by one, the knobs of the best setting that are not worth having."""
        setting: Setting | None = decisions.favourite(self.evidence)
        while setting is not None:
            variants = [decisions.without(setting, path) for path in knobs_of(setting)]
            jobs = self._on_all([v for v in variants if v], "leave one out")
            self._run_jobs("together", "leave one out", jobs, "choose", self._relative)
            expendable = decisions.expendable_knob(self.evidence, setting)
            setting = None if expendable is None else decisions.without(setting, expendable)

    def _confirm(self) -> None:
        search = self.evidence.config.search
        jobs = [
            Job(setting, Replicate(split, seed), "confirm")
            for setting in self._finalists()
            for seed in range(search.confirm_seeds)
            for split in range(search.confirm_splits)
        ]
        self._run_jobs("confirm", "confirm", jobs, "confirm", _plain)

    def _test(self) -> None:
        jobs = [
            Job(setting, Replicate(0, seed), "test")
            for setting in self._finalists()
            for seed in range(self.evidence.config.search.test_seeds)
        ]

        def tested(job: Job, trained: Trained) -> Outcome:
            prediction, truth = trained.forecast(self.splits.test.origin, self.splits.test.end)
            test_error = forecast_error(self.base.training.loss, prediction, truth)
            more = {"test_error": test_error, "predictions": shown_predictions(prediction)}
            return Outcome(test_error, _result(trained) | more)

        self._run_jobs("test", "test", jobs, "test", tested)

    def _save_model(self) -> None:
        """Train the answer's model once more, from the test seed that validated best, and save it."""
        directory = self.evidence.config.directory
        setting = decisions.recommended(self.evidence)
        tested = self.evidence.results(setting, ["test"])
        if not tested:
            return
        replicate = min(tested, key=lambda r: tested[r].result["val_loss"])

        def save(number: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Exception):
                raise outcome
            models.save(directory, outcome.network, outcome.about())

        task = self._task(Job(setting, replicate, "model"), "test")
        if task.config.model.members > 1:
            save(0, train_configured(task.config, self.series, task.split))
        else:  # as it was tested, to the last digit
            train_together([task], self.series, save)

    # ------------------------------------------------------------------ parts of a stage

    def _finalists(self) -> list[Setting]:
        """The winner, the same sizes without its knobs, and the baseline; those that differ."""
        winner = decisions.winner(self.evidence)
        settings: list[Setting] = [{}, without_knobs(winner), winner]
        return list({key(s): s for s in settings}.values())

    def _on_all(self, settings: list[Setting], role: str) -> list[Job]:
        replicates = decisions.choosing_replicates(self.evidence)
        return [Job(setting, replicate, role) for setting in settings for replicate in replicates]

    def _run_jobs(self, stage: str, role: str, jobs: list[Job], kind: str, valued: Valued) -> None:
        # What a knob showed alone it need not show again together.
        stages = ("alone", "together") if stage == "together" else (stage,)
        done = {r.identity for s in stages for r in self.ledger.records(s)}
        missing = [job for job in jobs if job.identity not in done]
        finished = sum(r.role == role for r in self.ledger.records(stage))
        together = max((len(p) for p in populations([self._task(job, kind) for job in missing])), default=0)
        replicates = len({job.replicate for job in jobs})
        self._begin(role, finished + len(missing), together=together, replicates=replicates)
        self.ledger.run_jobs(stage, missing, self._runner(kind, valued))
        self._refresh(stage)

    def _runner(self, kind: str, valued: Valued) -> Runner:
        """Return what trains jobs of one kind at once, and tells what each is worth."""

        def run(jobs: list[Job], tell: Tell, watch: Watch) -> None:
            def ended(number: int, outcome: Trained | Exception) -> None:
                tell(number, outcome if isinstance(outcome, Exception) else valued(jobs[number], outcome))

            def epoch_ended(number: int, epochs: Sequence[Epoch]) -> bool:
                if len(epochs) > self.progress.epoch:
                    self._say(record=None, epoch=len(epochs))
                best = min(epoch.val_loss for epoch in epochs)
                baseline = self.baseline_losses.get(jobs[number].replicate, 1.0)
                return watch(number, len(epochs) - 1, best / baseline)

            self.progress = dataclasses.replace(self.progress, epoch=0)
            train_together([self._task(job, kind) for job in jobs], self.series, ended, epoch_ended)

        return run

    def _task(self, job: Job, kind: str) -> Task:
        config = with_settings(self.base, job.setting)
        seed = _seed(self.base.search.seed, kind, job.replicate)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
        return Task(config, self._split(kind, job.replicate))

    def _paired(self, job: Job, trained: Trained) -> Outcome:
        """Note a trial's loss relative to the baseline's on the same replicate."""
        outcome = _plain(job, trained)
        relative = outcome.value / self.baseline_losses[job.replicate]
        return Outcome(outcome.value, outcome.result | {"relative": relative})

    def _relative(self, job: Job, trained: Trained) -> Outcome:
        """Value a trial by its relative loss: Optuna compares trials, and losses of two splits do not compare."""
        outcome = self._paired(job, trained)
        return Outcome(outcome.result["relative"], outcome.result)

    def _split(self, kind: str, replicate: Replicate) -> Split:
        if kind == "test":
            return self.splits.final
        return (self.splits.choose if kind == "choose" else self.splits.confirm)[replicate.split]

    # ------------------------------------------------------------------ telling

    def _expected(self) -> dict[str, int]:
        """How many trials each part will take, before it is known exactly."""
        search, replicates = self.evidence.config.search, len(decisions.choosing_replicates(self.evidence))
        return {
            "baseline": len(search.learning_rates) * replicates,
            "alone": sum(len(ladder(d)) for d in self.knobs.values()) * replicates,
            "sampled": search.trials,
            "shortlist": search.shortlist * (replicates - 1),
            "leave one out": len(self.knobs) * replicates,
            "confirm": 2 * search.confirm_splits * search.confirm_seeds,
            "test": 2 * search.test_seeds,
        }

    def _begin(self, role: str, size: int, *, together: int, replicates: int = 1) -> None:
        self.planned[role] = size
        self.progress = Progress(role, None, 0, 0, together, replicates)
        self._say(record=None, epoch=0)

    def _heard(self, record: Record) -> None:
        self._say(record=record, epoch=self.progress.epoch)

    def _say(self, *, record: Record | None, epoch: int) -> None:
        self.progress = dataclasses.replace(
            self.progress, record=record, epoch=epoch, done=self._done(), planned=self._total()
        )
        self.listener(self.progress)

    def _done(self) -> int:
        return sum(len(self.ledger.records(stage)) for stage in STAGES)

    def _total(self) -> int:
        return max(sum(self.planned.values()), self._done())

    def _refresh(self, stage: str) -> None:
        self.evidence.records[stage] = self.ledger.records(stage)


def _plain(job: Job, trained: Trained) -> Outcome:
    """Value a trial by its validation loss."""
    return Outcome(trained.result.val_loss, _result(trained))


def _result(trained: Trained) -> dict[str, Any]:
    """Return what the study keeps of a training."""
    fit = trained.result
    return {
        "val_loss": fit.val_loss,
        "train_loss": fit.train_loss,
        "best_epoch": fit.best_epoch,
        "stopped": fit.stopped,
        "train": [float(f"{epoch.train_loss:.5g}") for epoch in fit.history],
        "val": [float(f"{epoch.val_loss:.5g}") for epoch in fit.history],
        "seconds": round(fit.seconds, 4),
    }


_KINDS = {"choose": 0, "confirm": 1, "test": 2}


def _seed(seed: int, kind: str, replicate: Replicate) -> int:
    """Return a replicate's seed; the same for every setting, so that settings can be paired."""
    entropy = (seed, _KINDS[kind], replicate.split, replicate.seed)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
