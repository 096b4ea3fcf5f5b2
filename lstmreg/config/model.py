"""The network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lstmreg.errors import ConfigError
from lstmreg.rules import FLAG_OR_NULL, RATE, WHOLE, Rule, between, check_section, declared, ruled

#: Keras' names of activations, as :mod:`lstmreg.activations` has them (which would load torch).
ACTIVATIONS = (
    "linear",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "keras2_hard_sigmoid",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "mish",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
    "log_sigmoid",
    "exponential",
    "hard_tanh",
    "tanh_shrink",
    "hard_shrink",
    "soft_shrink",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
)

_MAX_SIZE = 16384

_ACTIVATION = Rule(f"one of Keras' names, {', '.join(ACTIVATIONS)}", lambda value: value in ACTIVATIONS, ACTIVATIONS)


@dataclass(frozen=True)
class ModelConfig:
    """The network: a stack of LSTMs, and a linear head on the last step.

    Sizes, activations and knobs take one value for all layers or a list with one for each.

    Args:
        hidden_size: Hidden units of a layer, H.
        num_layers: Layers in the stack.
        bidirectional: Whether each layer also reads the window backwards.
        kernel_l1: Strength of L1 on the input weights (Keras: ``kernel_regularizer``).
        kernel_l2: Strength of L2 on the input weights.
        recurrent_l1: Strength of L1 on the recurrent weights (``recurrent_regularizer``).
        recurrent_l2: Strength of L2 on the recurrent weights.
        bias_l1: Strength of L1 on the bias (``bias_regularizer``).
        bias_l2: Strength of L2 on the bias.
        activity_l1: Strength of L1 on the output (``activity_regularizer``).
        activity_l2: Strength of L2 on the output.
        dropout: Rate of dropping input features, in [0, 1).
        recurrent_dropout: Rate of dropping hidden units on their way into the gates, in [0, 1).
        stateful: Whether each batch goes on from the states in which the one before ended; an epoch begins with
            zeros. For batches of one size in order of time, which you give yourself; not for windows of a table.
        per_gate_masks: Whether ``recurrent_dropout`` draws a mask for each gate, as Keras 3 does, or one for all: the
            tied variant of Gal and Ghahramani (2016).
        per_gate_input_masks: Whether ``dropout`` draws a mask of the input for each gate, as Keras 1 and 2 did, or
            one for all, which of a single input column blanks the whole window. Null: for each gate in layers whose
            ``recurrent_dropout`` does, as in Keras 3.
        activation: Of the candidate and of the cell state, by Keras' name.
        recurrent_activation: Of the three gates, by Keras' name.
        head_initializer: What the head starts from: as torch's Linear, or as Keras' Dense (glorot_uniform, and zeros).
        members: Networks that differ in their seed alone, whose predictions are averaged. A search compares single
            networks; the model that is saved has all members.
        embedding_size: Numbers in the vector of a token, E, in input columns that hold tokens. Null: of each column
            half as many as it has tokens, at most 50.
        embedding_dropout: Rate of dropping whole tokens of a sequence, each with all its occurrences, in [0, 1).
    """

    hidden_size: int | list[int] = field(default=32, metadata=ruled(WHOLE, between(1, _MAX_SIZE)))
    num_layers: int = field(default=1, metadata=ruled(between(1, 1000)))
    bidirectional: bool = False
    kernel_l1: float | list[float] = 0.0
    kernel_l2: float | list[float] = 0.0
    recurrent_l1: float | list[float] = 0.0
    recurrent_l2: float | list[float] = 0.0
    bias_l1: float | list[float] = 0.0
    bias_l2: float | list[float] = 0.0
    activity_l1: float | list[float] = 0.0
    activity_l2: float | list[float] = 0.0
    dropout: float | list[float] = 0.0
    recurrent_dropout: float | list[float] = 0.0
    stateful: bool = field(default=False, metadata=ruled(is_searchable=False))
    per_gate_masks: bool = True
    per_gate_input_masks: bool | None = field(default=None, metadata=ruled(FLAG_OR_NULL))
    activation: str | list[str] = field(default="tanh", metadata=ruled(_ACTIVATION))
    recurrent_activation: str | list[str] = field(default="sigmoid", metadata=ruled(_ACTIVATION))
    head_initializer: Literal["torch", "keras"] = "torch"
    members: int = field(default=1, metadata=ruled(between(1, 1000), is_searchable=False))
    embedding_size: int | None = field(default=None, metadata=ruled(between(1, _MAX_SIZE)))
    embedding_dropout: float = field(default=0.0, metadata=ruled(RATE))

    def __post_init__(self) -> None:
        declared(type(self))["num_layers"].check("model.num_layers", self.num_layers)  # by which lists are judged
        for name in self.per_layer():
            self._values(name)
        check_section(self, "model.")

    @classmethod
    def per_layer(cls) -> tuple[str, ...]:
        """List the settings that each layer may have its own value of."""
        return tuple(name for name, setting in declared(cls).items() if setting.may_differ_by_layer)

    def _values(self, name: str) -> list[Any]:
        value = getattr(self, name)
        if not isinstance(value, list):
            return [value] * self.num_layers
        if len(value) != self.num_layers:
            raise ConfigError(
                f"model.{name} must be one value or a list of model.num_layers={self.num_layers} values, got {value!r}."
            )
        return value

    def layer(self, index: int) -> dict[str, Any]:
        """Return the settings of one layer, by name, each a single value."""
        return {name: self._values(name)[index] for name in self.per_layer()}
