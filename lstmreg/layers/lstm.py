"""``LSTM``: in place of ``torch.nn.LSTM``, with Keras' six places to fight overfitting."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmreg import initializers, ops
from lstmreg.activations import Activation
from lstmreg.constraints import Constraint
from lstmreg.errors import InputError
from lstmreg.regularizers import L1L2, Regularizer
from lstmreg.tracing import in_backward, in_forward_mode, in_vmap, is_compiling, is_recorded, is_symbolic

from . import arguments
from .arguments import Named, PerLayer
from .penalty import ActivityRecord, Term, tensor_of, totals
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
        backend: ``"auto"``, ``"native"``, ``"fused_cpu"``, ``"fused_triton"``, ``"eager"`` or ``"reference"``: what
            computes the recurrence; see :func:`lstmreg.ops.lstm`. Default: ``"auto"``, the fastest that can.

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
        given = locals()
        super().__init__()
        for name in arguments.SETTINGS:  # sizes first, since what follows is checked against them
            setattr(self, name, given[name])
        self.seed = seed
        self._carried: States | None = None
        self._activity = ActivityRecord()
        #: Whether a forward pass with gradients has used the weights, so that an optimizer may have moved them.
        self._was_used = False

        for cell in self.cells():
            cell.make_weights(device=device, dtype=dtype)
        self.reset_parameters()

    # ------------------------------------------------------------------ weights

    def reset_parameters(self) -> None:
        """Draw new weights as the initializers say; set the second bias to zero, unless they are torch's."""
        if self.initializer == "torch":
            initializers.torch_(self._flat_weights, self.hidden_size)
            return
        for cell in self.cells():
            cell.reset_parameters()

    def to_torch(self) -> nn.LSTM:
        """Copy the weights into a plain ``nn.LSTM`` that gives this layer's outputs in eval mode.

        Train regularized, deploy stock. The copy has no dropout, lies on the same device, and is in eval
        mode if this layer is.

        Raises:
            ValueError: If ``nn.LSTM`` has no counterpart: other activations, or ``go_backwards``.
        """
        if any(cell.activations != (torch.tanh, torch.sigmoid) for cell in self.cells()):
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
        if not isinstance(input, Tensor):
            if is_symbolic(input):
                return self._as_leaf(input, hx=hx, mask=mask)  # type: ignore[no-any-return]
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
        cells = self.num_layers * self.directions
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
        sizes = self.output_size, self.hidden_size
        if hx is None and sizes[0] == sizes[1]:
            return (like.new_zeros(cells, batch, sizes[0]),) * 2  # nothing writes into them
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
        if not self._turned.isdisjoint(_CONSTRAINTS) and torch.is_grad_enabled():
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
            and self._turned.isdisjoint(_NOT_STOCK_IN_TRAINING if self.training else _NOT_STOCK)
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
            for cell in self.cells_of(layer):
                h_0 = states[0][cell.index]
                c_0 = h_0 if states[1] is states[0] else states[1][cell.index]
                regularizer = cell.plan.activity if self.training else None
                if regularizer is None:
                    held, h_n, c_n = cell.run(x, h_0, c_0, valid)
                else:
                    (held, h_n, c_n), bill = cell.run_penalised(x, h_0, c_0, valid)
                output = held
                if valid is not None and not packed and (self.zero_output_for_mask or self.bidirectional):
                    output = held * valid.unsqueeze(-1)
                if regularizer is not None:
                    penalised = cell.penalised_output(held, output, valid if packed else None)
                    self._activity.add(regularizer, penalised, x.shape[1], bill)
                outputs.append(output)
                finals.append((h_n, c_n))
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if len(finals) == 1:
            return x, finals[0][0].unsqueeze(0), finals[0][1].unsqueeze(0)
        h_n, c_n = (torch.stack(states) for states in zip(*finals, strict=True))
        return x, h_n, c_n

    # ------------------------------------------------------------------ penalties

    def penalty(self) -> Tensor:
        """Return the total of this layer's penalties, a scalar to add to the loss.

        Weight penalties are those of the weights as they are now, once for each trainable parameter.
        Activity penalties are those of the training-mode forwards since the last reading: reading does not
        clear them, the first forward after it begins anew, and eval mode records none. Of a forward without
        gradients the value alone is kept, and not its output.
        """
        if (formed := self._formed_total()) is not None:
            return formed
        terms = list(self.penalty_terms())
        return totals(terms, ["total"] * len(terms))["total"] if terms else self._zero()

    def penalty_terms(self) -> Iterator[Term]:
        """Yield each penalty, for :func:`lstmreg.penalties`."""
        cells = self.cells()
        bills = {bill.index: bill for bill in self._activity.bills()}
        for cell in cells:
            yield from cell.penalty_terms(bills.get(cell.index))
        if any(cell.setting("activity_regularizer") is not None for cell in cells):
            # Before the first forward there is nothing, which costs nothing, but the kind is there.
            yield from self._activity.read() or [Term("activity", self, L1L2(), self._zero())]

    def _formed_total(self) -> Tensor | None:
        """Return the total as one pass has formed it along with its results, if it is what it would be now."""
        bills, cells = self._activity.bills(), self.cells()
        if len(bills) != len(cells):
            return None
        for cell, bill in zip(cells, bills, strict=True):
            if bill.index != cell.index or not (bill.is_whole and bill.stands(cell.charges(cell.plan))):
                return None
        return functools.reduce(torch.add, [bill.total for bill in bills])

    @torch.no_grad()
    def apply_constraints(self) -> None:
        """Project each constrained weight that is trained, as Keras does after each optimizer step.

        Keras projects what the optimizer updated, and so leaves frozen weights alone, and those that never had a
        gradient. Here a weight is projected if it is trainable and has a gradient now, or the layer has run with
        gradients before; whether they were set to zero in between does not matter.
        """
        for cell in self.cells():
            cell.apply_constraints(self._was_used)

    @property
    def _first_weight(self) -> Tensor:
        return tensor_of(self, "weight_ih_l0")

    def _zero(self) -> Tensor:
        return self._first_weight.new_zeros(())


_CONSTRAINTS = frozenset({"kernel_constraint", "recurrent_constraint", "bias_constraint"})

#: What torch's own LSTM has not.
_NOT_STOCK = frozenset({"activation", "recurrent_activation", "go_backwards"})
_NOT_STOCK_IN_TRAINING = _NOT_STOCK | {"dropout", "recurrent_dropout", "activity_regularizer"}
