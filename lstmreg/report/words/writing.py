"""How settings, numbers, effects and lists are written, wherever they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lstmreg.report.answers import Answer
from lstmreg.search.evidence import Effect
from lstmreg.search.space import WEIGHT_DECAY, Setting, knobs_of, short

#: The optimizer that knows weight decay is set beside it.
_OPTIMIZER = "training.optimizer"


def half_of(width: float) -> str:
    """Write half of the width of an interval."""
    return f"±{change(width).lstrip('+')}" if math.isfinite(width) else "any size"


def ranks(weights: Sequence[float]) -> list[int]:
    """Return the place of each weight, the largest first, counted from 1."""
    order = sorted(range(len(weights)), key=lambda k: -weights[k])
    return [order.index(k) + 1 for k in range(len(weights))]


def times_as_much(ratio: float) -> str:
    """Write how many times something is something else: ``4.2 times``."""
    return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def counted_trainings(count: int) -> str:
    """Write so many trainings."""
    return f"{count} training{'s' if count > 1 else ''}"


def counted_seeds(count: int) -> str:
    """Write so many seeds."""
    return f"{count} seed{'s' if count != 1 else ''}"


def spoken(setting: Setting) -> str:
    """Write a setting in a sentence: knobs and weight decay, and in brackets at what else."""
    main = paths_of(setting)
    parts = [_assigned(setting, path) for path in main]
    rest = [p for p in setting if p not in main and not (p == _OPTIMIZER and WEIGHT_DECAY in setting)]
    beside = listed([_assigned(setting, path) for path in rest])
    return listed(parts) + (f" (at {beside})" if rest and parts else beside)


def paths_of(setting: Setting) -> list[str]:
    """List what a setting turns, knobs first; where it turns none, everything in it."""
    return knobs_of(setting) or list(setting)


def layer_settings(setting: Setting) -> list[str]:
    """List the knobs of the layers that a setting turns."""
    return [path for path in knobs_of(setting) if path != WEIGHT_DECAY]


def _assigned(setting: Setting, path: str) -> str:
    # Another optimizer's weight decay is another thing.
    has_optimizer = path == WEIGHT_DECAY and _OPTIMIZER in setting
    optimizer = f" with {_OPTIMIZERS[str(setting[_OPTIMIZER])]}" if has_optimizer else ""
    return f"{name_of(path)} = {short(setting[path])}{optimizer}"


_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


def name_of(path: str) -> str:
    """Return the last part of the path of a setting."""
    return path.rpartition(".")[2]


def listed(parts: Sequence[str]) -> str:
    """Write a list in a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else list(parts))


def capitalized(sentence: str) -> str:
    """Begin a sentence, unless it begins with the name of a setting."""
    is_name = "_" in sentence.split()[0] or sentence.split()[1:2] == ["="]
    return sentence if is_name else sentence[:1].upper() + sentence[1:]


def interval(effect: Effect, answer: Answer) -> str:
    """Write an interval with its confidence."""
    return f"{percent(answer.confidence)} interval {bounds(effect)}"


def bounds(effect: Effect) -> str:
    """Write the two ends of an interval, unless both round to nothing."""
    if max(abs(effect.low), abs(effect.high)) < _NOTHING:
        return "less than 0.05 % either way"
    return f"{change(effect.low)} to {change(effect.high)}"


#: A smaller change is written as zero.
_NOTHING = 0.0005

#: From here on a change is written as a factor.
_TIMES = 10.0


def change(relative: float) -> str:
    """Write a relative change in percent, with its sign."""
    if relative == math.inf:
        return "unbounded"
    if relative >= _TIMES:
        return f"×{1 + relative:.3g}"
    rounded = round(relative * 100, 1) + 0.0  # turns a negative zero into zero
    text = f"{rounded:.0f}" if abs(rounded) >= 10 else f"{rounded:.1f}"
    return f"{text.replace('-', '−') if rounded < 0 else '+' + text} %"


def size_of(relative: float) -> str:
    """Write a change without its sign."""
    return change(relative).lstrip("+−")


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{share * 100:g} %"


def number(value: float) -> str:
    """Write a measured number with four digits."""
    return f"{value:.4g}"
