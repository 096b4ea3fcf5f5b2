"""K layers of one shape as one: their weights come with a leading axis, their knobs stand side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lstmreg import ops
from lstmreg.dropout import Generators, draw_member_masks
from lstmreg.regularizers import ELASTIC, MemberStrengths, Regularizer, member_nets

from .cell import STEMS
from .lstm import LSTM
from .penalty import KINDS

States = tuple[Tensor, Tensor]


class MemberTerm(NamedTuple):
    """A penalty of each of K models, still to be computed."""

    kind: str
    strengths: MemberStrengths
    tensor: Tensor  #: (K, ...)


def is_on(strengths: MemberStrengths) -> bool:
    """Tell whether anything is penalised; a comparison of tuples would compare their tensors, which takes long."""
    l1, l2 = strengths
    return l1 is not None or l2 is not None


def member_totals(terms: Sequence[MemberTerm]) -> dict[str, Tensor]:
    """Return the sum of the terms of each kind, ``(K)``, as :func:`lstmreg.penalties` would for each model."""
    kinds = [kind for kind in KINDS if any(term.kind == kind for term in terms)]
    if not kinds:
        return {}
    sums = [kinds.index(term.kind) for term in terms]
    totals = member_nets([term.strengths for term in terms], [term.tensor for term in terms], sums)
    return dict(zip(kinds, totals, strict=True))


#: The knobs that layers in a population can have, by their argument.
SERVED = ("dropout", "recurrent_dropout", *(f"{kind}_regularizer" for kind in KINDS[:4]))


class LayerPopulation:
    """K single layers (of one or two directions) that differ in knobs alone.

    To be trained together they must draw the same kinds of masks: with others beside it that do, a layer without
    masks would be multiplied by ones, and its sums be formed in another order, so that its last digits would
    depend on its company.

    Args:
        members: The layers. Their own weights are not looked at.
        like: Has the device and the type of the tensors that they will be run on.
    """

    def __init__(self, members: Sequence[LSTM], like: Tensor) -> None:
        self._layer = members[0]
        self._cells = self._layer.cells()
        self._draws = {member.masks_drawn(0) for member in members}
        self._rates = [
            torch.tensor([getattr(m, name) for m in members], dtype=torch.float64, device=like.device)
            for name in ("dropout", "recurrent_dropout")
        ]
        self._strengths = {
            kind: _strengths([getattr(m, f"{kind}_regularizer") for m in members], like) for kind in KINDS[:4]
        }

    @property
    def is_plain(self) -> bool:
        """Whether it goes in one direction, with the standard activations, and its last output alone is looked at."""
        (first, *others) = self._cells
        standard = first.activations == (torch.tanh, torch.sigmoid)
        return standard and not others and first.direction == 0 and self._layer.activity_steps == "last"

    def activity(self, batch: int) -> MemberStrengths:
        """Return what each number of a counted output costs, in batches of so many sequences."""
        l1, l2 = (None if s is None else s / batch for s in self._strengths["activity"])
        return l1, l2

    def run(
        self,
        x: Tensor,
        weights: Mapping[str, Tensor],
        states: States | None,
        generators: Generators | None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, States, list[MemberTerm]]:
        """Run all layers.

        Args:
            x: ``(T, B, D)`` if they share it, or ``(K, T, B, D)``.
            weights: By their names in the layer, with a leading ``K``.
            states: ``(K, directions, B, H)`` each, or ``None`` for zeros.
            generators: One for each layer, to draw its masks; ``None`` in evaluation.
            valid: Which steps lie within their sequences, ``(T, B)`` or ``(K, T, B)`` bool, or ``None`` for all.

        Returns:
            ``output (K, T, B, directions * H)``, the last states, and what the activity costs. An output beyond the end
            of a sequence is a held one, or zero.
        """
        batch = x.shape[-2]
        zeros = x.new_zeros(len(weights[self._cells[0].name("weight_hh")]), batch, self._layer.hidden_size)
        outputs, finals, terms = [], [], []
        for cell in self._cells:
            h_0, c_0 = (zeros, zeros) if states is None else (states[0][:, cell.index], states[1][:, cell.index])
            input_mask, recurrent_mask = (None, None) if generators is None else self.draw(x, generators)
            output, h_n, c_n = ops.lstm(
                x,
                h_0,
                c_0,
                weights[cell.name("weight_ih")],
                weights[cell.name("weight_hh")],
                weights[cell.name("bias_ih")],
                input_mask=input_mask,
                recurrent_mask=recurrent_mask,
                valid=valid,
                reverse=cell.direction == 1,
                activations=cell.activations,
            )
            if generators is not None and is_on(self._strengths["activity"]):
                # The last output is the last state.
                counted = _within(output, valid) if self._layer.activity_steps == "all" else h_n
                terms.append(MemberTerm("activity", self.activity(batch), counted))
            outputs.append(output)
            finals.append((h_n, c_n))
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        h_n, c_n = (s[0].unsqueeze(1) if len(s) == 1 else torch.stack(s, dim=1) for s in zip(*finals, strict=True))
        return output, (h_n, c_n), terms

    def draw(self, x: Tensor, generators: Generators) -> list[Tensor | None]:
        """Draw the masks of one call, of inputs and of states, in the order in which a single layer draws them."""
        (groups,) = self._draws
        return [
            draw_member_masks(rates, count, x.shape[-2], width, generators=generators, device=x.device, dtype=x.dtype)
            if count > 0
            else None
            for rates, count, width in zip(self._rates, groups, (x.shape[-1], self._layer.hidden_size), strict=True)
        ]

    def weight_terms(self, weights: Mapping[str, Tensor], *, proximal: bool = False) -> Iterator[MemberTerm]:
        """Yield what the weights cost; with ``proximal`` their L1 as a value alone, without gradient."""
        for cell in self._cells:
            for kind, stem in STEMS.items():
                l1, l2 = self._strengths[kind]
                weight = weights[cell.name(stem)]
                if not proximal and is_on((l1, l2)):
                    yield MemberTerm(kind, (l1, l2), weight)
                if proximal and l2 is not None:
                    yield MemberTerm(kind, (None, l2), weight)
                if proximal and l1 is not None:
                    yield MemberTerm(kind, (l1, None), weight.detach())


def _within(output: Tensor, valid: Tensor | None) -> Tensor:
    return output if valid is None else torch.where(valid.unsqueeze(-1), output, 0.0)


def _strengths(regularizers: Sequence[Regularizer | None], like: Tensor) -> MemberStrengths:
    """Return ``l1 (K)`` and ``l2 (K)``, or ``None`` in place of nothing but zeros."""
    pairs = []
    for regularizer in regularizers:
        if regularizer is not None and not isinstance(regularizer, ELASTIC):
            raise TypeError(f"a population's regularizers must be L1, L2 or L1L2, got {regularizer!r}.")
        pairs.append((0.0, 0.0) if regularizer is None else regularizer.strengths)
    l1, l2 = (like.new_tensor(s) if any(s) else None for s in zip(*pairs, strict=True))
    return l1, l2
