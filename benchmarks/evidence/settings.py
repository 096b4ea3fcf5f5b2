"""What is tried on every set: each knob over a ladder, the strengths and rates that people copy among its values."""

from __future__ import annotations

from lstmreg.config import Scalar
from lstmreg.knobs import knob_at
from lstmreg.search.space import WEIGHT_DECAY

Setting = dict[str, Scalar]

#: What Keras puts in where one writes ``"l1"`` or ``"l2"``.
KERAS_STRENGTH = 0.01

#: The rate that is copied most.
COPIED_RATE = 0.2

#: Among these no knob chooses its rate, by the blocks that end the trainings.
LEARNING_RATES = (0.003, 0.01)

_L1 = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
_L1_OF_WEIGHTS = (*_L1, 0.3)
_L2 = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3)
_RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.65)

#: The values of each knob, and of AdamW's weight decay.
LADDERS: dict[str, tuple[float, ...]] = {
    "model.kernel_l1": _L1_OF_WEIGHTS,
    "model.kernel_l2": _L2,
    "model.recurrent_l1": _L1_OF_WEIGHTS,
    "model.recurrent_l2": _L2,
    "model.bias_l1": _L1,
    "model.bias_l2": _L2,
    "model.activity_l1": _L1,
    "model.activity_l2": _L2,
    "model.dropout": _RATES,
    "model.recurrent_dropout": _RATES,
    WEIGHT_DECAY: (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}

#: What people write without having tried anything else.
COPIED = {
    **{path: KERAS_STRENGTH for path in LADDERS if path.endswith(("_l1", "_l2"))},
    "model.dropout": COPIED_RATE,
    "model.recurrent_dropout": COPIED_RATE,
    WEIGHT_DECAY: 0.01,
}

#: Whether each gate has a mask of the state of its own; none: the tied variant of recurrent dropout.
PER_GATE = "model.per_gate_masks"

DROPOUT, RECURRENT_DROPOUT = "model.dropout", "model.recurrent_dropout"

#: All six at once, without having tried any: as one writes it from Keras' defaults, and with a light hand.
EVERYTHING: dict[str, Setting] = {
    "all six as they are copied": {
        **{f"model.{place}_l2": KERAS_STRENGTH for place in ("kernel", "recurrent", "bias", "activity")},
        DROPOUT: COPIED_RATE,
        RECURRENT_DROPOUT: COPIED_RATE,
    },
    "all six with a light hand": {
        **{f"model.{place}_l2": 0.001 for place in ("kernel", "recurrent", "bias", "activity")},
        DROPOUT: 0.05,
        RECURRENT_DROPOUT: 0.1,
    },
}


def alone(path: str, value: float) -> Setting:
    """Return the setting that turns one knob; weight decay is that of an optimizer of its own."""
    return {"training.optimizer": "adamw", path: value} if path == WEIGHT_DECAY else {path: value}


def singles() -> list[Setting]:
    """Return every value of every knob."""
    return [alone(path, value) for path, values in LADDERS.items() for value in values]


def tied(rate: float) -> Setting:
    """Return recurrent dropout with one mask for all gates."""
    return {PER_GATE: False, RECURRENT_DROPOUT: rate}


def untried() -> list[Setting]:
    """Return what is the same on every set: tied recurrent dropout over its ladder, and all six at once."""
    return [*(tied(rate) for rate in LADDERS[RECURRENT_DROPOUT]), *EVERYTHING.values()]


def turned(setting: Setting) -> dict[str, float]:
    """Return what a setting turns, without the optimizer that weight decay needs."""
    return {path: float(value) for path, value in setting.items() if path in LADDERS}


def place(path: str) -> str:
    """Return which part of the network a path acts on: two norms of one part are no pair."""
    knob = knob_at(path)
    return path if knob is None else knob.argument


def name(path: str) -> str:
    """Return a path as tables have it."""
    return path.rpartition(".")[2]
