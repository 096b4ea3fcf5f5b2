"""The experiment's numbers: what is tried as its method knows it, and how much of it, from a configuration."""

from __future__ import annotations

from lstmreg.config import Config, Dimension, Range, Scalar
from lstmreg.knobs import KNOBS

from .method import Arm, Plan
from .space import WEIGHT_DECAY, configured, dimensions, ladder

LEARNING_RATE = "training.learning_rate"

#: Adam adds weight decay to the gradient, where it does something else; this is the optimizer that decays weights.
_DECAYING = "adamw"

#: With so many seeds on each block the baseline chooses its learning rate; the experiment goes on with these trainings.
BASELINE_SEEDS = 3


def arms(config: Config) -> tuple[Arm, ...]:
    """Return what is tried: the knobs and weight decay over their ladders, and the values of any other setting."""
    found = [_arm(config, path, dimension) for path, dimension in dimensions(config).items()]
    return tuple(arm for arm in found if arm is not None)


def _arm(config: Config, path: str, dimension: Dimension) -> Arm | None:
    """Return an arm, unless all of its values are the baseline's."""
    may_grow = not isinstance(dimension, Range)
    if path in KNOBS:
        knob = KNOBS[path]
        values, is_rate = tuple(ladder(dimension)), knob.kind == "rate"
        if not values:
            return None
        return Arm(path, values, knob.kind, knob.acts_on, with_other_rates=is_rate, may_grow=may_grow)
    if path == WEIGHT_DECAY:
        beside: tuple[tuple[str, Scalar], ...] = ()
        if config.training.optimizer == "adam":
            beside = (("training.optimizer", _DECAYING),)
        values = tuple(ladder(dimension))
        return Arm(path, values, beside=beside, is_rival=True, may_grow=may_grow) if values else None
    own = configured(config, path)
    others = tuple(value for value in _values(dimension) if value != own)
    return Arm(path, others, "choice") if others else None


def _values(dimension: Dimension) -> list[Scalar]:
    return ladder(dimension) if isinstance(dimension, Range) else dimension


def plan(config: Config, learning_rate: float) -> Plan:
    """Return the numbers of an experiment.

    Args:
        config: The run, with all that was planned.
        learning_rate: The baseline's.
    """
    search, tried = config.search, arms(config)
    amount = search.amount
    judge_seeds, blocks = amount.judge_seeds, amount.blocks
    values = sum(len(arm.ladder) for arm in tried)
    sides = 3 if any(arm.is_rival for arm in tried) and not all(arm.is_rival for arm in tried) else 2
    each = BASELINE_SEEDS + values + search.trials + amount.race + sides * judge_seeds
    return Plan(
        tried,
        blocks=blocks,
        budget=blocks * each,
        baseline_seeds=BASELINE_SEEDS,
        judge_seeds=judge_seeds,
        learning_rate=None if any(arm.path == LEARNING_RATE for arm in tried) else learning_rate,
        smallest_effect=search.smallest_effect,
        confidence=search.confidence,
        trials=search.trials,
        batch=search.batch,
    )


def trainings(config: Config) -> dict[str, int]:
    """Return how many trainings each part of a search takes until its answer is known, at most."""
    amount, numbers = config.search.amount, plan(config, config.search.learning_rates[0])
    return {
        "learning rate": len(config.search.learning_rates) * amount.blocks * BASELINE_SEEDS,
        "experiment": numbers.budget - amount.blocks * BASELINE_SEEDS,
        "test": (3 if numbers.rivals else 2) * amount.test_seeds,
    }
