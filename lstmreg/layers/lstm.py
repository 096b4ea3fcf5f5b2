"""``LSTM``: in place of ``torch.nn.LSTM``, with Keras' six places to fight overfitting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmreg import activations, initializers, ops
from lstmreg import dropout as masks
from lstmreg.activations import Activation
from lstmreg.constraints import Constraint
from lstmreg.regularizers import ELASTIC, L1L2, Regularizer
from lstmreg.tracing import in_backward, is_compiling

from . import arguments
from .arguments import Named, PerLayer
from .penalty import ActivityRecord, Term, is_trainable, totals

States = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    r"""Long short-term memory layer with Keras' penalties and variational dropout.

    .. math:: c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t)

    It takes what ``torch.nn.LSTM`` takes and returns what it returns, and with every knob at its default it
    gives the same numbers for the same weights. Three points differ: ``dropout`` has Keras' meaning; new
    layers start from Keras' initializers; and there is one trainable bias (the Parameter ``bias_ih_l*``;
    ``bias_hh_l*`` is a buffer that stays zero unless somebody writes it).

    A knob marked *per layer* takes one value for the whole stack or a list with one for each layer. Activations,
    initializers, regularizers and constraints go by instance, callable, Keras' name, or Keras' serialized dict;
    they are handed matrices as Keras has them, ``(D, 4H)`` and ``(H, 4H)`` (initializers: in torch's layout).

    Args:
        input_size: Number of input features, ``D``.
        hidden_size: Number of hidden units, ``H`` (Keras: ``units``).
        num_layers: Number of stacked layers. Default: ``1``.
        bias: Whether the gates have a bias (Keras: ``use_bias``). Default: ``True``.
        batch_first: Whether tensors are ``(B, T, ·)`` and not ``(T, B, ·)``. Default: ``False``.
        dropout: Probability in ``[0, 1)`` of dropping an input feature *of each layer*, the first included;
            held over time. One mask per sequence, or one per gate and sequence: see ``per_gate_input_masks``.
            Per layer. Default: ``0.0``.
        bidirectional: Whether a second direction reads the sequence backwards. Default: ``False``.
        proj_size: Size ``P`` of a projection of ``h``, or 0 for none, as in ``nn.LSTM``. Default: ``0``.
        recurrent_dropout: Probability in ``[0, 1)`` of dropping a hidden unit on its way into the gates;
            one mask per gate and sequence, held over time. Per layer. Default: ``0.0``.
        kernel_regularizer: Penalty on each ``weight_ih_l*`` (Keras: ``kernel``). Per layer. Default: ``None``.
        recurrent_regularizer: Penalty on each ``weight_hh_l*``. Per layer. Default: ``None``.
        bias_regularizer: Penalty on each bias. Per layer. Default: ``None``.
        activity_regularizer: Penalty on ``output``: summed over time, divided by ``B``; each layer and
            direction counts. Of a ``PackedSequence`` the valid steps count; under a ``mask`` all do, with the
            values that they hold, as in Keras. Per layer. Default: ``None``.
        activity_steps: ``"all"``, or ``"last"`` for a model that uses only the last output (Keras:
            ``return_sequences=False``): then the top layer is penalised there alone. Default: ``"all"``.
        kernel_constraint: Projection of each ``weight_ih_l*``, for :func:`lstmreg.apply_constraints` after each
            optimizer step. Per layer. Default: ``None``.
        recurrent_constraint: Projection of each ``weight_hh_l*``. Per layer. Default: ``None``.
        bias_constraint: Projection of each bias. Per layer. Default: ``None``.
        activation: Of the candidate ``g`` and of the cell state. Per layer. Default: ``"tanh"``.
        recurrent_activation: Of the gates i, f, o. Per layer. Default: ``"sigmoid"``.
        kernel_initializer: Fills each ``weight_ih_l*``. Default: ``"glorot_uniform"``.
        recurrent_initializer: Fills each ``weight_hh_l*``. Default: ``"orthogonal"``.
        bias_initializer: Fills each bias. Default: ``"zeros"``.
        unit_forget_bias: Whether the forget gate's bias then starts at 1. Default: ``True``.
        initializer: ``"keras"`` for these, or ``"torch"`` for ``nn.LSTM``'s distributions in place of them.
            Default: ``"keras"``.
        zero_output_for_mask: Whether the output of a masked step is zero and not the one before. Of two
            directions it always is, as Keras' ``Bidirectional`` has it. Default: ``False``.
        go_backwards: Whether each layer reads its input from the end; outputs then come in that order, and a
            second layer turns them round again (under a ``mask`` that, as in Keras, does not turn with them).
            Not with ``bidirectional``. Default: ``False``.
        stateful: Whether a call without ``hx`` begins with the states in which the last one ended, detached;
            see :meth:`reset_state`. Default: ``False``.
        per_gate_masks: Whether ``recurrent_dropout > 0`` draws one mask for each of the four gates (Keras
            since 3.8) or one for all (Gal & Ghahramani's tied variant, Keras 3.0 to 3.7). Default: ``True``.
        per_gate_input_masks: Whether ``dropout`` draws one mask of the input for each gate (Keras 1 and 2 did) or
            one for all. ``True`` is for inputs of few features: of a single one, a mask that the gates share blanks
            the whole series of every sequence that draws a zero, where a mask for each gate takes it from some gates
            and leaves it to others. ``None``: for each gate as soon as ``recurrent_dropout > 0`` and
            ``per_gate_masks``, which is Keras 3. Default: ``None``.
        seed: Source of the masks: ``None`` for torch's global generator, one int, or one int for each layer
            and direction in ``nn.LSTM``'s order. Seeded masks are Keras' own, bit for bit on the CPU. Of
            one int, the first layer and direction gets it as it is and the others a hash of it.
        backend: ``"auto"``, ``"native"``, ``"fused_cpu"``, ``"eager"`` or ``"reference"``: what computes the
            recurrence; see :func:`lstmreg.ops.lstm`. Default: ``"auto"``, the fastest that can.
        device: Where the weights are made.
        dtype: Their type.

    Shape:
        ``input`` ``(T, B, D)``, or ``(B, T, D)`` if ``batch_first``, or ``(T, D)``, or a ``PackedSequence``;
        ``(h_0, c_0)`` ``(layers * directions, B, H)`` each, without ``B`` for unbatched input; ``mask``
        ``(B, T)`` or ``(B, T, 1)``, ``(T)`` for unbatched input, true where a step is valid.
        ``output`` ``(T, B, directions * H)``; ``(h_n, c_n)`` as ``(h_0, c_0)``.

    Raises:
        ValueError: If a size is below 1, a rate lies outside ``[0, 1)``, a choice is unknown, or a shape
            does not fit.
        TypeError: If an activation, initializer, regularizer or constraint is neither a name nor callable.

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
        dropout: PerLayer[float] = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        recurrent_dropout: PerLayer[float] = 0.0,
        kernel_regularizer: PerLayer[Named[Regularizer]] = None,
        recurrent_regularizer: PerLayer[Named[Regularizer]] = None,
        bias_regularizer: PerLayer[Named[Regularizer]] = None,
        activity_regularizer: PerLayer[Named[Regularizer]] = None,
        activity_steps: str = "all",
        kernel_constraint: PerLayer[Named[Constraint]] = None,
        recurrent_constraint: PerLayer[Named[Constraint]] = None,
        bias_constraint: PerLayer[Named[Constraint]] = None,
        activation: PerLayer[Named[Activation]] = "tanh",
        recurrent_activation: PerLayer[Named[Activation]] = "sigmoid",
        kernel_initializer: Named[initializers.Initializer] = "glorot_uniform",
        recurrent_initializer: Named[initializers.Initializer] = "orthogonal",
        bias_initializer: Named[initializers.Initializer] = "zeros",
        unit_forget_bias: bool = True,
        initializer: str = "keras",
        zero_output_for_mask: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        per_gate_masks: bool = True,
        per_gate_input_masks: bool | None = None,
        seed: int | Sequence[int] | None = None,
        backend: str = "auto",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = arguments.size("input_size", input_size)
        self.hidden_size = arguments.size("hidden_size", hidden_size)
        self.num_layers = arguments.size("num_layers", num_layers)
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.proj_size = arguments.size("proj_size", proj_size, least=0)

        def per_layer(name: str, value: Any, settle: Callable[[str, Any], Any]) -> Any:
            return arguments.per_layer(name, value, num_layers, settle)

        self.dropout = per_layer("dropout", dropout, arguments.rate)
        self.recurrent_dropout = per_layer("recurrent_dropout", recurrent_dropout, arguments.rate)
        self.kernel_regularizer = per_layer("kernel_regularizer", kernel_regularizer, arguments.regularizer)
        self.recurrent_regularizer = per_layer("recurrent_regularizer", recurrent_regularizer, arguments.regularizer)
        self.bias_regularizer = per_layer("bias_regularizer", bias_regularizer, arguments.regularizer)
        self.activity_regularizer = per_layer("activity_regularizer", activity_regularizer, arguments.regularizer)
        self.kernel_constraint = per_layer("kernel_constraint", kernel_constraint, arguments.constraint)
        self.recurrent_constraint = per_layer("recurrent_constraint", recurrent_constraint, arguments.constraint)
        self.bias_constraint = per_layer("bias_constraint", bias_constraint, arguments.constraint)
        self.activation = per_layer("activation", activation, arguments.activation)
        self.recurrent_activation = per_layer("recurrent_activation", recurrent_activation, arguments.activation)
        self.activity_steps = arguments.choice("activity_steps", activity_steps, ("all", "last"))
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = unit_forget_bias
        self.initializer = arguments.choice("initializer", initializer, ("keras", "torch"))
        self.zero_output_for_mask = zero_output_for_mask
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.per_gate_masks = per_gate_masks
        self.per_gate_input_masks = arguments.choice("per_gate_input_masks", per_gate_input_masks, (None, True, False))
        self.backend = arguments.choice("backend", backend, ("auto", *ops.BACKENDS))
        self.seed = seed
        self._check_combinations()
        cells = num_layers * self._num_directions
        self._seeds = arguments.seeds(seed, cells)
        #: How many masks each layer and direction has drawn from its seed. Not in the ``state_dict``.
        self.draws = torch.zeros(cells, dtype=torch.int64, device="cpu")
        self._carried: States | None = None
        self._activity = ActivityRecord()

        new: dict[str, Any] = {"device": device, "dtype": dtype}
        for suffix, layer in self._cells():
            width = input_size if layer == 0 else self._output_size * self._num_directions
            shapes = {"weight_ih": (4 * hidden_size, width), "weight_hh": (4 * hidden_size, self._output_size)}
            if bias:
                shapes["bias_ih"] = (4 * hidden_size,)  # type: ignore[assignment]
            if proj_size > 0:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for stem, shape in shapes.items():
                self.register_parameter(stem + suffix, nn.Parameter(torch.empty(shape, **new)))
            if bias:
                self.register_buffer(f"bias_hh{suffix}", torch.empty(4 * hidden_size, **new))
        self.reset_parameters()

    def _check_combinations(self) -> None:
        if self.bidirectional and self.go_backwards:
            raise ValueError("go_backwards must be False where bidirectional is True: that reads both ways already.")
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size must be below hidden_size={self.hidden_size}, got {self.proj_size}.")
        if self.proj_size > 0 and any(self.setting_of("recurrent_dropout", k) > 0 for k in range(self.num_layers)):
            raise ValueError(
                "recurrent_dropout must be 0 where proj_size is set: Keras has no projection, so nothing says "
                "whether the projected or the hidden units are dropped."
            )

    def setting_of(self, name: str, layer: int) -> Any:
        """Return a knob's value for one layer."""
        value = getattr(self, name)
        return value[layer] if isinstance(value, list) else value

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

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}") if self.bias else None
        return getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), bias

    def reset_parameters(self) -> None:
        """Draw new weights as the initializers say; set the second bias to zero."""
        for suffix, _ in self._cells():
            bias = getattr(self, f"bias_ih{suffix}") if self.bias else None
            self._initialize(getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), bias)
            if self.bias:
                nn.init.zeros_(getattr(self, f"bias_hh{suffix}"))
            if self.proj_size > 0:
                limit = 1.0 / math.sqrt(self.hidden_size)  # Keras has none: as nn.LSTM does
                nn.init.uniform_(getattr(self, f"weight_hr{suffix}"), -limit, limit)

    def _initialize(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> None:
        if self.initializer == "torch":
            initializers.torch_(w_ih, w_hh, bias)
            return
        self.kernel_initializer(w_ih)
        self.recurrent_initializer(w_hh)
        if bias is not None:
            self.bias_initializer(bias)
            if self.unit_forget_bias:
                with torch.no_grad():
                    bias[self.hidden_size : 2 * self.hidden_size] = 1.0

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights as ``nn.LSTM`` lists them: for each cell ``w_ih, w_hh, b_ih, b_hh, w_hr``."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        kinds += ["weight_hr"] if self.proj_size > 0 else []
        return [[getattr(self, kind + suffix) for kind in kinds] for suffix, _ in self._cells()]

    @property
    def cell_seeds(self) -> list[int] | None:
        """The seed of each layer and direction, or ``None`` for torch's global generator."""
        return self._seeds

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

        Raises:
            ValueError: If ``nn.LSTM`` has no counterpart: other activations, or ``go_backwards``.
        """
        for layer in range(self.num_layers):
            used = self.setting_of("activation", layer), self.setting_of("recurrent_activation", layer)
            if used != (torch.tanh, torch.sigmoid):
                raise ValueError("nn.LSTM has no other activations than tanh and sigmoid; export this layer itself.")
        if self.go_backwards:
            raise ValueError("nn.LSTM cannot go backwards only; flip its input, and use go_backwards=False.")
        first = self.all_weights[0][0]
        plain = nn.LSTM(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            proj_size=self.proj_size,
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
        self, input: Tensor | PackedSequence, hx: States | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """Run the layer; see the class for shapes.

        Where ``mask`` is false, states are held, and the output is the one before (zero before the first valid
        step), or zero with ``zero_output_for_mask``.
        """
        if isinstance(input, PackedSequence):
            if mask is not None:
                raise ValueError("mask must be None for a PackedSequence, whose lengths say what is valid.")
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"input must have 2 (unbatched) or 3 dimensions, got shape {tuple(input.shape)}.")
        self._check_features(input)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if batched and self.batch_first else x
        states = self._initial_states(x, hx, batched)
        valid = None if mask is None else arguments.valid_steps(mask, x, batched)
        output, h_n, c_n = self._run(x, states, valid, packed=False)
        if not batched:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    def _forward_packed(self, packed: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        self._check_features(packed.data)
        x, lengths = pad_packed_sequence(packed)  # in the caller's order of sequences
        if self.go_backwards and int(lengths.min()) < len(x):
            raise ValueError("go_backwards needs sequences of one length: reversed, their padding would come first.")
        valid = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)
        output, h_n, c_n = self._run(x, self._initial_states(x, hx, True), valid, packed=True)
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
        own = self._first_weight.dtype
        if input.dtype != own and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"input must have the weights' type {own}, got {input.dtype}. Use input.to({own}).")

    def _initial_states(self, x: Tensor, hx: States | None, batched: bool) -> States:
        cells, batch = len(self.draws), x.shape[1]
        if self.stateful and hx is None and in_backward():
            raise RuntimeError(
                "a stateful layer cannot run again during backward: activation checkpointing would begin with a "
                "later state, and get wrong gradients. Pass the states as hx instead."
            )
        if hx is None and self._carried is not None:
            if self._carried[0].shape[1] != batch:
                raise ValueError(
                    f"a stateful layer must get the same number of sequences each time, "
                    f"{self._carried[0].shape[1]}, got {batch}. Call reset_state() first."
                )
            return self._carried[0].to(x), self._carried[1].to(x)
        if hx is None:
            return tuple(x.new_zeros(cells, batch, n) for n in (self._output_size, self.hidden_size))  # type: ignore[return-value]
        for name, state, size in zip(("h_0", "c_0"), hx, (self._output_size, self.hidden_size), strict=True):
            expected = (cells, batch, size) if batched else (cells, size)
            if tuple(state.shape) != expected:
                raise ValueError(f"{name} must have shape {expected}, got {tuple(state.shape)}.")
        return hx if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))

    def reset_state(self) -> None:
        """Let a stateful layer begin with zeros again."""
        self._carried = None

    def _run(self, x: Tensor, states: States, valid: Tensor | None, *, packed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Run all layers over ``x (T, B, D)``; ``valid (T, B)`` or ``None``."""
        if not self.training and self.activity_regularizer is not None:
            self._activity.forget()
        if self._is_stock(x, valid):
            weights = self.all_weights
            x, h_n, c_n = ops.stack(x, states, weights, bias=self.bias, layers=self.num_layers)
        else:
            x, h_n, c_n = self._run_cells(x, states, valid, packed=packed)
        if self.stateful:
            self._carried = h_n.detach(), c_n.detach()
        return x, h_n, c_n

    def _is_stock(self, x: Tensor, valid: Tensor | None) -> bool:
        """Tell whether torch's own LSTM does all that a call asks for, so that it can have the whole stack."""
        drops = self.training and (self.dropout or self.recurrent_dropout or self.activity_regularizer)
        return (
            valid is None
            and not drops
            and self.activation is torch.tanh
            and self.recurrent_activation is torch.sigmoid
            and not self.go_backwards
            and self.backend in ("auto", "native")
            and x.numel() > 0
            and not is_compiling()
        )

    def _run_cells(
        self, x: Tensor, states: States, valid: Tensor | None, *, packed: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.go_backwards and valid is not None:
            valid = valid.flip(0)
        finals: list[tuple[Tensor, Tensor]] = []
        for layer in range(self.num_layers):
            if self.go_backwards:
                x = x.flip(0)
            outputs = []
            for direction in range(self._num_directions):
                cell = layer * self._num_directions + direction
                held, h_n, c_n = self._run_cell(cell, x, states[0][cell], states[1][cell], valid)
                output = held
                if valid is not None and not packed and (self.zero_output_for_mask or self.bidirectional):
                    output = held * valid.unsqueeze(-1)
                if self.training and self.setting_of("activity_regularizer", layer) is not None:
                    counted = self._counted(layer, direction, held, output, valid if packed else None)
                    self._activity.add(self.setting_of("activity_regularizer", layer), counted, x.shape[1])
                outputs.append(output)
                finals.append((h_n, c_n))
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        h_n, c_n = (_stack(states) for states in zip(*finals, strict=True))
        return x, h_n, c_n

    def _counted(self, layer: int, direction: int, held: Tensor, output: Tensor, valid: Tensor | None) -> Tensor:
        """Return what the activity regularizer of a layer looks at: all steps, the valid ones, or the last."""
        if self.activity_steps == "all" or layer < self.num_layers - 1:
            return output if valid is None else output[valid]
        # Keras' Bidirectional zeroes its sequences, but not what return_sequences=False returns.
        shown = output if self.zero_output_for_mask and not self.bidirectional else held
        return shown[-1 if direction == 0 else 0]

    def _run_cell(
        self, cell: int, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer, direction = divmod(cell, self._num_directions)
        suffix = f"_l{layer}" + ("_reverse" if direction == 1 else "")
        w_ih, w_hh, bias = self._weights(suffix)
        input_mask, recurrent_mask = self._draw_masks(cell, layer, x) if self.training else (None, None)
        return ops.lstm(
            x,
            h_0,
            c_0,
            w_ih,
            w_hh,
            bias,
            w_hr=getattr(self, f"weight_hr{suffix}") if self.proj_size > 0 else None,
            input_mask=input_mask,
            recurrent_mask=recurrent_mask,
            valid=valid,
            reverse=direction == 1,
            activations=(self.setting_of("activation", layer), self.setting_of("recurrent_activation", layer)),
            backend=self.backend,
        )

    # ------------------------------------------------------------------ dropout

    def _draw_masks(self, cell: int, layer: int, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Draw the masks of one call, in Keras' order: all of the input, then all of the recurrence."""
        of_input, of_state = self.masks_drawn(layer)
        return (
            self._draw(cell, self.setting_of("dropout", layer), of_input, x, x.shape[-1]),
            self._draw(cell, self.setting_of("recurrent_dropout", layer), of_state, x, self.hidden_size),
        )

    def masks_drawn(self, layer: int) -> tuple[int, int]:
        """Return how many masks a layer draws for each sequence, of its input and of its recurrence: 0, 1 or 4."""
        of_state = 0
        if self.setting_of("recurrent_dropout", layer) > 0:
            of_state = 4 if self.per_gate_masks else 1
        if self.setting_of("dropout", layer) == 0:
            return 0, of_state
        per_gate = of_state == 4 if self.per_gate_input_masks is None else self.per_gate_input_masks
        return 4 if per_gate else 1, of_state

    def _draw(self, cell: int, rate: float, groups: int, x: Tensor, width: int) -> Tensor | None:
        if groups == 0:
            return None
        if self._seeds is None:
            return masks.draw_mask(rate, groups, x.shape[1], width, device=x.device, dtype=x.dtype)
        if in_backward():
            raise RuntimeError(
                "seeded dropout masks cannot be drawn again during backward: activation checkpointing would "
                "get other masks, and so wrong gradients. Use seed=None, which checkpointing restores."
            )
        return masks.draw_keras_mask(
            rate,
            groups,
            x.shape[1],
            width,
            seed=self._seeds[cell],
            draws=self.draws[cell],
            device=x.device,
            dtype=x.dtype,
        )

    # ------------------------------------------------------------------ penalties

    def penalty(self) -> Tensor:
        """Return the total of this layer's penalties, a scalar to add to the loss.

        Weight penalties are those of the weights as they are now, once for each trainable parameter.
        Activity penalties are those of the training-mode forwards since the last reading: reading does not
        clear them, the first forward after it begins anew, and eval mode records none.
        """
        terms = list(self.penalty_terms())
        return totals(terms, ["total"] * len(terms))["total"] if terms else self._zero()

    def penalty_terms(self) -> Iterator[Term]:
        """Yield each penalty, for :func:`lstmreg.penalties`."""
        for suffix, layer in self._cells():
            for kind, stem in _PENALISED.items():
                name = stem + suffix
                regularizer = self.setting_of(f"{kind}_regularizer", layer)
                if regularizer is not None and (kind != "bias" or self.bias) and is_trainable(self, name):
                    weight = getattr(self, name)
                    as_it_is = isinstance(regularizer, ELASTIC) and kind != "bias"
                    yield Term(kind, weight, regularizer, weight if as_it_is else self._as_in_keras(name, weight))
        if any(self.setting_of("activity_regularizer", layer) is not None for layer in range(self.num_layers)):
            # Before the first forward there is nothing, which costs nothing, but the kind is there.
            yield from self._activity.read() or [Term("activity", self, L1L2(), self._zero())]

    def _as_in_keras(self, name: str, weight: Tensor) -> Tensor:
        """Return a weight in Keras' layout: a matrix transposed, the bias as the sum of both."""
        return weight + getattr(self, name.replace("bias_ih", "bias_hh")) if "bias" in name else weight.t()

    @torch.no_grad()
    def apply_constraints(self) -> None:
        """Project each constrained weight that has a gradient, as Keras does after each optimizer step."""
        for suffix, layer in self._cells():
            for kind, stem in _PENALISED.items():
                constraint = self.setting_of(f"{kind}_constraint", layer)
                weight = getattr(self, stem + suffix, None)
                if constraint is not None and weight is not None and weight.grad is not None:
                    projected = constraint(self._as_in_keras(stem + suffix, weight))
                    if kind == "bias":
                        projected = projected - getattr(self, f"bias_hh{suffix}")
                    weight.copy_(projected if kind == "bias" else projected.t())

    @property
    def _first_weight(self) -> Tensor:
        weight: Tensor = self.weight_ih_l0  # type: ignore[assignment]
        return weight

    def _zero(self) -> Tensor:
        return self._first_weight.new_zeros(())

    # ------------------------------------------------------------------ being a module

    def extra_repr(self) -> str:
        """Show the sizes, and of the knobs those that are turned."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in _SHOWN.items():
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={_spoken(value)}")
        return ", ".join(shown)


#: The kinds of weights that have regularizers and constraints, and torch's names of them.
_PENALISED = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}

_SHOWN = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "recurrent_dropout": 0.0,
    "kernel_regularizer": None,
    "recurrent_regularizer": None,
    "bias_regularizer": None,
    "activity_regularizer": None,
    "activity_steps": "all",
    "kernel_constraint": None,
    "recurrent_constraint": None,
    "bias_constraint": None,
    "activation": torch.tanh,
    "recurrent_activation": torch.sigmoid,
    "zero_output_for_mask": False,
    "go_backwards": False,
    "stateful": False,
    "per_gate_masks": True,
    "per_gate_input_masks": None,
    "seed": None,
}


def _stack(states: tuple[Tensor, ...]) -> Tensor:
    return states[0].unsqueeze(0) if len(states) == 1 else torch.stack(states)


def _spoken(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_spoken, value))}]"
    return repr(activations.name_of(value) or value)
