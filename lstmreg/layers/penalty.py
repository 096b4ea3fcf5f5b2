"""What regularizers cost: one layer's bookkeeping, and the sum over a model."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lstmreg.errors import did_you_mean
from lstmreg.regularizers import ELASTIC, Regularizer, elastic_nets
from lstmreg.regularizers import get as get_regularizer
from lstmreg.tracing import in_backward

#: The kinds in which penalties are reported, in this order.
KINDS = ("kernel", "recurrent", "bias", "activity", "other")


class Term(NamedTuple):
    """A penalty that is still to be computed; terms of one kind and owner count once."""

    kind: str
    owner: object  #: a parameter, say
    regularizer: Any  #: ``None`` where ``tensor`` is the penalty already
    tensor: Tensor


@runtime_checkable
class Penalized(Protocol):
    """A module that has penalties of its own (not those of its children)."""

    def penalty_terms(self) -> Iterator[Term]:
        """Yield the module's penalties."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """A module that can project its weights."""

    def apply_constraints(self) -> None:
        """Project the constrained weights that have a gradient."""
        ...


def regularize(module: nn.Module, parameter_name: str, regularizer: Any) -> None:
    """Give a penalty to any parameter of any module, as every layer of Keras has one: a head's weight, say.

    It counts among ``other`` in :func:`penalties`, while the parameter is trainable. A second call for the same
    parameter replaces the first; ``None`` removes it.

    Args:
        module: The module that has the parameter itself, or one above it.
        parameter_name: Its name, dotted where it belongs to a child, such as ``"weight"`` or ``"head.weight"``.
        regularizer: A callable, a name or a serialized dict, as for :class:`lstmreg.LSTM`. It is handed the
            parameter as it is, in torch's layout.

    Raises:
        ValueError: If there is no such parameter.

    Example:
        >>> from lstmreg import L2, penalties, regularize
        >>> head = nn.Linear(8, 1)
        >>> regularize(head, "weight", L2(1e-3))
        >>> sorted(penalties(head))
        ['other']
    """
    path, _, name = parameter_name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        owner = None
    parametrized = name in getattr(owner, "parametrizations", {})
    if owner is None or not (parametrized or isinstance(getattr(owner, name, None), nn.Parameter)):
        known = [found for found, _ in module.named_parameters()]
        raise ValueError(
            f"parameter_name must be a parameter of the {type(module).__name__}, got {parameter_name!r}."
            f"{did_you_mean(parameter_name, known)}"
        )
    chosen = getattr(owner, _REGULARIZED, {}) | {name: get_regularizer(regularizer)}
    # A plain attribute, so that copies and pickles of the module carry it.
    setattr(owner, _REGULARIZED, {n: r for n, r in chosen.items() if r is not None})


_REGULARIZED = "_lstmreg_regularizers"


def _terms(module: nn.Module) -> Iterator[Term]:
    if isinstance(module, Penalized):
        yield from module.penalty_terms()
    for name, regularizer in getattr(module, _REGULARIZED, {}).items():
        if is_trainable(module, name):
            parameter = getattr(module, name)
            yield Term("other", parameter, regularizer, parameter)


def apply_constraints(model: nn.Module) -> None:
    """Project the constrained weights of every layer inside ``model``, where they have a gradient.

    To be called after each optimizer step; :class:`lstmreg.TrainingModule` does it by itself.
    """
    for module in model.modules():
        if isinstance(module, Constrained):
            module.apply_constraints()


def penalties(model: nn.Module) -> dict[str, Tensor]:
    """Collect the penalties of every layer inside ``model``, by kind, and those that :func:`regularize` gave.

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
    # Terms hold their owners, because the id of a dead one is used again.
    terms = [term for module in model.modules() for term in _terms(module)]
    once = list({(term.kind, id(term.owner)): term for term in reversed(terms)}.values())[::-1]
    found: dict[str, Tensor] = {}
    for term, value in zip(once, evaluate(once), strict=True):
        found[term.kind] = found[term.kind] + value if term.kind in found else value
    return {kind: found[kind] for kind in KINDS if kind in found}


def evaluate(terms: Sequence[Term]) -> list[Tensor]:
    """Return the value of each term; elastic nets are computed together."""
    elastic = [t for t in terms if isinstance(t.regularizer, ELASTIC)]
    nets = iter(
        elastic_nets([t.regularizer.strengths for t in elastic], [t.tensor for t in elastic]) if elastic else ()
    )
    return [
        term.tensor
        if term.regularizer is None
        else next(nets)
        if isinstance(term.regularizer, ELASTIC)
        else scalar_penalty(term.regularizer, term.tensor)
        for term in terms
    ]


def scalar_penalty(regularizer: Regularizer, tensor: Tensor) -> Tensor:
    """Apply a regularizer, and see that it is one."""
    value = regularizer(tensor)
    if value.dim() != 0:
        raise ValueError(f"a regularizer must return a scalar, but {regularizer!r} returned {tuple(value.shape)}.")
    return value


def is_trainable(module: nn.Module, name: str) -> bool:
    """Tell whether parameter ``name`` of ``module`` is trained, be it parametrized or not."""
    # Not getattr, which is slow at telling a module that it has no such thing.
    parametrizations: Any = module._modules.get("parametrizations")
    if parametrizations is not None and name in parametrizations:
        return any(p.requires_grad for p in parametrizations[name].parameters())
    return bool(getattr(module, name).requires_grad)


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
            if value.requires_grad and self._entries and not any(e.requires_grad for e in self._entries):
                raise RuntimeError(
                    "reentrant activation checkpointing loses the gradient of activity penalties. "
                    "Use torch.utils.checkpoint.checkpoint(..., use_reentrant=False)."
                )
            return
        if self._read:
            self._entries, self._read = [], False
        self._entries.append(value)

    def read(self) -> Tensor | None:
        """Return the sum of the entries, or ``None`` without any."""
        self._read = True
        return functools.reduce(torch.add, self._entries) if self._entries else None

    def __reduce__(self) -> tuple[type[ActivityRecord], tuple[()]]:
        return ActivityRecord, ()


def activity_penalty(regularizer: Regularizer, output: Tensor, batch: int) -> Tensor:
    """Apply Keras' rule for activities: the regularizer of the whole output, divided by the batch size."""
    batch = max(batch, 1)
    if isinstance(regularizer, ELASTIC):
        l1, l2 = regularizer.strengths
        return elastic_nets([(l1 / batch, l2 / batch)], [output])[0]
    return scalar_penalty(regularizer, output) / batch
