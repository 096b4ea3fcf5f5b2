"""Models that 18 versions of Keras wrote, from 1.0.8 to 3.15: they give what that version gave, and mean what it meant.

What the files are, and how they were made: ``files/README.md``.
"""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lstmreg import L1L2, LSTM, MaxNorm, MinMaxNorm, NonNeg, UnitNorm, apply_constraints, interop, penalties
from lstmreg.errors import LstmregError
from lstmreg.interop.keras.graph.description import read_description
from lstmreg.interop.keras.modules.model import KerasModel

FILES = Path(__file__).parent / "files"
VERSIONS = [
    *(f"keras-{number}-theano" for number in ("1.0.8", "1.1.0", "1.2.2")),
    *(f"keras-{number}-tf-1.15" for number in ("2.0.0", "2.0.8", "2.1.6", "2.2.4", "2.3.1")),
    *("tf.keras-tf-1.15", "tf.keras-2.4", "keras-2.12-tf-2.12", "keras-2.15-tf-2.15", "tf_keras-2.18"),
    *(f"keras-{number}-torch" for number in ("3.0.5", "3.3.3", "3.7.0", "3.13.2", "3.15.0")),
]
ENDINGS = ("_weights.h5", ".weights.h5", "_hdf5.keras", ".keras", ".h5")


def listed(version: str) -> list[str]:
    with zipfile.ZipFile(FILES / f"{version}.zip") as archive:
        return sorted(name for name in archive.namelist() if name.endswith((".h5", ".keras")))


CASES = [f"{version}/{name}" for version in VERSIONS for name in listed(version)]

#: What lstmreg does not have, by the end of the file's place, and what it says.
REFUSALS = {
    r"activation_layers\.\w+": "PReLU",
    r"theano/activations\.h5": "the model's inputs must be input layers",
    r"3\.(7\.0|13\.2)-torch/activations\.keras": "unknown activation 'glu'",
    r"theano/merges\.h5": re.escape("Merge(mode='dot')"),
    r"(tf-1\.15|torch)/merges\.\w+": "Dot is not among the layers",
    r"batchnorm_mode1\.h5": "BatchNormalization.mode: only 0 is supported, got 1",
    r"batchnorm_mode2\.h5": "BatchNormalization.mode: only 0 is supported, got 2",
    r"merge_sequential_concat\.h5": re.escape("Merge(mode='concat')"),
    r"old_layers\.h5": "Highway is not among the layers",
    r"2\.15/cudnn\.keras": "weights of a CuDNNLSTM in this layout are not read. Save the model as .h5",
}


def refusal(case: str) -> str | None:
    return next((said for place, said in REFUSALS.items() if re.search(f"{place}$", case)), None)


READABLE = [case for case in CASES if refusal(case) is None]
REFUSED = [case for case in CASES if refusal(case) is not None]


def of_model(*names: str) -> list[str]:
    """All files of some models."""
    return [case for case in READABLE if stem(case).split("/")[1] in names]


def stem(case: str) -> str:
    return next(case.removesuffix(ending) for ending in ENDINGS if case.endswith(ending))


Load = Callable[[str], KerasModel]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("versions")
    for version in VERSIONS:
        with zipfile.ZipFile(FILES / f"{version}.zip") as archive:
            archive.extractall(made / version)
    return made


@pytest.fixture(scope="session")
def load(folder: Path) -> Load:
    """Read a file once, and give each test a copy."""
    known: dict[str, KerasModel] = {}

    def load(case: str) -> KerasModel:
        if case not in known:
            description = folder / f"{stem(case)}.json" if "weights" in case else None
            known[case] = interop.load_model(folder / case, description)
        return copy.deepcopy(known[case])

    return load


@pytest.fixture
def data(folder: Path) -> Callable[[str], SimpleNamespace]:
    def data(case: str) -> SimpleNamespace:
        with np.load(folder / f"{stem(case)}.npz") as held:
            arrays = {name: torch.from_numpy(held[name]) for name in held.files}
        count = sum(re.fullmatch(r"out\d+", name) is not None for name in arrays)
        inputs = [arrays[name] for name in sorted(arrays) if name.startswith("in")]
        return SimpleNamespace(inputs=inputs, outputs=[arrays[f"out{n}"] for n in range(count)], **arrays)

    return data


def called(model: KerasModel, inputs: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        outputs = model(*inputs)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("case", READABLE)
def test_a_model_gives_the_numbers_that_the_version_gave(case, load, data):
    stored = data(case)
    model = load(case)
    assert stored.outputs
    close(called(model, stored.inputs), stored.outputs)
    if hasattr(stored, "out0_second"):  # stateful: it goes on where the first call ended
        close(called(model, stored.inputs), [stored.out0_second])
        model.reset_state()
        close(called(model, stored.inputs), stored.outputs)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_by_name(case, load):
    with pytest.raises(LstmregError, match=refusal(case)) as caught:
        load(case)
    assert Path(case).name in str(caught.value)


FORMATS = [version for version in VERSIONS if f"{version}/seq_defaults.weights.h5" in CASES]


@pytest.mark.parametrize("version", FORMATS)
def test_all_formats_of_a_model_hold_the_same_weights(version, load):
    formats = of_model("seq_defaults")
    models = [load(case) for case in formats if case.startswith(f"{version}/")]
    assert len(models) == (4 if version == "keras-2.12-tf-2.12" else 3)
    first, *others = (interop.get_weights(model) for model in models)
    assert len(first) == 8
    for weights in others:
        for a, b in zip(first, weights, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("case", of_model("seq_hard_sigmoid"))
def test_hard_sigmoid_is_the_function_of_the_version(case, load):
    model = load(case)
    x = torch.linspace(-4, 4, 81)
    slope = 1 / 6 if case.startswith("keras-3") else 0.2
    expected = (slope * x + 0.5).clamp(0, 1)
    close(list(model.layers.values())[-1](x, None), expected)
    gates = [module.recurrent_activation for module in lstms(model)]
    assert len(gates) == 3
    for gate in gates:
        close(gate(x), expected)


#: Their LSTM had hard_sigmoid by default.
HARD = ("keras-1", "keras-2.0", "keras-2.1.", "keras-2.2.", "tf.keras-tf-1.15")

#: Models of Keras 1 and 2 with their own hard_sigmoid in gates, alone, and in models within models.
OLD_GATES = [
    case
    for case in of_model(
        *("seq_hard_sigmoid", "seq_defaults", "seq_knobs", "seq_knobs_cpu", "seq_knobs_gpu", "seq_knobs_mem"),
        *("bidir_none", "bidir_gpu", "bidir_backward_layer", "nested_functional", "nested_twice", "functional"),
        *("rnn_cell", "rnn_cells", "stateful", "encoder_decoder", "shared", "go_backwards", "frozen_layers"),
    )
    if case.startswith(HARD) or ("seq_hard_sigmoid" in case and not case.startswith("keras-3"))
]


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("case", OLD_GATES)
def test_a_model_with_the_old_hard_sigmoid_gives_its_numbers_in_the_keras_of_today(case, load, data, tmp_path):
    import keras

    stored, model = data(case), load(case)
    assert "keras2_hard_sigmoid" in repr(model.description)
    interop.save_keras(model, tmp_path / "m.keras")
    modern = keras.models.load_model(tmp_path / "m.keras")
    inputs = [x.numpy() for x in stored.inputs]
    outputs = modern(inputs if len(inputs) > 1 else inputs[0], training=False)
    close([y.detach() for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs])], stored.outputs)
    close(called(interop.load_model(tmp_path / "m.keras"), stored.inputs), stored.outputs)


# ---------------------------------------------------------------------- settings


def lstms(model: KerasModel) -> list[LSTM]:
    return [module for module in model.modules() if isinstance(module, LSTM)]


def strengths(regularizer: Any) -> tuple[float, float]:
    return getattr(regularizer, "l1", 0.0), getattr(regularizer, "l2", 0.0)


class Knobs:
    """The regularizers, constraints, rates and activations that a layer must have; of those not named, none."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    def check(self, lstm: LSTM, gates: str) -> None:
        for name in ("kernel", "recurrent", "bias", "activity"):
            found = strengths(getattr(lstm, f"{name}_regularizer"))
            # Old files have float32's nearest numbers.
            assert found == pytest.approx(self.given.get(name, (0, 0)), rel=1e-6), name
        for name in ("kernel_constraint", "recurrent_constraint", "bias_constraint"):
            assert getattr(lstm, name) == self.given.get(name), name
        assert (lstm.dropout, lstm.recurrent_dropout) == pytest.approx(self.given.get("rates", (0, 0)), rel=1e-6)
        assert lstm.bias == self.given.get("use_bias", True)
        x = torch.linspace(-4, 4, 33)
        close(lstm.activation(x), self.given.get("activation", torch.tanh)(x))
        close(lstm.recurrent_activation(x), torch.sigmoid(x) if gates == "sigmoid" else (0.2 * x + 0.5).clamp(0, 1))


#: As ``seq_knobs`` of ``make.py`` sets them; and of ``make_keras1.py``.
KNOBS = [
    Knobs(
        kernel=(0.01, 0),
        recurrent=(0, 0.02),
        bias=(0.003, 0.004),
        activity=(0, 0.05),
        kernel_constraint=MaxNorm(2.0),
        recurrent_constraint=UnitNorm(),
        bias_constraint=NonNeg(),
        rates=(0.2, 0.3),
    ),
    Knobs(
        use_bias=False,
        activation=nn.functional.softsign,
        rates=(0.25, 0),
        kernel_constraint=MinMaxNorm(0.5, 1.5, 0.9, 0),
    ),
]
KNOBS_OF_KERAS_1 = [
    Knobs(
        kernel=(0.01, 0),
        recurrent=(0, 0.02),
        bias=(0.003, 0.004),
        rates=(0.2, 0.3),
        activation=nn.functional.softsign,
    ),
    Knobs(rates=(0.25, 0)),
]
#: Their Dense did not write its activity_regularizer down.
FORGOT = ("keras-3.0", "keras-3.3")


@pytest.mark.parametrize("case", of_model("seq_knobs"))
def test_every_knob_is_set_as_it_was(case, load):
    model = load(case)
    first, second = lstms(model)
    KNOBS[0].check(first, "hard_sigmoid" if case.startswith(HARD) else "sigmoid")
    KNOBS[1].check(second, "sigmoid")
    dense = list(model.layers.values())[-1]
    expected = (0, 0) if case.startswith(FORGOT) else (0.07, 0)
    assert strengths(dense.activity_regularizer) == pytest.approx(expected, rel=1e-6)
    assert_dense(dense, kernel=L1L2(0, 0.03), bias=None, bias_constraint=NonNeg(), kernel_constraint=None)


@pytest.mark.parametrize("case", of_model("seq_knobs_cpu", "seq_knobs_mem", "seq_knobs_gpu"))
def test_every_knob_of_keras_1_is_set_as_it_was(case, load):
    model = load(case)
    first, second = lstms(model)
    KNOBS_OF_KERAS_1[0].check(first, "sigmoid")
    KNOBS_OF_KERAS_1[1].check(second, "hard_sigmoid")
    assert first.per_gate_masks == second.per_gate_masks == ("gpu" not in case)
    dense = list(model.layers.values())[-1]
    assert strengths(dense.activity_regularizer) == pytest.approx((0.07, 0), rel=1e-6)
    assert_dense(
        dense, kernel=L1L2(0, 0.03), bias=L1L2(0.01, 0), bias_constraint=NonNeg(), kernel_constraint=MaxNorm(2)
    )


def assert_dense(dense: nn.Module, kernel: Any, bias: Any, kernel_constraint: Any, bias_constraint: Any) -> None:
    """See by what they do that a layer's regularizers and constraints are these; Keras' layout has the inputs first."""
    weight, offset = dense.linear.weight.detach(), dense.linear.bias.detach()
    close(penalties(dense)["other"].detach(), kernel(weight) + (0 if bias is None else bias(offset)))
    weight.mul_(9)
    offset.sub_(offset.mean())
    expected = [weight.clone() if kernel_constraint is None else kernel_constraint(weight.T).T, bias_constraint(offset)]
    assert not torch.equal(expected[1], offset)
    for parameter in dense.parameters():
        parameter.grad = torch.zeros_like(parameter)  # what has none is left alone
    apply_constraints(dense)
    close([dense.linear.weight.detach(), dense.linear.bias.detach()], expected)


@pytest.mark.parametrize("case", of_model("seq_knobs", "seq_knobs_cpu", "seq_knobs_mem", "seq_knobs_gpu"))
def test_dropped_inputs_are_drawn_as_the_version_drew_them(case, load):
    """Before Keras 3 for each gate, whatever the recurrent dropout, unless all gates were computed in one product."""
    model = load(case)
    first, second = lstms(model)
    assert (first.dropout, first.recurrent_dropout) == pytest.approx((0.2, 0.3), rel=1e-6)
    assert (second.dropout, second.recurrent_dropout) == pytest.approx((0.25, 0), rel=1e-6)
    if case.startswith("keras-1"):
        expected = (1, 1) if "gpu" in case else (4, 4)
    else:  # the second layer has implementation=2; in Keras 2.3 that is the first one's default
        expected = (1 if case.startswith(("keras-2.3", "keras-3.0", "keras-3.3", "keras-3.7")) else 4, 1)
    assert tuple(lstm.masks_drawn(0)[0] for lstm in (first, second)) == expected
    # TensorFlow drops anew at each step only before cuDNN's operation, which has a bias and tanh.
    assert not any("other inputs" in note for note in model.notes())


PLAIN = {"units": 3, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "dropout": 0.2}
AT_EACH_STEP = "other inputs at each time step"


@pytest.mark.parametrize(
    ("version", "config", "masks", "note"),
    [
        ("1.2.2", {"consume_less": "cpu"}, 4, None),
        ("1.2.2", {"consume_less": "gpu"}, 1, None),
        ("2.0.8", {"implementation": 0}, 4, None),
        ("2.2.4", {"implementation": 1}, 4, None),
        ("2.3.1", {"implementation": 2}, 1, None),
        ("2.2.4-tf", {"implementation": 1}, 4, None),
        ("2.2.4-tf", {"implementation": 2}, 1, f"may have dropped {AT_EACH_STEP}"),
        ("2.15.0", {"implementation": 2}, 1, f"2.15.0 dropped {AT_EACH_STEP}"),
        ("2.15.0", {"implementation": 1}, 1, f"2.15.0 dropped {AT_EACH_STEP}"),
        ("2.15.0", {"implementation": 2, "use_bias": False}, 1, None),
        ("2.15.0", {"implementation": 1, "unroll": True}, 4, None),
        ("2.15.0", {"implementation": 1, "activation": "relu"}, 4, None),
        ("2.15.0", {"implementation": 1, "recurrent_dropout": 0.1}, 4, None),
        ("3.7.0", {}, 1, None),
        ("3.7.0", {"recurrent_dropout": 0.1}, 1, None),
        ("3.15.0", {}, 1, None),
        ("3.15.0", {"recurrent_dropout": 0.1}, 4, None),
    ],
)
def test_dropout_of_the_input_is_drawn_as_each_line_of_keras_drew_it(version, config, masks, note):
    described = {"class_name": "LSTM", "config": {**PLAIN, **config}}
    description = read_description(described, version)
    shapes = {f"layers/lstm/cell/vars/{index}": shape for index, shape in enumerate([(2, 12), (3, 12), (12,)])}
    [lstm] = lstms(KerasModel(description, shapes))
    assert lstm.masks_drawn(0)[0] == masks
    [layer] = description.layers[1:]
    said = [found for found in layer.notes if "other inputs" in found]
    assert [note in found for found in said] == [True] * (note is not None)


# ---------------------------------------------------------------------- penalties

#: They divided the penalty of a layer's output by the batch size, as lstmreg does.
DIVIDE = (
    *("tf.keras-tf-1.15", "tf.keras-2.4", "keras-2.12-tf-2.12", "keras-2.15-tf-2.15", "tf_keras-2.18"),
    "keras-3.15.0-torch",
)


def trained(case: str, model: KerasModel, inputs: list[Tensor]) -> dict[str, Tensor]:
    """The penalties after a call in training, with all dropout turned off, as it is when Keras evaluates."""
    model.train()
    for lstm in lstms(model):
        lstm.dropout = lstm.recurrent_dropout = 0.0
    [output] = called(model, inputs)
    found = {name: value.detach().double() for name, value in penalties(model).items()}
    if case.startswith(FORGOT) and "seq_knobs" in case:
        found["activity"] += 0.07 * output.double().abs().sum() / len(output)
    return found


LOSSES = of_model("seq_knobs", "activity_only", "regularized_cpu", "regularized_gpu")
HALVES = of_model("seq_knobs")


@pytest.mark.parametrize("case", LOSSES)
def test_the_penalties_are_what_the_versions_loss_has_beside_the_error(case, load, data):
    stored, model = data(case), load(case)
    error = (stored.out0.double() - stored.y0.double()).square().mean()
    loss = stored.loss if hasattr(stored, "loss") else stored.train_loss
    found = trained(case, model, stored.inputs)
    divides = case.startswith(DIVIDE)
    if case == "keras-1.2.2-theano/regularized_cpu.h5":  # it applied W_regularizer to U as well
        assert any("W_regularizer" in note for note in model.notes())
        found["recurrent"] = 0.01 * lstms(model)[0].weight_hh_l0.detach().double().abs().sum()
    found["activity"] *= 1 if divides else len(stored.in0)
    torch.testing.assert_close(sum(found.values()), loss.double() - error, rtol=3e-6, atol=3e-6)
    assert found["activity"] > 0.01
    assert divides != any("did not divide the activity penalty" in note for note in model.notes())


@pytest.mark.parametrize("case", HALVES)
def test_a_penalty_that_was_divided_is_that_of_any_batch(case, load, data):
    stored, model = data(case), load(case)
    error = (stored.out0.double() - stored.y0.double()).square().mean()
    size = len(stored.in0) // 2
    total = 0.0
    for part in stored.in0.split(size):
        found = trained(case, model, [part])
        total += sum(found.values()) + (0 if case.startswith(DIVIDE) else (size - 1) * found["activity"])
    torch.testing.assert_close(total / 2, stored.loss_half_batches.double() - error, rtol=3e-6, atol=3e-6)


# ---------------------------------------------------------------------- what else a version did


@pytest.mark.parametrize("case", [case for case in READABLE if "sequences_masked" in case])
def test_two_directions_hold_or_zero_masked_steps_as_in_their_version(case, load, data):
    stored, model = data(case), load(case)
    [sequence] = called(model, stored.inputs)
    zeroes = not re.match(r"keras-(1|2\.[0-3])\.", case)
    masked = (stored.in0 == 0).all(-1)
    assert masked.any()
    assert bool((sequence[masked] == 0).all()) == zeroes
    layer = next(layer for layer in model.layers.values() if hasattr(layer, "forward_layer"))
    for direction in (layer.forward_layer, layer.backward_layer):
        assert direction.layers[0].zero_output_for_mask == zeroes


def frozen_layers(model: nn.Module) -> set[str]:
    """The names of layers whose weights are not trained."""
    names = {name: parameter for name, parameter in model.named_parameters() if "bias_hh" not in name}
    frozen = {re.sub(r"^(layers\.(encoder|decoder|layer_\d)\.)?layers\.", "", name): p for name, p in names.items()}
    by_layer: dict[str, set[bool]] = {}
    for name, parameter in frozen.items():
        by_layer.setdefault(name.split(".")[0], set()).add(parameter.requires_grad)
    assert all(len(trained) == 1 for trained in by_layer.values())
    return {name for name, trained in by_layer.items() if trained == {False}}


@pytest.mark.parametrize("case", of_model("nested_frozen"))
def test_what_the_file_says_was_frozen_stays_so(case, load):
    # Before it was TensorFlow's, Keras did not write down that a whole Sequential was frozen.
    encoder = set() if re.match(r"keras-(1|2\.[0-3])\.", case) else {"enc_lstm", "enc_norm", "enc_last"}
    assert frozen_layers(load(case)) == {"dec_norm"} | encoder


@pytest.mark.parametrize("case", of_model("frozen_layers"))
def test_single_layers_stay_frozen(case, load):
    model = load(case)
    *first, last = model.layers
    assert frozen_layers(model) == set(first)
    assert last.startswith("dense")
