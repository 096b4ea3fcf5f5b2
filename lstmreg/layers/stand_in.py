"""What other code knows an ``nn.LSTM`` by: sizes, names of weights, helpers, and how tracers take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn


class StandIn(nn.Module):
    """A module that has the weights of an ``nn.LSTM`` and the members that code calls on one.

    It is no subclass: torch's compiler breaks the graph at every instance of ``nn.LSTM``, and torch's own methods
    would look for a second trainable bias.
    """

    mode = "LSTM"

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int

    # torch's own, which ask for nothing but the members above and below.
    check_input: Any = nn.RNNBase.check_input
    check_hidden_size: Any = nn.RNNBase.check_hidden_size
    check_forward_args: Any = nn.LSTM.check_forward_args
    get_expected_hidden_size: Any = nn.RNNBase.get_expected_hidden_size
    get_expected_cell_size: Any = nn.LSTM.get_expected_cell_size
    permute_hidden: Any = nn.LSTM.permute_hidden

    # ------------------------------------------------------------------ weights

    @property
    def _num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _cells(self) -> Iterator[tuple[str, int]]:
        """Yield the name suffix and the layer of each cell (a layer in one direction) in torch's order."""
        for layer in range(self.num_layers):
            yield f"_l{layer}", layer
            if self.bidirectional:
                yield f"_l{layer}_reverse", layer

    @property
    def _all_weights(self) -> list[list[str]]:
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        kinds += ["weight_hr"] if self.proj_size > 0 else []
        return [[kind + suffix for kind in kinds] for suffix, _ in self._cells()]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights as ``nn.LSTM`` lists them: for each cell ``w_ih, w_hh, b_ih, b_hh, w_hr``."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Do nothing; it is here because code calls it on an ``nn.LSTM``."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # A foreign bias_hh was trained; here only the sum is. `state_dict` is load_state_dict's own copy.
        for suffix, _ in self._cells():
            theirs, ours = f"{prefix}bias_hh{suffix}", f"{prefix}bias_ih{suffix}"
            if theirs in state_dict and ours in state_dict:
                state_dict[ours] = state_dict[ours] + state_dict[theirs]
                state_dict[theirs] = torch.zeros_like(state_dict[theirs])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # ------------------------------------------------------------------ tracers

    def _as_leaf(self, input: Any, **others: Any) -> Any:
        """Stand in a graph of ``torch.fx`` as one call of a module, as ``nn.LSTM`` does because it is torch's own."""
        tracer = input.tracer
        if tracer.root is self:
            raise TypeError("torch.fx takes an LSTM as a leaf of a model, and cannot trace one by itself.")
        given = {name: value for name, value in others.items() if value is not None}
        return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), given)

    def __prepare_scriptable__(self) -> NoReturn:
        # torch.jit.script asks for a substitute, but would leave it in the caller's own model.
        raise TypeError(
            "torch.jit.script cannot read an lstmreg.LSTM. Put lstm.to_torch(), a plain nn.LSTM with its outputs in "
            "eval mode, in its place; torch.jit.trace and torch.export take the layer as it is."
        )
