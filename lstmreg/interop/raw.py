"""A network with the scales around it: values in their own units go in, and predictions in theirs come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lstmreg.layers import LSTM
from lstmreg.models import Ensemble, Network


@dataclass(frozen=True)
class Differences:
    """What a network that learned changes reads and means.

    Attributes:
        lag: From how many rows before, L; so many rows come before those that the network reads.
        columns: Which inputs go in as changes: the target's own past.
        known: The input that is the target's past, to whose last values the changes are added; ``None`` where it is no
            input, so that who runs the network must add them.
        note: What this means for who runs the network without them.
    """

    lag: int
    columns: tuple[int, ...]
    known: int | None
    note: str

    def left_out(self) -> str:
        """Say what a reader must do where the graph holds no differences."""
        return f"trained on differences: {self.note}"[:1000]


class Raw(nn.Module):
    r"""A network that reads and predicts values in the units of the data that it was trained on.

    .. math:: \hat{y} = m_y + s_y f\!\left(\frac{x - m_x}{s_x}\right), \qquad
              \hat{p} = \operatorname{softmax}\, f\!\left(\frac{x - m_x}{s_x}\right)

    Args:
        network: What was trained, f.
        mean: Of each input column, ``(D)``; of a column of tokens 0.
        scale: Likewise; of a column of tokens 1.
        output_mean: Of each output, ``(O)``; ``None`` of classes.
        output_scale: Likewise.
        has_lengths: Whether sequences are of unequal lengths, which then are its second argument.
        differences: Where changes were learned.
        about: What else a reader must know, in plain types: names of columns, of classes, tokens.

    Shape:
        ``(B, T, D)`` in float64, and ``lengths (B)`` int64 where it has them; ``(B, O)`` out, float64, or
        ``(B, T, O)`` where every step is predicted, NaN beyond the end of a sequence. In a column of tokens stand
        their numbers, 0 being unknown, as is any number that no token has. A length that is not between 1 and T gives
        NaN, for a graph can raise no error. Where changes were learned, the first ``lag`` rows of T serve to form them.
    """

    mean: Tensor
    scale: Tensor
    output_mean: Tensor | None
    output_scale: Tensor | None

    def __init__(
        self,
        network: Network | Ensemble,
        mean: ArrayLike,
        scale: ArrayLike,
        output_mean: ArrayLike | None,
        output_scale: ArrayLike | None,
        *,
        has_lengths: bool = False,
        differences: Differences | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.has_lengths, self.differences, self.about = has_lengths, differences, dict(about or {})
        self.are_classes = output_mean is None
        scales = {"mean": mean, "scale": scale, "output_mean": output_mean, "output_scale": output_scale}
        for name, values in scales.items():
            self.register_buffer(
                name, None if values is None else torch.from_numpy(np.array(values, np.float64, ndmin=1))
            )

    @property
    def input_size(self) -> int:
        """Input columns, D."""
        return self.network.input_size

    def notes(self) -> list[str]:
        """Return what must still be done by who runs the network, a sentence each."""
        return [self.differences.left_out()] if self.differences is not None and self.differences.known is None else []

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict from values in their own units."""
        x = x.to(self.mean.dtype)
        like = next(self.network.parameters())
        known = None
        if self.differences is not None and self.differences.known is not None:
            x, known = self._differenced(x, self.differences)
        scaled = self._with_known_tokens(((x - self.mean) / self.scale).to(like.dtype))
        outputs = self._outputs(scaled, lengths).to(self.mean.dtype)
        if self.output_mean is None or self.output_scale is None:
            outputs = outputs.softmax(-1)
        else:
            outputs = outputs * self.output_scale + self.output_mean
        if known is not None:
            outputs = outputs + known
        if lengths is not None and self.network.steps == "all":
            outputs = torch.where(_within(lengths, x).unsqueeze(-1), outputs, torch.nan)
        if lengths is not None:
            is_length = ((lengths >= 1) & (lengths <= x.shape[1])).reshape(-1, *[1] * (outputs.dim() - 1))
            outputs = torch.where(is_length, outputs, torch.nan)
        return outputs

    def _with_known_tokens(self, x: Tensor) -> Tensor:
        """Return the same with 0, unknown, for each number of a token that there is not: a graph would take any row."""
        embeddings = self._members[0].embeddings
        if embeddings is None:
            return x
        columns = []
        for n in range(self.input_size):
            column = x[..., n]
            if n in embeddings.vocabularies:
                is_known = (column >= 0) & (column <= embeddings.vocabularies[n]) & (column == column.floor())
                column = torch.where(is_known, column, torch.zeros_like(column))
            columns.append(column)
        return torch.stack(columns, dim=-1)

    @property
    def _members(self) -> list[Network]:
        members: Any = self.network.members if isinstance(self.network, Ensemble) else [self.network]
        return list(members)

    def _differenced(self, x: Tensor, differences: Differences) -> tuple[Tensor, Tensor]:
        """Return the columns that are changes as such, and what is known at each step of the horizon, ``(B, O)``."""
        lag = differences.lag
        levels = x[..., differences.known]
        # Step k is a change from the value that is as many lags before it as bring it before the forecast's begin.
        last = levels[:, levels.shape[1] - lag :]
        known = torch.stack([last[:, ahead % lag] for ahead in range(self.network.output_size)], dim=-1)
        changes = x[:, lag:] - x[:, : x.shape[1] - lag]
        columns = [changes if n in differences.columns else x[:, lag:] for n in range(x.shape[2])]
        return torch.stack([column[..., n] for n, column in enumerate(columns)], dim=-1), known

    def _outputs(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return self.network(x)  # type: ignore[no-any-return]
        valid = _within(lengths, x)
        x = torch.where(valid.unsqueeze(-1), x, torch.zeros_like(x))  # NaN there would reach a state that is held
        return torch.stack([_masked(member, x, valid) for member in self._members]).mean(0)


def _masked(network: Network, x: Tensor, valid: Tensor) -> Tensor:
    """Run a network under a mask: packed sequences, which it takes else, have no counterpart in an exported graph."""
    x = x if network.embeddings is None else network.embeddings(x)
    h_n = x
    for layer in network.layers:
        assert isinstance(layer, LSTM)
        x, (h_n, _) = layer(x, mask=valid)
    last: Tensor = network.head(x if network.steps == "all" else h_n.transpose(0, 1).flatten(1))
    return last


def _within(lengths: Tensor, x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device).unsqueeze(0) < lengths.unsqueeze(1)
