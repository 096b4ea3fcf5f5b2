"""The settings of an LSTM as attributes: checked and settled whenever they are set, and asked for by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lstmreg import activations
from lstmreg.ops import Strength
from lstmreg.regularizers import Regularizer, plain_strengths
from lstmreg.tracing import is_compiling

from . import arguments


class Plan(NamedTuple):
    """What the settings come to in one layer, for all that is asked in every call."""

    activations: tuple[Any, Any]
    rates: tuple[float, float]  #: of dropout, in the input and in the recurrence
    masks: tuple[int, int]  #: how many of each are drawn
    weights: tuple[tuple[str, Regularizer, Strength | None], ...]
    """Kind and regularizer of each weight that has one; with strengths, if it is an elastic net of plain numbers."""
    activity: Regularizer | None
    every_step: Strength | None  #: of the elastic net on the output of every step, if the layer has one


class Configured(nn.Module):
    """A module that has the settings of an LSTM; :class:`lstmreg.LSTM` says what each of them means."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: Any
    bidirectional: bool
    proj_size: int
    recurrent_dropout: Any
    kernel_regularizer: Any
    recurrent_regularizer: Any
    bias_regularizer: Any
    activity_regularizer: Any
    activity_steps: str
    kernel_constraint: Any
    recurrent_constraint: Any
    bias_constraint: Any
    activation: Any
    recurrent_activation: Any
    kernel_initializer: Any
    recurrent_initializer: Any
    bias_initializer: Any
    unit_forget_bias: bool
    initializer: str
    zero_output_for_mask: bool
    go_backwards: bool
    stateful: bool
    per_gate_masks: bool
    per_gate_input_masks: bool | None
    backend: str
    seed: Any
    #: What the settings come to in each layer, until one is set.
    _plans: list[Plan] | None = None
    #: How many masks each layer and direction has drawn from its seed. Not in the ``state_dict``.
    draws: Tensor

    def __init__(self) -> None:
        super().__init__()
        #: The settings that some layer has not at their defaults.
        self._turned: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "seed":
            cells = self.num_layers * self.directions
            self._seeds = arguments.seeds(value, cells)
            self.draws = torch.zeros(cells, dtype=torch.int64, device="cpu")
        elif name in arguments.SETTINGS:
            value = arguments.settle(name, value, vars(self))
            self.__dict__["_plans"] = None
        super().__setattr__(name, value)
        if name in _DEFAULTS:
            is_left = all(v == _DEFAULTS[name] for v in (value if isinstance(value, tuple) else [value]))
            self._turned = self._turned - {name} if is_left else self._turned | {name}

    def setting_of(self, name: str, layer: int) -> Any:
        """Return a setting's value in one layer, be it one for the whole stack or one for each layer."""
        value = getattr(self, name)
        return value[layer] if isinstance(value, tuple) else value

    def plan(self, layer: int) -> Plan:
        """Return what the settings come to in one layer: the same object until one is set."""
        plans = self._plans
        if plans is None:
            plans = [self._plan(i) for i in range(self.num_layers)]
            if not is_compiling():
                self.__dict__["_plans"] = plans
        return plans[layer]

    def _plan(self, layer: int) -> Plan:
        activity = self.setting_of("activity_regularizer", layer)
        counts_all = self.activity_steps == "all" or layer < self.num_layers - 1
        named = {kind: self.setting_of(f"{kind}_regularizer", layer) for kind in ("kernel", "recurrent", "bias")}
        return Plan(
            activations=(self.setting_of("activation", layer), self.setting_of("recurrent_activation", layer)),
            rates=(self.setting_of("dropout", layer), self.setting_of("recurrent_dropout", layer)),
            masks=self.masks_drawn(layer),
            weights=tuple(
                (kind, regularizer, plain_strengths(regularizer))
                for kind, regularizer in named.items()
                if regularizer is not None and (kind != "bias" or self.bias)
            ),
            activity=activity,
            every_step=plain_strengths(activity) if counts_all else None,
        )

    @property
    def directions(self) -> int:
        """How many ways each layer reads its input: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The size of ``h`` in one direction: that of the projection, if there is one."""
        return self.proj_size or self.hidden_size

    @property
    def cell_seeds(self) -> list[int] | None:
        """The seed of each layer and direction, or ``None`` for torch's global generator."""
        return self._seeds

    def masks_drawn(self, layer: int) -> tuple[int, int]:
        """Return how many masks a layer draws for each sequence, of its input and of its recurrence: 0, 1 or 4."""
        of_state = 0
        if self.setting_of("recurrent_dropout", layer) > 0:
            of_state = 4 if self.per_gate_masks else 1
        if self.setting_of("dropout", layer) == 0:
            return 0, of_state
        per_gate = of_state == 4 if self.per_gate_input_masks is None else self.per_gate_input_masks
        return 4 if per_gate else 1, of_state

    def extra_repr(self) -> str:
        """Show the sizes, and of the knobs those that are turned."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        shown += [f"{name}={_spoken(getattr(self, name))}" for name in _DEFAULTS if name in self._turned]
        return ", ".join(shown)


#: The settings that a layer shows when they are turned.
_DEFAULTS: dict[str, Any] = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "recurrent_dropout": 0.0,
    "kernel_regularizer": None,
    "recurrent_regularizer": None,
    "bias_regularizer": None,
    "activity_regularizer": None,
    "activity_steps": "all",
    "kernel_constraint": None,
    "recurrent_constraint": None,
    "bias_constraint": None,
    "activation": torch.tanh,
    "recurrent_activation": torch.sigmoid,
    "zero_output_for_mask": False,
    "go_backwards": False,
    "stateful": False,
    "per_gate_masks": True,
    "per_gate_input_masks": None,
    "seed": None,
}


def _spoken(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_spoken, value))}]"
    return repr(activations.name_of(value) or value)
