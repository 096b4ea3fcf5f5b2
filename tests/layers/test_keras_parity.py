"""The installed Keras as a live oracle: with the same weights and seeds, every number comes out equal."""

from __future__ import annotations

from dataclasses import asdict

import keras
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lstmreg import L1, L1L2, L2, LSTM, penalties
from lstmreg.dropout import draw_keras_mask

B, T, D, H = 4, 7, 3, 5
LENGTHS = torch.tensor([5, 3, 7, 1])  # to sort them is not to swap them
VALID = torch.arange(T) < LENGTHS.unsqueeze(1)  # (B, T)
SEEDS = [5, 1000, 2000, 3000]  # further apart than a test draws
REGULARIZERS = {
    "kernel_regularizer": L1(0.125),
    "recurrent_regularizer": L2(0.25),
    "bias_regularizer": L1L2(0.0625, 0.5),
    "activity_regularizer": L2(0.375),
}
KERAS_REGULARIZERS = {
    name: getattr(keras.regularizers, type(r).__name__)(**asdict(r)) for name, r in REGULARIZERS.items()
}


def make_lstm(num_layers: int, bidirectional: bool, dropout: float, recurrent_dropout: float, **options) -> LSTM:
    lstm = LSTM(
        D,
        H,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        seed=SEEDS[: num_layers * (1 + bidirectional)],
        **REGULARIZERS,
        **options,
    )
    for parameter in lstm.parameters():
        nn.init.normal_(parameter, std=0.5)
    return lstm


class KerasStack:
    """Keras layers with the weights, rates and seeds of ``ours``."""

    def __init__(self, ours: LSTM, return_sequences: bool = True) -> None:
        self.layers, self.rnns = [], []
        dtype = str(ours.weight_ih_l0.dtype).removeprefix("torch.")
        for layer in range(ours.num_layers):
            lstm = keras.layers.LSTM(
                H,
                dropout=ours.dropout,
                recurrent_dropout=ours.recurrent_dropout,
                return_sequences=return_sequences or layer < ours.num_layers - 1,
                return_state=True,
                seed=0,
                dtype=dtype,
                **KERAS_REGULARIZERS,
            )
            whole = keras.layers.Bidirectional(lstm, dtype=dtype) if ours.bidirectional else lstm
            whole.build((B, T, getattr(ours, f"weight_ih_l{layer}").shape[1]))
            self.layers.append(whole)
            self.rnns.append([whole.forward_layer, whole.backward_layer] if ours.bidirectional else [lstm])
        cells = [rnn for rnns in self.rnns for rnn in rnns]
        for rnn, seed, (w_ih, w_hh, b_ih, _) in zip(cells, ours.seed, ours.all_weights, strict=True):
            rnn.set_weights([w.detach().numpy() for w in (w_ih.T, w_hh.T, b_ih)])
            rnn.cell.seed_generator.state.assign([seed, 0])
        self.parameters = [v.value for rnn in cells for v in rnn.trainable_variables]

    def __call__(self, x: Tensor, h_0: Tensor, c_0: Tensor, mask: Tensor | None):
        finals, activity = [], 0.0
        for layer, rnns in zip(self.layers, self.rnns, strict=True):
            done = len(finals) // 2
            initial = [s[cell] for cell in range(done, done + len(rnns)) for s in (h_0, c_0)]
            x, *states = layer(x, initial_state=initial, mask=mask, training=True)
            finals += states
            activity = activity + self._activity(rnns, x, mask)
        return x, torch.stack(finals[::2]), torch.stack(finals[1::2]), activity

    def _activity(self, rnns, y: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and y.dim() == 3:  # Keras also counts the padding; we do not
            return REGULARIZERS["activity_regularizer"].l2 * y[mask].square().sum() / B
        # A layer that returns its states is penalised for them as well: y, h, c, then the weights.
        return sum(rnn.losses[0] for rnn in rnns)

    def penalties(self) -> dict[str, Tensor]:
        of_weights = [rnn.losses[-3:] for rnns in self.rnns for rnn in rnns]
        kinds = ("kernel", "recurrent", "bias")
        return dict(zip(kinds, map(sum, zip(*of_weights, strict=True)), strict=True))


def assert_equal(ours: LSTM, oracle: KerasStack, padded: bool, tolerance: float, last: bool = False) -> None:
    """One training call of both: outputs, states, penalties, and the gradient of all of them together."""
    dtype = ours.weight_ih_l0.dtype
    cells = len(ours.seed)
    shapes = {"x": (B, T, D), "h_0": (cells, B, H), "c_0": (cells, B, H)}
    inputs = {name: torch.randn(shape, dtype=dtype, requires_grad=True) for name, shape in shapes.items()}
    cotangents: dict[str, Tensor] = {}

    def measure(output, h_n, c_n, costs, parameters) -> dict[str, Tensor]:
        found = {"output": output, "h_n": h_n, "c_n": c_n}
        loss = sum(costs.values())
        for name, value in found.items():
            loss = loss + (value * cotangents.setdefault(name, torch.randn_like(value))).sum()
        leaves = inputs | dict(zip(dict(ours.named_parameters()), parameters, strict=True))
        return found | costs | dict(zip(leaves, torch.autograd.grad(loss, leaves.values()), strict=True))

    x, h_0, c_0 = inputs.values()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False) if padded else x
    output, (h_n, c_n) = ours(packed, (h_0, c_0))
    if padded:
        output, _ = pad_packed_sequence(output, batch_first=True)
    if last:
        output = h_n[-(cells // ours.num_layers) :].transpose(0, 1).flatten(1)
    got = measure(output, h_n, c_n, penalties(ours), list(ours.parameters()))

    y, h, c, activity = oracle(x, h_0, c_0, VALID if padded else None)
    if padded and not last:
        y = y * VALID.unsqueeze(-1)  # Keras holds the last output over the padding
    expected = measure(y, h, c, oracle.penalties() | {"activity": activity}, oracle.parameters)
    expected = {name: v.T if name.startswith("weight") else v for name, v in expected.items()}
    # Keras rounds activity penalties to float32, whatever the layer's type.
    activities = [found.pop("activity").float() for found in (got, expected)]
    torch.testing.assert_close(*activities, rtol=2e-6, atol=0)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("dropout", "recurrent_dropout"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.4), (0.3, 0.4)])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_everything_equals_keras_call_after_call(num_layers, bidirectional, dropout, recurrent_dropout, padded):
    ours = make_lstm(num_layers, bidirectional, dropout, recurrent_dropout)
    oracle = KerasStack(ours)
    for _ in range(3):
        assert_equal(ours, oracle, padded, tolerance=5e-6)


# With recurrent dropout Keras takes a loop that multiplies matrices in float32 whatever the layer's type.
@pytest.mark.parametrize(("recurrent_dropout", "tolerance"), [(0.0, 1e-12), (0.4, 5e-6)])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_everything_equals_keras_in_float64(bidirectional, recurrent_dropout, tolerance):
    ours = make_lstm(2, bidirectional, 0.3, recurrent_dropout, dtype=torch.float64)
    oracle = KerasStack(ours)
    for _ in range(3):
        assert_equal(ours, oracle, padded=False, tolerance=tolerance)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_activity_of_last_steps_is_that_of_a_layer_without_sequences(num_layers, bidirectional, padded):
    ours = make_lstm(num_layers, bidirectional, 0.3, 0.4, activity_steps="last")
    assert_equal(ours, KerasStack(ours, return_sequences=False), padded, tolerance=5e-6, last=True)


def test_keras_counts_the_padding_as_activity_and_we_do_not():
    ours = make_lstm(1, False, 0.0, 0.0)
    oracle = KerasStack(ours)
    x, zeros = torch.randn(B, T, D), torch.zeros(1, B, H)
    ours(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))
    y, *_ = oracle(x, zeros, zeros, VALID)
    held = REGULARIZERS["activity_regularizer"].l2 * y[~VALID].square().sum() / B
    assert held > 0.1
    theirs = oracle.rnns[0][0].losses[0]
    torch.testing.assert_close(penalties(ours)["activity"], theirs - held, rtol=1e-5, atol=1e-6)


def test_one_seed_in_keras_bidirectional_is_that_seed_for_both_directions():
    theirs = keras.layers.Bidirectional(
        keras.layers.LSTM(H, dropout=0.3, recurrent_dropout=0.4, return_sequences=True, seed=7)
    )
    theirs.build((B, T, D))
    ours = LSTM(
        D,
        H,
        batch_first=True,
        bidirectional=True,
        dropout=0.3,
        recurrent_dropout=0.4,
        seed=[7, 7],
        bias=False,
    )
    weights = [w.detach() for pair in ours.all_weights for w in (pair[0].T, pair[1].T, torch.zeros(4 * H))]
    theirs.set_weights([w.numpy() for w in weights])
    for _ in range(3):
        x = torch.randn(B, T, D)
        torch.testing.assert_close(ours(x)[0], theirs(x, training=True), rtol=1e-5, atol=1e-6)


def test_a_mask_of_the_input_for_each_gate_and_none_of_the_recurrence_is_keras_implementation_1():
    # Keras' fused way does not know what to do with four masks; its cell does.
    settings = {"implementation": 1, "use_cudnn": False, "return_sequences": True}
    theirs = keras.layers.LSTM(H, dropout=0.4, seed=0, **settings)
    theirs.build((B, T, D))
    theirs.cell.seed_generator.state.assign([11, 0])
    ours = LSTM(D, H, batch_first=True, dropout=0.4, per_gate_input_masks=True, seed=11)
    theirs.set_weights([w.detach().numpy().T for w in ours.all_weights[0][:3]])
    for _ in range(3):
        x = torch.randn(B, T, D)
        torch.testing.assert_close(ours(x)[0], theirs(x, training=True), rtol=1e-5, atol=1e-6)


def test_tied_masks_follow_a_loop_written_by_hand():
    p_x, p_h, seed = 0.3, 0.4, 11
    lstm = LSTM(D, H, dropout=p_x, recurrent_dropout=p_h, per_gate_masks=False, seed=seed)

    def draw(k: int, width: int, p: float) -> Tensor:
        return torch.bernoulli(torch.full((B, width), 1 - p), generator=torch.Generator().manual_seed(seed + k)) / (
            1 - p
        )

    for call in range(3):
        m_x, m_h = draw(2 * call, D, p_x), draw(2 * call + 1, H, p_h)
        x = torch.randn(T, B, D)
        h, c, outputs = torch.zeros(B, H), torch.zeros(B, H), []
        for x_t in x:
            z = (x_t * m_x) @ lstm.weight_ih_l0.T + (h * m_h) @ lstm.weight_hh_l0.T + lstm.bias_ih_l0
            i, f, g, o = z.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        output, (h_n, c_n) = lstm(x)
        expected = (torch.stack(outputs), h[None], c[None])
        torch.testing.assert_close((output, h_n, c_n), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 12345, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_masks_equal_those_of_a_keras_cell_bit_for_bit(rate, groups, seed, dtype):
    recurrent = rate if groups == 4 else 0.0
    cell = keras.layers.LSTMCell(H, dropout=rate, recurrent_dropout=recurrent, seed=0)
    signed = seed - 2**32 if seed >= 2**31 else seed  # Keras keeps seeds as int32
    cell.seed_generator.state.assign([signed, 0])
    drawn = torch.tensor(0)
    for _ in range(2):
        for width, get in [(D, cell.get_dropout_mask), (H, cell.get_recurrent_dropout_mask)]:
            theirs = get(torch.zeros(B, width, dtype=dtype))
            if theirs is not None:
                ours = draw_keras_mask(
                    rate, groups, B, width, seed=seed, draws=drawn, device=torch.device("cpu"), dtype=dtype
                )
                expected = torch.stack(theirs if groups == 4 else [theirs])
                torch.testing.assert_close(ours, expected, rtol=0, atol=0)
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    assert drawn == 2 * groups * (1 if groups == 1 else 2)
