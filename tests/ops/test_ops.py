"""The recurrence: backends against each other, against a loop written here, against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lstmreg import ops
from tests.ops.arguments import make_arguments, make_mask, make_valid, results

SIZES = [(1, 1, 1, 1), (7, 33, 1, 65), (33, 7, 65, 1), (65, 1, 7, 33)]  # T, B, D, H


def naive(x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid, reverse):
    """Each sequence on its own, step by step, gate by gate."""
    T, B, D = x.shape
    H = h_0.shape[1]
    W, R, b = w_ih.view(4, H, D), w_hh.view(4, H, H), bias.view(4, H)
    m_x = torch.ones(4, B, D).to(x) if input_mask is None else input_mask.expand(4, B, D)
    m_h = torch.ones(4, B, H).to(x) if recurrent_mask is None else recurrent_mask.expand(4, B, H)
    sequences, finals_h, finals_c = [], [], []
    for s in range(B):
        h, c, shown = h_0[s], c_0[s], torch.zeros(H).to(x)
        steps = {}
        for t in sorted(range(T), reverse=reverse):
            if valid is None or valid[t, s]:
                i, f, g, o = (W[k] @ (m_x[k, s] * x[t, s]) + R[k] @ (m_h[k, s] * h) + b[k] for k in range(4))
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = shown = torch.sigmoid(o) * torch.tanh(c)
            steps[t] = shown
        sequences.append(torch.stack([steps[t] for t in range(T)]))
        finals_h.append(h)
        finals_c.append(c)
    return torch.stack(sequences, dim=1), torch.stack(finals_h), torch.stack(finals_c)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("pattern", [None, "prefix", "holes"])
@pytest.mark.parametrize("recurrent_groups", [None, 1, 4])
@pytest.mark.parametrize("input_groups", [None, 1, 4])
def test_reference_equals_a_loop_over_each_sequence(input_groups, recurrent_groups, pattern, reverse):
    T, B, D, H = 7, 3, 2, 5
    arguments = make_arguments(T, B, D, H)
    options = {
        "input_mask": make_mask(input_groups, B, D),
        "recurrent_mask": make_mask(recurrent_groups, B, H),
        "valid": make_valid(pattern, T, B),
        "reverse": reverse,
    }
    torch.testing.assert_close(
        results(ops.lstm, arguments, backend="reference", **options),
        results(naive, arguments, **options),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
def test_invalid_steps_hold_the_output_and_the_states(backend, reverse):
    x, *rest = make_arguments(7, 3, 2, 5)
    lengths = torch.tensor([1, 7, 4])
    valid = torch.arange(7).unsqueeze(1) < lengths
    output, h_n, c_n = ops.lstm(x, *rest, valid=valid, reverse=reverse, backend=backend)
    for s, length in enumerate(lengths):
        h_0, c_0, *weights = rest
        alone = [x[:length, s : s + 1], h_0[s : s + 1], c_0[s : s + 1], *weights]
        expected, h, c = ops.lstm(*alone, reverse=reverse, backend=backend)
        torch.testing.assert_close(output[:length, s], expected[:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close((h_n[s], c_n[s]), (h[0], c[0]), rtol=1e-12, atol=1e-12)
        # Going backwards, the padding comes before the first valid step.
        held = torch.zeros_like(h[0]) if reverse else h[0]
        torch.testing.assert_close(output[length:, s], held.expand(7 - length, -1), rtol=1e-12, atol=1e-12)


def test_a_sequence_without_valid_steps_is_all_zeros_and_returns_its_initial_states():
    T, B, D, H = 7, 3, 2, 5
    arguments = make_arguments(T, B, D, H)
    output, h_n, c_n = ops.lstm(*arguments, valid=make_valid("holes", T, B))
    assert torch.equal(output[:, 0], torch.zeros(T, H, dtype=output.dtype))
    assert torch.equal(h_n[0], arguments[1][0])
    assert torch.equal(c_n[0], arguments[2][0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("input_groups", [None, 1])
@pytest.mark.parametrize("pattern", [None, "prefix"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("T", "B", "D", "H"), SIZES)
def test_native_equals_reference(T, B, D, H, reverse, pattern, input_groups, with_bias, dtype, tolerance):
    arguments = make_arguments(T, B, D, H, dtype)
    if not with_bias:
        arguments[-1] = None
    options = {
        "input_mask": make_mask(input_groups, B, D, dtype),
        "valid": make_valid(pattern, T, B),
        "reverse": reverse,
    }
    torch.testing.assert_close(
        results(ops.lstm, arguments, backend="native", **options),
        results(ops.lstm, arguments, backend="reference", **options),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("pattern", [None, "holes"])
@pytest.mark.parametrize("groups", [None, 1, 4])
def test_gradients_of_the_reference_equal_finite_differences(groups, pattern, reverse):
    T, B, D, H = 3, 2, 2, 3
    options = {
        "input_mask": make_mask(groups, B, D),
        "recurrent_mask": make_mask(groups, B, H),
        "valid": make_valid(pattern, T, B),
        "reverse": reverse,
        "backend": "reference",
    }
    assert torch.autograd.gradcheck(lambda *a: ops.lstm(*a, **options), make_arguments(T, B, D, H))


@pytest.mark.parametrize(("T", "B", "D", "H"), SIZES)
def test_four_equal_masks_are_one_tied_mask(T, B, D, H):
    arguments = make_arguments(T, B, D, H)
    tied = {"input_mask": make_mask(1, B, D), "recurrent_mask": make_mask(1, B, H)}
    four = {name: mask.expand(4, -1, -1) for name, mask in tied.items()}
    torch.testing.assert_close(
        results(ops.lstm, arguments, **four), results(ops.lstm, arguments, **tied), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_backwards_is_forwards_over_the_flipped_sequence(backend):
    x, *rest = make_arguments(7, 3, 2, 5)
    output, *states = ops.lstm(x, *rest, reverse=True, backend=backend)
    expected, *expected_states = ops.lstm(x.flip(0), *rest, backend=backend)
    torch.testing.assert_close((output, states), (expected.flip(0), expected_states), rtol=1e-12, atol=1e-12)


def test_activations_take_the_place_of_tanh_and_sigmoid():
    x, h_0, c_0, w_ih, w_hh, bias = make_arguments(1, 3, 2, 5)

    def double(z: Tensor) -> Tensor:
        return 2 * z

    output, _, c_n = ops.lstm(x, h_0, c_0, w_ih, w_hh, bias, activations=(double, torch.relu))
    i, f, g, o = (x[0] @ w_ih.T + h_0 @ w_hh.T + bias).chunk(4, dim=1)
    c = torch.relu(f) * c_0 + torch.relu(i) * 2 * g
    torch.testing.assert_close((output[0], c_n), (torch.relu(o) * 2 * c, c), rtol=1e-12, atol=1e-12)


HOLES = torch.tensor([[True], [False], [True]])


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((3, 1, 2, 5), {"recurrent_mask": torch.ones(1, 1, 5).double()}, "no recurrent dropout"),
        ((3, 1, 2, 5), {"input_mask": torch.ones(4, 1, 2).double()}, "no input mask per gate"),
        ((3, 1, 2, 5), {"activations": (torch.relu, torch.sigmoid)}, "activations are tanh and sigmoid"),
        ((3, 1, 2, 5), {"valid": HOLES}, "only at the end of a sequence"),
        ((0, 1, 2, 5), {}, "at least one step"),
        ((3, 0, 2, 5), {}, "at least one step and one sequence"),
    ],
)
def test_a_backend_asked_for_by_name_never_falls_back(shape, options, reason):
    arguments = make_arguments(*shape)
    with pytest.raises(ValueError, match=f"'native' cannot serve this call: .*{reason}.*backend='auto'"):
        ops.lstm(*arguments, **options, backend="native")
    torch.testing.assert_close(
        ops.lstm(*arguments, **options, backend="auto"), ops.lstm(*arguments, **options, backend="reference")
    )


def test_an_unknown_backend_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'native', 'reference'.*got 'cudnn'"):
        ops.lstm(*make_arguments(1, 1, 1, 1), backend="cudnn")
