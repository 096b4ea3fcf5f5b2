"""Keras' recurrent layers: ``LSTM``, ``RNN`` over cells, and ``Bidirectional`` around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lstmreg.errors import CorruptFileError
from lstmreg.layers import LSTM

from ..graph.layers import LayerDescription
from ..words import habits
from ..words import rules as rule
from ..words.dialects import Dialect, check_origin
from ..words.rules import Rules, Settings, check_settings, read_settings
from . import hard_sigmoid
from .keras_layer import KerasLayer, below
from .kind import Reader, Rewriting, Shapes, Writer, Written, kind_of, serialized, settings_of, told_settings
from .leaves import Leaf

_GATES: dict[str, rule.Rule] = {
    **rule.WEIGHTED,
    "units": rule.size,
    "activation": rule.activation,
    "recurrent_activation": rule.activation,
    "use_bias": rule.flag,
    "recurrent_regularizer": rule.regularizer,
    "recurrent_constraint": rule.constraint,
    "dropout": rule.rate,
    "recurrent_dropout": rule.rate,
    "seed": rule.seed,
}
#: Settings of a cell that an LSTM here has under the same name, for each layer of its stack.
ALIKE = tuple(name for name in _GATES if name not in ("units", "use_bias", "seed"))
_GATES_DEFAULTS: Settings = {
    **dict.fromkeys([*rule.WEIGHTED, "recurrent_regularizer", "recurrent_constraint"]),
    "use_bias": True,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "seed": None,
}
_OLD_GATES = {
    **rule.OLD_WEIGHTED,
    "inner_activation": "recurrent_activation",
    "U_regularizer": "recurrent_regularizer",
    "U_constraint": "recurrent_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}
_RUN: dict[str, rule.Rule] = {
    "return_sequences": rule.flag,
    "return_state": rule.flag,
    "go_backwards": rule.flag,
    "stateful": rule.flag,
    "zero_output_for_mask": rule.flag,
    **rule.ACTIVITY,
}
_RUN_DEFAULTS: Settings = {**dict.fromkeys(_RUN, False), "activity_regularizer": None}
_DRAWN = {"per_gate_masks": (True, False), "per_gate_input_masks": (True, False, None)}
_MASKED = {"masks_with_states": (True, False)}

_CELL = Rules(_GATES, _GATES_DEFAULTS, neutral={"activity_regularizer": None}, own=_DRAWN)
_CELLS = Rules({"cells": rule.anything}, neutral={"reverse_state_order": False})
_LSTM = Rules(
    {**_GATES, **_RUN},
    {**_GATES_DEFAULTS, **_RUN_DEFAULTS},
    _OLD_GATES,
    {"time_major": False},
    own={**_DRAWN, **_MASKED},
)
_RNN = Rules({**_RUN, "cell": rule.anything}, _RUN_DEFAULTS, neutral={"time_major": False}, own=_MASKED)
#: What Keras writes of an LSTM though these are its defaults.
_USUAL = {"activation": "tanh", "recurrent_activation": "sigmoid"}


class RNN(KerasLayer):
    """One LSTM, or cells on top of each other in one recurrence (Keras: ``LSTM`` and ``RNN``)."""

    reads: ClassVar = {
        "LSTM": _LSTM,
        "CuDNNLSTM": replace(_LSTM, defaults={**_LSTM.defaults, **_USUAL}),
        "RNN": _RNN,
    }
    has_states = True
    fits_each_step = False

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Say what masks the version drew and handed on."""
        own: Settings = {"masks_with_states": habits.masks_with_states(dialect)}
        if written.class_name == "RNN":
            return own, []
        drawn, notes = habits.of_gates(written.class_name, settings, written.config, dialect)
        return {**drawn, **own}, notes

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description; of an ``RNN`` its cells are read."""
        if written.class_name != "RNN":
            return cls.new(written, settings, "LSTM")
        return cls.new(written, {**settings, "cell": _read_cell(settings["cell"], reader.dialect)}, "RNN")

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as reading gives."""
        check_direction(layer.settings)

    @classmethod
    def outputs(cls, layer: LayerDescription) -> int:
        """Return how many tensors it gives: its output, and the states if they are asked for."""
        return 1 + (cls.states(layer) if layer.settings.get("return_state") else 0)

    @classmethod
    def states(cls, layer: LayerDescription) -> int:
        """Return two for each cell."""
        return 2 * len(cells_of(layer.settings))

    @classmethod
    def config_settings(cls, layer: LayerDescription) -> Settings:
        """Return its settings as Keras 3 writes them."""
        return _config(layer.name, layer.settings)

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Put the ``hard_sigmoid`` of Keras 1 and 2 into the gates' weights."""
        settings, notes = _in_keras_3(layer.name, layer.settings, rewriting)
        return [replace(layer, settings=settings, notes=(*layer.notes, *notes))]

    @classmethod
    def told(cls, layer: LayerDescription) -> str:
        """Return the settings that are not Keras' defaults, in words."""
        return _told(layer.settings)

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
                found.append(Leaf(path, 2, "bias", f"{stem}.bias_ih_l0", addend=f"{stem}.bias_hh_l0"))
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
        activity_regularizer=rnn["activity_regularizer"] if is_top else None,
        activity_steps="all" if rnn["return_sequences"] else "last",
        zero_output_for_mask=rnn["zero_output_for_mask"] and is_top,
        go_backwards=rnn["go_backwards"] and is_first,
        stateful=rnn["stateful"],
        per_gate_masks=cell.get("per_gate_masks", True),
        per_gate_input_masks=cell.get("per_gate_input_masks"),
        seed=cell["seed"],
        **{name: cell[name] for name in ALIKE},
    )


# ---------------------------------------------------------------------- one direction as it is written


def _read_cell(written: Any, dialect: Dialect) -> Settings:
    """Read what an ``RNN`` runs: an ``LSTMCell``, or several on top of each other."""
    if isinstance(written, list):
        written = {"class_name": "StackedRNNCells", "config": {"cells": written}}
    name, config = written["class_name"], written["config"]
    check_origin(name, written.get("module"), written.get("registered_name"))
    if name == "LSTMCell":
        settings = read_settings(name, _CELL, config, dialect)
        drawn, _ = habits.of_gates(name, settings, config, dialect)
        return {**settings, **drawn}
    if name != "StackedRNNCells":
        raise CorruptFileError(f"RNN over {str(name)[:80]} is not supported; lstmreg reads LSTMCell")
    cells = [_read_cell(each, dialect) for each in read_settings(name, _CELLS, config, dialect)["cells"]]
    if not cells or any("cells" in cell for cell in cells):
        raise CorruptFileError("StackedRNNCells must hold LSTMCells")
    return {"cells": cells}


def check_direction(settings: Settings) -> None:
    """See that the settings of one direction are such as reading gives."""
    if "cell" not in settings:
        check_settings("LSTM", _LSTM, settings)
        return
    check_settings("RNN", _RNN, settings)
    for cell in settings["cell"].get("cells", [settings["cell"]]):
        check_settings("LSTMCell", _CELL, cell)


def _config(name: str, settings: Settings) -> Settings:
    if "cell" not in settings:
        return settings_of(_LSTM, name, settings)
    return {**settings_of(_RNN, name, settings), "cell": _config_of_cell(settings["cell"])}


def _config_of_cell(settings: Settings, number: int = 0) -> Settings:
    if "cells" in settings:
        cells = [_config_of_cell(cell, index) for index, cell in enumerate(settings["cells"])]
        return serialized("StackedRNNCells", {"cells": cells})
    return serialized("LSTMCell", settings_of(_CELL, "lstm_cell" + (f"_{number}" if number else ""), settings))


def _in_keras_3(name: str, settings: Settings, rewriting: Rewriting) -> tuple[Settings, list[str]]:
    """Return the settings of one direction as Keras 3 says them, and what training would notice."""
    notes: list[str] = []
    changed: list[Settings] = []
    for path, cell in cells_of(settings):
        notes += _other_masks(cell)
        said, more = hard_sigmoid.into_gates(name, cell, rewriting.at(path))
        notes += more
        changed.append(said)
    if "cell" not in settings:
        return changed[0], notes
    inner = {"cells": changed} if "cells" in settings["cell"] else changed[0]
    return {**settings, "cell": inner}, notes


def _other_masks(cell: Settings) -> Iterator[str]:
    """Yield in what masks Keras 3 will draw others in training."""
    recurrent = cell["recurrent_dropout"] > 0
    if recurrent and not cell.get("per_gate_masks", True):
        yield "the gates shared a mask of recurrent_dropout; Keras 3 draws one for each in training"
    ours = _draws_input_per_gate(cell)
    if cell["dropout"] > 0 and ours != recurrent:
        before, now = ("each gate had its own", "one for all") if ours else ("the gates shared a", "one for each gate")
        yield f"{before} mask of the dropped inputs; Keras 3 draws {now} in training"


def _draws_input_per_gate(cell: Settings) -> bool:
    """Tell whether dropout draws a mask of the input for each gate."""
    said = cell.get("per_gate_input_masks")
    return bool(cell["recurrent_dropout"] > 0 and cell.get("per_gate_masks", True)) if said is None else bool(said)


def _told(settings: Settings, without: tuple[str, ...] = ()) -> str:
    if "cell" not in settings:
        return _told_gates(settings, _LSTM, without)
    inner = "; ".join(_told_gates(cell, _CELL) for _, cell in cells_of(settings))
    return ", ".join(filter(None, [told_settings(settings, _RNN, {}, ("cell", *without)), f"cells: {inner}"]))


def _told_gates(settings: Settings, known: Rules, without: tuple[str, ...] = ()) -> str:
    parts = [told_settings(settings, known, _USUAL, without)]
    if settings["recurrent_dropout"] and settings.get("per_gate_masks") is False:
        parts.append("per_gate_masks=False")
    as_keras_3 = settings["recurrent_dropout"] > 0 and settings.get("per_gate_masks", True)
    if settings["dropout"] and _draws_input_per_gate(settings) != as_keras_3:
        parts.append(f"per_gate_input_masks={not as_keras_3}")
    return ", ".join(filter(None, parts))


# ---------------------------------------------------------------------- two directions


class Bidirectional(KerasLayer):
    """Two recurrences over the same input, one from each end, and their outputs merged."""

    rules = Rules(
        {
            **rule.ACTIVITY,
            "layer": rule.anything,
            "backward_layer": rule.anything,
            "merge_mode": rule.one_of("concat", "sum", "ave", "mul", None),
        },
        {"activity_regularizer": None, "backward_layer": None},
        own=_MASKED,
    )
    has_states = True
    fits_each_step = False

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Say what masks the version handed on."""
        return {"masks_with_states": habits.masks_with_states(dialect)}, []

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description, with the settings of both directions."""
        ahead = reader.layer(settings["layer"], 0)
        back = ahead if settings["backward_layer"] is None else reader.layer(settings["backward_layer"], 1)
        if not kind_of(ahead) is kind_of(back) is RNN:
            raise CorruptFileError(f"Bidirectional over {ahead.keras_class} is not supported; lstmreg reads LSTM")
        turned = not ahead.settings["go_backwards"] if back is ahead else back.settings["go_backwards"]
        both = {"layer": ahead.settings, "backward_layer": {**back.settings, "go_backwards": turned}}
        if both["layer"]["go_backwards"] == turned:
            raise CorruptFileError("Bidirectional: one layer must go backwards and the other not")
        if habits.zeroes_masked_steps(reader.dialect):
            for each in both:
                both[each] = {**both[each], "zero_output_for_mask": both[each]["return_sequences"]}
        told = replace(written, notes=(*written.notes, *ahead.notes))
        return cls.new(told, {**settings, **both}, written.class_name)

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as reading gives."""
        check_settings("Bidirectional", cls.rules, layer.settings)
        for direction in ("layer", "backward_layer"):
            check_direction(layer.settings[direction])

    @classmethod
    def outputs(cls, layer: LayerDescription) -> int:
        """Return how many tensors it gives: its output or both, and the states if they are asked for."""
        states = cls.states(layer) if layer.settings["layer"].get("return_state") else 0
        return (2 if layer.settings["merge_mode"] is None else 1) + states

    @classmethod
    def states(cls, layer: LayerDescription) -> int:
        """Return two for each cell in each direction."""
        return 2 * 2 * len(cells_of(layer.settings["layer"]))

    @classmethod
    def config_inside(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return the two directions as Keras 3 writes them."""
        # Keras names the two by itself, and makes the second from the first unless it is another.
        found = {}
        for name, prefix in (("layer", "forward"), ("backward_layer", "backward")):
            settings = layer.settings[name]
            found[name] = serialized(
                "RNN" if "cell" in settings else "LSTM", _config(f"{prefix}_{layer.name}", settings)
            )
        return found

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Put the ``hard_sigmoid`` of Keras 1 and 2 into the gates' weights."""
        ahead, first = _in_keras_3(layer.name, layer.settings["layer"], rewriting.at("forward_layer"))
        back, second = _in_keras_3(layer.name, layer.settings["backward_layer"], rewriting.at("backward_layer"))
        notes = dict.fromkeys([*layer.notes, *first, *second])
        settings = {**layer.settings, "layer": ahead, "backward_layer": back}
        return [replace(layer, settings=settings, notes=tuple(notes))]

    @classmethod
    def told(cls, layer: LayerDescription) -> str:
        """Return how outputs are merged, and the settings of the layer; of both, where they differ."""
        parts = [f"merge_mode={layer.settings['merge_mode']!r}"]
        parts.append(_told(layer.settings["layer"], ("zero_output_for_mask",)))
        if not are_alike(layer.settings):
            parts.append(f"backward: {_told(layer.settings['backward_layer'])}")
        return ", ".join(filter(None, parts))

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
