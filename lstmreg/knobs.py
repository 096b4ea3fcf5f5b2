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
from lstmreg.setting_path import whole


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
        chooses_columns: Whether it is there to choose among input columns, and idle where there is only one.
        proximal_ladder: The values where a step of its own after Adam's does it (``training.proximal``); empty where no
            such step can. It takes the learning rate times the strength off, and Adam moves a weight by about the
            learning rate, whatever the gradient: what is far below 1 does nothing, and above it nothing is learned.
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
    chooses_columns: bool = False
    proximal_ladder: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "strength") != (self.keyword is not None):
            raise ValueError(f"{self.path}: a strength has a keyword, l1 or l2, and a rate has none.")
        for value in (*self.ladder, *self.proximal_ladder):
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


_Norm = Literal["l1", "l2"]


def _penalties(
    place: str,
    acts_on: str,
    ladders: Mapping[_Norm, tuple[float, ...]],
    weights: str | None = None,
    *,
    left_out: _Norm | None = None,
    chooses_columns: bool = False,
    proximal: tuple[float, ...] = (),
) -> list[Knob]:
    """Return a place's L1 and L2; ``left_out`` is the one that is searched only where it is asked for.

    ``proximal`` is the ladder of the L1 where it is a step of its own.
    """
    return [
        Knob(
            f"model.{place}_{norm}",
            f"{place}_regularizer",
            "strength",
            acts_on,
            ladder,
            norm,
            weights,
            by_default=norm != left_out,
            chooses_columns=chooses_columns and norm == "l1",
            proximal_ladder=proximal if norm == "l1" else (),
        )
        for norm, ladder in ladders.items()
    ]


#: By path, in the order of the report's table. The ladders are from measurements on small sets (``docs/evidence.md``),
#: where strengths help that are hundreds of times those of text models; a search lets them grow.
KNOBS: dict[str, Knob] = {
    knob.path: knob
    for knob in [
        *_penalties(
            "kernel",
            "the input weights",
            {"l1": (0.001, 0.003, 0.01, 0.03, 0.1), "l2": (0.001, 0.01, 0.03, 0.1)},
            "weight_ih",
            chooses_columns=True,
            proximal=(0.1, 0.2, 0.3, 0.5, 0.9),
        ),
        *_penalties(
            "recurrent",
            "the recurrent weights",
            {"l1": (0.01, 0.1), "l2": (0.01, 0.1)},
            "weight_hh",
            proximal=(0.3, 0.9),
        ),
        *_penalties("bias", "the bias", {"l1": (0.01,), "l2": (0.01,)}, "bias_ih", left_out="l1", proximal=(0.3,)),
        *_penalties("activity", "the output", {"l1": (0.01, 0.1), "l2": (0.03, 0.3)}),
        # Of a single column, one mask for all gates would blank the whole series of a sample.
        Knob(
            "model.dropout",
            "dropout",
            "rate",
            "the inputs",
            (0.1, 0.2, 0.3, 0.5),
            with_one_column=("model.per_gate_input_masks", True),
        ),
        Knob("model.recurrent_dropout", "recurrent_dropout", "rate", "the state", (0.1, 0.3, 0.5)),
    ]
}


def knob_at(path: str) -> Knob | None:
    """Return the knob that a path turns, in all layers or in one; ``None`` if it is no knob's.

    Example:
        >>> knob_at("model.dropout[1]").name
        'dropout'
    """
    return KNOBS.get(whole(path))


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
