"""Masks, direction, state and stacks, against live Keras."""

from __future__ import annotations

import keras
import pytest
import torch
from torch import Tensor, nn

from lstmreg import (
    L1,
    L2,
    LSTM,
    NonNeg,
    Orthogonal,
    apply_constraints,
)
from tests.layers.keras_twin import B, D, H, T, assert_close, assert_equal, keras_penalty, make_lstm, make_twin

# ---------------------------------------------------------------------- masks

MASKS = {
    "right padding": [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    "left padding": [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1]],
    "holes": [[1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]],
    "a row without a valid step": [[0] * 6, [1] * 6, [0, 1, 1, 0, 1, 0], [0] * 6],
    "no valid step": [[0] * 6] * 4,
    "all valid": [[1] * 6] * 4,
}
masks = pytest.mark.parametrize("mask", [torch.tensor(m) == 1 for m in MASKS.values()], ids=MASKS)
ACTIVE = {"activity_regularizer": L2(0.25), "recurrent_regularizer": L2(0.125)}
KERAS_ACTIVE = {
    "activity_regularizer": keras.regularizers.L2(0.25),
    "recurrent_regularizer": keras.regularizers.L2(0.125),
}


@masks
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_masked_steps_are_those_of_keras(zero_output_for_mask, with_states, mask):
    ours = make_lstm(zero_output_for_mask=zero_output_for_mask, **ACTIVE)
    oracle = make_twin(ours, zero_output_for_mask=zero_output_for_mask, **KERAS_ACTIVE)
    assert_equal(ours, [oracle], mask=mask, with_states=with_states)


@masks
@pytest.mark.parametrize("form", ["int", "float", "uint8", "(B, T, 1)"])
def test_a_mask_of_any_type_is_a_mask(form, mask):
    ours = make_lstm(**ACTIVE)
    shaped = mask.unsqueeze(-1) if form == "(B, T, 1)" else mask.to(getattr(torch, form))
    assert_equal(ours, [make_twin(ours, **KERAS_ACTIVE)], mask=shaped, masks_of_keras=mask)


@masks
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_both_directions_treat_masks_as_bidirectional_of_keras(num_layers, zero_output_for_mask, mask):
    ours = make_lstm(D, H, num_layers, bidirectional=True, zero_output_for_mask=zero_output_for_mask, **ACTIVE)
    twins = [
        make_twin(ours, layer, bidirectional=True, zero_output_for_mask=zero_output_for_mask, **KERAS_ACTIVE)
        for layer in range(num_layers)
    ]
    assert_equal(ours, twins, mask=mask)


@masks
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_a_stack_treats_masks_as_two_layers_of_keras(zero_output_for_mask, mask):
    ours = make_lstm(D, H, 2, zero_output_for_mask=zero_output_for_mask, **ACTIVE)
    twins = [make_twin(ours, k, zero_output_for_mask=zero_output_for_mask, **KERAS_ACTIVE) for k in range(2)]
    assert_equal(ours, twins, mask=mask)


@masks
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_activity_of_last_steps_under_a_mask_is_that_of_keras(num_layers, zero_output_for_mask, bidirectional, mask):
    options = {"zero_output_for_mask": zero_output_for_mask, "bidirectional": bidirectional}
    ours = make_lstm(D, H, num_layers, activity_steps="last", **options, **ACTIVE)
    twins = [
        make_twin(ours, k, return_sequences=k < num_layers - 1, return_state=False, **options, **KERAS_ACTIVE)
        for k in range(num_layers)
    ]
    y = x = torch.randn(B, T, D)
    for twin in twins:
        y = twin(y, mask=mask, training=True)
    output, (h_n, _) = ours(x, mask=mask)
    assert_close(ours.penalty(), keras_penalty(twins))
    if not bidirectional:  # of two directions we return sequences, whose padding is zero: there h_n is the last output
        assert_close(output[:, -1], y)
    elif bool(mask.any(1).all()):
        assert_close(h_n[-2:].transpose(0, 1).flatten(1), y)


# ---------------------------------------------------------------------- direction and state


@pytest.mark.parametrize("mask", [None, *(torch.tensor(m) == 1 for m in MASKS.values())], ids=["no mask", *MASKS])
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_going_backwards_is_that_of_keras(num_layers, with_states, mask):
    ours = make_lstm(D, H, num_layers, go_backwards=True, **ACTIVE)
    twins = [make_twin(ours, k, go_backwards=True, **KERAS_ACTIVE) for k in range(num_layers)]
    assert_equal(ours, twins, mask=mask, with_states=with_states)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_stateful_layer_goes_on_as_that_of_keras(num_layers, go_backwards, masked):
    options = {"stateful": True, "go_backwards": go_backwards}
    ours = make_lstm(D, H, num_layers, **options)
    twins = [make_twin(ours, k, **options) for k in range(num_layers)]
    mask = torch.tensor(MASKS["holes"]) == 1 if masked else None

    def both() -> Tensor:
        y = x = torch.randn(B, T, D)
        finals: list[Tensor] = []
        for twin in twins:
            y, *last = twin(y, mask=mask)
            finals += last
        output, (h_n, c_n) = ours(x, mask=mask)
        assert_close([output, h_n, c_n], [y, torch.stack(finals[::2]), torch.stack(finals[1::2])])
        return h_n

    for _ in range(3):
        h_n = both()
        assert h_n.requires_grad  # of this call, though not of the one before
    ours.reset_state()
    for twin in twins:
        twin.reset_state()
    both()
    for layer in (ours, twins[0]):
        with pytest.raises(ValueError, match=r"stateful.*(same number|batch size)"):
            layer(torch.randn(B + 1, T, D))


def test_given_states_win_over_carried_ones_and_are_carried_on_as_in_keras():
    ours = make_lstm(stateful=True)
    twin = make_twin(ours, stateful=True)
    x, h_0, c_0 = torch.randn(B, T, D), torch.randn(1, B, H), torch.randn(1, B, H)
    for states in (None, (h_0, c_0), None):
        y, h, c = twin(x, initial_state=None if states is None else [h_0[0], c_0[0]])
        output, (h_n, c_n) = ours(x, states)
        assert_close([output, h_n[0], c_n[0]], [y, h, c])


# ---------------------------------------------------------------------- stacks


def test_a_stack_with_settings_per_layer_is_two_layers_of_keras():
    ours = make_lstm(
        D,
        H,
        2,
        activation=["softsign", "tanh"],
        recurrent_activation=["sigmoid", "hard_sigmoid"],
        dropout=[0.25, 0.0],
        recurrent_dropout=[0.0, 0.5],
        kernel_regularizer=[None, L1(0.25)],
        recurrent_regularizer=[Orthogonal(0.5, "columns"), L2(0.125)],
        bias_regularizer=["l2", None],
        activity_regularizer=[L1(0.125), None],
        seed=[5, 1_000],
    )
    first = make_twin(
        ours,
        0,
        activation="softsign",
        dropout=0.25,
        recurrent_regularizer=keras.regularizers.OrthogonalRegularizer(0.5, "columns"),
        bias_regularizer="l2",
        activity_regularizer=keras.regularizers.L1(0.125),
        seed=5,
    )
    second = make_twin(
        ours,
        1,
        recurrent_activation="hard_sigmoid",
        recurrent_dropout=0.5,
        kernel_regularizer=keras.regularizers.L1(0.25),
        recurrent_regularizer=keras.regularizers.L2(0.125),
        seed=1_000,
    )
    for mask in (None, torch.tensor(MASKS["holes"]) == 1, None):
        assert_equal(ours, [first, second], mask=mask)


def test_constraints_per_layer_leave_the_other_layer_alone():
    ours = make_lstm(D, H, 2, kernel_constraint=[None, NonNeg()], recurrent_constraint=["unit_norm", None])
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for parameter in ours.parameters():
        parameter.grad = torch.zeros_like(parameter)
    ours.bias_ih_l0.grad = None
    apply_constraints(ours)
    changed = {name for name, p in ours.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"weight_hh_l0", "weight_ih_l1"}
    assert float(ours.weight_ih_l1.detach().min()) == 0
    assert_close(ours.weight_hh_l0.detach().norm(dim=1), torch.ones(4 * H))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_projection_is_that_of_torch(num_layers, bidirectional):
    plain = nn.LSTM(D, H, num_layers, batch_first=True, bidirectional=bidirectional, proj_size=2)
    ours = LSTM(D, H, num_layers, batch_first=True, bidirectional=bidirectional, proj_size=2)
    ours.load_state_dict(plain.state_dict())
    x, cells = torch.randn(B, T, D), num_layers * (1 + bidirectional)
    states = torch.randn(cells, B, 2), torch.randn(cells, B, H)
    for given in (None, states):
        assert_close(ours(x, given), plain(x, given))
    with pytest.raises(ValueError, match="recurrent_dropout must be 0 where proj_size is set"):
        LSTM(D, H, proj_size=2, recurrent_dropout=0.1)
