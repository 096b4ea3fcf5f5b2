"""The layer in place of ``nn.LSTM``: the same numbers with the knobs at zero, and what each knob promises."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from lstmreg import L2, LSTM
from lstmreg.dropout import draw_mask

STACKS = {
    "one": {},
    "two-way": {"bidirectional": True},
    "three without bias": {"num_layers": 3, "bias": False},
    "two two-way": {"num_layers": 2, "bidirectional": True},
}
stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
backends = pytest.mark.parametrize("backend", ["native", "reference"])


def assert_close(got, expected) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


def pair(*sizes: int, backend: str = "auto", **options) -> tuple[LSTM, nn.LSTM]:
    """Ours and torch's, with the same random weights."""
    theirs = nn.LSTM(*sizes, **options)
    ours = LSTM(*sizes, backend=backend, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@backends
@stacks
@pytest.mark.parametrize(("B", "D", "H"), [(1, 33, 7), (7, 1, 33), (33, 7, 1)])
@pytest.mark.parametrize("kind", ["time first", "batch first", "unbatched", "sorted", "unsorted"])
@pytest.mark.parametrize("with_states", [False, True])
def test_knobs_at_zero_equal_torch(with_states, kind, B, D, H, stack, backend):
    ours, theirs = pair(D, H, backend=backend, batch_first=kind == "batch first", **stack)
    T, cells = 7, len(ours.all_weights)
    x = torch.randn({"batch first": (B, T, D), "unbatched": (T, D)}.get(kind, (T, B, D)), requires_grad=True)
    state = (cells, H) if kind == "unbatched" else (cells, B, H)
    states = [torch.randn(state, requires_grad=True) for _ in range(2)] if with_states else []
    lengths = torch.randint(1, T + 1, (B,))
    if kind == "sorted":
        lengths = lengths.sort(descending=True)[0]

    def results(lstm):
        packed = kind in ("sorted", "unsorted")
        input = pack_padded_sequence(x, lengths, enforce_sorted=kind == "sorted") if packed else x
        output, (h_n, c_n) = lstm(input, tuple(states) or None)
        assert isinstance(output, PackedSequence) == packed
        generator = torch.Generator().manual_seed(1)
        outputs = (output.data if packed else output, h_n, c_n)
        loss = sum((y * torch.randn(y.shape, generator=generator)).sum() for y in outputs)
        weights = [getattr(lstm, name) for name, _ in ours.named_parameters()]
        return output, h_n, c_n, torch.autograd.grad(loss, [x, *states, *weights])

    torch.testing.assert_close(results(ours), results(theirs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("knobs", [{}, {"dropout": 0.3, "recurrent_dropout": 0.4}, {"dropout": [0.0, 0.0]}])
@pytest.mark.parametrize("sorted_", [False, True], ids=["unsorted", "sorted"])
@pytest.mark.parametrize("with_states", [False, True])
def test_packed_sequences_without_a_knob_are_torchs_to_the_last_bit(with_states, sorted_, knobs):
    theirs = nn.LSTM(3, 5, 2, bidirectional=True)
    ours = LSTM(3, 5, 2, bidirectional=True, **knobs).train(not knobs or "recurrent_dropout" not in knobs)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())  # one bias, as ours
    lengths = torch.tensor([7, 5, 5, 1] if sorted_ else [5, 1, 7, 5])
    x = torch.randn(7, 4, 3, requires_grad=True)
    states = tuple(torch.randn(4, 4, 5, requires_grad=True) for _ in range(2)) if with_states else None

    def results(lstm: nn.Module) -> list:
        packed, (h_n, c_n) = lstm(pack_padded_sequence(x, lengths, enforce_sorted=sorted_), states)
        output, _ = pad_packed_sequence(packed)
        leaves = [x, *(states or ()), *(getattr(lstm, name) for name, _ in ours.named_parameters())]
        ones, kept = list(map(torch.ones_like, (output, h_n, c_n))), {"retain_graph": True}
        slopes = torch.autograd.grad([output, h_n, c_n], leaves, ones, **kept)
        batched = torch.autograd.grad(output, leaves, torch.ones(2, *output.shape), is_grads_batched=True, **kept)
        (bend,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        second = torch.autograd.grad(bend.square().sum(), leaves, allow_unused=True, materialize_grads=True)
        return [output, h_n, c_n, *slopes, *second, *batched, packed.batch_sizes, packed.sorted_indices]

    torch.testing.assert_close(results(ours), results(theirs), rtol=0, atol=0)


@pytest.mark.parametrize("parent", [False, True], ids=["alone", "inside a module"])
@stacks
def test_weights_go_to_torch_and_back_strictly(stack, parent):
    ours, theirs = LSTM(3, 5, **stack), nn.LSTM(3, 5, **stack)
    x = torch.randn(7, 2, 3)
    models = [nn.ModuleDict({"rnn": lstm}) if parent else lstm for lstm in (ours, theirs)]

    foreign = models[1].state_dict()
    before = copy.deepcopy(foreign)
    models[0].load_state_dict(foreign, strict=True)
    assert_close(ours(x), theirs(x))
    assert not any(buffer.any() for buffer in ours.buffers())  # both biases are in the trained one
    torch.testing.assert_close(dict(foreign), dict(before), rtol=0, atol=0)  # the caller's dict is intact

    nn.init.normal_(ours.weight_hh_l0)
    models[1].load_state_dict(models[0].state_dict(), strict=True)
    assert_close(ours(x), theirs(x))
    again = LSTM(3, 5, **stack)
    again.load_state_dict(ours.state_dict(), strict=True)
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_a_second_bias_that_somebody_writes_counts():
    ours, theirs = pair(3, 5)
    for lstm in (ours, theirs):
        lstm.bias_hh_l0.data += torch.arange(20) / 10
    x = torch.randn(7, 2, 3)
    assert_close(ours(x), theirs(x))
    assert_close(ours.to_torch()(x), theirs(x))


@stacks
def test_to_torch_equals_eval(stack):
    ours = LSTM(3, 5, recurrent_dropout=0.4, batch_first=True, dtype=torch.float64, **stack).eval()
    plain = ours.to_torch()
    assert type(plain) is nn.LSTM
    assert not plain.training
    assert plain.dropout == 0
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(plain(x), ours(x), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@stacks
@pytest.mark.parametrize("proj_size", [0, 2])
def test_torch_initializer_makes_the_weights_that_torch_makes(proj_size, stack):
    torch.manual_seed(3)
    theirs = nn.LSTM(3, 5, proj_size=proj_size, **stack)
    torch.manual_seed(3)
    ours = LSTM(3, 5, proj_size=proj_size, initializer="torch", **stack)
    assert list(ours.state_dict()) != []
    torch.testing.assert_close(ours.state_dict(), dict(theirs.state_dict()), rtol=0, atol=0, check_stride=False)
    x = torch.randn(7, 2, 3)
    assert_close(ours(x), theirs(x))


def test_keras_initializer_is_orthogonal_glorot_and_remembers():
    D, H = 33, 65
    lstm = LSTM(D, H, num_layers=2, bidirectional=True)
    for w_ih, w_hh, b_ih, b_hh in lstm.all_weights:
        assert_close(w_hh.T @ w_hh, torch.eye(H))
        limit = math.sqrt(6 / (w_ih.shape[1] + 4 * H))
        assert 0.99 * limit < w_ih.abs().max() <= limit
        torch.testing.assert_close(w_ih.std().item(), limit / math.sqrt(3), rtol=0.02, atol=0)
        i, f, g, o = b_ih.view(4, H)
        assert torch.equal(f, torch.ones(H))
        assert not torch.stack([i, g, o, *b_hh.view(4, H)]).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_new_layers_can_have_every_type_that_torchs_have(dtype):
    lstm = LSTM(3, 5, dtype=dtype)
    assert {w.dtype for w in lstm.state_dict().values()} == {dtype}
    w_hh = lstm.weight_hh_l0.float()
    torch.testing.assert_close(w_hh.T @ w_hh, torch.eye(5), rtol=0, atol=0.02)  # 0.02: bfloat16 has 8 bits


@pytest.mark.parametrize("initializer", ["keras", "torch"])
def test_a_layer_made_on_meta_becomes_the_layer_made_here(initializer):
    lstm = LSTM(3, 5, bidirectional=True, initializer=initializer, device="meta").to_empty(device="cpu")
    torch.manual_seed(3)
    lstm.reset_parameters()
    torch.manual_seed(3)
    here = LSTM(3, 5, bidirectional=True, initializer=initializer)
    torch.testing.assert_close(lstm.state_dict(), here.state_dict(), rtol=0, atol=0)


def test_a_parametrized_weight_counts_in_forward_and_in_penalty():
    lstm, expected = LSTM(3, 5, recurrent_regularizer=L2(0.5)), LSTM(3, 5)
    expected.load_state_dict(lstm.state_dict())
    parametrizations.weight_norm(lstm, "weight_hh_l0")
    magnitude, direction = lstm.parametrizations.weight_hh_l0.parameters()
    with torch.no_grad():
        magnitude *= 2
        expected.weight_hh_l0 *= 2
    x = torch.randn(7, 2, 3)
    assert_close(lstm(x), expected(x))
    assert_close(lstm.penalty(), 0.5 * expected.weight_hh_l0.square().sum())
    (lstm(x)[0].sum() + lstm.penalty()).backward()
    assert magnitude.grad.any()
    assert direction.grad.any()


def test_sizes_device_and_type_may_be_given_by_place_as_to_torchs_layer():
    places = (3, 5, 2, False, True, 0.0, True, 2, "meta", torch.float64)
    ours, theirs = LSTM(*places), nn.LSTM(*places)
    for lstm in (ours, theirs):
        assert {(w.device.type, w.dtype) for cell in lstm.all_weights for w in cell} == {("meta", torch.float64)}
    assert {n: w.shape for n, w in ours.named_parameters()} == {n: w.shape for n, w in theirs.named_parameters()}


@pytest.mark.parametrize("proj_size", [0, 2])
def test_it_has_the_helpers_of_torchs_layer(proj_size):
    ours, theirs = pair(3, 5, num_layers=2, bidirectional=True, proj_size=proj_size, batch_first=True)
    assert ours.mode == theirs.mode
    assert ours._flat_weights_names == theirs._flat_weights_names
    assert [w.shape for w in ours._flat_weights] == [w.shape for w in theirs._flat_weights]
    assert ours._flat_weights[1] is ours.weight_hh_l0
    x, order = torch.zeros(2, 7, 3), torch.tensor([1, 0])
    states = torch.randn(4, 2, proj_size or 5), torch.randn(4, 2, 5)
    for name in ("get_expected_hidden_size", "get_expected_cell_size"):
        assert getattr(ours, name)(x, None) == getattr(theirs, name)(x, None)
    assert_close(ours.permute_hidden(states, order), theirs.permute_hidden(states, order))
    ours.check_forward_args(x, states, None)
    for lstm in (ours, theirs):
        with pytest.raises(RuntimeError, match="input_size"):
            lstm.check_input(x[..., :2], None)
        with pytest.raises(RuntimeError, match="Expected hidden"):
            lstm.check_forward_args(x[:1], states, None)
        with pytest.raises(RuntimeError, match="not this"):
            lstm.check_hidden_size(states[0], (4, 3, 5), "not this {} {}")


def test_it_has_the_members_of_torchs_layer():
    ours, theirs = pair(3, 5, num_layers=2, bidirectional=True)
    shapes = [[w.shape for cell in lstm.all_weights for w in cell] for lstm in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.all_weights[3][1] is ours.weight_hh_l1_reverse
    assert ours.flatten_parameters() is None
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_repr_shows_the_knobs_that_are_turned():
    assert repr(LSTM(3, 5)) == "LSTM(3, 5)"
    turned = LSTM(3, 5, 2, dropout=0.2, recurrent_regularizer=L2(0.5), seed=7)
    assert repr(turned) == "LSTM(3, 5, num_layers=2, dropout=0.2, recurrent_regularizer=L2(l2=0.5), seed=7)"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_a_copy_goes_on_as_the_original_does(clone):
    lstm = LSTM(3, 5, num_layers=2, dropout=0.3, recurrent_dropout=0.4, activity_regularizer=L2(0.1), seed=7)
    x = torch.randn(7, 2, 3)
    lstm(x)
    twin = clone(lstm)
    assert_close(twin(x), lstm(x))
    assert_close(twin.eval()(x), lstm.eval()(x))


def kept(lstm: LSTM, output: Tensor, layer: int = 0) -> tuple[Tensor, Tensor]:
    """Read the masks ``(B, 4, D)`` and ``(B, 4, H)`` off the gradients: what a gate drops gives it none."""
    weights = [getattr(lstm, f"weight_{kind}_l{layer}") for kind in ("ih", "hh")]
    masks = []
    for b in range(output.shape[1]):
        grads = torch.autograd.grad(output[:, b].sum(), weights, retain_graph=True)
        masks.append([g.unflatten(0, (4, -1)).any(dim=1) for g in grads])
    return tuple(map(torch.stack, zip(*masks, strict=True)))


N = 33  # two masks of so many units are never equal by chance
seeds = pytest.mark.parametrize("seed", [None, 5])


@seeds
def test_masks_differ_between_gates_sequences_and_calls(seed):
    lstm = LSTM(N, N, dropout=0.5, recurrent_dropout=0.5, seed=seed)
    x = torch.randn(9, 3, N)
    drawn = [torch.stack(kept(lstm, lstm(x)[0])) for _ in range(2)]
    masks = torch.stack(drawn).flatten(0, 3)  # calls, kinds, sequences, gates
    assert len(masks.unique(dim=0)) == 2 * 2 * 3 * 4


@seeds
def test_masks_are_the_same_at_every_step(seed):
    # Nine draws would leave about one column in 500 dropped throughout; one draw leaves half of them.
    lstm = LSTM(N, N, dropout=0.5, recurrent_dropout=0.5, seed=seed)
    for mask in kept(lstm, lstm(torch.randn(9, 3, N))[0]):
        assert 0.4 < mask.float().mean() < 0.6


@seeds
@pytest.mark.parametrize(("rate", "per_gate_masks"), [(0.5, False), (0.0, True)])
def test_masks_are_tied_on_request_and_without_recurrent_dropout(rate, per_gate_masks, seed):
    lstm = LSTM(N, N, dropout=0.5, recurrent_dropout=rate, per_gate_masks=per_gate_masks, seed=seed)
    for mask in kept(lstm, lstm(torch.randn(9, 3, N))[0]):
        assert torch.equal(mask, mask[:, :1].expand_as(mask))


@seeds
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("of_state", [True, False])
@pytest.mark.parametrize("of_input", [True, False])
def test_the_inputs_masks_are_chosen_apart_from_the_recurrences(of_input, of_state, rate, seed):
    lstm = LSTM(
        N, N, dropout=0.5, recurrent_dropout=rate, per_gate_masks=of_state, per_gate_input_masks=of_input, seed=seed
    )
    inputs, states = kept(lstm, lstm(torch.randn(9, 3, N))[0])
    gates = [len(masks[0].unique(dim=0)) for masks in (inputs, states)]
    assert gates == [4 if of_input else 1, 4 if of_state and rate > 0 else 1]
    assert lstm.draws == (0 if seed is None else (4 if of_input else 1) + (4 if of_state else 1) * (rate > 0))


@seeds
@pytest.mark.parametrize(("rate", "of_state"), [(0.0, True), (0.5, True), (0.5, False)])
def test_left_alone_the_inputs_masks_follow_the_recurrences(rate, of_state, seed):
    settings = {"dropout": 0.5, "recurrent_dropout": rate, "per_gate_masks": of_state, "seed": seed}
    alone, said = LSTM(N, N, **settings), LSTM(N, N, **settings, per_gate_input_masks=of_state and rate > 0)
    said.load_state_dict(alone.state_dict())
    x, found = torch.randn(9, 3, N), []
    for lstm in (alone, said):
        torch.manual_seed(1)
        found.append(lstm(x)[0])
    assert torch.equal(*found)


def test_a_single_feature_is_taken_from_some_gates_and_not_blanked():
    x = torch.randn(9, 200, 1)
    blanked = {}
    for per_gate in (True, False):
        lstm = LSTM(1, N, dropout=0.5, per_gate_input_masks=per_gate)
        nn.init.normal_(lstm.bias_ih_l0)  # or a candidate without input would be zero, and so would the output
        masks = kept(lstm, lstm(x)[0])[0]
        blanked[per_gate] = (~masks.any(dim=(1, 2))).float().mean().item()
    # A sequence is blanked with probability 1/16 or 1/2; four standard deviations are 0.07 and 0.14.
    assert blanked[True] == pytest.approx(1 / 16, abs=0.07)
    assert blanked[False] == pytest.approx(1 / 2, abs=0.14)


def test_one_seed_gives_two_layers_masks_of_their_own():
    def shared(seed) -> int:
        lstm = LSTM(N, N, num_layers=2, recurrent_dropout=0.5, seed=seed)
        x = torch.randn(9, 1, N)
        calls = [lstm(x)[0] for _ in range(3)]
        masks = [{tuple(m.tolist()) for y in calls for m in kept(lstm, y, layer)[1][0]} for layer in (0, 1)]
        return len(masks[0] & masks[1])

    assert shared(5) == 0
    assert shared([5, 6]) == 11  # neighbours are one sequence of 12 draws, shifted by one


def test_unseeded_masks_have_keras_values_and_the_asked_rate():
    mask = draw_mask(0.3, 4, 65, 129, device=torch.device("cpu"), dtype=torch.float64)
    torch.testing.assert_close(mask.unique(), torch.tensor([0, 1 / 0.7]).double(), rtol=1e-7, atol=0)
    # 33,540 draws: four standard deviations of the mean are 0.014.
    torch.testing.assert_close(mask.mean().item(), 1.0, rtol=0, atol=0.015)


@seeds
def test_eval_is_deterministic_and_draws_nothing(seed):
    lstm = LSTM(3, 5, dropout=0.3, recurrent_dropout=0.4, seed=seed).eval()
    x = torch.randn(7, 2, 3)
    state = torch.get_rng_state()
    assert_close(lstm(x), lstm(x))
    assert torch.equal(torch.get_rng_state(), state)
    assert lstm.draws.tolist() == [0]


def test_zero_rates_equal_no_dropout():
    lstm = LSTM(3, 5, num_layers=2, dropout=0.0, recurrent_dropout=0.0)
    x = torch.randn(7, 2, 3)
    state = torch.get_rng_state()
    torch.testing.assert_close(lstm.train()(x), lstm.eval()(x), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


@backends
def test_two_half_sequences_with_carried_state_equal_one(backend):
    lstm = LSTM(3, 33, num_layers=2, backend=backend)
    x = torch.randn(7, 5, 3)
    first, states = lstm(x[:3])
    second, states = lstm(x[3:], states)
    assert_close((torch.cat([first, second]), states), lstm(x))


@backends
def test_a_batch_equals_its_rows(backend):
    lstm = LSTM(3, 33, num_layers=2, bidirectional=True, backend=backend)
    x = torch.randn(7, 5, 3)
    output, (h_n, c_n) = lstm(x)
    for b in range(5):
        assert_close(lstm(x[:, b]), (output[:, b], (h_n[:, b], c_n[:, b])))


@backends
def test_padding_never_changes_a_prediction(backend):
    lstm = LSTM(3, 33, num_layers=2, bidirectional=True, backend=backend)
    sequences = [torch.randn(length, 3) for length in (3, 7, 1, 5)]
    packed, (h_n, c_n) = lstm(pack_sequence(sequences, enforce_sorted=False))
    output, _ = pad_packed_sequence(packed)
    for b, sequence in enumerate(sequences):
        assert_close(lstm(sequence), (output[: len(sequence), b], (h_n[:, b], c_n[:, b])))


@pytest.mark.parametrize("knobs", [{}, {"dropout": 0.3, "recurrent_dropout": 0.4, "activity_regularizer": L2(0.1)}])
def test_no_sequences_are_fine_and_no_steps_are_refused_as_by_torch(knobs):
    lstm = LSTM(3, 5, **knobs)
    output, (h_n, _) = lstm(torch.zeros(7, 0, 3))
    assert output.shape == (7, 0, 5)
    assert h_n.shape == (1, 0, 5)
    assert lstm.penalty() == 0
    for layer in (nn.LSTM(3, 5), lstm):
        with pytest.raises(RuntimeError):
            layer(torch.zeros(0, 2, 3))
    with pytest.raises(ValueError, match=r"at least one step, got shape \(2, 0, 3\)"):
        LSTM(3, 5, batch_first=True, **knobs)(torch.zeros(2, 0, 3))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan])
@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_a_rate_outside_its_range_is_refused(name, rate):
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\), got {rate}\.$"):
        LSTM(3, 5, **{name: rate})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": -5}, ValueError, "hidden_size must be at least 1, got -5"),
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1, got 0"),
        ({"hidden_size": 5.0}, TypeError, "hidden_size must be an int, got 5.0"),
        ({"activity_steps": "first"}, ValueError, "activity_steps must be one of 'all', 'last', got 'first'"),
        ({"initializer": "he"}, ValueError, "initializer must be one of 'keras', 'torch', got 'he'"),
        ({"backend": "cudnn"}, ValueError, "backend must be one of 'auto', .*, got 'cudnn'"),
        ({"per_gate_input_masks": 4}, TypeError, "per_gate_input_masks must be True, False or None, got 4"),
        ({"bidirectional": "no"}, TypeError, "bidirectional must be True or False, got 'no'"),
        ({"seed": [1, 2, 3]}, ValueError, r"one int for each of the 1 layers .*, got \[1, 2, 3\]"),
        ({"kernel_regularizer": 0.01}, TypeError, r"kernel_regularizer must be .*L2\(1e-4\), .*, got 0.01"),
        ({"activity_regularizer": "L3"}, ValueError, "activity_regularizer: unknown name 'L3'. Known: l1, L1"),
    ],
)
def test_a_wrong_argument_is_refused_with_rule_and_value(arguments, error, message):
    with pytest.raises(error, match=message):
        LSTM(**{"input_size": 3, "hidden_size": 5, **arguments})


@pytest.mark.parametrize(
    ("x", "states", "message"),
    [
        ((7, 2, 4), None, r"input_size=3 features .*, got shape \(7, 2, 4\)"),
        ((7,), None, r"2 \(unbatched\) or 3 dimensions, got shape \(7,\)"),
        ((7, 2, 3), ((1, 2, 5), (1, 3, 5)), r"c_0 must have shape \(1, 2, 5\), got \(1, 3, 5\)"),
        ((7, 2, 3), ((2, 5), (1, 2, 5)), r"h_0 must have shape \(1, 2, 5\), got \(2, 5\)"),
        ((7, 3), ((1, 1, 5), (1, 5)), r"h_0 must have shape \(1, 5\), got \(1, 1, 5\)"),
    ],
)
@pytest.mark.parametrize("error", [ValueError, RuntimeError])  # Python's rule, and what torch raises
def test_a_wrong_shape_is_refused_with_rule_and_value(error, x, states, message):
    with pytest.raises(error, match=message):
        LSTM(3, 5)(torch.zeros(x), states and tuple(map(torch.zeros, states)))


@pytest.mark.parametrize("knobs", [{}, {"recurrent_dropout": 0.5}])
@pytest.mark.parametrize("other", [0, 1])
def test_states_of_another_type_than_the_input_are_refused(other, knobs):
    states = [torch.zeros(1, 2, 5) for _ in range(2)]
    states[other] = states[other].double()
    with pytest.raises(RuntimeError, match=rf"{'hc'[other]}_0 must have the input's type torch.float32, got .*float64"):
        LSTM(3, 5, **knobs)(torch.zeros(7, 2, 3), tuple(states))


# ---------------------------------------------------------------------- settings set later


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("dropout", 1.0, ValueError, r"dropout must be in \[0, 1\), got 1.0"),
        ("dropout", [0.1, 2.0], ValueError, r"dropout must be in \[0, 1\), got 2.0"),
        ("dropout", [0.1], ValueError, "one value or one for each of the 2 layers"),
        ("recurrent_dropout", -1, ValueError, r"recurrent_dropout must be in \[0, 1\), got -1"),
        ("kernel_regularizer", 0.1, TypeError, "kernel_regularizer must be"),
        ("bias_constraint", "MaxNrm", ValueError, "Did you mean 'MaxNorm'"),
        ("activation", "tan", ValueError, "activation: unknown name 'tan'"),
        ("activity_steps", "first", ValueError, "activity_steps must be one of"),
        ("backend", "cudnn", ValueError, "backend must be one of"),
        ("go_backwards", True, ValueError, "go_backwards must be False where bidirectional is True"),
        ("seed", [1, 2], ValueError, "one int for each of the 4 layers and directions"),
        ("bias_initializer", "naughts", ValueError, "bias_initializer: unknown name 'naughts'"),
    ],
)
def test_a_setting_that_is_set_later_is_checked_and_stays_as_it_was(name, value, error, message):
    lstm = LSTM(3, 5, 2, bidirectional=True, dropout=0.25, seed=7)
    before = getattr(lstm, name)
    with pytest.raises(error, match=message):
        setattr(lstm, name, value)
    assert getattr(lstm, name) == before


def test_settings_that_are_set_later_are_those_of_a_layer_that_had_them_from_the_beginning():
    settings = {
        "dropout": 0.3,
        "recurrent_dropout": [0.2, 0.4],
        "kernel_regularizer": "l2",
        "activity_regularizer": {"class_name": "L1", "config": {"l1": 0.5}},
        "recurrent_constraint": "max_norm",
        "activation": ["relu", "tanh"],
        "per_gate_masks": False,
        "seed": 7,
    }
    torch.manual_seed(3)
    made = LSTM(3, 5, 2, **settings)
    torch.manual_seed(3)
    changed = LSTM(3, 5, 2, dropout=0.9, seed=1)
    x = torch.randn(7, 2, 3)
    changed(x)  # which drew from the other seed
    for name, value in settings.items():
        setattr(changed, name, value)
    assert repr(changed) == repr(made)
    assert_close(changed(x), made(x))
    assert_close(changed.penalty(), made.penalty())
    with pytest.raises(TypeError):
        changed.recurrent_dropout[0] = 1.0  # which nobody would check


def test_cells_are_the_layers_in_each_direction_with_their_weights_settings_and_seeds():
    lstm = LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, dropout=[0.1, 0.3], seed=[4, 5, 6, 7])
    cells = lstm.cells()
    assert [(cell.layer, cell.direction, cell.index) for cell in cells] == [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)]
    assert [cell.names for cell in cells] == nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)._all_weights
    assert [cell.setting("dropout") for cell in cells] == [0.1, 0.1, 0.3, 0.3]
    assert [cell.seed for cell in cells] == [4, 5, 6, 7]
    lstm.dropout = 0.2
    lstm.bias_hh_l1_reverse.fill_(3.0)
    assert cells[3].setting("dropout") == 0.2  # it is the layer's own, whenever it is set
    assert torch.equal(cells[3].in_keras("bias"), lstm.bias_ih_l1_reverse + 3.0)
    assert torch.equal(cells[3].in_keras("kernel"), lstm.weight_ih_l1_reverse.t())
