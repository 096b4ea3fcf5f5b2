"""What network a configuration describes, that its files give it back bit for bit, and damaged ones nothing at all."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lstmreg import L1L2, Ensemble, ModelConfig, Network, interop, penalties
from lstmreg.activations import hard_sigmoid
from lstmreg.errors import CorruptFileError
from lstmreg.files import write_atomically
from lstmreg.knobs import KNOBS
from lstmreg.models import load, save

B, T, D, OUT = 3, 7, 5, 2
PLACES = ("kernel", "recurrent", "bias", "activity")

#: A stack in which no two settings are alike.
STACK = ModelConfig(
    hidden_size=[6, 4],
    num_layers=2,
    **{f"{place}_l{norm}": [0.1 * k + norm, 0.2 * k + norm] for k, place in enumerate(PLACES, 1) for norm in (1, 2)},
    dropout=[0.1, 0.2],
    recurrent_dropout=[0.3, 0.4],
)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, T, D)


# ---------------------------------------------------------------------- the network


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("hidden_size", [[6], [6, 4], [1, 7, 3]])
def test_it_is_a_stack_of_torchs_lstms_with_a_head_on_the_last_step(hidden_size, bidirectional, x):
    config = ModelConfig(hidden_size, len(hidden_size), bidirectional, dropout=0.5, recurrent_dropout=0.5)
    network = Network(config, D, OUT).eval()
    sequence = x
    for layer in network.layers:
        sequence, _ = layer.to_torch()(sequence)
    H = hidden_size[-1]
    last = torch.cat([sequence[:, -1, :H], sequence[:, 0, H:]], dim=1)  # backwards, the first step is the last
    prediction = network(x)
    assert prediction.shape == (B, OUT)
    torch.testing.assert_close(prediction, last @ network.head.weight.T + network.head.bias, rtol=1e-5, atol=1e-6)


def test_each_layer_has_its_own_settings():
    for index, layer in enumerate(Network(STACK, D, OUT).layers):
        assert layer.input_size == [D, 6][index]
        for name in ("hidden_size", "dropout", "recurrent_dropout"):
            assert getattr(layer, name) == getattr(STACK, name)[index]
        for place in PLACES:
            strengths = [getattr(STACK, f"{place}_{norm}")[index] for norm in ("l1", "l2")]
            assert getattr(layer, f"{place}_regularizer") == L1L2(*strengths)


def test_one_value_is_that_of_every_layer_and_zero_is_no_regularizer_at_all():
    network = Network(ModelConfig(num_layers=3, dropout=0.2, bias_l2=0.5), D, OUT)
    assert len(network.layers) == 3
    for layer in network.layers:
        assert (layer.hidden_size, layer.dropout, layer.bias_regularizer) == (32, 0.2, L1L2(0.0, 0.5))
        assert layer.kernel_regularizer is layer.recurrent_regularizer is layer.activity_regularizer is None


def elastic_net(place: str, index: int, *tensors: Tensor) -> Tensor:
    l1, l2 = (getattr(STACK, f"{place}_{norm}")[index] for norm in ("l1", "l2"))
    return sum(l1 * w.abs().sum() + l2 * (w * w).sum() for w in tensors)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_its_penalties_are_those_of_its_layers_and_of_the_top_activity_the_last_step(bidirectional, x):
    rates = {"dropout": 0.0, "recurrent_dropout": 0.0}  # so that the activity can be seen from outside
    network = Network(ModelConfig(**vars(STACK) | rates | {"bidirectional": bidirectional}), D, OUT)
    outputs = []
    for layer in network.layers:
        layer.register_forward_hook(lambda layer, inputs, output: outputs.append(output[0]))
    network(x)
    bottom, top = outputs
    ends = [top[:, -1, :4], top[:, 0, 4:]]  # one for each direction; without the second, nothing
    activity = (elastic_net("activity", 0, bottom) + elastic_net("activity", 1, *ends)) / B
    cells = [(index, weights) for index, layer in enumerate(network.layers) for weights in layer.all_weights]
    expected = {
        "kernel": sum(elastic_net("kernel", index, w_ih) for index, (w_ih, *_) in cells),
        "recurrent": sum(elastic_net("recurrent", index, w_hh) for index, (_, w_hh, *_) in cells),
        "bias": sum(elastic_net("bias", index, b_ih + b_hh) for index, (*_, b_ih, b_hh) in cells),
        "activity": activity,
    }
    torch.testing.assert_close(penalties(network), expected, rtol=1e-6, atol=1e-6)


def test_activations_go_to_the_layers_one_for_all_or_one_for_each():
    config = ModelConfig([3, 2], 2, activation="relu", recurrent_activation=["tanh", "hard_sigmoid"])
    layers = Network(config, D, OUT).layers
    assert [layer.activation for layer in layers] == [torch.nn.functional.relu] * 2
    assert [layer.recurrent_activation for layer in layers] == [torch.tanh, hard_sigmoid]


def test_the_head_begins_as_torchs_linear_or_as_keras_dense_and_the_layers_are_the_same():
    networks = []
    for kind in ("torch", "keras"):
        torch.manual_seed(3)
        networks.append(Network(ModelConfig(64, head_initializer=kind), D, 32))
    ours, theirs = (network.head for network in networks)
    assert float(ours.weight.detach().abs().max()) <= 64**-0.5 < float(theirs.weight.detach().abs().max())
    assert float(theirs.weight.detach().abs().max()) <= (6 / (64 + 32)) ** 0.5
    assert float(theirs.weight.detach().var()) == pytest.approx(2 / (64 + 32), rel=0.1)
    assert float(ours.bias.detach().abs().max()) > 0 == float(theirs.bias.detach().abs().max())
    assert torch.equal(networks[0].layers[0].weight_ih_l0, networks[1].layers[0].weight_ih_l0)


# ---------------------------------------------------------------------- several as one


def ensemble(config: ModelConfig = STACK, members: int = 3) -> Ensemble:
    return Ensemble(Network(config, D, OUT) for _ in range(members)).eval()


def test_an_ensemble_predicts_the_mean_of_its_members(x):
    several = ensemble()
    each = torch.stack([member(x) for member in several.members])
    torch.testing.assert_close(several(x), each.sum(0) / 3)
    assert float((each[0] - each[1]).detach().abs().max()) > 0.01
    assert several.config == dataclasses.replace(STACK, members=3)


def test_an_ensemble_comes_back_from_its_files_bit_for_bit(x, tmp_path):
    several = ensemble()
    save(tmp_path, several, {"target": "y"})
    loaded, about = load(tmp_path)
    assert isinstance(loaded, Ensemble)
    assert (loaded.config, about) == (several.config, {"target": "y"})
    assert not loaded.training
    assert torch.equal(loaded(x), several(x))


@pytest.mark.parametrize("members", [1, 2, 4, 1000])
def test_another_number_of_members_than_there_are_weights_of_is_refused(members, tmp_path):
    save(tmp_path, ensemble(), {})
    description = json.loads((tmp_path / "model.json").read_text())
    description["model"]["members"] = members
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert_refused(tmp_path, "must be")


@pytest.mark.parametrize("config", [STACK, ModelConfig(3, bidirectional=True), ModelConfig(3)])
def test_an_ensemble_goes_to_keras_layers_and_to_pytorch_without_another_number(config, x, tmp_path):
    several = ensemble(config)
    save(tmp_path, several, {})
    model = interop.load_model(tmp_path)
    torch.testing.assert_close(model(x), several(x), rtol=1e-6, atol=1e-6)
    interop.save_model(model, tmp_path / "converted")
    assert torch.equal(interop.load_model(tmp_path / "converted")(x), model(x))


def test_an_ensemble_goes_to_keras_and_to_onnx(x, tmp_path):
    keras, onnxruntime = pytest.importorskip("keras"), pytest.importorskip("onnxruntime")
    several = ensemble(ModelConfig([4, 3], 2, activation="softsign"))
    interop.save_keras(several, tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")(x).detach()
    torch.testing.assert_close(found, several(x).detach(), rtol=1e-5, atol=1e-6)
    interop.save_onnx(interop.load_model(tmp_path / "model.keras"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), several(x).detach(), rtol=1e-5, atol=1e-6)


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(ValueError, match="networks must be two or more, got 1"):
        ensemble(members=1)
    with pytest.raises(ValueError, match=r"one configuration.*member 1 has other ones than member 0"):
        Ensemble([Network(ModelConfig(3), D, OUT), Network(ModelConfig(3, dropout=0.1), D, OUT)])
    with pytest.raises(TypeError, match=r"must be lstmreg\.Network, got Linear as member 0"):
        Ensemble([torch.nn.Linear(1, 1)] * 2)
    with pytest.raises(ValueError, match=r"members must be 1, got 5\. Give lstmreg\.Ensemble a network for each"):
        Network(ModelConfig(members=5), D, OUT)


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_leaves_the_initial_weights_as_they_are(knob):
    def initial(config: ModelConfig) -> dict[str, Tensor]:
        torch.manual_seed(3)
        return Network(config, D, OUT).state_dict()

    turned = ModelConfig(**{knob.removeprefix("model."): 0.5})
    torch.testing.assert_close(initial(turned), initial(ModelConfig()), rtol=0, atol=0)


# ---------------------------------------------------------------------- its files


@pytest.mark.parametrize("config", [ModelConfig(), STACK, ModelConfig([3, 2], 2, True)], ids=["one", "two", "two-way"])
def test_a_saved_network_predicts_the_same_bits(config, x, tmp_path):
    network = Network(config, D, OUT)
    about = {"features": ["a", "é", "<b>"], "mean": [0.1, 1e-300], "nothing": None}
    save(tmp_path, network, about)
    loaded, told = load(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.safetensors"]
    assert told == about
    assert loaded.config == config
    assert not loaded.training
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.fixture
def saved(tmp_path) -> Path:
    save(tmp_path, Network(STACK, D, OUT), {"target": "y"})
    return tmp_path


def assert_refused(directory: Path, part: str = "") -> None:
    before = {path: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(CorruptFileError) as caught:
        load(directory)
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert len(message.splitlines()) == 1
    assert str(directory) in message
    assert part in message
    assert before == {path: path.read_bytes() for path in directory.iterdir()}  # nothing is repaired or set aside


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 8, 10, 0.5, -3, None])
def test_a_truncated_or_missing_file_is_refused(name, kept, saved):
    content = (saved / name).read_bytes()
    if kept is None:
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(content[: int(len(content) * kept) if kept == 0.5 else kept])
    assert_refused(saved)


def test_a_folder_is_named_by_a_path_or_by_its_name(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    network, about = load(saved)
    for name in (str(saved), saved.name, os.path.relpath(saved)):
        again, also = load(name)
        assert also == about
        assert torch.equal(again.head.weight, network.head.weight)
    save(str(saved), network, {"by": "name"})
    assert load(saved)[1] == {"by": "name"}


def test_a_folder_without_a_model_is_not_called_damaged(tmp_path):
    with pytest.raises(CorruptFileError, match=r"x: no saved model \(no such folder\). A fit saves into runs/NAME/fit"):
        load(tmp_path / "x")
    assert_refused(tmp_path, "no saved model (no model.json in this folder).")


def header_bits(path: Path) -> int:
    return 8 * (8 + struct.unpack("<Q", path.read_bytes()[:8])[0])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_of_the_header_is_refused(saved, data):
    path = saved / "model.safetensors"
    content = path.read_bytes()
    bit = data.draw(st.integers(0, header_bits(path) - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(damaged)
        assert_refused(saved)
    finally:
        path.write_bytes(content)


def test_a_flipped_bit_of_a_weight_is_refused(saved):
    path = saved / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-2] ^= 1
    path.write_bytes(damaged)
    assert_refused(saved)


DESCRIPTIONS = {
    "another format": lambda d: d | {"format": 2},
    "no format": lambda d: {k: v for k, v in d.items() if k != "format"},
    "no model": lambda d: {k: v for k, v in d.items() if k != "model"},
    "no about": lambda d: {k: v for k, v in d.items() if k != "about"},
    "a list": lambda d: [d],
    "an unknown setting": lambda d: d | {"model": d["model"] | {"depth": 3}},
    "a rate of 1": lambda d: d | {"model": d["model"] | {"dropout": 1.0}},
    "a rate that is NaN": lambda d: d | {"model": d["model"] | {"dropout": float("nan")}},
    "a rate in words": lambda d: d | {"model": d["model"] | {"dropout": "0.1"}},
    "no input": lambda d: d | {"input_size": 0},
    "an input beyond all memory": lambda d: d | {"input_size": 10**12},
    "an output in words": lambda d: d | {"output_size": "2"},
    "other steps": lambda d: d | {"steps": "some"},
    "tokens that it has not": lambda d: d | {"vocabularies": [[0, 5]]},
    "tokens beyond all memory": lambda d: d | {"vocabularies": [[0, 10**12]]},
    "tokens of no column": lambda d: d | {"vocabularies": [[D, 5]]},
    "tokens in words": lambda d: d | {"vocabularies": [[0, "5"]]},
    "no list of tokens": lambda d: d | {"vocabularies": 5},
}


@pytest.mark.parametrize("change", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_of_something_else_is_refused(change, saved):
    path = saved / "model.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert_refused(saved)


def test_a_file_from_before_there_were_steps_and_tokens_is_read(saved):
    before, _ = load(saved)
    path = saved / "model.json"
    description = json.loads(path.read_text())
    for name in ("steps", "vocabularies"):
        del description[name]
    for name in ("embedding_size", "embedding_dropout"):
        del description["model"][name]
    path.write_text(json.dumps(description))
    network, _ = load(saved)
    assert (network.steps, network.vocabularies, network.config) == ("last", {}, before.config)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[" * 10**5, b"null", b"{}\0"])
def test_a_description_that_is_no_json_object_is_refused(content, saved):
    (saved / "model.json").write_bytes(content)
    assert_refused(saved)


def test_a_size_that_the_weights_lack_is_refused_before_anything_of_that_size_is_made(saved):
    path = saved / "model.json"
    description = json.loads(path.read_text())
    description["model"]["hidden_size"] = [2048, 4]
    path.write_text(json.dumps(description))
    with Largest() as made:
        assert_refused(saved)
    assert 0 < made.numbers < 2048  # a single bias of that size has four times as many


class Largest(TorchDispatchMode):
    """Keeps how many numbers the largest tensor has that was made in memory, and not on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                self.numbers = max(self.numbers, tensor.numel())
        return made


WEIGHTS = {
    "of another size": (lambda w: w | {"head.weight": torch.zeros(OUT, 5)}, "head.weight"),
    "one missing": (lambda w: {k: v for k, v in w.items() if k != "layers.1.bias_ih_l0"}, "layers.1.bias_ih_l0"),
    "one too many": (lambda w: w | {"layers.2.weight_ih_l0": torch.zeros(3)}, "layers.2.weight_ih_l0"),
    "of another type": (lambda w: w | {"head.bias": w["head.bias"].double()}, "head.bias"),
    "not a number": (lambda w: w | {"head.bias": w["head.bias"] * torch.nan}, ""),
    "of another model": (lambda w: {k: v + 1 for k, v in w.items()}, ""),
}


@pytest.mark.parametrize(("change", "part"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_do_not_belong_to_the_description_are_refused_by_name(change, part, saved):
    path = saved / "model.safetensors"
    path.write_bytes(safetensors.torch.save(change(safetensors.torch.load(path.read_bytes()))))
    assert_refused(saved, part)


class Bomb:
    """Makes its folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("dump", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pickle_under_another_name_is_refused_and_not_run(name, dump, saved, tmp_path_factory):
    canary = tmp_path_factory.mktemp("canary") / "sang"
    dump(Bomb(canary), saved / name)
    assert_refused(saved)
    assert not canary.exists()
    canary.mkdir()
    with pytest.raises(FileExistsError):  # or nothing would have been shown
        pickle.loads(pickle.dumps(Bomb(canary)))


# ---------------------------------------------------------------------- writing at once


@pytest.mark.parametrize(("content", "expected"), [("é\n", b"\xc3\xa9\n"), (b"\r\n\0", b"\r\n\0"), ("", b"")])
def test_a_file_is_written_as_it_is_and_readable_as_others_are(content, expected, tmp_path):
    path, other = tmp_path / "a.txt", tmp_path / "other"
    other.touch()
    for _ in range(2):  # new, and over the old one
        write_atomically(path, content)
        assert path.read_bytes() == expected
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "other"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from lstmreg.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
write_atomically(Path(sys.argv[1]), "short")
try:
    write_atomically(Path(sys.argv[1]), "new" * 10_000)
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "model.json"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError 27\n"  # EFBIG
    assert path.read_text() == "short"
    assert os.listdir(tmp_path) == ["model.json"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_an_interruption_leaves_the_old_content_and_nothing_else(step, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    path = tmp_path / "model.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.json"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "model.json", "new")
    assert not os.listdir(tmp_path)
