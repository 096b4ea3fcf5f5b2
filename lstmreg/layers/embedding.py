"""``Embeddings``: a vector in the place of each token of an input's discrete columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmreg import initializers
from lstmreg.dropout import Generators, draw_mask, draw_member_masks
from lstmreg.errors import InputError
from lstmreg.tracing import in_vmap, is_compiling, is_recorded


def usual_size(tokens: int) -> int:
    """Return the size of a vector where none is given: half as many numbers as there are tokens, at most 50."""
    return min(50, (tokens + 1) // 2)


class Embeddings(nn.Module):
    r"""Puts a vector in the place of each token of some columns.

    A column of V tokens holds whole numbers: 1 to V, or 0 for an unknown token, whose vector is zero and stays so.

    Its dropout is that of whole tokens: of each sequence and column every token is dropped or kept with all its
    occurrences, by one draw, and what is kept is scaled by :math:`1 / (1 - p)`.

    Args:
        input_size: Columns, D.
        vocabularies: The number of tokens, V, of each column that has some.
        size: Numbers in a vector, E, of all columns; ``None`` for :func:`usual_size` of each.
        dropout: Probability of dropping a token, in [0, 1).

    Attributes:
        columns: Those that have tokens, in rising order.
        output_size: Columns after, D'.

    Shape:
        ``(B, T, D)`` in, ``(B, T, D')`` out: a vector takes the place of its column.

    Raises:
        TypeError: If ``vocabularies`` is no mapping of whole numbers.
        ValueError: If there is no such column, or it has no token.
        InputError: In a call, if a column does not hold the numbers of its tokens.

    References:
        Gal & Ghahramani (2016), arXiv:1512.05287, section 4.2; vectors begin as those of ``keras.layers.Embedding``.
    """

    def __init__(
        self, input_size: int, vocabularies: Mapping[int, int], size: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.vocabularies = _checked(vocabularies, input_size)
        self.input_size, self.dropout = input_size, dropout
        self.columns = tuple(self.vocabularies)
        for column, tokens in self.vocabularies.items():
            width = usual_size(tokens) if size is None else size
            self.register_parameter(self.name(column), nn.Parameter(torch.empty(tokens, width)))
        self.output_size = input_size + sum(len(self.table(column)[0]) - 1 for column in self.columns)
        self.reset_parameters()

    @staticmethod
    def name(column: int) -> str:
        """Return the name of a column's table ``(V, E)``, whose row ``v`` is token ``v + 1``."""
        return f"column_{column}"

    def table(self, column: int) -> Tensor:
        """Return a column's table."""
        table: Tensor = getattr(self, self.name(column))
        return table

    def reset_parameters(self) -> None:
        """Draw new vectors."""
        for column in self.columns:
            initializers.RandomUniform()(self.table(column))

    def extra_repr(self) -> str:
        """Show the columns."""
        shown = f"{self.input_size}, vocabularies={self.vocabularies}"
        return shown + (f", dropout={self.dropout}" if self.dropout > 0 else "")

    def forward(self, x: Tensor) -> Tensor:
        """Put vectors in their places; in training, some tokens are dropped."""
        masks = None
        if self.training and self.dropout > 0:
            masks = {
                column: draw_mask(self.dropout, 1, x.shape[-3], tokens, device=x.device, dtype=x.dtype)
                for column, tokens in self.vocabularies.items()
            }
        return embed(x, {column: self.table(column) for column in self.columns}, masks)


def draw_member_token_masks(
    vocabularies: Mapping[int, int], rates: Tensor, x: Tensor, generators: Generators
) -> dict[int, Tensor]:
    """Draw for each of K models what :class:`Embeddings` draws: ``(K, 1, B, V)`` for each column."""
    return {
        column: draw_member_masks(rates, 1, x.shape[-3], tokens, generators=generators, device=x.device, dtype=x.dtype)
        for column, tokens in vocabularies.items()
    }


def embed(x: Tensor, tables: Mapping[int, Tensor], masks: Mapping[int, Tensor] | None) -> Tensor:
    """Put vectors in the places of the tokens in ``x``.

    Args:
        x: ``(B, T, D)``, or ``(K, B, T, D)``.
        tables: Of each column, ``(V, E)``, or ``(K, V, E)``.
        masks: Of each column, what each token is multiplied by in each sequence, ``(1, B, V)`` or ``(K, 1, B, V)``.

    Returns:
        ``(B, T, D')``, with a leading ``K`` where ``x`` or the tables have it.
    """
    parts: list[Tensor] = []
    begin = 0
    for column, table in tables.items():
        vectors = _vectors(_tokens(x, column, table.shape[-2]), table, None if masks is None else masks[column])
        parts += [x[..., begin:column], vectors]
        begin = column + 1
    parts.append(x[..., begin:])
    lead = vectors.shape[:-1]  # which has the axis of models if anything has
    return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts if part.shape[-1] > 0], dim=-1)


def _vectors(tokens: Tensor, table: Tensor, mask: Tensor | None) -> Tensor:
    table = functional.pad(table, (0, 0, 1, 0))  # that of what is unknown
    if table.dim() == 3:  # the tables of all models, one below the other
        models, rows, _ = table.shape
        tokens = tokens.expand(models, *tokens.shape[-2:])
        vectors = functional.embedding(
            tokens + torch.arange(models, device=tokens.device).view(-1, 1, 1) * rows, table.flatten(0, 1)
        )
    else:
        vectors = functional.embedding(tokens, table)
    if mask is None:
        return vectors
    factors = functional.pad(mask.squeeze(-3), (1, 0))  # (..., B, V + 1)
    return vectors * factors.gather(-1, tokens).unsqueeze(-1)


def _tokens(x: Tensor, column: int, count: int) -> Tensor:
    given = x[..., column].detach()
    tokens = given.long()
    if is_compiling() or is_recorded() or in_vmap():  # which cannot look at numbers
        return tokens
    wrong = given[~((given == tokens) & (tokens >= 0) & (tokens <= count))]
    if count > 2 / torch.finfo(x.dtype).eps:
        raise InputError(f"x must be of a type that holds whole numbers up to {count}, got {x.dtype}.")
    if len(wrong) > 0:
        raise InputError(
            f"x must hold the numbers of tokens in column {column}, whole ones from 0 to {count}, "
            f"got {wrong[0].item():g}."
        )
    return tokens


def _checked(vocabularies: Mapping[int, int], input_size: int) -> dict[int, int]:
    if not isinstance(vocabularies, Mapping):
        raise TypeError(f"vocabularies must map columns to their numbers of tokens, got {vocabularies!r}.")
    for column, tokens in vocabularies.items():
        for what, value in (("columns", column), ("numbers of tokens", tokens)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"vocabularies must have whole numbers as {what}, got {value!r}.")
        if not 0 <= column < input_size:
            raise ValueError(f"vocabularies must name columns from 0 to {input_size - 1}, got {column}.")
        if tokens < 1:
            raise ValueError(f"vocabularies must give column {column} at least 1 token, got {tokens}.")
    return dict(sorted(vocabularies.items()))
