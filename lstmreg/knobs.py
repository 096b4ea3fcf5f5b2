"""The knobs: every setting that regularizes a layer, a row each. Nothing here loads torch.

Whoever must know something of a knob asks its row: what values it may have, what to try, which argument of the layer it
sets, how it is called in Keras, how it is written in code. A new knob is a row here, a field of ``ModelConfig``, and an
argument of :class:`lstmreg.LSTM`; what is forgotten is named where it is missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lstmreg.errors import ConfigError


@dataclass(frozen=True)
class Knob:
    """A setting that regularizes.

    Attributes:
        path: Where it stands in ``lstmreg.yaml``, such as ``model.kernel_l2``; its name is the last part.
        argument: Of :class:`lstmreg.LSTM`, and of Keras' LSTM: the same word.
        kind: ``strength`` of a penalty, 0 or more; or ``rate`` of dropping, in [0, 1).
        acts_on: What is penalised or dropped, in words.
        ladder: The values that a search tries if it is told none.
        keyword: Of a strength: which part of the argument's regularizer, ``l1`` or ``l2``.
        weights: Of a penalty on weights: the stem of torch's names of them, such as ``weight_ih``.
        by_default: Whether a search tries it if it is told nothing.
        with_one_column: What else must be set, by path, for it to make sense where there is a single input column.
    """

    path: str
    argument: str
    kind: Literal["strength", "rate"]
    acts_on: str
    ladder: tuple[float, ...]
    keyword: Literal["l1", "l2"] | None = None
    weights: str | None = None
    by_default: bool = True
    with_one_column: tuple[str, bool] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "strength") != (self.keyword is not None):
            raise ValueError(f"{self.path}: a strength has a keyword, l1 or l2, and a rate has none.")
        for value in self.ladder:
            self.check(value)

    @property
    def name(self) -> str:
        """The setting's own name, as in ``ModelConfig``."""
        return self.path.rpartition(".")[2]

    @property
    def spoken(self) -> str:
        """The argument and, of a strength, which norm, as people who know Keras say it."""
        return self.argument if self.keyword is None else f"{self.argument}, {self.keyword.upper()}"

    @property
    def penalty(self) -> str | None:
        """The kind under which a penalty is reported (``kernel``, ``activity``); ``None`` of a rate."""
        return None if self.kind == "rate" else self.argument.removesuffix("_regularizer")

    @property
    def rule(self) -> str:
        """What values it may have, in words."""
        return "in [0, 1)" if self.kind == "rate" else "finite and not negative"

    def check(self, value: float) -> None:
        """Raise a ``ConfigError`` if the knob cannot have a value."""
        if not (math.isfinite(value) and 0 <= value < (1 if self.kind == "rate" else math.inf)):
            raise ConfigError(f"{self.path} must be {self.rule}, got {value!r}.")


def _penalties(place: str, acts_on: str, ladder: tuple[float, ...], weights: str | None = None) -> list[Knob]:
    """Return a place's L1, which is searched where it is asked for, and its L2."""
    argument, path = f"{place}_regularizer", f"model.{place}_"
    return [
        Knob(f"{path}l1", argument, "strength", acts_on, ladder, "l1", weights, by_default=False),
        Knob(f"{path}l2", argument, "strength", acts_on, ladder, "l2", weights),
    ]


#: By path, in the order of the report's table.
KNOBS: dict[str, Knob] = {
    knob.path: knob
    for knob in [
        *_penalties("kernel", "the input weights", (1e-4, 1e-3, 1e-2), "weight_ih"),
        *_penalties("recurrent", "the recurrent weights", (1e-4, 1e-3, 1e-2), "weight_hh"),
        *_penalties("bias", "the bias", (1e-4, 1e-3, 1e-2), "bias_ih"),
        *_penalties("activity", "the output", (1e-4, 1e-3, 1e-2)),
        # Of a single column, one mask for all gates would blank the whole series of a sample.
        Knob(
            "model.dropout",
            "dropout",
            "rate",
            "the inputs",
            (0.1, 0.2, 0.4),
            with_one_column=("model.per_gate_input_masks", True),
        ),
        Knob("model.recurrent_dropout", "recurrent_dropout", "rate", "the state", (0.1, 0.3, 0.5)),
    ]
}


def layer_arguments(settings: Mapping[str, float]) -> dict[str, float | dict[str, float]]:
    """Return what a layer is given for its knobs: a rate, or the strengths of a regularizer, by argument.

    Args:
        settings: Values of knobs by name; others are left out, and so are knobs that are off.

    Example:
        >>> layer_arguments({"kernel_l1": 0.01, "kernel_l2": 0.0, "dropout": 0.2, "hidden_size": 8})
        {'kernel_regularizer': {'l1': 0.01}, 'dropout': 0.2}
    """
    found: dict[str, float | dict[str, float]] = {}
    for knob in KNOBS.values():
        value = settings.get(knob.name, 0.0)
        if value == 0.0:
            continue
        if knob.keyword is None:
            found[knob.argument] = value
        else:
            strengths = found.setdefault(knob.argument, {})
            assert isinstance(strengths, dict)
            strengths[knob.keyword] = value
    return found
