"""The experiment's choices, each a function of the evidence alone.

The search calls them to know what to run next, and a report calls them again on the finished study: so the
two cannot disagree, and a resumed search goes on where it was.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from lstmreg.errors import NoUsableTrialError

from . import arms, method
from .arms import LEARNING_RATE
from .card import log_loss
from .evidence import Evidence
from .method import Candidate, Cell, Interval, Judgement, LogLosses, Plan, Row
from .records import Record
from .space import Setting


def chosen_learning_rate(evidence: Evidence) -> float:
    """Return the rate at which the unregularized model does best over all blocks.

    Raises:
        NoUsableTrialError: If it diverged with each of them.
    """
    losses: dict[float, list[float]] = defaultdict(list)
    for record in evidence.records["rates"]:
        rate = float(record.setting[LEARNING_RATE])
        losses[rate].append(math.inf if record.result is None else record.result.log_loss)
    best = min(losses, key=lambda rate: float(np.mean(losses[rate])))
    if not math.isfinite(np.mean(losses[best])):
        reasons = [r.failure for r in evidence.records["rates"] if r.failure is not None]
        raise NoUsableTrialError(
            f"the unregularized model failed at every one of search.learning_rates; last: {reasons[-1]}"
        )
    return best


def plan(evidence: Evidence) -> Plan:
    """Return the numbers of the experiment."""
    return arms.plan(evidence.config, chosen_learning_rate(evidence))


def cell(record: Record) -> Cell:
    """Return what a training was, as the method knows it."""
    setting = {} if record.role == "learning rate" else record.setting
    return Cell(Candidate.of(setting), record.replicate.block, record.replicate.seed)


def log_losses(evidence: Evidence) -> LogLosses:
    """Return what all trainings on the blocks showed, those of the baseline at its chosen rate among them."""
    rate = chosen_learning_rate(evidence)
    known = LogLosses(evidence.config.search.amount.blocks)
    baseline = [r for r in evidence.records["rates"] if r.setting[LEARNING_RATE] == rate]
    candidates: dict[str, Candidate] = {}  # one for all of its trainings, so that it is soon found
    for record in [*baseline, *evidence.records["choose"], *evidence.records["judge"]]:
        name = "{}" if record.role == "learning rate" else record.key
        candidate = candidates.get(name)
        if candidate is None:
            candidate = candidates[name] = Candidate.of({} if name == "{}" else record.setting)
        of_record = Cell(candidate, record.replicate.block, record.replicate.seed)
        known.add(of_record, None if record.result is None else record.result.log_loss)
    return known


def floor(evidence: Evidence, name: str | None) -> list[float] | None:
    """Return of each block the log loss of a prediction without a network, if there is such."""
    return None if name is None else [log_loss(loss) for loss in evidence.card.floors[name]]


@dataclass(frozen=True)
class Conclusion:
    """What the experiment shows.

    Attributes:
        plan: Its numbers.
        log_losses: All that it measured.
        judged: What the judge said; ``None`` if the screen ruled everything out, so that nothing was judged.
        rows: The table.
        floor: Of each block the log loss of the best prediction without a model, if there is any.
        simple_model: Likewise of the best simple model.
    """

    plan: Plan
    log_losses: LogLosses
    judged: Judgement | None
    rows: list[Row]
    floor: list[float] | None
    simple_model: list[float] | None

    @classmethod
    def of(cls, evidence: Evidence) -> Conclusion:
        """Conclude from all that is known.

        Raises:
            NoUsableTrialError: If the baseline failed too often.
        """
        numbers, known = plan(evidence), log_losses(evidence)
        without_model, simple = (
            floor(evidence, name) for name in (evidence.card.best_floor, evidence.card.best_simple_model)
        )
        judged = method.judgement(numbers, known, without_model, simple)
        return cls(numbers, known, judged, method.table(numbers, known, judged), without_model, simple)

    @property
    def candidate(self) -> Setting:
        """What was judged; empty if nothing was."""
        return {} if self.judged is None else self.judged.picks.overall.setting

    @property
    def rival(self) -> Setting | None:
        """The best weight decay, if one was tried and judged beside the candidate."""
        if self.judged is None or self.judged.rivals is None:
            return None
        return self.judged.rivals.overall.setting

    @property
    def is_confirmed(self) -> bool:
        """Whether the candidate is to be used."""
        return self.judged is not None and self.judged.is_recommended

    @property
    def recommended(self) -> Setting:
        """What to use."""
        return self.candidate if self.is_confirmed else {}

    @property
    def tested(self) -> list[Setting]:
        """The settings that meet the test: none, the candidate and the rival, those that differ."""
        wanted = [{}, self.candidate, self.rival or {}]
        return [dict(c.values) for c in dict.fromkeys(Candidate.of(setting) for setting in wanted)]

    def baseline_against(self, floor: list[float] | None) -> Interval | None:
        """Compare the unregularized model with a floor: with the seeds that judge, or if none did with the others."""
        if floor is None:
            return None
        first = 0 if self.judged is None else self.plan.most_seeds
        end = self.plan.most_seeds if self.judged is None else first + self.judged.seeds
        rows = zip(self.log_losses.table(method.BASELINE, end, first), floor, strict=True)
        found = [float(row[np.isfinite(row)].mean()) - theirs for row, theirs in rows if np.isfinite(row).any()]
        return Interval.over(found, self.plan.confidence)
