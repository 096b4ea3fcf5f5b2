"""``LSTM``: in place of ``torch.nn.LSTM``, with Keras' six places to fight overfitting."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmreg import dropout as masks
from lstmreg import ops
from lstmreg.initializers import INITIALIZERS
from lstmreg.regularizers import Regularizer

from .penalty import ActivityRecord, activity_penalty, in_backward, is_trainable

States = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    r"""Long short-term memory layer with Keras' penalties and variational dropout.

    .. math:: c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t)

    It takes what ``torch.nn.LSTM`` takes and returns what it returns, and with every knob at its default it
    gives the same numbers for the same weights. Three points differ: ``dropout`` has Keras' meaning; new
    layers start from Keras' initializers; and there is one trainable bias (the Parameter ``bias_ih_l*``;
    ``bias_hh_l*`` is a buffer that stays zero unless somebody writes it).

    Args:
        input_size: Number of input features, ``D``.
        hidden_size: Number of hidden units, ``H`` (Keras: ``units``).
        num_layers: Number of stacked layers. Default: ``1``.
        bias: Whether the gates have a bias (Keras: ``use_bias``). Default: ``True``.
        batch_first: Whether tensors are ``(B, T, ·)`` and not ``(T, B, ·)``. Default: ``False``.
        dropout: Probability in ``[0, 1)`` of dropping an input feature *of each layer*, the first included;
            held over time. One mask per sequence, or one per gate and sequence as soon as
            ``recurrent_dropout > 0`` and ``per_gate_masks``. Default: ``0.0``.
        bidirectional: Whether a second direction reads the sequence backwards. Default: ``False``.
        recurrent_dropout: Probability in ``[0, 1)`` of dropping a hidden unit on its way into the gates;
            one mask per gate and sequence, held over time. Default: ``0.0``.
        kernel_regularizer: Penalty on each ``weight_ih_l*`` (Keras: ``kernel``). Default: ``None``.
        recurrent_regularizer: Penalty on each ``weight_hh_l*``. Default: ``None``.
        bias_regularizer: Penalty on each bias. Default: ``None``.
        activity_regularizer: Penalty on ``output``: summed over time, divided by ``B``; each layer and
            direction counts, and of padded sequences the valid steps. Default: ``None``.
        activity_steps: ``"all"``, or ``"last"`` for a model that uses only the last output (Keras:
            ``return_sequences=False``): then the top layer is penalised there alone. Default: ``"all"``.
        per_gate_masks: Whether ``recurrent_dropout > 0`` draws one mask for each of the four gates (Keras
            since 3.8) or one for all (Gal & Ghahramani's tied variant, Keras 3.0 to 3.7). Default: ``True``.
        initializer: ``"keras"`` or ``"torch"``, whose distributions new weights follow.
            Default: ``"keras"``.
        seed: Source of the masks: ``None`` for torch's global generator, one int, or one int for each layer
            and direction in ``nn.LSTM``'s order. Seeded masks are Keras' own, bit for bit on the CPU. Of
            one int, the first layer and direction gets it as it is and the others a hash of it.
        backend: ``"auto"``, ``"native"`` or ``"reference"``; see :func:`lstmreg.ops.lstm`.
        device: Where the weights are made.
        dtype: Their type.

    Shape:
        ``input`` ``(T, B, D)``, or ``(B, T, D)`` if ``batch_first``, or ``(T, D)``, or a ``PackedSequence``;
        ``(h_0, c_0)`` ``(layers * directions, B, H)`` each, without ``B`` for unbatched input.
        ``output`` ``(T, B, directions * H)``; ``(h_n, c_n)`` as ``(h_0, c_0)``.

    Raises:
        ValueError: If a size is below 1, a rate lies outside ``[0, 1)``, a choice is unknown, or a shape
            does not fit.
        TypeError: If a regularizer is not callable.

    References:
        Hochreiter & Schmidhuber (1997); Gal & Ghahramani (2016), arXiv:1512.05287; ``keras.layers.LSTM``.

    Example:
        >>> from lstmreg import LSTM, L2
        >>> lstm = LSTM(3, 8, dropout=0.2, recurrent_dropout=0.2, recurrent_regularizer=L2(1e-4))
        >>> output, (h_n, c_n) = lstm(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
        >>> loss = output.square().mean() + lstm.penalty()
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        recurrent_dropout: float = 0.0,
        kernel_regularizer: Regularizer | None = None,
        recurrent_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        activity_regularizer: Regularizer | None = None,
        activity_steps: str = "all",
        per_gate_masks: bool = True,
        initializer: str = "keras",
        seed: int | Sequence[int] | None = None,
        backend: str = "auto",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in [
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ]:
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} must be an int, got {size!r}.")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.dropout = _rate("dropout", dropout)
        self.recurrent_dropout = _rate("recurrent_dropout", recurrent_dropout)
        self.kernel_regularizer = _regularizer("kernel_regularizer", kernel_regularizer)
        self.recurrent_regularizer = _regularizer("recurrent_regularizer", recurrent_regularizer)
        self.bias_regularizer = _regularizer("bias_regularizer", bias_regularizer)
        self.activity_regularizer = _regularizer("activity_regularizer", activity_regularizer)
        self.activity_steps = _choice("activity_steps", activity_steps, ("all", "last"))
        self.per_gate_masks = per_gate_masks
        self.initializer = _choice("initializer", initializer, tuple(INITIALIZERS))
        self.backend = _choice("backend", backend, ("auto", *ops.BACKENDS))
        self.seed = seed
        self._seeds = _seeds(seed, num_layers * self._num_directions)
        #: How many masks each layer and direction has drawn from its seed. Not in the ``state_dict``.
        self.draws = [0] * (num_layers * self._num_directions)
        self._activity = ActivityRecord()

        for suffix, layer in self._cells():
            width = input_size if layer == 0 else hidden_size * self._num_directions
            new: dict[str, Any] = {"device": device, "dtype": dtype}
            self.register_parameter(f"weight_ih{suffix}", nn.Parameter(torch.empty(4 * hidden_size, width, **new)))
            self.register_parameter(
                f"weight_hh{suffix}", nn.Parameter(torch.empty(4 * hidden_size, hidden_size, **new))
            )
            if bias:
                self.register_parameter(f"bias_ih{suffix}", nn.Parameter(torch.empty(4 * hidden_size, **new)))
                self.register_buffer(f"bias_hh{suffix}", torch.empty(4 * hidden_size, **new))
        self.reset_parameters()

    # ------------------------------------------------------------------ weights

    @property
    def _num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _cells(self) -> Iterator[tuple[str, int]]:
        """Yield the name suffix and the layer of each cell (a layer in one direction) in torch's order."""
        for layer in range(self.num_layers):
            yield f"_l{layer}", layer
            if self.bidirectional:
                yield f"_l{layer}_reverse", layer

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}") if self.bias else None
        return getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), bias

    def reset_parameters(self) -> None:
        """Draw new weights from the distributions that ``initializer`` names; set the second bias to zero."""
        fill = INITIALIZERS[self.initializer]
        for suffix, _ in self._cells():
            bias = getattr(self, f"bias_ih{suffix}") if self.bias else None
            fill(getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), bias)
            if self.bias:
                nn.init.zeros_(getattr(self, f"bias_hh{suffix}"))

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights as ``nn.LSTM`` lists them: for each cell ``w_ih, w_hh, b_ih, b_hh``."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        return [[getattr(self, kind + suffix) for kind in kinds] for suffix, _ in self._cells()]

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

    def to_torch(self) -> nn.LSTM:
        """Copy the weights into a plain ``nn.LSTM`` that gives this layer's outputs in eval mode.

        Train regularized, deploy stock. The copy has no dropout, lies on the same device, and is in eval
        mode if this layer is.
        """
        first = self.all_weights[0][0]
        plain = nn.LSTM(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            device=first.device,
            dtype=first.dtype,
        )
        with torch.no_grad():
            for ours, theirs in zip(self.all_weights, plain.all_weights, strict=True):
                for source, target in zip(ours, theirs, strict=True):
                    target.copy_(source)
        return plain.train(self.training)

    # ------------------------------------------------------------------ forward

    def forward(
        self, input: Tensor | PackedSequence, hx: States | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """Run the layer; see the class for shapes."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"input must have 2 (unbatched) or 3 dimensions, got shape {tuple(input.shape)}.")
        self._check_features(input)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        time_first = x.transpose(0, 1) if batched and self.batch_first else x
        output, h_n, c_n = self._run(time_first, self._initial_states(time_first, hx, batched), None)
        if not batched:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    def _forward_packed(self, packed: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        self._check_features(packed.data)
        x, lengths = pad_packed_sequence(packed)  # in the caller's order of sequences
        valid = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)
        output, h_n, c_n = self._run(x, self._initial_states(x, hx, True), valid)
        if packed.sorted_indices is not None:
            output = output.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        return packed._replace(data=pack_padded_sequence(output, lengths).data), (h_n, c_n)

    def _check_features(self, input: Tensor) -> None:
        if input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must have input_size={self.input_size} features in its last dimension, "
                f"got shape {tuple(input.shape)}."
            )

    def _initial_states(self, x: Tensor, hx: States | None, batched: bool) -> States:
        cells, batch = len(self.draws), x.shape[1]
        if hx is None:
            zeros = x.new_zeros(cells, batch, self.hidden_size)
            return zeros, zeros
        expected = (cells, batch, self.hidden_size) if batched else (cells, self.hidden_size)
        for name, state in zip(("h_0", "c_0"), hx, strict=True):
            if tuple(state.shape) != expected:
                raise ValueError(f"{name} must have shape {expected}, got {tuple(state.shape)}.")
        return hx if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))

    def _run(self, x: Tensor, states: States, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Run all layers over ``x (T, B, D)``; ``valid (T, B)`` or ``None``."""
        finals: list[tuple[Tensor, Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._num_directions):
                cell = layer * self._num_directions + direction
                output, h_n, c_n = self._run_cell(cell, x, states[0][cell], states[1][cell], valid)
                self._record_activity(output, h_n, valid, is_top=layer == self.num_layers - 1)
                outputs.append(output)
                finals.append((h_n, c_n))
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return x, torch.stack([h for h, _ in finals]), torch.stack([c for _, c in finals])

    def _run_cell(
        self, cell: int, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        reverse = self.bidirectional and cell % 2 == 1
        suffix = f"_l{cell // self._num_directions}" + ("_reverse" if reverse else "")
        w_ih, w_hh, bias = self._weights(suffix)
        input_mask, recurrent_mask = self._draw_masks(cell, x) if self.training else (None, None)
        return ops.lstm(
            x,
            h_0,
            c_0,
            w_ih,
            w_hh,
            bias,
            input_mask=input_mask,
            recurrent_mask=recurrent_mask,
            valid=valid,
            reverse=reverse,
            backend=self.backend,
        )

    # ------------------------------------------------------------------ dropout

    def _draw_masks(self, cell: int, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Draw the masks of one call, in Keras' order: all of the input, then all of the recurrence."""
        groups = 4 if self.recurrent_dropout > 0 and self.per_gate_masks else 1
        draw = self._drawer(cell, groups, x)
        input_mask = draw(self.dropout, x.shape[-1]) if self.dropout > 0 else None
        recurrent_mask = draw(self.recurrent_dropout, self.hidden_size) if self.recurrent_dropout > 0 else None
        return input_mask, recurrent_mask

    def _drawer(self, cell: int, groups: int, x: Tensor) -> Callable[[float, int], Tensor]:
        batch, device, dtype = x.shape[1], x.device, x.dtype
        if self._seeds is None:
            return lambda rate, width: masks.draw_mask(rate, groups, batch, width, device=device, dtype=dtype)
        seed = self._seeds[cell]

        def draw(rate: float, width: int) -> Tensor:
            if in_backward():
                raise RuntimeError(
                    "seeded dropout masks cannot be drawn again during backward: activation checkpointing would "
                    "get other masks, and so wrong gradients. Use seed=None, which checkpointing restores."
                )
            k = self.draws[cell]
            self.draws[cell] = k + groups
            return masks.draw_keras_mask(rate, groups, batch, width, seed=seed, draw=k, device=device, dtype=dtype)

        return draw

    # ------------------------------------------------------------------ penalties

    def penalty(self) -> Tensor:
        """Return the total of this layer's penalties, a scalar to add to the loss.

        Weight penalties are those of the weights as they are now, once for each trainable parameter.
        Activity penalties are those of the training-mode forwards since the last reading: reading does not
        clear them, the first forward after it begins anew, and eval mode records none.
        """
        total = self._zero()
        for _, _, value in self.penalty_terms():
            total = total + value
        return total

    def penalty_terms(self) -> Iterator[tuple[str, object, Tensor]]:
        """Yield each penalty as ``(kind, owner, value)``, for :func:`lstmreg.penalties`."""
        of_weights = [
            ("kernel", "weight_ih", self.kernel_regularizer),
            ("recurrent", "weight_hh", self.recurrent_regularizer),
            ("bias", "bias_ih", self.bias_regularizer if self.bias else None),
        ]
        for suffix, _ in self._cells():
            for kind, stem, regularizer in of_weights:
                name = stem + suffix
                if regularizer is not None and is_trainable(self, name):
                    weight = getattr(self, name)
                    value = weight + getattr(self, f"bias_hh{suffix}") if kind == "bias" else weight
                    yield kind, weight, regularizer(value)
        if self.activity_regularizer is not None:
            activity = self._activity.read()
            yield "activity", self, self._zero() if activity is None else activity

    def _zero(self) -> Tensor:
        weight: Tensor = self.all_weights[0][0]
        return weight.new_zeros(())

    def _record_activity(self, output: Tensor, h_n: Tensor, valid: Tensor | None, *, is_top: bool) -> None:
        if self.activity_regularizer is None or not self.training:
            return
        steps = output if valid is None else output[valid]
        activity = h_n if self.activity_steps == "last" and is_top else steps
        self._activity.add(activity_penalty(self.activity_regularizer, activity, output.shape[1]))

    # ------------------------------------------------------------------ being a module

    def extra_repr(self) -> str:
        """Show the sizes, and of the knobs those that are turned."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "recurrent_dropout": 0.0,
            "kernel_regularizer": None,
            "recurrent_regularizer": None,
            "bias_regularizer": None,
            "activity_regularizer": None,
            "activity_steps": "all",
            "per_gate_masks": True,
            "seed": None,
        }
        shown += [f"{k}={getattr(self, k)!r}" for k, default in defaults.items() if getattr(self, k) != default]
        return ", ".join(shown)


def _rate(name: str, value: float) -> float:
    ok = hasattr(value, "__float__") and math.isfinite(value) and 0 <= value < 1
    if not ok:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return float(value)


def _regularizer(name: str, value: Regularizer | None) -> Regularizer | None:
    if value is not None and not callable(value):
        raise TypeError(
            f"{name} must be None or a callable from a tensor to a scalar, such as L2(1e-4), got {value!r}."
        )
    return value


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return value


def _seeds(seed: int | Sequence[int] | None, cells: int) -> list[int] | None:
    if seed is None:
        return None
    if not isinstance(seed, Sequence):
        return masks.spread_seed(operator.index(seed), cells)
    if len(seed) != cells:
        raise ValueError(
            f"seed must be None, an int, or one int for each of the {cells} layers and directions, got {seed!r}."
        )
    return [operator.index(s) for s in seed]
