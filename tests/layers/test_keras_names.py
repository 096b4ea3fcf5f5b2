"""What goes by Keras' names (activations, initializers, regularizers, constraints), against live Keras."""

from __future__ import annotations

import math
from dataclasses import asdict

import keras
import numpy as np
import pytest
import torch
from keras.src.activations import ALL_OBJECTS_DICT as KERAS_ACTIVATIONS
from keras.src.constraints import ALL_OBJECTS_DICT as KERAS_CONSTRAINTS
from keras.src.initializers import ALL_OBJECTS_DICT as KERAS_INITIALIZERS
from keras.src.regularizers import ALL_OBJECTS_DICT as KERAS_REGULARIZERS
from scipy import stats
from torch import Tensor, nn

from lstmreg import (
    L1,
    L1L2,
    L2,
    LSTM,
    MaxNorm,
    MinMaxNorm,
    NonNeg,
    Orthogonal,
    UnitNorm,
    activations,
    apply_constraints,
    constraints,
    initializers,
    penalties,
    regularize,
    regularizers,
)
from tests.layers.keras_twin import KINDS, B, D, H, T, assert_close, assert_equal, make_lstm, make_twin

# ---------------------------------------------------------------------- activations

# "glu" halves the width and "threshold" wants two more arguments: in Keras, too, no gate can have them by name.
# "sparsemax" on the torch backend sums what it should pick: rows add up to 0 or 0.15 where they should to 1.
NAMES = sorted(set(KERAS_ACTIVATIONS) - {"glu", "threshold", "sparsemax"})


def spread_out() -> Tensor:
    bends = torch.tensor([-6.0, -3.0, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5, 3.0, 6.0])
    return torch.cat([3 * torch.randn(40, 7), bends[:7].unsqueeze(0), bends[4:].unsqueeze(0)])


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_is_that_of_keras_by_value_and_gradient(name):
    x = spread_out()
    assert_close(activations.get(name)(x), keras.activations.get(name)(x), 2e-6)
    x = x[:40].requires_grad_()  # at the bends a derivative is what each library says it is
    cotangent = torch.randn_like(x)
    ours, theirs = (
        torch.autograd.grad(f(x), x, cotangent)[0] for f in (activations.get(name), keras.activations.get(name))
    )
    assert_close(ours, theirs, 5e-6)


def test_the_hard_sigmoid_of_keras_2_is_its_formula():
    x = spread_out()
    assert_close(activations.get("keras2_hard_sigmoid")(x), torch.clip(0.2 * x + 0.5, 0, 1), 0)
    assert float(activations.get("keras2_hard_sigmoid")(torch.tensor(1.0))) == pytest.approx(0.7)
    assert float(activations.get("hard_sigmoid")(torch.tensor(1.0))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("where", ["activation", "recurrent_activation"])
@pytest.mark.parametrize("name", [None, *NAMES])
def test_a_layer_with_any_activation_is_that_of_keras(name, where):
    ours = make_lstm(**{where: name})
    steps = 1 if name == "exponential" else 2  # of exponentials the second is infinite, of others the sixth is large
    assert_equal(ours, [make_twin(ours, **{where: name})], steps=steps)


def test_callable_activations_are_called():
    ours = make_lstm(activation=torch.sin, recurrent_activation=lambda z: torch.sigmoid(2 * z))
    oracle = make_twin(ours, activation=torch.sin, recurrent_activation=lambda z: torch.sigmoid(2 * z))
    assert_equal(ours, [oracle])


def test_serialized_activations_are_read():
    for name in set(NAMES) & set(activations.ACTIVATIONS):
        serialized = keras.activations.serialize(keras.activations.get(name))
        x = spread_out()
        assert_close(activations.get(serialized)(x), keras.activations.get(name)(x), 2e-6)


# ---------------------------------------------------------------------- bias and initial weights


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
def test_a_layer_without_bias_is_that_of_keras(bidirectional):
    ours = make_lstm(bias=False, bidirectional=bidirectional)
    assert_equal(ours, [make_twin(ours, use_bias=False, bidirectional=bidirectional)])


@pytest.mark.parametrize("unit_forget_bias", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_the_first_bias_is_that_of_keras(value, unit_forget_bias):
    ours = LSTM(
        D, H, 2, bidirectional=True, bias_initializer=initializers.Constant(value), unit_forget_bias=unit_forget_bias
    )
    oracle = keras.layers.LSTM(
        H, bias_initializer=keras.initializers.Constant(value), unit_forget_bias=unit_forget_bias
    )
    oracle.build((B, T, D))
    for weights in ours.all_weights:
        assert_close(weights[2].detach(), oracle.cell.bias.value.detach(), 0)
    assert_close(ours.bias_ih_l0.view(4, H)[:, 0].tolist(), [value, 1.0 if unit_forget_bias else value, value, value])


FAMILIES = sorted(
    {c for c in KERAS_INITIALIZERS.values() if c.__name__ not in ("Initializer", "STFT")}, key=lambda c: c.__name__
)
RANDOM = {c.__name__: c(seed=3) for c in FAMILIES if c.__name__ not in ("Constant", "Zeros", "Ones", "Identity")}
RANDOM |= {
    f"VarianceScaling {mode} {distribution}": keras.initializers.VarianceScaling(0.7, mode, distribution, seed=3)
    for mode in ("fan_in", "fan_out", "fan_avg")
    for distribution in ("truncated_normal", "untruncated_normal", "uniform")
}
RANDOM |= {
    "RandomNormal elsewhere": keras.initializers.RandomNormal(0.5, 2.0, seed=3),
    "TruncatedNormal elsewhere": keras.initializers.TruncatedNormal(0.5, 2.0, seed=3),
    "RandomUniform elsewhere": keras.initializers.RandomUniform(-0.25, 2.0, seed=3),
    "Orthogonal stretched": keras.initializers.Orthogonal(gain=1.5, seed=3),
}


@pytest.mark.parametrize("name", RANDOM)
def test_an_initializer_draws_from_the_distribution_of_keras(name):
    theirs = RANDOM[name]
    rows, columns = 250, 400  # in Keras' layout: 1e5 draws
    drawn = theirs((rows, columns)).detach().numpy().ravel().astype(float)
    tensor = torch.full((columns, rows), math.nan)
    serialized = keras.initializers.serialize(theirs)
    serialized["config"]["seed"] = None
    initializers.get(serialized)(tensor)
    ours = tensor.numpy().ravel().astype(float)
    # The standard error of a standard deviation of 1e5 draws is 0.22 %, that of a mean is sigma / 316.
    assert ours.std() == pytest.approx(drawn.std(), rel=0.015)
    assert ours.mean() == pytest.approx(drawn.mean(), abs=7 * drawn.std() / 316)
    assert stats.ks_2samp(ours, drawn).pvalue > 1e-3
    if "niform" in name:  # the extremes of 1e5 draws are the bounds, but for 1e-5 of their distance or so
        width = drawn.max() - drawn.min()
        assert ours.min() == pytest.approx(drawn.min(), abs=3e-4 * width)
        assert ours.max() == pytest.approx(drawn.max(), abs=3e-4 * width)
    if "untruncated" not in name and ("runcated" in name or name in ("GlorotNormal", "HeNormal", "LecunNormal")):
        assert np.abs(ours - ours.mean()).max() == pytest.approx(np.abs(drawn - drawn.mean()).max(), rel=0.01)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("glorot_uniform", math.sqrt(6 / 650)),
        ("he_uniform", math.sqrt(6 / 250)),
        ("lecun_uniform", math.sqrt(3 / 250)),
        ("random_uniform", 0.05),
    ],
)
def test_uniform_initializers_stay_within_their_bound_and_reach_it(name, limit):
    tensor = torch.empty(400, 250)
    initializers.get(name)(tensor)
    assert limit * (1 - 1e-3) < float(tensor.max()) <= limit * (1 + 1e-6)
    assert -limit * (1 + 1e-6) <= float(tensor.min()) < -limit * (1 - 1e-3)


@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_rows_are_orthonormal_in_the_layout_of_keras(gain):
    tensor = torch.empty(4 * H, H)
    initializers.Orthogonal(gain)(tensor)
    theirs = keras.initializers.Orthogonal(gain, seed=1)((H, 4 * H)).detach()
    for w in (tensor.t(), theirs):
        assert_close(w @ w.t(), gain**2 * torch.eye(H))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("zeros", keras.initializers.Zeros()),
        ("ones", keras.initializers.Ones()),
        (keras.initializers.serialize(keras.initializers.Constant(0.3)), keras.initializers.Constant(0.3)),
        ("identity", keras.initializers.Identity()),
        (initializers.Identity(0.7), keras.initializers.Identity(0.7)),  # Keras forgets to serialize its gain
    ],
    ids=["zeros", "ones", "constant", "identity", "identity stretched"],
)
def test_an_initializer_without_chance_is_that_of_keras(ours, theirs):
    for shape in [(D, 4 * H), (H, 4 * H)]:
        tensor = torch.full(shape[::-1], math.nan)
        initializers.get(ours)(tensor)
        assert_close(tensor.t(), theirs(shape).detach(), 0)


@pytest.mark.parametrize("name", sorted(n for n, c in KERAS_INITIALIZERS.items() if c in FAMILIES))
def test_every_initializer_that_keras_knows_by_name_is_known(name):
    assert type(initializers.get(name)).__name__ == KERAS_INITIALIZERS[name].__name__


# ---------------------------------------------------------------------- regularizers

REGULARIZERS = {
    "L1": (L1(0.125), keras.regularizers.L1(0.125)),
    "L2": (L2(0.1), keras.regularizers.L2(0.1)),
    "L1L2": (L1L2(0.1, 0.7), keras.regularizers.L1L2(0.1, 0.7)),
    "rows": (Orthogonal(0.1), keras.regularizers.OrthogonalRegularizer(0.1)),
    "columns": (Orthogonal(0.7, "columns"), keras.regularizers.OrthogonalRegularizer(0.7, "columns")),
}


def uneven(w):
    """A penalty that is another one of the transpose."""
    return (w[0] ** 2).sum() + 3 * abs(w[:, 1]).sum()


def assert_penalty_equal(where: str, ours_value, keras_value) -> None:
    ours = make_lstm(**{f"{where}_regularizer": ours_value})
    assert_equal(ours, [make_twin(ours, **{f"{where}_regularizer": keras_value})])
    assert float(ours.penalty().detach()) > 0


PLACES = [(name, where) for name in REGULARIZERS for where in (*KINDS, "activity")]
OF_A_MATRIX = [(name, where) for name, where in PLACES if name in ("rows", "columns") and where in ("bias", "activity")]


@pytest.mark.parametrize("form", ["instance", "serialized"])
@pytest.mark.parametrize(("name", "where"), [place for place in PLACES if place not in OF_A_MATRIX])
def test_a_regularizer_costs_what_that_of_keras_costs(name, where, form):
    ours, theirs = REGULARIZERS[name]
    assert_penalty_equal(where, ours if form == "instance" else keras.regularizers.serialize(theirs), theirs)


@pytest.mark.parametrize(("name", "where"), OF_A_MATRIX)
def test_orthogonality_of_what_is_no_matrix_is_refused_as_in_keras(name, where):
    ours, theirs = REGULARIZERS[name]
    layer = make_lstm(**{f"{where}_regularizer": ours})
    twin = keras.layers.LSTM(H, return_sequences=True, **{f"{where}_regularizer": theirs})
    with pytest.raises(ValueError, match="matrix"):
        float(layer(torch.randn(B, T, D))[0].sum() + layer.penalty())
    with pytest.raises(ValueError, match="rank 2"):
        float(twin(torch.randn(B, T, D)).sum() + sum(twin.losses))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_any_regularizer_may_cost_the_last_output_as_in_keras(name):
    ours, theirs = REGULARIZERS[name]
    layer = make_lstm(activity_regularizer=ours, activity_steps="last")
    twin = make_twin(layer, activity_regularizer=theirs, return_sequences=False, return_state=False)
    x = torch.randn(B, T, D)
    layer(x)
    twin(x)
    assert_close(layer.penalty(), sum(twin.losses))


@pytest.mark.parametrize("where", ["kernel", "recurrent"])
def test_a_callable_gets_the_matrix_of_keras(where):
    assert_penalty_equal(where, uneven, uneven)


@pytest.mark.parametrize("name", sorted(set(KERAS_REGULARIZERS) - {"Regularizer", "regularizer"}))
def test_a_regularizer_named_by_a_string_is_that_of_keras(name):
    if name.lower() in ("l1l2", "l1_l2"):  # with strengths of 0 and 0, which Keras takes without a word
        with pytest.raises(ValueError, match="names no strengths"):
            make_lstm(kernel_regularizer=name)
    else:
        assert_penalty_equal("kernel", name, name)


def as_float32(serialized: dict) -> dict:
    config = {k: np.float32(v) if isinstance(v, float) else v for k, v in serialized["config"].items()}
    return serialized | {"config": config}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizers_are_written_and_read_as_keras_does(name):
    ours, theirs = REGULARIZERS[name]
    # Keras keeps the strength of L1 and of orthogonality in float32.
    assert as_float32(regularizers.serialize(ours)) == as_float32(keras.regularizers.serialize(theirs))
    w = torch.randn(H, 4 * H)
    assert_close(keras.regularizers.deserialize(regularizers.serialize(ours))(w), ours(w), 1e-6)
    assert_close(regularizers.get(keras.regularizers.serialize(theirs))(w), theirs(w), 1e-6)
    config = {k: v for k, v in keras.regularizers.serialize(theirs).items() if k in ("class_name", "config")}
    assert_close(regularizers.get(config)(w), theirs(w), 1e-6)


def test_the_legacy_dict_of_keras_2_is_read():
    assert regularizers.get({"class_name": "L1L2", "config": {"l1": 0.25, "l2": 0.5}}) == L1L2(0.25, 0.5)
    assert regularizers.get({"class_name": "L2", "config": {"l2": 0.5}}) == L2(0.5)
    assert regularizers.serialize(None) is None


@pytest.mark.parametrize("theirs", [keras.regularizers.L2(0.25), keras.regularizers.L1(0.5)], ids=["L2", "L1"])
def test_a_regularized_head_costs_what_a_dense_layer_costs(theirs):
    head = nn.Linear(H, 3)
    model = nn.Sequential(nn.Tanh(), head)
    regularize(model, "1.weight", keras.regularizers.serialize(theirs))
    regularize(head, "bias", keras.regularizers.serialize(theirs))
    dense = keras.layers.Dense(3, kernel_regularizer=theirs, bias_regularizer=theirs)
    dense.build((B, H))
    dense.set_weights([w.detach().numpy().T for w in head.parameters()])
    ours = penalties(model)
    assert list(ours) == ["other"]
    assert_close(ours["other"], sum(dense.losses))
    gradients = torch.autograd.grad(ours["other"], list(head.parameters()))
    expected = torch.autograd.grad(sum(dense.losses), [v.value for v in dense.trainable_variables])
    assert_close(list(gradients), [g.T if g.dim() == 2 else g for g in expected])
    head.weight.requires_grad_(False)
    dense.trainable = False  # the bias as well: in Keras a layer is frozen as one
    head.bias.requires_grad_(False)
    assert penalties(model) == {}
    assert dense.losses == []


def test_a_frozen_layer_costs_its_activity_alone_as_in_keras():
    settings = {f"{kind}_regularizer": "l2" for kind in (*KINDS, "activity")}
    ours = make_lstm(**settings)
    oracle = make_twin(ours, return_state=False, **settings)
    oracle.trainable = False
    ours.requires_grad_(False)
    x = torch.randn(B, T, D)
    ours(x)
    oracle(x, training=True)
    assert len(oracle.losses) == 1
    assert list(penalties(ours)) == ["activity"]
    assert_close(ours.penalty(), oracle.losses[0])


# ---------------------------------------------------------------------- constraints

CONSTRAINTS = {
    "max": MaxNorm(0.7),
    "max of columns": MaxNorm(0.7, axis=1),
    "max of all": MaxNorm(0.7, axis=[0, 1]),
    "not negative": NonNeg(),
    "unit": UnitNorm(),
    "unit of columns": UnitNorm(axis=1),
    "unit of all": UnitNorm(axis=[0, 1]),
    "between": MinMaxNorm(0.6, 0.9),
    "between slowly": MinMaxNorm(0.6, 0.9, rate=0.25, axis=1),
    "between of all": MinMaxNorm(0.6, 0.9, rate=0.5, axis=[0, 1]),
}


def constraint_of_keras(ours):
    return getattr(keras.constraints, type(ours).__name__)(**asdict(ours))


@pytest.mark.parametrize("form", ["instance", "serialized"])
@pytest.mark.parametrize(
    ("name", "where"),
    [(n, w) for n, c in CONSTRAINTS.items() for w in KINDS if w != "bias" or getattr(c, "axis", 0) == 0],
)
def test_a_constraint_projects_as_that_of_keras(name, where, form):
    constraint = CONSTRAINTS[name]
    theirs = constraint_of_keras(constraint)
    chosen = constraint if form == "instance" else keras.constraints.serialize(theirs)
    ours = make_lstm(D, H, 2, bidirectional=True, **{f"{where}_constraint": chosen})
    twins = [make_twin(ours, layer, bidirectional=True, **{f"{where}_constraint": theirs}) for layer in range(2)]
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    apply_constraints(ours)  # nothing has a gradient yet
    assert_close(dict(ours.named_parameters()), before, 0)
    optimizer = keras.optimizers.SGD(0.0)  # Keras' own way to project: a step of nothing
    variables = [v for twin in twins for v in twin.trainable_variables]
    optimizer.build(variables)
    optimizer.apply([torch.zeros_like(v.value) for v in variables], variables)
    for parameter in ours.parameters():
        parameter.grad = torch.zeros_like(parameter)
    apply_constraints(ours)
    for (key, parameter), variable in zip(ours.named_parameters(), variables, strict=True):
        assert_close(
            parameter.detach(), variable.value.detach().T if "weight" in key else variable.value.detach(), 1e-6
        )
    assert any(not torch.equal(before[key], p) for key, p in ours.named_parameters())


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_written_and_read_as_keras_does(name):
    ours = CONSTRAINTS[name]
    theirs = constraint_of_keras(ours)
    assert constraints.serialize(ours) == keras.constraints.serialize(theirs)
    assert constraints.get(keras.constraints.serialize(theirs)) == ours
    w = torch.randn(H, 4 * H)
    assert_close(keras.constraints.deserialize(constraints.serialize(ours))(w), ours(w), 1e-6)


@pytest.mark.parametrize("name", sorted(set(KERAS_CONSTRAINTS) - {"Constraint", "constraint"}))
def test_every_constraint_that_keras_knows_by_name_is_known(name):
    w = torch.randn(H, 4 * H)
    assert_close(constraints.get(name)(w), keras.constraints.get(name)(w), 1e-6)
