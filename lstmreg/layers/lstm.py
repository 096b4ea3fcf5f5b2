"""``LSTM``: in place of ``torch.nn.LSTM``, with Keras' six places to fight overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmreg import activations, initializers, ops
from lstmreg import dropout as masks
from lstmreg.activations import Activation
from lstmreg.constraints import Constraint
from lstmreg.errors import InputError
from lstmreg.regularizers import ELASTIC, L1L2, Regularizer
from lstmreg.tracing import in_backward, in_forward_mode, in_vmap, is_compiling, is_recorded, is_symbolic

from . import arguments
from .arguments import Named, PerLayer
from .penalty import ActivityRecord, Term, is_trainable, totals
from .stand_in import StandIn

States = tuple[Tensor, Tensor]


class LSTM(StandIn):
    r"""Long short-term memory layer with Keras' penalties and variational dropout.

    .. math:: c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t)

    It takes what ``torch.nn.LSTM`` takes and returns what it returns, and with every knob at its default it
    gives the same numbers for the same weights. Three points differ: ``dropout`` has Keras' meaning; new
    layers start from Keras' initializers; and there is one trainable bias (the Parameter ``bias_ih_l*``;
    ``bias_hh_l*`` is a buffer that stays zero unless somebody writes it).

    A knob marked *per layer* takes one value for the whole stack or a list with one for each layer. Every setting can
    be set later, as an attribute, and is checked then as it is here. Activations,
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
        device: Where the weights are made.
        dtype: Their type.
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
        initializer: ``"keras"`` for these, or ``"torch"`` for ``nn.LSTM``'s weights in place of them: the same
            numbers after the same ``torch.manual_seed``, in both biases. Default: ``"keras"``.
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

    Shape:
        ``input`` ``(T, B, D)``, or ``(B, T, D)`` if ``batch_first``, or ``(T, D)``, or a ``PackedSequence``;
        ``(h_0, c_0)`` ``(layers * directions, B, H)`` each, without ``B`` for unbatched input; ``mask``
        ``(B, T)`` or ``(B, T, 1)``, ``(T)`` for unbatched input, true where a step is valid.
        ``output`` ``(T, B, directions * H)``; ``(h_n, c_n)`` as ``(h_0, c_0)``.

    Raises:
        ValueError: If a size is below 1, a rate lies outside ``[0, 1)``, or a choice is unknown.
        TypeError: If a flag is none, or an activation, initializer, regularizer or constraint is neither a name nor
            callable.
        InputError: Both a ``ValueError`` and a ``RuntimeError``, as ``nn.LSTM`` raises, if a shape or type does not
            fit the layer, or there is no step.

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
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
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
    ) -> None:
        super().__init__()
        #: The settings that some layer has not at their defaults.
        self._turned: frozenset[str] = frozenset()
        self.num_layers = num_layers  # first, since lists are checked against it
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.recurrent_dropout = recurrent_dropout
        self.kernel_regularizer = kernel_regularizer
        self.recurrent_regularizer = recurrent_regularizer
        self.bias_regularizer = bias_regularizer
        self.activity_regularizer = activity_regularizer
        self.activity_steps = activity_steps
        self.kernel_constraint = kernel_constraint
        self.recurrent_constraint = recurrent_constraint
        self.bias_constraint = bias_constraint
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.kernel_initializer = kernel_initializer
        self.recurrent_initializer = recurrent_initializer
        self.bias_initializer = bias_initializer
        self.unit_forget_bias = unit_forget_bias
        self.initializer = initializer
        self.zero_output_for_mask = zero_output_for_mask
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.per_gate_masks = per_gate_masks
        self.per_gate_input_masks = per_gate_input_masks
        self.backend = backend
        self.seed = seed
        self._carried: States | None = None
        self._activity = ActivityRecord()
        #: Whether a forward pass with gradients has used the weights, so that an optimizer may have moved them.
        self._was_used = False

        new: dict[str, Any] = {"device": device, "dtype": dtype}
        for suffix, layer in self._cells():
            width = input_size if layer == 0 else self._output_size * self._num_directions
            shapes = {"weight_ih": (4 * hidden_size, width), "weight_hh": (4 * hidden_size, self._output_size)}
            if self.bias:
                shapes["bias_ih"] = (4 * hidden_size,)  # type: ignore[assignment]
            if proj_size > 0:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for stem, shape in shapes.items():
                self.register_parameter(stem + suffix, nn.Parameter(torch.empty(shape, **new)))
            if self.bias:
                self.register_buffer(f"bias_hh{suffix}", torch.empty(4 * hidden_size, **new))
        self.reset_parameters()

    # What the arguments become; settled, whenever they are set.
    dropout: Any
    recurrent_dropout: Any
    kernel_regularizer: Any
    recurrent_regularizer: Any
    bias_regularizer: Any
    activity_regularizer: Any
    activity_steps: str
    kernel_constraint: Any
    recurrent_constraint: Any
    bias_constraint: Any
    activation: Any
    recurrent_activation: Any
    kernel_initializer: Any
    recurrent_initializer: Any
    bias_initializer: Any
    unit_forget_bias: bool
    initializer: str
    zero_output_for_mask: bool
    go_backwards: bool
    stateful: bool
    per_gate_masks: bool
    per_gate_input_masks: bool | None
    backend: str
    seed: Any
    #: How many masks each layer and direction has drawn from its seed. Not in the ``state_dict``.
    draws: Tensor

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "seed":
            cells = self.num_layers * self._num_directions
            self._seeds = arguments.seeds(value, cells)
            self.draws = torch.zeros(cells, dtype=torch.int64, device="cpu")
        elif name in arguments.SETTINGS:
            value = arguments.settle(name, value, vars(self))
        super().__setattr__(name, value)
        if name in _DEFAULTS:
            is_left = all(v == _DEFAULTS[name] for v in (value if isinstance(value, tuple) else [value]))
            self._turned = self._turned - {name} if is_left else self._turned | {name}

    def setting_of(self, name: str, layer: int) -> Any:
        """Return a knob's value for one layer."""
        value = getattr(self, name)
        return value[layer] if isinstance(value, tuple) else value

    # ------------------------------------------------------------------ weights

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}") if self.bias else None
        return getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), bias

    def reset_parameters(self) -> None:
        """Draw new weights as the initializers say; set the second bias to zero, unless they are torch's."""
        if self.initializer == "torch":
            initializers.torch_(self._flat_weights, self.hidden_size)
            return
        for suffix, _ in self._cells():
            self.kernel_initializer(getattr(self, f"weight_ih{suffix}"))
            self.recurrent_initializer(getattr(self, f"weight_hh{suffix}"))
            if self.bias:
                self._initialize_biases(getattr(self, f"bias_ih{suffix}"), getattr(self, f"bias_hh{suffix}"))
            if self.proj_size > 0:
                limit = 1.0 / math.sqrt(self.hidden_size)  # Keras has none: as nn.LSTM does
                nn.init.uniform_(getattr(self, f"weight_hr{suffix}"), -limit, limit)

    @torch.no_grad()
    def _initialize_biases(self, trained: Tensor, second: Tensor) -> None:
        self.bias_initializer(trained)
        if self.unit_forget_bias:
            trained[self.hidden_size : 2 * self.hidden_size] = 1.0
        nn.init.zeros_(second)

    @property
    def cell_seeds(self) -> list[int] | None:
        """The seed of each layer and direction, or ``None`` for torch's global generator."""
        return self._seeds

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
        if is_symbolic(input):
            return self._as_leaf(input, hx=hx, mask=mask)  # type: ignore[no-any-return]
        if isinstance(input, PackedSequence):
            if mask is not None:
                raise ValueError("mask must be None for a PackedSequence, whose lengths say what is valid.")
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise InputError(f"input must have 2 (unbatched) or 3 dimensions, got shape {tuple(input.shape)}.")
        self._check_features(input)
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if batched and self.batch_first else x
        if not is_recorded() and x.shape[0] == 0:
            raise InputError(f"input must have at least one step, got shape {tuple(input.shape)}.")
        states = self._initial_states(x, x.shape[1], hx, batched)
        valid = None if mask is None else arguments.valid_steps(mask, x, batched)
        self._begin()
        if self._is_stock(x, valid):
            output, h_n, c_n = ops.stack(x, states, self.all_weights, bias=self.bias, layers=self.num_layers)
        else:
            output, h_n, c_n = self._run_cells(x, states, valid, packed=False)
        self._carry(h_n, c_n)
        if not batched:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    def _forward_packed(self, packed: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        self._check_features(packed.data)
        # A tensor, not a number, so that a trace is not bound to it.
        states = self._initial_states(packed.data, packed.batch_sizes[0], hx, True)  # type: ignore[arg-type]
        self._begin()
        if self._is_stock(packed.data, None):
            output, h_n, c_n = ops.stack(
                packed.data,
                self.permute_hidden(states, packed.sorted_indices),
                self.all_weights,
                bias=self.bias,
                layers=self.num_layers,
                batch_sizes=packed.batch_sizes,
            )
            h_n, c_n = self.permute_hidden((h_n, c_n), packed.unsorted_indices)
        else:
            output, h_n, c_n = self._run_packed_cells(packed, states)
        self._carry(h_n, c_n)
        return packed._replace(data=output), (h_n, c_n)

    def _run_packed_cells(self, packed: PackedSequence, states: States) -> tuple[Tensor, Tensor, Tensor]:
        """Run all layers over the sequences as padded, in the caller's order; return the output's rows as packed."""
        x, lengths = pad_packed_sequence(packed)
        if self.go_backwards and int(lengths.min()) < len(x):
            raise ValueError("go_backwards needs sequences of one length: reversed, their padding would come first.")
        valid = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)
        output, h_n, c_n = self._run_cells(x, states, valid, packed=True)
        if packed.sorted_indices is not None:
            output = output.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        return pack_padded_sequence(output, lengths).data, h_n, c_n

    def _check_features(self, input: Tensor) -> None:
        # torch.jit.trace has tensors for sizes, which a check would bind to what they are now; so too below.
        if not is_recorded() and input.shape[-1] != self.input_size:
            raise InputError(
                f"input must have input_size={self.input_size} features in its last dimension, "
                f"got shape {tuple(input.shape)}."
            )
        own = self._first_weight.dtype
        if input.dtype != own and not torch.is_autocast_enabled(input.device.type):
            raise InputError(f"input must have the weights' type {own}, got {input.dtype}. Use input.to({own}).")

    def _initial_states(self, like: Tensor, batch: int, hx: States | None, batched: bool) -> States:
        cells = self.num_layers * self._num_directions
        if self.stateful and hx is None and in_backward():
            raise RuntimeError(
                "a stateful layer cannot run again during backward: activation checkpointing would begin with a "
                "later state, and get wrong gradients. Pass the states as hx instead."
            )
        if hx is None and self._carried is not None:
            if self._carried[0].shape[1] != batch:
                raise InputError(
                    f"a stateful layer must get the same number of sequences each time, "
                    f"{self._carried[0].shape[1]}, got {int(batch)}. Call reset_state() first."
                )
            return self._carried[0].to(like), self._carried[1].to(like)
        sizes = self._output_size, self.hidden_size
        if hx is None:
            return like.new_zeros(cells, batch, sizes[0]), like.new_zeros(cells, batch, sizes[1])
        for name, state, size in zip(("h_0", "c_0"), hx, sizes, strict=True):
            expected = (cells, batch, size) if batched else (cells, size)
            if not is_recorded() and tuple(state.shape) != expected:
                raise InputError(f"{name} must have shape {tuple(map(int, expected))}, got {tuple(state.shape)}.")
            if state.dtype != like.dtype and not torch.is_autocast_enabled(like.device.type):
                raise InputError(f"{name} must have the input's type {like.dtype}, got {state.dtype}.")
        return (hx[0], hx[1]) if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))

    def _begin(self) -> None:
        """Note that a call begins."""
        if not self.training and self.activity_regularizer is not None:
            self._activity.forget()
        if self._turned & _CONSTRAINTS and torch.is_grad_enabled():
            self._was_used = True

    def _carry(self, h_n: Tensor, c_n: Tensor) -> None:
        """Keep the last states for the next call, if it shall begin with them."""
        if self.stateful:
            self._carried = h_n.detach(), c_n.detach()

    def reset_state(self) -> None:
        """Let a stateful layer begin with zeros again."""
        self._carried = None

    def _is_stock(self, x: Tensor, valid: Tensor | None) -> bool:
        """Tell whether torch's own LSTM does all that a call asks for, so that it can have the whole stack."""
        return (
            valid is None
            and not self._turned & (_NOT_STOCK_IN_TRAINING if self.training else _NOT_STOCK)
            and self.backend in ("auto", "native")
            and (is_recorded() or x.numel() > 0)
            and not (is_compiling() or in_vmap() or in_forward_mode())
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
        clear them, the first forward after it begins anew, and eval mode records none. Of a forward without
        gradients the value alone is kept, and not its output.
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
        """Project each constrained weight that is trained, as Keras does after each optimizer step.

        Keras projects what the optimizer updated, and so leaves frozen weights alone, and those that never had a
        gradient. Here a weight is projected if it is trainable and has a gradient now, or the layer has run with
        gradients before; whether they were set to zero in between does not matter.
        """
        for suffix, layer in self._cells():
            for kind, stem in _PENALISED.items():
                name = stem + suffix
                constraint = self.setting_of(f"{kind}_constraint", layer)
                if constraint is None or (kind == "bias" and not self.bias) or not is_trainable(self, name):
                    continue
                weight: Tensor = getattr(self, name)
                if not (self._was_used or weight.grad is not None):
                    continue
                projected = constraint(self._as_in_keras(name, weight))
                projected = projected - getattr(self, f"bias_hh{suffix}") if kind == "bias" else projected.t()
                if parametrize.is_parametrized(self, name):
                    setattr(self, name, projected)  # by way of the parametrization's right_inverse
                else:
                    weight.copy_(projected)

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
        shown += [f"{name}={_spoken(getattr(self, name))}" for name in _DEFAULTS if name in self._turned]
        return ", ".join(shown)


#: The kinds of weights that have regularizers and constraints, and torch's names of them.
_PENALISED = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}

#: The settings that a layer shows when they are turned.
_DEFAULTS: dict[str, Any] = {
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


_CONSTRAINTS = frozenset({"kernel_constraint", "recurrent_constraint", "bias_constraint"})

#: What torch's own LSTM has not.
_NOT_STOCK = frozenset({"activation", "recurrent_activation", "go_backwards"})
_NOT_STOCK_IN_TRAINING = _NOT_STOCK | {"dropout", "recurrent_dropout", "activity_regularizer"}


def _stack(states: tuple[Tensor, ...]) -> Tensor:
    return states[0].unsqueeze(0) if len(states) == 1 else torch.stack(states)


def _spoken(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_spoken, value))}]"
    return repr(activations.name_of(value) or value)
