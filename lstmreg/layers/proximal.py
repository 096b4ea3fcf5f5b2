"""The L1 on weights as a step of its own after the optimizer's, so that weights become exactly zero."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lstmreg.regularizers import L1, L2

from .lstm import LSTM
from .penalty import Term, all_terms, by_kind, counted_once


@torch.no_grad()
def soft_threshold_(w: Tensor, amount: Tensor | float) -> Tensor:
    r"""Pull weights towards zero in place, and those nearer than ``amount`` onto it.

    .. math:: w \leftarrow \operatorname{sign}(w) \max(\lvert w \rvert - a, 0)

    It is the proximal operator of :math:`a \lvert w \rvert`. NaN stays NaN, and with an amount of 0 each weight stays.

    Args:
        w: Of any shape.
        amount: The amount :math:`a \ge 0`, one for all or a tensor of that shape.

    References:
        Parikh & Boyd (2014), Proximal algorithms, section 6.5.2.
    """
    return w.sub_(w.clamp(-amount, amount))  # type: ignore[arg-type]


def smooth_penalties(model: nn.Module) -> dict[str, Tensor]:
    """Return what :func:`lstmreg.penalties` does; to the L1 that :func:`proximal_step` takes over, without gradient.

    That is the L1 part of an ``L1`` or ``L1L2`` on the kernel, recurrent weights or bias of an LSTM. What has no such
    part to split off stays as it is: other regularizers and callables, the penalty of a parametrized weight, those on
    activity, and those that :func:`lstmreg.regularize` gave.
    """
    return by_kind([part for term in all_terms(model) for part in _parts(term)])


@torch.no_grad()
def proximal_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Do the L1 on weights inside ``model``, right after a step of ``optimizer``, with that step's learning rates.

    A parameter that several layers share is done once. One that the optimizer does not train stays as it is.

    Raises:
        ValueError: If the optimizer has no learning rate ``lr``.
    """
    rates = {id(parameter): group.get("lr") for group in optimizer.param_groups for parameter in group["params"]}
    for term in l1_terms(model):
        if id(term.owner) not in rates:
            continue
        rate = rates[id(term.owner)]
        if rate is None:
            raise ValueError(
                f"proximal needs an optimizer whose groups have a learning rate 'lr', got {type(optimizer).__name__}."
            )
        parameter, beside = term.owner, term.beside
        assert isinstance(parameter, Tensor)
        assert beside is not None
        parameter.copy_(soft_threshold_(parameter + beside, float(rate) * _l1(term)) - beside)


def l1_terms(model: nn.Module) -> list[Term]:
    """Return the penalties on weights inside ``model`` whose L1 a proximal step does."""
    cells = [cell for module in model.modules() if isinstance(module, LSTM) for cell in module.cells()]
    return [term for term in counted_once([t for cell in cells for t in cell.penalty_terms()]) if _l1(term) > 0]


def _l1(term: Term) -> float:
    """Return the strength of the L1 that a proximal step does; 0 if there is none."""
    return term.strengths[0] if term.beside is not None else 0.0


def _parts(term: Term) -> Iterator[Term]:
    """Yield a penalty whole; or its L2, and its L1 as a value alone."""
    l1 = _l1(term)
    if l1 == 0:
        yield term
        return
    l2 = term.strengths[1]
    if l2 > 0:
        yield term._replace(regularizer=L2(l2), value=None)
    yield term._replace(regularizer=L1(l1), tensor=term.tensor.detach(), value=None)
