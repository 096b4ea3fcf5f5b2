"""What other code knows an ``nn.LSTM`` by: sizes, names of weights, helpers, and how tracers take it."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from .cell import Cell
from .penalty import tensor_of
from .settings import Configured


class StandIn(Configured):
    """A module that has the weights of an ``nn.LSTM`` and the members that code calls on one.

    It is no subclass: torch's compiler breaks the graph at every instance of ``nn.LSTM``, and torch's own methods
    would look for a second trainable bias.
    """

    mode = "LSTM"

    # torch's own, which ask for nothing but the members above and below.
    check_input: Any = nn.RNNBase.check_input
    check_hidden_size: Any = nn.RNNBase.check_hidden_size
    check_forward_args: Any = nn.LSTM.check_forward_args
    get_expected_hidden_size: Any = nn.RNNBase.get_expected_hidden_size
    get_expected_cell_size: Any = nn.LSTM.get_expected_cell_size
    permute_hidden: Any = nn.LSTM.permute_hidden

    # ------------------------------------------------------------------ weights

    #: The class of its cells.
    _cell: type[Cell] = Cell

    def cells(self) -> list[Cell]:
        """Return every layer in each direction, in ``nn.LSTM``'s order.

        Example:
            >>> from lstmreg import LSTM
            >>> [cell.name("weight_ih") for cell in LSTM(3, 8, bidirectional=True).cells()]
            ['weight_ih_l0', 'weight_ih_l0_reverse']
        """
        return [cell for layer in range(self.num_layers) for cell in self.cells_of(layer)]

    def cells_of(self, layer: int) -> list[Cell]:
        """Return the cells of one layer: one for each direction."""
        return [self._cell(self, layer, direction) for direction in range(self.directions)]

    @property
    def _all_weights(self) -> list[list[str]]:
        return [cell.names for cell in self.cells()]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights as ``nn.LSTM`` lists them: for each cell ``w_ih, w_hh, b_ih, b_hh, w_hr``."""
        return [[tensor_of(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [tensor_of(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Do nothing; it is here because code calls it on an ``nn.LSTM``."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # A foreign bias_hh was trained; here only the sum is. `state_dict` is load_state_dict's own copy.
        for cell in self.cells():
            theirs, ours = prefix + cell.name("bias_hh"), prefix + cell.name("bias_ih")
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
