"""The experiment's numbers: what is tried as its method knows it, and how much of it, from a configuration."""

from __future__ import annotations

from lstmreg.config import Config, Dimension, Range, Scalar, configured
from lstmreg.knobs import knob_at

from .method import Arm, Plan
from .space import OFF, WEIGHT_DECAY, Setting, conditions, dimensions, is_regularizer, ladder, one_value, place_of

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
    own = _in_baseline(config, path)
    values = tuple(value for value in _values(config, path, dimension) if value != own)
    if not values:
        return None
    beside = tuple((_needed(config, path) | always_beside(config, path)).items())
    requires, grow = _requirements(config, path), config.search.grows(path)
    may_grow = not isinstance(dimension, Range) and grow is not False
    if knob := knob_at(path):
        is_rate = knob.kind == "rate"
        place = place_of(path)
        return Arm(path, values, knob.kind, place, beside, requires, with_other_rates=is_rate, may_grow=may_grow)
    if path == WEIGHT_DECAY:
        return Arm(path, values, beside=beside, requires=requires, is_rival=True, may_grow=may_grow)
    return Arm(path, values, "size" if grow else "choice", beside=beside, requires=requires)


def always_beside(config: Config, path: str) -> Setting:
    """Return what must be set wherever a setting is: an optimizer that knows weight decay."""
    is_lacking = path == WEIGHT_DECAY and config.training.optimizer == "adam"
    return {"training.optimizer": _DECAYING} if is_lacking else {}


def _in_baseline(config: Config, path: str) -> Scalar:
    return OFF if is_regularizer(path) else configured(config, path)


def _needed(config: Config, path: str) -> Setting:
    """Return what must be set for the condition of a setting to hold, beyond what holds in the baseline."""
    found: Setting = {}
    for needed, allowed in conditions(config).get(path, {}).items():
        if _in_baseline(config, needed) not in allowed:
            found |= {needed: allowed[0]} | always_beside(config, needed)
    return found


def _requirements(config: Config, path: str) -> tuple[tuple[str, tuple[Scalar | None, ...]], ...]:
    """Return the condition of a setting as its arm knows it: without a value a setting is as in the baseline."""
    condition = conditions(config).get(path, {})
    return tuple(
        (needed, (*allowed, *((None,) if _in_baseline(config, needed) in allowed else ())))
        for needed, allowed in condition.items()
    )


def _values(config: Config, path: str, dimension: Dimension) -> list[Scalar]:
    """Return what is tried alone of a setting: who has configured a regularizer wants to know of that value too."""
    if not is_regularizer(path):
        return ladder(dimension) if isinstance(dimension, Range) else dimension
    values, own = ladder(dimension), one_value(config, path)
    return values if own is None or own in values else sorted([*values, own], key=float)


def plan(config: Config, learning_rate: float) -> Plan:
    """Return the numbers of an experiment.

    Args:
        config: The run, with all that was planned.
        learning_rate: The baseline's.
    """
    search, tried = config.search, arms(config)
    amount = search.amount
    judge_seeds, blocks = amount.judge_seeds, amount.blocks
    values = sum(len(arm.ladder) for arm in tried) if search.screen else 0
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
        tries_alone=search.screen,
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
