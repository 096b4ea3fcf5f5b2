"""How much is done, and by which numbers it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from lstmreg.errors import ConfigError

from .candidates import Arm


@dataclass(frozen=True)
class Plan:
    """The numbers of an experiment.

    Attributes:
        arms: What is tried, each with its ladder.
        blocks: On how many blocks, ``G``.
        budget: Trainings in all, at most.
        baseline_seeds: With how many seeds the baseline begins on each block; one would not say how seeds scatter.
        most_seeds: With how many a candidate ends the race at most; seeds from this number on judge.
        judge_seeds: With how many fresh seeds each block is judged at least, ``R``.
        grow: How many steps a ladder may grow at each end.
        combine_at: After which share of the race combinations join it.
        at_once: How many candidates get a seed in one step of the race.
        learning_rate: The baseline's, if finalists are to be tried at others.
        smallest_effect: The least relative improvement worth having.
        confidence: Of the judge's intervals.
        table_confidence: Of the bands in the table, all together.
        trials: How many further candidates are proposed, if somebody proposes.
        batch: How many at once.
        tries_alone: Whether every value of every arm is tried alone first.
        stable: The share of blocks that must agree with a pick.
    """

    arms: tuple[Arm, ...]
    blocks: int = 8
    budget: int = 640
    baseline_seeds: int = 3
    most_seeds: int = 8
    judge_seeds: int = 8
    grow: int = 3
    combine_at: float = 0.25
    at_once: int = 4
    learning_rate: float | None = None
    smallest_effect: float = 0.02
    confidence: float = 0.97
    table_confidence: float = 0.95
    trials: int = 0
    batch: int = 6
    tries_alone: bool = True
    stable: float = 0.5

    def __post_init__(self) -> None:
        if not self.arms or len({arm.path for arm in self.arms}) < len(self.arms):
            raise ConfigError("an experiment needs at least one knob to try, and each of them once.")
        if self.blocks < 3:
            raise ConfigError(
                f"an experiment needs at least 3 blocks, got {self.blocks}; use shorter blocks or more data."
            )
        if not 2 <= self.baseline_seeds <= self.most_seeds:
            raise ConfigError(
                f"baseline_seeds must be in [2, most_seeds], got {self.baseline_seeds} and {self.most_seeds}."
            )
        if self.judge_seeds < 2:
            raise ConfigError(f"judge_seeds must be at least 2, got {self.judge_seeds}.")
        if self.budget < self.least_budget:
            raise ConfigError(
                f"these knobs and {self.blocks} blocks take at least {self.least_budget} trainings, got "
                f"{self.budget}; allow more, or try fewer values."
            )

    @property
    def rivals(self) -> tuple[Arm, ...]:
        """What one would do without the knobs."""
        return tuple(arm for arm in self.arms if arm.is_rival)

    @property
    def reserve(self) -> int:
        """Trainings that are kept for the judge: the pick, the baseline, and the best rival if there is one."""
        return self.blocks * self.judge_seeds * (3 if self.rivals and len(self.rivals) < len(self.arms) else 2)

    @property
    def screen(self) -> int:
        """Trainings of the screen, before any ladder grows."""
        values = sum(len(arm.ladder) for arm in self.arms) if self.tries_alone else 0
        return self.blocks * (self.baseline_seeds + values)

    @property
    def least_budget(self) -> int:
        """Trainings without which there is no answer: the screen and the judge."""
        return self.screen + self.reserve
