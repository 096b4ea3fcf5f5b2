"""Sequences of any length: neither padding, nor what stands in it, nor company changes what a sequence gives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from lstmreg import L1L2, LSTM, Ensemble, ModelConfig, Network, Population, interop, penalties
from lstmreg.errors import InputError
from lstmreg.interop.describing import as_keras_model
from lstmreg.losses import NO_CLASS, CrossEntropy, Loss, Regression
from lstmreg.models import load, save

D, OUT = 3, 2
CONTENTS = [0.0, math.nan, 1e30, -math.inf]
STRENGTHS = {f"{place}_l2": 0.01 for place in ("kernel", "recurrent", "bias")} | {"activity_l1": 0.02}

#: Networks of every kind: settings, sizes of vocabularies, and whether masks are drawn.
KINDS: dict[str, tuple[ModelConfig, dict[int, int]]] = {
    "plain": (ModelConfig(hidden_size=4), {}),
    "penalised": (ModelConfig(hidden_size=4, **STRENGTHS), {}),
    "two layers, both ways": (ModelConfig([4, 3], 2, True, **STRENGTHS), {}),
    "dropping": (ModelConfig([4, 3], 2, dropout=0.3, recurrent_dropout=0.4, **STRENGTHS), {}),
    "of other activations": (ModelConfig(3, bidirectional=True, activation="softsign", activity_l2=0.1), {}),
    "of tokens": (ModelConfig(hidden_size=4, activity_l2=0.1), {1: 5}),
    "of tokens, dropping": (
        ModelConfig([4, 3], 2, True, dropout=0.2, embedding_size=3, embedding_dropout=0.4, **STRENGTHS),
        {0: 3, 2: 6},
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_steps = pytest.mark.parametrize("steps", ["last", "all"])
some_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def network_of(kind: str, steps: str = "last", dtype: torch.dtype = torch.float64) -> Network:
    config, vocabularies = KINDS[kind]
    torch.manual_seed(3)
    return Network(config, D, OUT, steps=steps, vocabularies=vocabularies).to(dtype)


def is_random(kind: str) -> bool:
    config, _ = KINDS[kind]
    return config.dropout != 0 or config.embedding_dropout != 0


def sequences(kind: str, lengths: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(length, D, generator=generator, dtype=dtype) for length in lengths]
    for column, count in KINDS[kind][1].items():
        for x in made:
            x[:, column] = torch.randint(0, count + 1, (len(x),), generator=generator).to(dtype)
    return made


def padded(cases: list[Tensor], content: float, more: int = 0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(x) for x in cases])
    batch = cases[0].new_full((len(cases), int(lengths.max()) + more, D), content)
    for b, x in enumerate(cases):
        batch[b, : len(x)] = x
    return batch, lengths


def targets(loss: Loss, lengths: Tensor, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    shape = (len(lengths), 12) if loss.steps == "all" else (len(lengths),)
    classes = isinstance(loss, CrossEntropy)
    y = (
        torch.randint(0, OUT, shape, generator=generator)
        if classes
        else torch.randn(*shape, OUT, generator=generator).double()
    )
    if loss.steps == "all":
        y = y[:, :steps].clone()
        for b, length in enumerate(lengths.tolist()):
            y[b, length:] = NO_CLASS if classes else math.nan
    return y


def passed(network: Network, x: Tensor, lengths: Tensor | None, loss: Loss) -> dict[str, Tensor]:
    """Return all that a training step computes: prediction, penalties, loss, and every gradient."""
    torch.manual_seed(11)
    network.train().zero_grad()
    x = x.clone().requires_grad_()
    prediction = network(x) if lengths is None else network(x, lengths)
    terms = penalties(network)
    n = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
    each = loss.each(prediction, targets(loss, n, x.shape[1]))
    (each.mean() + sum(terms.values())).backward()
    return (
        {"prediction": prediction.detach(), "each": each.detach(), "of x": x.grad}
        | {f"penalty {kind}": term.detach() for kind, term in terms.items()}
        | {f"of {name}": p.grad.clone() for name, p in network.named_parameters()}
    )


def trimmed(found: dict[str, Tensor], steps: int, kind: str = "last") -> dict[str, Tensor]:
    """Return the same without what lies beyond some steps, which must be zero."""
    shorter = dict(found)
    for name in ("of x", *(["prediction"] if kind == "all" else [])):
        assert (found[name][:, steps:] == 0).all()
        shorter[name] = found[name][:, :steps]
    return shorter


def loss_for(steps: str, classes: bool) -> Loss:
    return CrossEntropy(OUT, 0.1, [0.5, 2.0], steps=steps) if classes else Regression("huber", steps=steps)


# ---------------------------------------------------------------------- the network


@each_kind
@each_steps
@given(lengths=some_lengths, content=st.sampled_from(CONTENTS), seed=st.integers(0, 9), classes=st.booleans())
@settings(max_examples=6, deadline=None)
def test_what_stands_in_the_padding_changes_not_a_bit(kind, steps, lengths, content, seed, classes):
    network, loss = network_of(kind, steps), loss_for(steps, classes)
    cases = sequences(kind, lengths, seed)
    usual = passed(network, *padded(cases, 0.5, more=2), loss)
    found = passed(network, *padded(cases, content, more=2), loss)
    assert all(torch.equal(found[name], usual[name]) for name in usual)
    assert all(value.isfinite().all() for value in found.values())


@each_kind
@each_steps
@given(lengths=some_lengths, more=st.integers(1, 4), seed=st.integers(0, 9))
@settings(max_examples=6, deadline=None)
def test_how_much_padding_there_is_changes_nothing(kind, steps, lengths, more, seed):
    network, loss = network_of(kind, steps), loss_for(steps, classes=True)
    cases = sequences(kind, lengths, seed)
    usual = passed(network, *padded(cases, math.nan), loss)
    found = trimmed(passed(network, *padded(cases, math.nan, more), loss), max(lengths), steps)
    torch.testing.assert_close(found, usual, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not is_random(kind)])
@each_steps
@given(lengths=st.lists(st.integers(1, 6), min_size=2, max_size=5), seed=st.integers(0, 9))
@settings(max_examples=6, deadline=None)
def test_a_sequence_gives_in_any_batch_what_it_gives_alone_without_padding(kind, steps, lengths, seed):
    network, loss = network_of(kind, steps), loss_for(steps, classes=False)
    cases = sequences(kind, lengths, seed)
    together = passed(network, *padded(cases, math.nan), loss)
    y = targets(loss, torch.tensor(lengths), max(lengths))
    sums: dict[str, Tensor] = {}
    for b, x in enumerate(cases):
        network.zero_grad()
        prediction = network(x.unsqueeze(0))  # without lengths: another way through the layers
        own = prediction[0] if steps == "all" else prediction
        shown = together["prediction"][b : b + 1]
        torch.testing.assert_close(shown[0, : len(x)] if steps == "all" else shown, own.detach())
        terms = penalties(network)
        each = loss.each(prediction, y[b : b + 1, : len(x)] if steps == "all" else y[b : b + 1])
        torch.testing.assert_close(each.detach(), together["each"][b : b + 1])
        (each.mean() + sum(terms.values())).backward()
        for name, value in [
            *((f"penalty {kind}", term.detach()) for kind, term in terms.items()),
            *((f"of {name}", p.grad) for name, p in network.named_parameters()),
        ]:
            sums[name] = sums.get(name, 0) + value / len(cases)
    for name, value in sums.items():  # means over the batch, also the activity's
        torch.testing.assert_close(together[name], value, rtol=1e-9, atol=1e-11)


@each_kind
@each_steps
def test_full_lengths_are_as_good_as_none(kind, steps):
    network, loss = network_of(kind, steps), loss_for(steps, classes=True)
    x, lengths = padded(sequences(kind, [5, 5, 5]), 0.0)
    torch.testing.assert_close(passed(network, x, lengths, loss), passed(network, x, None, loss))


@each_kind
def test_a_prediction_at_every_step_ends_in_that_of_the_last_step(kind):
    x, lengths = padded(sequences(kind, [4, 1, 6]), math.nan, more=1)
    last, every = network_of(kind), network_of(kind, "all")
    every.load_state_dict(last.state_dict())
    found = every.eval()(x, lengths)
    assert found.shape == (3, 7, OUT)
    if KINDS[kind][0].bidirectional:  # backwards, the end is the first step
        return
    torch.testing.assert_close(found[torch.arange(3), lengths - 1], last.eval()(x, lengths))


@each_steps
def test_the_top_layers_activity_is_that_of_what_is_predicted_from(steps):
    torch.manual_seed(0)
    network = Network(ModelConfig(4, activity_l1=0.1, activity_l2=0.2), D, OUT, steps=steps)
    cases = sequences("plain", [4, 1, 6], dtype=torch.float32)
    network(*padded(cases, math.nan))
    outputs = [network.layers[0].to_torch()(x)[0] for x in cases]
    counted = torch.cat(outputs if steps == "all" else [output[-1:] for output in outputs])
    expected = (0.1 * counted.abs().sum() + 0.2 * counted.square().sum()) / 3
    torch.testing.assert_close(penalties(network)["activity"], expected)


def test_a_stateful_network_goes_on_from_the_end_of_each_sequence():
    torch.manual_seed(0)
    network = Network(ModelConfig(4, stateful=True), D, OUT).double()
    wholes = sequences("plain", [6, 5])
    halves = [
        [x[:n] for x, n in zip(wholes, (4, 2), strict=True)],
        [x[n:] for x, n in zip(wholes, (4, 2), strict=True)],
    ]
    expected = network(*padded(wholes, math.nan))
    network.layers[0].reset_state()
    for half in halves:
        found = network(*padded(half, math.nan))
    torch.testing.assert_close(found, expected)


@each_steps
def test_an_ensemble_takes_lengths_too(steps):
    networks = [Network(ModelConfig(3), D, OUT, steps=steps, vocabularies={1: 4}) for _ in range(2)]
    x, lengths = padded([torch.ones(n, D) for n in (2, 4)], math.nan)
    ensemble = Ensemble(networks)
    assert (ensemble.steps, ensemble.vocabularies) == (steps, {1: 4})
    expected = (networks[0](x, lengths) + networks[1](x, lengths)) / 2
    torch.testing.assert_close(ensemble(x, lengths), expected)
    with pytest.raises(ValueError, match="one configuration"):
        Ensemble([networks[0], Network(ModelConfig(3), D, OUT, steps=steps)])


@each_kind
@each_steps
@pytest.mark.parametrize("members", [1, 2])
def test_what_is_saved_predicts_the_same_bits(kind, steps, members, tmp_path):
    networks = [network_of(kind, steps) for _ in range(members)]
    network = networks[0] if members == 1 else Ensemble(networks)
    x, lengths = padded(sequences(kind, [3, 1, 5]), math.nan)
    save(tmp_path, network, {})
    loaded, _ = load(tmp_path)
    assert (loaded.steps, loaded.vocabularies) == (steps, KINDS[kind][1])
    assert torch.equal(loaded(x, lengths), network.eval()(x, lengths))


@each_steps
def test_a_network_of_every_step_goes_to_keras_layers(steps):
    network = network_of("two layers, both ways", steps, torch.float32).eval()
    x = torch.randn(2, 4, D)
    model = as_keras_model(network).eval()
    torch.testing.assert_close(model(x), network(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="a network with columns of tokens cannot become Keras' layers"):
        as_keras_model(network_of("of tokens", steps))


@pytest.mark.parametrize("network", [Network(ModelConfig(2), D, OUT), Population.of([ModelConfig(2)] * 2, D, OUT)])
@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (torch.tensor([1, 0]), InputError, r"lengths must be between 1 and the 4 steps of x, got 0"),
        (torch.tensor([-1, 2]), InputError, r"between 1 and the 4 steps of x, got -1"),
        (torch.tensor([1, 5]), InputError, r"between 1 and the 4 steps of x, got 5"),
        (torch.tensor([1]), InputError, r"one for each sequence of x \(B, T, D\), got shape \(1,\) for x of shape"),
        (torch.tensor([1.0, 2.0]), InputError, r"lengths must be whole numbers, got torch.float32. Use lengths.long"),
        ([1, 2], TypeError, r"lengths must be a tensor, got list"),
    ],
)
def test_lengths_that_are_none_are_refused(network, lengths, error, message):
    with pytest.raises(error, match=message):
        network(torch.zeros(2, 4, D), lengths)


@each_kind
def test_a_packed_sequence_goes_in_where_nothing_but_layers_reads_it(kind):
    x, lengths = padded(sequences(kind, [4, 1, 6]), 0.0)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    every = network_of(kind, "all").eval()
    with pytest.raises(TypeError, match=r"x must be a tensor, got PackedSequence.*the tuple \(x, lengths\)"):
        every(packed)
    last = network_of(kind).eval()
    if last.embeddings is None:
        assert torch.equal(last(packed), last(x, lengths))


@each_steps
def test_tokens_and_steps_go_through_torchs_compiler_and_to_onnx(steps, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = network_of("of tokens", steps, torch.float32).eval()
    x, _ = padded(sequences("of tokens", [7, 7], dtype=torch.float32), 0.0)
    expected = network(x).detach()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x).detach(), expected)
    interop.save_onnx(network, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-6)


def test_another_word_for_the_steps_is_refused():
    with pytest.raises(ValueError, match="steps must be 'last' or 'all', got 'first'"):
        Network(ModelConfig(), D, OUT, steps="first")


# ---------------------------------------------------------------------- the layer


@pytest.mark.parametrize(
    "settings_of_layer",
    [
        {},
        {"bidirectional": True, "num_layers": 2, "activity_regularizer": L1L2(0.1, 0.2)},
        {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 1},
        {"dropout": 0.4, "activity_regularizer": L1L2(0.1, 0.2), "activity_steps": "last", "seed": 1},
    ],
)
@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
@given(lengths=some_lengths, content=st.sampled_from(CONTENTS))
@settings(max_examples=4, deadline=None)
def test_a_layer_gives_the_same_whatever_was_padded(settings_of_layer, backend, lengths, content):
    def run(content: float, more: int) -> list[Tensor]:
        torch.manual_seed(0)
        lstm = LSTM(D, 4, batch_first=True, backend=backend, dtype=torch.float64, **settings_of_layer)
        x, n = padded(sequences("plain", lengths), content, more)
        x.requires_grad_()
        output, states = lstm(pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False))
        penalty = lstm.penalty()
        (output.data.square().sum() + states[1].sum() + penalty).backward()
        gradients = [x.grad[:, : max(lengths)], *(p.grad for p in lstm.parameters())]
        assert (x.grad[:, max(lengths) :] == 0).all()
        return [output.data.detach(), *(s.detach() for s in states), penalty.detach(), *gradients]

    for usual, found in zip(run(0.5, 0), run(content, 2), strict=True):
        assert torch.equal(usual, found)


# ---------------------------------------------------------------------- populations


def members_of(kind: str, steps: str, count: int) -> list[Network]:
    config, vocabularies = KINDS[kind]
    made = []
    for k in range(count):
        torch.manual_seed(k)
        made.append(Network(config, D, OUT, steps=steps, vocabularies=vocabularies).double())
    return made


def population_pass(
    population: Population, members: list[int], x: Tensor, lengths: Tensor, loss: Loss, y: Tensor
) -> dict[str, Tensor]:
    """Return what a training step of some members computes, with rows for the members."""
    weights = population.weights.detach()[members].requires_grad_()
    generators = [torch.Generator().manual_seed(100 + k) for k in members]
    prediction, terms, _ = population.block(members).run_and_penalize(weights, x, None, generators, lengths)
    each = loss.each(prediction, y)
    total = each.mean(-1) + sum(terms.values())
    gradient = torch.autograd.grad(total.sum(), weights)[0]
    return {"prediction": prediction.detach(), "each": each.detach(), "gradient": gradient} | {
        kind: term.detach() for kind, term in terms.items()
    }


@each_kind
@each_steps
@given(lengths=some_lengths, content=st.sampled_from(CONTENTS), own=st.booleans())
@settings(max_examples=5, deadline=None)
def test_a_member_is_the_single_network_and_neither_padding_nor_company_moves_a_bit(kind, steps, lengths, content, own):
    networks, loss = members_of(kind, steps, 3), loss_for(steps, classes=True)
    population = Population(networks)
    orders = [lengths, lengths[::-1], sorted(lengths)] if own else [lengths]

    def batch(content: float) -> tuple[Tensor, Tensor, Tensor]:
        batches = [padded(sequences(kind, order, seed), content, more=1) for seed, order in enumerate(orders)]
        y = [targets(loss, n, x.shape[1]) for x, n in batches]
        if not own:
            return *batches[0], y[0]
        return torch.stack([x for x, _ in batches]), torch.stack([n for _, n in batches]), torch.stack(y)

    x, n, y = batch(content)
    together = population_pass(population, [0, 1, 2], x, n, loss, y)
    usual = population_pass(population, [0, 1, 2], *batch(0.5)[:2], loss, y)
    assert all(torch.equal(usual[name], together[name]) for name in usual)
    for k in range(3):
        rows = (t[k : k + 1] if own else t for t in (x, n))
        alone = population_pass(population, [k], *rows, loss, y[k : k + 1] if own else y)
        assert all(torch.equal(alone[name][0], together[name][k]) for name in alone), k
    for k, network in enumerate(networks):
        network.train().zero_grad()
        torch.manual_seed(100 + k)
        prediction = network(x[k], n[k]) if own else network(x, n)
        terms = penalties(network)
        (loss(prediction, y[k] if own else y) + sum(terms.values())).backward()
        row = torch.cat([p.grad.flatten() for p in network.parameters()])
        torch.testing.assert_close(together["prediction"][k], prediction.detach(), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(together["gradient"][k], row, rtol=1e-8, atol=1e-10)
        for name, term in terms.items():
            torch.testing.assert_close(together[name][k], term.detach(), rtol=1e-9, atol=1e-11)


@each_kind
@each_steps
def test_a_population_predicts_what_its_members_predict(kind, steps):
    networks = members_of(kind, steps, 3)
    x, lengths = padded(sequences(kind, [4, 1, 6, 2]), math.nan)
    expected = torch.stack([network.eval()(x, lengths) for network in networks])
    population = Population(networks).eval()
    torch.testing.assert_close(population(x, lengths), expected)
    torch.testing.assert_close(population[2](x, lengths), expected[2])
    whole = torch.nan_to_num(x)
    torch.testing.assert_close(population(whole), torch.stack([network(whole) for network in networks]))
    own = torch.stack([lengths, lengths.flip(0), lengths.clamp(max=2)])  # of one x, each its own lengths
    found = population(whole, own)
    torch.testing.assert_close(found, torch.stack([m(whole, n) for m, n in zip(networks, own, strict=True)]))


def test_members_may_differ_in_how_many_tokens_they_drop_and_not_in_what_tokens_there_are():
    configs = [ModelConfig(3, embedding_dropout=rate) for rate in (0.0, 0.5, 0.9)]
    population = Population.of(configs, D, OUT, steps="all", vocabularies={1: 4})
    assert [population[k].embeddings.dropout for k in range(3)] == [0.0, 0.5, 0.9]
    assert len({population.kinds_of_masks(k) for k in range(3)}) == 2
    for other in (
        Network(ModelConfig(3), D, OUT, steps="all", vocabularies={1: 5}),
        Network(ModelConfig(3), D, OUT, vocabularies={1: 4}),
        Network(ModelConfig(3, embedding_size=7), D, OUT, steps="all", vocabularies={1: 4}),
    ):
        with pytest.raises(ValueError, match="must have one architecture"):
            Population([population[0], other])
