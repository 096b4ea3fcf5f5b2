"""Where a run stands that has not come to its end, by its study alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from lstmreg.tasks import task_named

from . import arms, decisions, explaining, method
from .decisions import Conclusion
from .evidence import Evidence
from .planning import trainings
from .proposals import proposer
from .records import STAGES, Record, Role
from .space import baseline_config, key


@dataclass(frozen=True)
class Standing:
    """Where a run stands whose search has not come to its end.

    Attributes:
        role: What its next trainings are for; ``save`` where the model of the answer is next.
        done: Trainings that have ended.
        planned: Trainings in all, at most.
    """

    role: Role | Literal["save"]
    done: int
    planned: int

    @property
    def is_judged(self) -> bool:
        """Whether the experiment has come to its end, so that the judge has said what there is to say."""
        return self.role in ("test", "save", "explain")

    @property
    def is_answered(self) -> bool:
        """Whether the test was met too, so that the answer stands."""
        return self.role in ("save", "explain")


def standing_of(evidence: Evidence) -> Standing | None:
    """Say where a run stands, by the same decisions that the search makes; ``None`` if it has come to its end.

    Raises:
        NoUsableTrialError: If the baseline failed so often that the search cannot go on.
    """
    planned = trainings(evidence.config, _columns(evidence))
    role = _next(evidence, planned)
    if role is None:
        return None
    done = Counter(record.role if record.role in planned else "experiment" for record in _records(evidence))
    if role in ("test", "save", "explain"):
        planned["experiment"] = done["experiment"]
    return Standing(role, done.total(), sum(max(done[part], most) for part, most in planned.items()))


def _next(evidence: Evidence, planned: dict[str, int]) -> Role | Literal["save"] | None:
    """Return what is next; the parts of the plan whose trainings are known by then are set."""
    if len(evidence.records["rates"]) < planned["learning rate"]:
        return "learning rate"
    if not evidence.records["test"] and (role := _in_experiment(evidence)) is not None:
        return role
    conclusion = Conclusion.of(evidence)
    seeds = range(evidence.config.search.amount.test_seeds)
    planned["test"] = len(conclusion.tested) * len(seeds)
    tested = {(key(record.setting), record.replicate.seed) for record in evidence.records["test"]}
    if any((key(setting), seed) not in tested for setting in conclusion.tested for seed in seeds):
        return "test"
    has_model = (evidence.config.directory / "model.json").exists()
    if not has_model and evidence.results(conclusion.recommended, "test"):
        return "save"
    jobs = explaining.jobs(evidence, conclusion, explaining.extent(evidence.config, _columns(evidence)))
    planned["explain"] = len(jobs)
    explained = {record.identity for record in evidence.records["explain"]}
    return "explain" if any(job.identity not in explained for job in jobs) else None


def _in_experiment(evidence: Evidence) -> Role | None:
    """Go through the steps of the method to the first that has not been trained to its end."""
    rate = decisions.chosen_learning_rate(evidence)
    base = baseline_config(evidence.config, rate, len(evidence.card.features))
    known = decisions.log_losses(evidence)
    for step in method.steps(arms.plan(evidence.config, rate), known, proposer(evidence.config, base)):
        if any(cell not in known for cell in step.cells):
            return step.stage
    return None


def _columns(evidence: Evidence) -> int:
    """Return how many columns can be left out."""
    columns = len(evidence.card.features)
    return 0 if task_named(evidence.config.task).has_own_networks or columns < 2 else columns


def _records(evidence: Evidence) -> list[Record]:
    return [record for stage in STAGES for record in evidence.records[stage]]
