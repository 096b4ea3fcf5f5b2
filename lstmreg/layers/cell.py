"""A cell: a layer of an LSTM in one direction, with its weights, masks, seed, settings and penalties."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lstmreg import dropout, ops
from lstmreg.regularizers import ELASTIC
from lstmreg.tracing import in_backward, is_plain

from .penalty import Bill, Charges, Term, WeightState, is_trainable, tensor_of
from .settings import Configured, Plan

#: What Keras calls the weights that have regularizers and constraints, and torch's stems of their names.
STEMS = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}


class Cell:
    """A layer of an LSTM in one direction, as :meth:`lstmreg.LSTM.cells` gives it.

    It keeps nothing itself: weights, settings and draws are those that the LSTM has when they are asked for.

    Attributes:
        lstm: The LSTM whose part it is.
        layer: Its layer, counted from the input.
        direction: 0, or 1 for the one that reads from the end.
        index: Its place among all cells, in ``nn.LSTM``'s order: that of states, seeds and lists of weights.
    """

    def __init__(self, lstm: Configured, layer: int, direction: int) -> None:
        self.lstm = lstm
        self.layer = layer
        self.direction = direction
        self.index = layer * lstm.directions + direction
        self._suffix = f"_l{layer}_reverse" if direction == 1 else f"_l{layer}"

    def setting(self, name: str) -> Any:
        """Return the value of a setting in this cell's layer."""
        value = getattr(self.lstm, name)  # as setting_of, which a call of a small layer would ask ten times
        return value[self.layer] if isinstance(value, tuple) else value

    @property
    def plan(self) -> Plan:
        """What the settings come to in its layer."""
        return self.lstm.plan(self.layer)

    @property
    def activations(self) -> tuple[Any, Any]:
        """``activation`` and ``recurrent_activation``."""
        return self.setting("activation"), self.setting("recurrent_activation")

    # ------------------------------------------------------------------ weights

    def name(self, stem: str) -> str:
        """Return the name of one of its weights, such as ``weight_ih_l0_reverse``; ``stem`` is ``weight_ih``."""
        return stem + self._suffix

    @property
    def names(self) -> list[str]:
        """The names of its weights, in ``nn.LSTM``'s order."""
        stems = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.lstm.bias else [])]
        return [self.name(stem) for stem in (*stems, *(["weight_hr"] if self.lstm.proj_size > 0 else []))]

    def weight(self, stem: str) -> Tensor:
        """Return one of its weights, by the stem of its name."""
        name = stem + self._suffix
        tensor = self.lstm._parameters.get(name)  # as tensor_of, which a call of a small layer would ask five times
        return tensor_of(self.lstm, name) if tensor is None else tensor

    @property
    def bias(self) -> Tensor | None:
        """The bias of the gates: the sum of the trained one and the second."""
        return self.weight("bias_ih") + self.weight("bias_hh") if self.lstm.bias else None

    def in_keras(self, kind: str) -> Tensor:
        """Return ``kernel`` ``(D, 4H)``, ``recurrent`` ``(H, 4H)`` or ``bias`` ``(4H)`` as Keras has it."""
        return self._in_keras(kind, self.weight(STEMS[kind]))

    def _in_keras(self, kind: str, weight: Tensor) -> Tensor:
        return weight + self.weight("bias_hh") if kind == "bias" else weight.t()

    def make_weights(self, **new: Any) -> None:
        """Give the LSTM this cell's weights, with nothing in them yet; ``new`` is where they lie and their type."""
        lstm = self.lstm
        gates, output = 4 * lstm.hidden_size, lstm.output_size
        width = lstm.input_size if self.layer == 0 else output * lstm.directions
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, width), "weight_hh": (gates, output)}
        if lstm.bias:
            shapes["bias_ih"] = (gates,)
        if lstm.proj_size > 0:
            shapes["weight_hr"] = (lstm.proj_size, lstm.hidden_size)
        for stem, shape in shapes.items():
            lstm.register_parameter(self.name(stem), nn.Parameter(torch.empty(shape, **new)))
        if lstm.bias:
            lstm.register_buffer(self.name("bias_hh"), torch.empty(gates, **new))

    def reset_parameters(self) -> None:
        """Draw new weights as the initializers say, and set the second bias to zero."""
        lstm = self.lstm
        lstm.kernel_initializer(self.weight("weight_ih"))
        lstm.recurrent_initializer(self.weight("weight_hh"))
        if lstm.bias:
            self._reset_biases()
        if lstm.proj_size > 0:
            limit = 1.0 / math.sqrt(lstm.hidden_size)  # Keras has none: as nn.LSTM does
            nn.init.uniform_(self.weight("weight_hr"), -limit, limit)

    @torch.no_grad()
    def _reset_biases(self) -> None:
        trained, units = self.weight("bias_ih"), self.lstm.hidden_size
        self.lstm.bias_initializer(trained)
        if self.lstm.unit_forget_bias:
            trained[units : 2 * units] = 1.0
        nn.init.zeros_(self.weight("bias_hh"))

    # ------------------------------------------------------------------ forward

    def run(self, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None) -> ops.Result:
        """Run over ``x (T, B, D)`` from states ``(B, H)``; with masks, if the LSTM is training."""
        return ops.penalised(self._call(x, h_0, c_0, valid), None, self.lstm.backend)[0]

    def run_penalised(
        self, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None
    ) -> tuple[ops.Result, Bill | None]:
        """Do the same, and form the penalties along with it, if they are such that a pass can."""
        plan = self.plan
        if valid is not None or plan.every_step is None:
            return self.run(x, h_0, c_0, valid), None
        strengths = self._strengths(plan, x.shape[1])
        result, costs = ops.penalised(self._call(x, h_0, c_0, valid), strengths, self.lstm.backend)
        return result, None if costs is None else Bill(self.index, self.charges(plan), costs)

    def _call(self, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None) -> ops.Call:
        lstm = self.lstm
        plan = lstm.plan(self.layer)
        weights = self.weight("weight_ih"), self.weight("weight_hh"), self.bias
        projection = self.weight("weight_hr") if lstm.proj_size > 0 else None
        masks = self._draw_masks(x, plan) if lstm.training else (None, None)
        return ops.Call(x, h_0, c_0, *weights, projection, *masks, valid, self.direction == 1, plan.activations)

    @property
    def seed(self) -> int | None:
        """The seed of its masks, or ``None`` for torch's global generator."""
        seeds = self.lstm.cell_seeds
        return None if seeds is None else seeds[self.index]

    def _draw_masks(self, x: Tensor, plan: Plan) -> tuple[Tensor | None, Tensor | None]:
        """Draw the masks of one call, in Keras' order: all of the input, then all of the recurrence."""
        (of_input, of_state), (input_rate, state_rate) = plan.masks, plan.rates
        if of_input == of_state == 0:
            return None, None
        batch, features, hidden = x.shape[1], x.shape[-1], self.lstm.hidden_size
        seed = self.seed
        if seed is not None:
            return (
                self._draw_seeded(input_rate, of_input, x, features, seed),
                self._draw_seeded(state_rate, of_state, x, hidden, seed),
            )
        sizes = (of_input, batch, features), (of_state, batch, hidden)
        return dropout.draw_masks(plan.rates, sizes, device=x.device, dtype=x.dtype)

    def _draw_seeded(self, rate: float, groups: int, x: Tensor, width: int, seed: int) -> Tensor | None:
        if groups == 0:
            return None
        if in_backward():
            raise RuntimeError(
                "seeded dropout masks cannot be drawn again during backward: activation checkpointing would "
                "get other masks, and so wrong gradients. Use seed=None, which checkpointing restores."
            )
        return dropout.draw_keras_mask(
            rate,
            groups,
            x.shape[1],
            width,
            seed=seed,
            draws=self.lstm.draws[self.index],
            device=x.device,
            dtype=x.dtype,
        )

    # ------------------------------------------------------------------ penalties

    def penalised_output(self, held: Tensor, output: Tensor, valid: Tensor | None) -> Tensor:
        """Return what the activity regularizer looks at: all steps, the valid ones, or the last.

        Args:
            held: The output of each step; that of a masked one is the one before.
            output: The output as the layer shows it.
            valid: Which steps count; all of them if ``None``.
        """
        lstm = self.lstm
        if lstm.activity_steps == "all" or self.layer < lstm.num_layers - 1:
            return output if valid is None else output[valid]
        # Keras' Bidirectional zeroes its sequences, but not what return_sequences=False returns.
        shown = output if lstm.zero_output_for_mask and not lstm.bidirectional else held
        return shown[-1 if self.direction == 0 else 0]

    def charges(self, plan: Plan) -> Charges:
        """Return its penalised weights as they are now, and say which of their penalties a pass can form."""
        has_memory = is_plain()  # which what a transform or a compiler passes through has not
        states: list[WeightState | None] = []
        formed: list[str] = []
        for kind, weight, strength in self._charged(plan):
            if weight is None or strength is None:
                states.append(None)
                continue
            beside = self.weight("bias_hh")._version if kind == "bias" else 0
            states.append((id(weight), weight.data_ptr() if has_memory else 0, weight._version, beside))
            formed.append(kind)
        return Charges(plan, states, formed)

    def _charged(self, plan: Plan) -> Iterator[tuple[str, Tensor | None, ops.Strength | None]]:
        """Yield the kind of each penalised weight, itself and its strengths; ``None`` of what a pass cannot form."""
        for kind, _, strength in plan.weights:
            weight = self.lstm._parameters.get(STEMS[kind] + self._suffix)
            if weight is None or strength is None or weight.requires_grad:
                yield kind, weight, strength

    def _strengths(self, plan: Plan, batch: int) -> ops.Strengths:
        assert plan.every_step is not None
        l1, l2 = plan.every_step
        of_weights = {kind: strength for kind, weight, strength in self._charged(plan) if weight is not None}
        return ops.Strengths(**of_weights, activity=(l1 / max(batch, 1), l2 / max(batch, 1)))

    def penalty_terms(self, bill: Bill | None = None) -> Iterator[Term]:
        """Yield what its trained weights cost; ``bill`` says what a pass has formed of it."""
        formed: dict[str, Tensor] = {}
        if bill is not None and bill.stands(self.charges(self.plan)):
            parts = bill.parts()
            formed = {kind: parts[kind] for kind in bill.charges.formed}
        for kind, name, regularizer in self._trained("regularizer"):
            weight = tensor_of(self.lstm, name)
            is_elastic = isinstance(regularizer, ELASTIC)
            as_it_is = is_elastic and kind != "bias"
            beside = None
            if is_elastic and name in self.lstm._parameters:
                beside = self.weight("bias_hh") if kind == "bias" else 0.0
            shown = weight if as_it_is else self._in_keras(kind, weight)
            yield Term(kind, weight, regularizer, shown, beside=beside, value=formed.get(kind))

    def apply_constraints(self, was_used: bool) -> None:
        """Project each constrained weight that is trained, and that an optimizer may have moved.

        Args:
            was_used: Whether it may have, though there is no gradient now.
        """
        for kind, name, constraint in self._trained("constraint"):
            weight = tensor_of(self.lstm, name)
            if not (was_used or weight.grad is not None):
                continue
            projected = constraint(self._in_keras(kind, weight))
            projected = projected - self.weight("bias_hh") if kind == "bias" else projected.t()
            if parametrize.is_parametrized(self.lstm, name):
                setattr(self.lstm, name, projected)  # by way of the parametrization's right_inverse
            else:
                weight.copy_(projected)

    def _trained(self, rule: str) -> Iterator[tuple[str, str, Any]]:
        """Yield kind, name and rule (its regularizer, or its constraint) of each weight that is trained and has one."""
        for kind, stem in STEMS.items():
            value = self.setting(f"{kind}_{rule}")
            if value is None or (kind == "bias" and not self.lstm.bias):
                continue
            name = self.name(stem)
            if is_trainable(self.lstm, name):
                yield kind, name, value
