"""Keras' recurrent layers: ``LSTM``, ``RNN`` over cells, and ``Bidirectional`` around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg.layers import LSTM

from .keras_layer import KerasLayer, Settings, Shapes, below
from .leaves import Leaf


class RNN(KerasLayer):
    """One LSTM, or cells on top of each other in one recurrence (Keras: ``LSTM`` and ``RNN``)."""

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__({**settings, "activity_regularizer": None}, shapes)
        self.settings = dict(settings)
        self.return_sequences: bool = settings["return_sequences"]
        self.return_state: bool = settings["return_state"]
        self.go_backwards: bool = settings["go_backwards"]
        self.layers = nn.ModuleList()
        cells = cells_of(settings)
        for index, (path, cell) in enumerate(cells):
            is_top = index == len(cells) - 1
            features = shapes[f"{path}/vars/0"][0]
            self.layers.append(_lstm(features, cell, settings, is_first=index == 0, is_top=is_top))

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return kernel, recurrent kernel and bias of each cell."""
        found = []
        for index, (path, cell) in enumerate(cells_of(settings)):
            stem = f"layers.{index}"
            found += [
                Leaf(path, 0, "kernel", f"{stem}.weight_ih_l0", transposed=True),
                Leaf(path, 1, "recurrent_kernel", f"{stem}.weight_hh_l0", transposed=True),
            ]
            if cell["use_bias"]:
                found.append(Leaf(path, 2, "bias", f"{stem}.bias_ih_l0"))
        return found

    def call(self, inputs: Any, mask: Any, initial_state: Sequence[Tensor] | None = None) -> Any:
        """Return the output, and with ``return_state`` also ``h`` and ``c`` of each cell."""
        y, finals = inputs, []
        for index, lstm in enumerate(self.layers):
            states = None
            if initial_state is not None:
                h, c = initial_state[2 * index : 2 * index + 2]
                states = h.unsqueeze(0), c.unsqueeze(0)
            # Later cells read what the first one wrote, in the order in which it went.
            seen = mask if index == 0 or mask is None or not self.go_backwards else mask.flip(1)
            y, (h_n, c_n) = lstm(y, states, mask=seen)
            finals += [h_n[0], c_n[0]]
        output = y if self.return_sequences else y[:, -1]
        return [output, *finals] if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Sequences keep their mask; states and last outputs have none."""
        output = mask if self.return_sequences else None
        return [output] + [None] * (2 * len(self.layers)) if self.return_state else output

    def reset_state(self) -> None:
        """Let a stateful layer begin with zeros again."""
        for lstm in self.layers:
            lstm.reset_state()  # type: ignore[operator]


def cells_of(settings: Settings) -> list[tuple[str, Settings]]:
    """Return the cells of a layer, each with its place in a ``.weights.h5`` file."""
    cell = settings.get("cell")
    if cell is None:
        return [("cell", settings)]
    if "cells" not in cell:
        return [("cell", cell)]
    names = [f"lstm_cell_{index}" if index else "lstm_cell" for index in range(len(cell["cells"]))]
    return [(f"cell/cells/{name}", each) for name, each in zip(names, cell["cells"], strict=True)]


def _lstm(features: int, cell: Settings, rnn: Settings, *, is_first: bool, is_top: bool) -> LSTM:
    return LSTM(
        features,
        cell["units"],
        bias=cell["use_bias"],
        batch_first=True,
        dropout=cell["dropout"],
        recurrent_dropout=cell["recurrent_dropout"],
        kernel_regularizer=cell["kernel_regularizer"],
        recurrent_regularizer=cell["recurrent_regularizer"],
        bias_regularizer=cell["bias_regularizer"],
        activity_regularizer=rnn["activity_regularizer"] if is_top else None,
        activity_steps="all" if rnn["return_sequences"] else "last",
        kernel_constraint=cell["kernel_constraint"],
        recurrent_constraint=cell["recurrent_constraint"],
        bias_constraint=cell["bias_constraint"],
        activation=cell["activation"],
        recurrent_activation=cell["recurrent_activation"],
        zero_output_for_mask=rnn["zero_output_for_mask"] and is_top,
        go_backwards=rnn["go_backwards"] and is_first,
        stateful=rnn["stateful"],
        per_gate_masks=cell.get("per_gate_masks", True),
        per_gate_input_masks=cell.get("per_gate_input_masks"),
        seed=cell["seed"],
    )


class Bidirectional(KerasLayer):
    """Two recurrences over the same input, one from each end, and their outputs merged."""

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.merge_mode: str | None = settings["merge_mode"]
        self.forward_layer = RNN(settings["layer"], below(shapes, "forward_layer"))
        self.backward_layer = RNN(settings["backward_layer"], below(shapes, "backward_layer"))

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return the weights of the forward layer, then those of the backward one."""
        pairs = (("forward_layer", "layer"), ("backward_layer", "backward_layer"))
        return [leaf.inside(name, name) for name, of in pairs for leaf in RNN.leaves_of(settings[of])]

    def call(self, inputs: Any, mask: Any, initial_state: Sequence[Tensor] | None = None) -> Any:
        """Return the merged output (both, where they are not merged), and the states that are asked for."""
        half = None if initial_state is None else len(initial_state) // 2
        forward_state, backward_state = (None, None) if half is None else (initial_state[:half], initial_state[half:])  # type: ignore[index]
        ahead = self.forward_layer(inputs, mask, initial_state=forward_state)
        back = self.backward_layer(inputs, mask, initial_state=backward_state)
        states: list[Tensor] = []
        if self.forward_layer.return_state:
            states = [*ahead[1:], *back[1:]]
            ahead, back = ahead[0], back[0]
        if self.forward_layer.return_sequences:
            back = back.flip(1)
        outputs = [ahead, back] if self.merge_mode is None else [_MERGED[self.merge_mode](ahead, back)]
        return [*outputs, *states] if len(outputs) + len(states) > 1 else outputs[0]

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Sequences keep their mask; states and last outputs have none."""
        output = mask if self.forward_layer.return_sequences else None
        outputs = [output, output] if self.merge_mode is None else [output]
        states = 2 * 2 * len(self.forward_layer.layers) if self.forward_layer.return_state else 0
        return outputs + [None] * states if len(outputs) + states > 1 else output

    def reset_state(self) -> None:
        """Let stateful layers begin with zeros again."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()


_MERGED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda ahead, back: torch.cat([ahead, back], dim=-1),
    "sum": lambda ahead, back: ahead + back,
    "ave": lambda ahead, back: (ahead + back) / 2,
    "mul": lambda ahead, back: ahead * back,
}


def are_alike(settings: Settings) -> bool:
    """Tell whether the two directions of a ``Bidirectional`` differ in nothing but their direction."""
    ahead, back = ({**settings[name], "go_backwards": None} for name in ("layer", "backward_layer"))
    return ahead == back
