"""K networks as one module are K networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lstmreg import ModelConfig, Network, Population, penalties, regularize
from lstmreg.layers.population import LayerPopulation
from lstmreg.models import load, save

B, T, D, OUT = 5, 6, 3, 2

#: By name, what the members share, and the knobs of each; those of one group draw the same kinds of masks.
ARCHITECTURES: dict[str, dict] = {
    "one layer": {},
    "two-way": {"bidirectional": True},
    "two layers": {"num_layers": 2, "hidden_size": [4, 3]},
    "three layers, two-way": {"num_layers": 3, "hidden_size": [4, 1, 3], "bidirectional": True},
}

KNOBS = {
    "nothing on": [{}, {}],
    "weights": [
        {"kernel_l1": 0.01, "kernel_l2": 0.5, "recurrent_l1": 0.25, "bias_l2": 2.0},
        {},
        {"kernel_l2": 0.125, "recurrent_l2": 1.0, "bias_l1": 0.3},
    ],
    "activity": [{"activity_l1": 0.5}, {"activity_l1": 0.25, "activity_l2": 2.0}, {}, {"activity_l2": 0.75}],
    "dropout": [{"dropout": 0.1}, {"dropout": 0.6, "activity_l2": 1.0}, {"dropout": 0.5}],
    "a mask of the input for each gate": [{"dropout": rate, "per_gate_input_masks": True} for rate in (0.1, 0.6)],
    "one mask of the state": [{"recurrent_dropout": rate, "per_gate_masks": False} for rate in (0.1, 0.6)],
    "recurrent dropout": [{"recurrent_dropout": 0.1}, {"recurrent_dropout": 0.6, "activity_l1": 1.0}],
    "everything": [
        {
            "dropout": 0.1 * k,
            "recurrent_dropout": 0.2 * k,
            **{f"{place}_l{n}": 0.125 * k * n for place in ("kernel", "recurrent", "bias", "activity") for n in (1, 2)},
        }
        for k in (1, 2, 3)
    ],
}


def make(config: ModelConfig, seed: int) -> Network:
    """Make a network whose biases are no zeros, so that what becomes of them can be seen."""
    torch.manual_seed(seed)
    network = Network(config, D, OUT)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.uniform_(-0.5, 0.5)
    return network


def networks(architecture: str, knobs: str, dtype: torch.dtype = torch.float64) -> list[Network]:
    shared = ARCHITECTURES[architecture]
    return [make(ModelConfig(**{"hidden_size": 4} | shared | own), k).to(dtype) for k, own in enumerate(KNOBS[knobs])]


def inputs(members: int, own: bool, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (members, B, T, D) if own else (B, T, D)
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(9))


#: Of the members' common activations: one for all layers, and one for each.
ACTIVATIONS = {
    "relu and hard sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "others in each layer": {
        "hidden_size": [4, 3],
        "num_layers": 2,
        "activation": ["softsign", "tanh"],
        "recurrent_activation": ["keras2_hard_sigmoid", "sigmoid"],
    },
}
ARCHITECTURES |= ACTIVATIONS


# ---------------------------------------------------------------------- what it computes


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-14), (torch.float32, 1e-6)], ids=["float64", "float32"])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_population_predicts_as_its_members_do(architecture, own, dtype, atol):
    members = networks(architecture, "everything", dtype)
    x = inputs(len(members), own, dtype)
    prediction = Population(members)(x).detach()
    assert prediction.shape == (len(members), B, OUT)
    for k, network in enumerate(members):
        expected = network.eval()(x[k] if own else x)
        torch.testing.assert_close(prediction[k], expected, rtol=atol, atol=atol)
    assert float((prediction[0] - prediction[1]).abs().max()) > 0.01


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("knobs", KNOBS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_training_every_member_has_its_own_prediction_penalties_and_gradients(architecture, knobs, own):
    members = networks(architecture, knobs)
    population = Population(members)
    x = inputs(len(members), own)
    block = population.block(range(len(members)))
    weights = population.weights.detach().requires_grad_()
    generators = [torch.Generator().manual_seed(10 + k) for k in range(len(members))]
    for _ in range(2):  # the second time with the next masks
        prediction, found, _ = block.run_and_penalize(weights, x, None, generators)
    (gradient,) = torch.autograd.grad((prediction.square().sum((1, 2)) + sum(found.values())).sum(), weights)
    for k, network in enumerate(members):
        network.train()
        torch.manual_seed(10 + k)
        for _ in range(2):
            alone = network(x[k] if own else x)
            own_penalties = penalties(network)
        torch.testing.assert_close(prediction[k], alone, rtol=1e-12, atol=1e-12)
        assert population.kinds_of_penalties(k) == set(own_penalties) <= set(found)
        for kind, values in found.items():
            expected = own_penalties.get(kind, torch.zeros((), dtype=torch.float64))
            torch.testing.assert_close(values[k], expected, rtol=1e-6, atol=0)
        own_gradients = torch.autograd.grad(
            alone.square().sum() + sum(own_penalties.values()), list(network.parameters())
        )
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in own_gradients]), rtol=1e-6, atol=1e-6)


def test_a_strength_is_as_exact_as_the_weights_are():
    network = make(ModelConfig(hidden_size=4, kernel_l1=0.1, kernel_l2=1e-3, activity_l2=0.3), 0).double()
    population = Population([network])
    x, generators = inputs(1, False), [torch.Generator()]
    _, found, _ = population.block([0]).run_and_penalize(population.weights, x, None, generators)
    network.train()(x)
    for kind, expected in penalties(network).items():
        torch.testing.assert_close(found[kind][0], expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_that_are_carried_over_join_two_half_sequences(bidirectional):
    members = [make(ModelConfig([4, 3], 2, bidirectional, stateful=True), k).double() for k in range(3)]
    population, x = Population(members), inputs(3, True)
    block = population.block(range(3))
    _, states = block.run(population.weights, x[:, :, :2])
    prediction, _ = block.run(population.weights, x[:, :, 2:], states)
    for k, network in enumerate(members):
        network.eval()(x[k][:, :2])
        torch.testing.assert_close(prediction[k], network(x[k][:, 2:]), rtol=1e-12, atol=1e-12)


def test_some_members_run_in_the_order_in_which_they_are_named():
    members = networks("two layers", "everything")
    population, x, order = Population(members), inputs(3, False), [2, 0]
    prediction, _ = population.block(order).run(population.weights[order], x)
    torch.testing.assert_close(prediction, population(x)[order], rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------- members


def test_a_member_is_an_ordinary_network_with_its_row_of_weights(tmp_path):
    members = networks("three layers, two-way", "everything", torch.float32)
    before = [copy.deepcopy(network.state_dict()) for network in members]
    population = Population(members).eval()
    x = inputs(3, False, torch.float32)
    for k in range(3):
        torch.testing.assert_close(population[k].state_dict(), before[k], rtol=0, atol=0)
    with torch.no_grad():
        population.weights.mul_(torch.tensor([[2.0], [3.0], [5.0]]))
    for k, scale in enumerate((2.0, 3.0, 5.0)):
        member = population[k]
        assert type(member) is Network
        assert not member.training
        scaled = {name: weight * scale for name, weight in before[k].items()}
        torch.testing.assert_close(member.state_dict(), scaled, rtol=0, atol=0)
        fresh = Network(member.config, D, OUT).eval()
        fresh.load_state_dict(member.state_dict(), strict=True)
        assert torch.equal(fresh(x), member(x))
        save(tmp_path, member, {})
        assert torch.equal(load(tmp_path)[0](x), member(x))
    assert population.train()[1].training


def test_a_second_bias_that_somebody_wrote_is_part_of_the_first():
    first, second = networks("two-way", "nothing on")
    with torch.no_grad():
        for name, buffer in second.named_buffers():
            if "bias_hh" in name:
                buffer.uniform_(-1, 1)
    x = inputs(2, False)
    expected = second.eval()(x)
    population = Population([first, second]).eval()
    torch.testing.assert_close(population(x)[1], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(population[1](x), expected, rtol=1e-12, atol=1e-12)


def test_training_the_population_leaves_the_given_networks_alone_until_they_are_asked_for():
    network = make(ModelConfig(hidden_size=4), 0)
    population = Population([network])
    x = inputs(1, False, torch.float32)
    before = network.eval()(x)
    with torch.no_grad():
        population.weights.zero_()
    assert torch.equal(network(x), before)
    assert not population[0](x).any()


def test_members_of_one_seed_start_alike_and_of_others_differently():
    configs = [ModelConfig(hidden_size=4, dropout=rate) for rate in (0.0, 0.2, 0.4)]
    random = torch.get_rng_state()
    alike, different = Population.of(configs, D, OUT, seeds=3), Population.of(configs, D, OUT, seeds=[3, 4, 5])
    assert torch.equal(torch.get_rng_state(), random)
    assert [network.config for network in different.networks] == configs
    for k, config in enumerate(configs):
        for population, seed in ((alike, 3), (different, 3 + k)):
            torch.manual_seed(seed)
            torch.testing.assert_close(population[k].state_dict(), Network(config, D, OUT).state_dict(), rtol=0, atol=0)
    assert len(alike) == len(different) == 3
    assert not torch.equal(different.weights[0], different.weights[1])
    with pytest.raises(ValueError, match="one int or one for each of the 3 members"):
        Population.of(configs, D, OUT, seeds=[1, 2])


@pytest.mark.parametrize(
    ("knobs", "kinds"),
    [
        ({}, ((0, 0), (0, 0))),
        ({"dropout": 0.1}, ((1, 0), (1, 0))),
        ({"recurrent_dropout": 0.1}, ((0, 4), (0, 4))),
        ({"dropout": 0.1, "recurrent_dropout": [0.1, 0.0]}, ((4, 4), (1, 0))),
        ({"dropout": [0.0, 0.1], "recurrent_dropout": 0.1}, ((0, 4), (4, 4))),
        ({"dropout": [0.0, 0.1], "per_gate_input_masks": True}, ((0, 0), (4, 0))),
        ({"dropout": 0.1, "recurrent_dropout": 0.1, "per_gate_input_masks": False}, ((1, 4), (1, 4))),
        ({"dropout": 0.1, "recurrent_dropout": 0.1, "per_gate_masks": False}, ((1, 1), (1, 1))),
    ],
)
def test_the_kinds_of_masks_are_those_that_the_layers_draw(knobs, kinds):
    population = Population([make(ModelConfig([4, 3], 2, **knobs), 0)])
    assert population.kinds_of_masks(0) == kinds
    x, generator = inputs(1, False, torch.float32), torch.Generator().manual_seed(5)
    population.block([0]).run_and_penalize(population.weights, x, None, [generator])
    torch.manual_seed(5)
    for (of_input, of_state), width, hidden in zip(kinds, (D, 4), (4, 3), strict=True):
        for groups, size in ((of_input, width), (of_state, hidden)):
            if groups:
                torch.rand(groups, B, size)
    assert torch.equal(torch.rand(1, generator=generator), torch.rand(1))  # so many numbers were drawn, no more


# ---------------------------------------------------------------------- what is refused

PLAIN = ModelConfig(hidden_size=4)

OTHERS = {
    "hidden_size is [4] in member 0 and [5] in member 1": lambda: Network(ModelConfig(hidden_size=5), D, OUT),
    "num_layers is 1 in member 0 and 2 in member 1": lambda: Network(ModelConfig(4, 2), D, OUT),
    "bidirectional is False in member 0 and True": lambda: Network(ModelConfig(4, bidirectional=True), D, OUT),
    "stateful is False in member 0 and True": lambda: Network(ModelConfig(4, stateful=True), D, OUT),
    "per_gate_masks is True in member 0 and False": lambda: Network(ModelConfig(4, per_gate_masks=False), D, OUT),
    "per_gate_input_masks is None in member 0 and True": lambda: Network(
        ModelConfig(4, per_gate_input_masks=True), D, OUT
    ),
    "input_size is 3 in member 0 and 4": lambda: Network(PLAIN, 4, OUT),
    "output_size is 2 in member 0 and 1": lambda: Network(PLAIN, D, 1),
    "dtype is torch.float32 in member 0 and torch.float64": lambda: Network(PLAIN, D, OUT).double(),
    "device is device(type='cpu') in member 0 and device(type='meta')": lambda: Network(PLAIN, D, OUT).to("meta"),
}


@pytest.mark.parametrize("message", OTHERS)
def test_members_of_different_architectures_are_refused_by_what_differs(message):
    with pytest.raises(ValueError) as caught:
        Population([Network(PLAIN, D, OUT), OTHERS[message]()])
    assert "must have one architecture" in str(caught.value)
    assert message in str(caught.value)
    assert "Make a population for each." in str(caught.value)


def test_one_size_for_all_layers_and_a_list_of_it_are_one_architecture():
    assert len(Population([Network(ModelConfig(4, 2), D, OUT), Network(ModelConfig([4, 4], 2), D, OUT)])) == 2


class Another(Network):
    pass


@pytest.mark.parametrize("other", [nn.Linear(D, OUT), Another(PLAIN, D, OUT)], ids=["Linear", "Another"])
def test_a_member_that_is_another_network_is_refused_and_sent_to_fit(other):
    name = type(other).__name__
    with pytest.raises(TypeError, match=rf"must be lstmreg.Network, got {name} as member 1\. .*lstmreg\.fit"):
        Population([Network(PLAIN, D, OUT), other])


def test_a_population_of_none_is_refused():
    with pytest.raises(ValueError, match="must have at least one member"):
        Population([])


def frozen(network: Network) -> None:
    network.head.weight.requires_grad_(False)


@pytest.mark.parametrize("change", [frozen, lambda network: regularize(network, "head.weight", "l2")])
def test_what_a_population_could_not_train_is_refused_and_sent_to_fit(change):
    members = [Network(PLAIN, D, OUT) for _ in range(3)]
    change(members[2])
    with pytest.raises(
        ValueError, match=r"member 2 has frozen parameters, or penalties .* by itself with lstmreg\.fit"
    ):
        Population(members)


def test_a_regularizer_that_is_no_elastic_net_is_refused_by_name():
    network = Network(PLAIN, D, OUT)
    network.layers[0].kernel_regularizer = torch.norm
    with pytest.raises(TypeError, match=r"must be L1, L2 or L1L2, got <function norm"):
        Population([network]).block([0])


def test_layers_that_draw_other_masks_cannot_run_together():
    layers = [make(ModelConfig(hidden_size=4, dropout=rate), 0).layers[0] for rate in (0.0, 0.5)]
    together = LayerPopulation(layers, layers[0].weight_ih_l0)
    weights = {name: torch.stack([p, p]) for name, p in layers[0].named_parameters()}
    x, generators = torch.zeros(T, B, D), [torch.Generator(), torch.Generator()]
    together.run(x, weights, None, None)  # without masks they can
    with pytest.raises(ValueError, match="too many values"):
        together.run(x, weights, None, generators)


def test_a_population_that_is_cast_gives_members_of_its_type():
    population = Population.of([ModelConfig(hidden_size=3)] * 2, 2, 1, seeds=[0, 1]).double()
    assert {p.dtype for p in population[1].parameters()} == {torch.float64}
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(population[1](x), population(x)[1])


def test_one_object_cannot_be_two_members():
    network = make(ModelConfig(hidden_size=3), 0)
    with pytest.raises(ValueError, match="different objects"):
        Population([network, network])


# ---------------------------------------------------------------------- activations, states, and what x can be


def test_activations_are_common_to_all_however_they_are_written():
    usual = {"hidden_size": 3, "num_layers": 2}
    Population.of([ModelConfig(**usual, activation="relu"), ModelConfig(**usual, activation=["relu", "relu"])], 2, 1)
    with pytest.raises(
        ValueError, match=r"activation is \['tanh', 'tanh'\] in member 0 and \['relu', 'relu'\] in member 1"
    ):
        Population.of([ModelConfig(**usual), ModelConfig(**usual, activation="relu")], 2, 1)


def test_members_may_begin_with_other_heads():
    population = Population.of([ModelConfig(3), ModelConfig(3, head_initializer="keras")], 2, 1)
    assert torch.equal(population[0].layers[0].weight_ih_l0, population[1].layers[0].weight_ih_l0)
    assert [float(population[k].head.bias.detach().abs()) > 0 for k in range(2)] == [True, False]


def test_a_network_that_was_read_from_elsewhere_can_be_a_member():
    keras = pytest.importorskip("keras")
    layers = [
        keras.Input((T, D)),
        keras.layers.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid"),
        keras.layers.Dense(OUT),
    ]
    model = keras.Sequential(layers)
    network = Network(ModelConfig(4, activation="relu", recurrent_activation="hard_sigmoid"), D, OUT)
    w_ih, w_hh, bias, head, head_bias = (v.value.detach().cpu() for v in model.weights)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    network.layers[0].load_state_dict(dict(zip(names, (w_ih.T, w_hh.T, bias), strict=True)), strict=False)
    network.head.load_state_dict({"weight": head.T, "bias": head_bias})
    x = torch.randn(B, T, D)
    predicted = Population([network, copy.deepcopy(network)])(x)
    for own in predicted.detach():
        torch.testing.assert_close(own, model(x).detach().cpu(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["two layers", "two-way"])
def test_a_stateful_population_goes_on_from_batch_to_batch_as_its_members_do(architecture):
    shared = ARCHITECTURES[architecture] | {"stateful": True}
    members = [make(ModelConfig(**{"hidden_size": 4} | shared), k).double().eval() for k in range(2)]
    population = Population(members)
    batches = torch.randn(3, B, T, D, dtype=torch.float64)
    first = None
    for _ in range(2):
        for x in batches:
            found = population(x).detach()
            for k, network in enumerate(members):
                torch.testing.assert_close(found[k], network(x), rtol=1e-12, atol=1e-12)
        first = found if first is None else first
        population.reset_state()
        for network in members:
            for layer in network.layers:
                layer.reset_state()
    assert torch.equal(found, first)
    assert not torch.allclose(population(batches[2]).detach(), first)  # without those before
    with pytest.raises(ValueError, match=r"same number of sequences each time, 5, got 2\. Call reset_state\(\) first"):
        population(batches[0, :2])


def test_a_packed_sequence_is_refused_with_what_can_take_it():
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, D), torch.randn(2, D)])
    population = Population([make(ModelConfig(4), 0), make(ModelConfig(4), 1)])
    with pytest.raises(TypeError, match=r"x must be a tensor \(B, T, D\).*got PackedSequence.*population\[k\]\(x\)"):
        population(packed)
    assert population[1](packed).shape == (2, OUT)  # as the message says
