"""What regularizers cost: one layer's bookkeeping, and the sum over a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from lstmreg.errors import did_you_mean
from lstmreg.ops import Costs, Strengths
from lstmreg.regularizers import ELASTIC, Regularizer, elastic_nets
from lstmreg.regularizers import get as get_regularizer
from lstmreg.tracing import in_backward, is_compiling

#: The kinds in which penalties are reported, in this order.
KINDS = ("kernel", "recurrent", "bias", "activity", "other")


class Term(NamedTuple):
    """A penalty that is still to be computed; terms of one kind and owner count once."""

    kind: str
    owner: object  #: a parameter, say
    regularizer: Regularizer
    tensor: Tensor
    batch: int = 1  #: what the regularizer's value is divided by
    #: Of a weight that a proximal step may set, its owner: what the tensor is more than the owner.
    beside: Tensor | float | None = None
    #: What it costs, if the pass has formed that along with its results.
    value: Tensor | None = None

    @property
    def strengths(self) -> tuple[float, float]:
        """Return the strengths of an elastic net, for a sum over the batch."""
        assert isinstance(self.regularizer, ELASTIC)
        l1, l2 = self.regularizer.strengths
        return l1 / self.batch, l2 / self.batch


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
        """Project the constrained weights that are trained."""
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


def is_regularized(model: nn.Module) -> bool:
    """Tell whether any parameter inside ``model`` has a penalty from :func:`regularize`."""
    return any(getattr(module, _REGULARIZED, {}) for module in model.modules())


def _terms(module: nn.Module) -> Iterator[Term]:
    if isinstance(module, Penalized):
        yield from module.penalty_terms()
    for name, regularizer in getattr(module, _REGULARIZED, {}).items():
        if is_trainable(module, name):
            parameter = getattr(module, name)
            yield Term("other", parameter, regularizer, parameter)


def apply_constraints(model: nn.Module) -> None:
    """Project the constrained weights of every layer inside ``model``, where they are trained.

    To be called after each optimizer step, before or after ``zero_grad``; :class:`lstmreg.TrainingModule` does it by
    itself.
    """
    for module in model.modules():
        if isinstance(module, Constrained):
            module.apply_constraints()


def begin_activity(model: nn.Module) -> None:
    """Let the next training-mode forward begin anew: what was called before and never read costs nothing."""
    for module in model.modules():
        record = vars(module).get("_activity")
        if isinstance(record, ActivityRecord):
            record.close()


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
    return by_kind(all_terms(model))


def all_terms(model: nn.Module) -> list[Term]:
    """Return what :func:`penalties` adds up."""
    # Terms hold their owners, because the id of a dead one is used again.
    return counted_once([term for module in model.modules() for term in _terms(module)])


def counted_once(terms: Sequence[Term]) -> list[Term]:
    """Return the first term of each kind and owner."""
    return list({(term.kind, id(term.owner)): term for term in reversed(terms)}.values())[::-1]


def by_kind(terms: Sequence[Term]) -> dict[str, Tensor]:
    """Return the sum of the terms of each kind, in the order of the kinds."""
    found = totals(terms, [term.kind for term in terms])
    return {kind: found[kind] for kind in KINDS if kind in found}


def totals(terms: Sequence[Term], keys: Sequence[str]) -> dict[str, Tensor]:
    """Return the sum of the terms of each key; elastic nets are computed together."""
    elastic = [i for i, term in enumerate(terms) if term.value is None and isinstance(term.regularizer, ELASTIC)]
    found: dict[str, Tensor] = {}
    if elastic:
        names = list(dict.fromkeys(keys[i] for i in elastic))
        sums = [names.index(keys[i]) for i in elastic]
        strengths = [terms[i].strengths for i in elastic]
        found = dict(zip(names, elastic_nets(strengths, [terms[i].tensor for i in elastic], sums), strict=True))
    if len(elastic) == len(terms):
        return found
    for term, key in zip(terms, keys, strict=True):
        if term.value is not None or not isinstance(term.regularizer, ELASTIC):
            value = scalar_penalty(term.regularizer, term.tensor) / term.batch if term.value is None else term.value
            found[key] = found[key] + value if key in found else value
    return found


def scalar_penalty(regularizer: Regularizer, tensor: Tensor) -> Tensor:
    """Apply a regularizer, and see that it is one."""
    value: Tensor = regularizer(tensor)
    if value.dim() != 0:
        raise ValueError(f"a regularizer must return a scalar, but {regularizer!r} returned {tuple(value.shape)}.")
    return value


def tensor_of(module: nn.Module, name: str) -> Tensor:
    """Return a parameter or a buffer of ``module``, be it parametrized or not.

    What is registered is found here in a tenth of the time that ``getattr`` takes: that first looks everywhere else.
    """
    tensor: Tensor | None = module._parameters.get(name)
    if tensor is None:
        tensor = module._buffers.get(name)
    return getattr(module, name) if tensor is None else tensor


def is_trainable(module: nn.Module, name: str) -> bool:
    """Tell whether parameter ``name`` of ``module`` is trained, be it parametrized or not."""
    parameter = module._parameters.get(name)
    if parameter is not None:
        return parameter.requires_grad
    # Not getattr, which is slow at telling a module that it has no such thing.
    parametrizations: Any = module._modules.get("parametrizations")
    if parametrizations is not None and name in parametrizations:
        return any(p.requires_grad for p in parametrizations[name].parameters())
    return bool(getattr(module, name).requires_grad)


#: The id of a weight, which the pass keeps alive; where its numbers lie; and how often they, and what is added to them,
#: were changed in place.
WeightState: TypeAlias = tuple[int, int, int, int]


class Charges(NamedTuple):
    """The penalised weights of a cell, as they were when a pass went through them."""

    plan: Any  #: of the layer; another one has other regularizers
    states: list[WeightState | None]  #: ``None`` for one whose penalty a pass does not form
    formed: list[str]  #: the kinds of those whose penalty it does


class Bill:
    """What the elastic nets of a cell cost, as a pass has formed it along with its results.

    Attributes:
        index: The cell's.
        charges: The weights that it was formed of, and those that it was not.
    """

    def __init__(self, index: int, charges: Charges, costs: Costs) -> None:
        self.index = index
        self.charges = charges
        self._costs = costs
        self._parts: dict[str, Tensor] | None = None

    def stands(self, now: Charges) -> bool:
        """Tell whether the weights cost the same now, and autograd can still go back through them."""
        then = self.charges
        return then.plan is now.plan and then[1:] == now[1:] and not self._costs.is_spent

    @property
    def is_whole(self) -> bool:
        """Whether it lacks nothing of what the cell costs."""
        return None not in self.charges.states

    @property
    def total(self) -> Tensor:
        """The costs of weights and output."""
        total = self._costs.total
        return total if torch.is_grad_enabled() else total.detach()

    def parts(self) -> dict[str, Tensor]:
        """Return the costs by kind."""
        if not torch.is_grad_enabled():
            return self._by_kind(self._costs.parts.detach())
        if self._parts is None:
            self._parts = self._by_kind(self._costs.parts)
        return self._parts

    @staticmethod
    def _by_kind(parts: Tensor) -> dict[str, Tensor]:
        return dict(zip(Strengths._fields, parts.unbind(), strict=True))


class Entry(NamedTuple):
    """A training-mode forward of one cell with gradients."""

    term: Term
    version: int | None  #: how often the output had been changed in place
    bill: Bill | None


class ActivityRecord:
    """The outputs of the training-mode forwards since the last reading, with what they cost.

    Each forward adds one entry. Reading does not clear: the first forward after a reading does. A forward
    that a checkpoint runs again during backward adds nothing, since the first one counted already. A forward without
    gradients adds to a sum, and its output is not kept: nobody may ever read the record of such passes.
    Neither copies nor pickles carry the entries: they belong to one graph.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._entries: list[Entry] = []
        self._sum: Tensor | None = None  #: what the forwards without gradients cost
        self._read = False

    def add(self, regularizer: Regularizer, output: Tensor, batch: int, bill: Bill | None = None) -> None:
        """Record an output; by Keras' rule its penalty is divided by the batch size."""
        if in_backward():
            if output.requires_grad and self._sum is not None and not self._entries:
                raise RuntimeError(
                    "reentrant activation checkpointing loses the gradient of activity penalties. "
                    "Use torch.utils.checkpoint.checkpoint(..., use_reentrant=False)."
                )
            return
        if self._read:
            self._clear()
        batch = max(batch, 1)
        if output.requires_grad:
            self._entries.append(Entry(Term("activity", output, regularizer, output, batch), _version(output), bill))
        else:
            value = scalar_penalty(regularizer, output) / batch
            self._sum = value if self._sum is None else self._sum + value

    def close(self) -> None:
        """Let the next forward begin a new record."""
        self._read = True

    def forget(self) -> None:
        """Drop what was read already, before a forward that counts nothing: its graph is gone."""
        if self._read and not in_backward():
            self._clear()

    def read(self) -> list[Term]:
        """Return a term for each entry, and one for the sum."""
        terms = [
            term if bill is None else term._replace(value=bill.parts()["activity"]) for term, _, bill in self.entries()
        ]
        return terms if self._sum is None else [*terms, Term("activity", self, _itself, self._sum)]

    def entries(self) -> list[Entry]:
        """Return the forwards with gradients since the last reading; this is one."""
        self._read = True
        for term, version, _ in self._entries:
            if version is not None and _version(term.tensor) != version:
                raise RuntimeError(
                    "the output of a layer with an activity_regularizer was changed in place before its penalty was "
                    "read. Use the operation that is not in place, or read the penalty first."
                )
        return self._entries

    def bills(self) -> list[Bill]:
        """Return the bills of a record in which every forward has one, or nothing; this is a reading."""
        bills = [bill for _, _, bill in self.entries() if bill is not None]
        return bills if len(bills) == len(self._entries) and self._sum is None else []

    def __reduce__(self) -> tuple[type[ActivityRecord], tuple[()]]:
        return ActivityRecord, ()


def _itself(penalty: Tensor) -> Tensor:
    return penalty


def _version(tensor: Tensor) -> int | None:
    """Return how often a tensor was changed in place, if torch counts that for it."""
    return None if is_compiling() or tensor.is_inference() else tensor._version
