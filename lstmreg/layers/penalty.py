"""What regularizers cost: one layer's bookkeeping, and the sum over a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lstmreg.regularizers import Regularizer

#: The kinds in which penalties are reported, in this order.
KINDS = ("kernel", "recurrent", "bias", "activity", "other")


@runtime_checkable
class Penalized(Protocol):
    """A module that has penalties of its own (not those of its children)."""

    def penalty_terms(self) -> Iterator[tuple[str, object, Tensor]]:
        """Yield ``(kind, owner, value)``; terms of one kind and owner (a parameter, say) count once."""
        ...


def penalties(model: nn.Module) -> dict[str, Tensor]:
    """Collect the penalties of every layer inside ``model``, by kind.

    A parameter that several layers share is penalised once. Reading closes the record of activity
    penalties, as :meth:`lstmreg.LSTM.penalty` does: the next training forward begins a new one.

    Args:
        model: Any module; the layers may be anywhere inside it.

    Returns:
        A dict with those of the keys ``kernel``, ``recurrent``, ``bias``, ``activity`` and ``other`` that
        have a regularizer, each a scalar to add to the loss. It is empty where nothing is regularized.

    Example:
        >>> from lstmreg import LSTM, L2, penalties
        >>> model = nn.ModuleDict({"rnn": LSTM(3, 8, kernel_regularizer=L2(1e-4))})
        >>> sorted(penalties(model))
        ['kernel']
    """
    found: dict[str, Tensor] = {}
    seen: dict[tuple[str, int], object] = {}  # holds the owners, because the id of a dead one is used again
    for module in model.modules():
        if not isinstance(module, Penalized):
            continue
        for kind, owner, value in module.penalty_terms():
            if (kind, id(owner)) not in seen:
                seen[kind, id(owner)] = owner
                found[kind] = found[kind] + value if kind in found else value
    return {kind: found[kind] for kind in KINDS if kind in found}


def is_trainable(module: nn.Module, name: str) -> bool:
    """Tell whether parameter ``name`` of ``module`` is trained, be it parametrized or not."""
    parametrizations: Any = getattr(module, "parametrizations", {})
    if name in parametrizations:
        return any(p.requires_grad for p in parametrizations[name].parameters())
    return bool(getattr(module, name).requires_grad)


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass in this thread, as when a checkpoint recomputes."""
    return bool(torch._C._current_graph_task_id() != -1)


class ActivityRecord:
    """The activity penalties of the training-mode forwards since the last reading.

    Each forward adds one entry. Reading does not clear: the first forward after a reading does. A forward
    that a checkpoint runs again during backward adds nothing, since the first one counted already.
    Neither copies nor pickles carry the entries: they belong to one graph.
    """

    def __init__(self) -> None:
        self._entries: list[Tensor] = []
        self._read = False

    def add(self, value: Tensor) -> None:
        """Record the penalty of one forward."""
        if in_backward():
            return
        if self._read:
            self._entries, self._read = [], False
        self._entries.append(value)

    def read(self) -> Tensor | None:
        """Return the sum of the entries, or ``None`` without any."""
        self._read = True
        return torch.stack(self._entries).sum() if self._entries else None

    def __reduce__(self) -> tuple[type[ActivityRecord], tuple[()]]:
        return ActivityRecord, ()


def activity_penalty(regularizer: Regularizer, output: Tensor, batch: int) -> Tensor:
    """Apply Keras' rule for activities: the regularizer of the whole output, divided by the batch size."""
    return regularizer(output) / max(batch, 1)
