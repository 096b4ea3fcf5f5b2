"""The layer as a part of PyTorch: compile, autocast, export, ONNX, checkpointing, data parallel, copies."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from lstmreg import L1, L2, LSTM, MaxNorm, apply_constraints, penalties
from tests.program import Program

PENALTIES: dict[str, Any] = {
    "kernel_regularizer": L2(0.1),
    "recurrent_regularizer": L1(0.01),
    "bias_regularizer": L2(0.1),
    "activity_regularizer": L2(0.1),
    "kernel_constraint": MaxNorm(1.0),
}
RATES = {"dropout": 0.2, "recurrent_dropout": 0.3}


class Model(nn.Module):
    def __init__(self, **knobs: Any) -> None:
        super().__init__()
        self.lstm = LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True, **knobs)
        self.head = nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def train(model: Model, forward: Callable[[Tensor], Tensor], steps: int = 3, dtype: Any = None) -> list[float]:
    """Train a few steps on batches of changing sizes; return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for step in range(steps):
        x = torch.randn(4 + step, 7, 3, generator=generator)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            prediction = forward(x)
        loss = prediction.float().square().mean() + sum(penalties(model).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apply_constraints(model)
        losses.append(loss.item())
    return losses


def twins(**knobs: Any) -> tuple[Model, Model]:
    torch.manual_seed(0)
    ours = Model(**knobs)
    return ours, copy.deepcopy(ours)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler, about Python's ast
@pytest.mark.parametrize(
    "knobs", [{}, PENALTIES, PENALTIES | RATES | {"seed": [1, 200, 300, 400]}], ids=["off", "no rates", "all"]
)
def test_a_compiled_model_trains_to_the_same_numbers_without_a_graph_break(knobs):
    plain, compiled = twins(**knobs)
    torch._dynamo.reset()
    expected = train(plain, plain)
    found = train(compiled, torch.compile(compiled, fullgraph=True))
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_trains_under_autocast_to_the_same_numbers():
    plain, compiled = twins(**PENALTIES | RATES | {"seed": [1, 200, 300, 400]})
    torch._dynamo.reset()
    expected = train(plain, plain, dtype=torch.bfloat16)
    found = train(compiled, torch.compile(compiled, fullgraph=True), dtype=torch.bfloat16)
    assert found == pytest.approx(expected, rel=0.01)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=0.01, atol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_without_a_seed_drops_too():
    torch._dynamo.reset()
    model = Model(recurrent_dropout=0.5)
    compiled = torch.compile(model, fullgraph=True)
    x = torch.randn(4, 7, 3)
    assert not torch.equal(compiled(x), compiled(x))
    model.eval()
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("knobs", [{}, RATES, PENALTIES | RATES], ids=["off", "rates", "all"])
def test_autocast_runs_in_bfloat16_and_trains(knobs):
    model = Model(**knobs).eval()
    x = torch.randn(4, 7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, (h_n, c_n) = model.lstm(x)
        reference, _ = model.lstm.to_torch()(x)
    assert output.dtype == reference.dtype == h_n.dtype == c_n.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), model.lstm(x)[0], rtol=0, atol=0.02)
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.lstm(x)[0].dtype == torch.bfloat16  # with recurrent dropout too
    losses = train(model, model, steps=20, dtype=torch.bfloat16)
    assert np.isfinite(losses).all()
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_under_autocast_a_layer_with_every_knob_off_is_nn_lstm_to_the_last_bit():
    model = Model()
    stock = model.lstm.to_torch()
    x = torch.randn(4, 7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = model.lstm(x)[0], stock(x)[0]
    assert torch.equal(ours, theirs)
    cotangent = torch.randn(ours.shape).bfloat16()
    ours.backward(cotangent)
    theirs.backward(cotangent)
    for name, weight in model.lstm.named_parameters():
        assert torch.equal(weight.grad, stock.get_parameter(name).grad), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_export_has_dynamic_batch_and_time():
    model = Model(**PENALTIES, **RATES).eval()
    batch, time = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("time", min=2, max=512)
    program = torch.export.export(model, (torch.randn(4, 7, 3),), dynamic_shapes=({0: batch, 1: time},))
    for shape in [(2, 3, 3), (9, 31, 3)]:
        x = torch.randn(shape)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.filterwarnings("ignore")  # of torch's exporter, about its own parts
@pytest.mark.parametrize(
    "stack", [{}, {"num_layers": 2, "bidirectional": True}, {"bidirectional": True, "bias": False}]
)
def test_torchs_exporter_to_onnx_writes_the_layer_with_dynamic_batch_and_time(stack):
    lstm = LSTM(3, 5, batch_first=True, **RATES, **stack).eval()
    batch, time = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("time", min=2, max=512)
    free = ({0: batch, 1: time},)
    program = torch.onnx.export(lstm, (torch.randn(4, 7, 3),), dynamo=True, dynamic_shapes=free, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    for shape in [(2, 3, 3), (9, 31, 3)]:
        x = torch.randn(shape)
        output, (h_n, c_n) = lstm(x)
        for found, expected in zip(session.run(None, {"input": x.numpy()}), (output, h_n, c_n), strict=True):
            np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_torchs_exporter_to_onnx_cannot_write_is_refused_with_the_way_that_can():
    lstm = LSTM(3, 5, recurrent_dropout=0.5).train()
    with pytest.raises(Exception, match=r"in eval mode .*lstmreg\.interop\.save_onnx"):
        torch.onnx.export(lstm, (torch.randn(4, 7, 3),), dynamo=True, verbose=False)
    refused = pytest.raises(Exception, match=r"LSTM of bfloat16.*outside of torch\.autocast")
    with torch.autocast("cpu", torch.bfloat16), refused:
        torch.onnx.export(lstm.eval(), (torch.randn(4, 7, 3),), dynamo=True, verbose=False)


@pytest.mark.filterwarnings("ignore")  # of torch's exporter, about its own age and its tracing
def test_onnx_by_way_of_to_torch_has_dynamic_batch_and_time():
    lstm = LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True, **RATES).eval()
    file = io.BytesIO()
    torch.onnx.export(
        lstm.to_torch(),
        (torch.randn(4, 7, 3),),
        file,
        dynamo=False,
        input_names=["x"],
        output_names=["output", "h_n", "c_n"],
        dynamic_axes={"x": {0: "B", 1: "T"}, "output": {0: "B", 1: "T"}, "h_n": {1: "B"}, "c_n": {1: "B"}},
    )
    session = onnxruntime.InferenceSession(file.getvalue())
    for shape in [(1, 1, 3), (4, 7, 3), (9, 31, 3)]:
        x = torch.randn(shape)
        output, (h_n, c_n) = lstm(x)
        for found, expected in zip(session.run(None, {"x": x.numpy()}), (output, h_n, c_n), strict=True):
            np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


def test_non_reentrant_checkpointing_changes_nothing():
    plain, checkpointed = twins(**PENALTIES, **RATES)
    torch.manual_seed(5)
    expected = train(plain, plain)
    torch.manual_seed(5)
    found = train(checkpointed, lambda x: checkpoint(checkpointed, x, use_reentrant=False))
    assert found == pytest.approx(expected, rel=1e-6)


def test_checkpointing_a_stateful_layer_is_refused_because_it_would_begin_with_a_later_state():
    lstm = LSTM(3, 5, stateful=True)
    loss = checkpoint(lambda x: lstm(x)[0], torch.randn(7, 4, 3, requires_grad=True), use_reentrant=False).sum()
    with pytest.raises(RuntimeError, match="Pass the states as hx"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_that_would_lose_the_activity_penalty_is_refused():
    model = Model(activity_regularizer=L2(0.1))
    x = torch.randn(4, 7, 3, requires_grad=True)
    loss = checkpoint(model, x, use_reentrant=True).sum() + sum(penalties(model).values())
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        loss.backward()


DDP = """
import gc, os, sys, torch, torch.distributed as dist
sys.path.insert(0, os.getcwd())
from torch.nn.parallel import DistributedDataParallel
from tests.layers.test_pytorch import PENALTIES, Model, penalties
from lstmreg import apply_constraints
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
model = Model(**PENALTIES)
parallel = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), 0.05)
batches = torch.randn(3, 8, 7, 3, generator=torch.Generator().manual_seed(1))
for x in batches:
    loss = parallel(x[4 * rank : 4 * rank + 4]).square().mean() + sum(penalties(model).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    apply_constraints(model)
torch.save(model.state_dict(), f"{sys.argv[2]}.{rank}")
# Or the group would go with it, and wait under Python's lock for a thread of its own, which waits for that lock.
del parallel, loss
gc.collect()
dist.destroy_process_group()
"""


def test_two_processes_train_as_one_on_the_whole_batch(tmp_path: Path):
    root = Path(__file__).parents[2]
    processes = [Program(root, str(rank), str(tmp_path / "meet"), code=DDP) for rank in (0, 1)]
    for process in processes:
        with process:
            _, said = process.communicate(timeout=180)
        assert process.returncode == 0, said
    torch.manual_seed(0)
    alone = Model(**PENALTIES)
    optimizer = torch.optim.SGD(alone.parameters(), 0.05)
    for x in torch.randn(3, 8, 7, 3, generator=torch.Generator().manual_seed(1)):
        loss = alone(x).square().mean() + sum(penalties(alone).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apply_constraints(alone)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"meet.{rank}", weights_only=True)
        torch.testing.assert_close(found, alone.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_a_copy_with_every_setting_goes_on_as_the_original(copied):
    lstm = LSTM(3, 5, num_layers=2, seed=3, stateful=True, activation=["relu", "tanh"], dropout=[0.0, 0.4], **PENALTIES)
    x = torch.randn(7, 4, 3)
    lstm(x)
    lstm.penalty()  # a copy carries no record of earlier forwards, so let there be none
    twin = copied(lstm)
    for _ in range(2):
        torch.testing.assert_close(twin(x), lstm(x), rtol=0, atol=0)
    assert repr(twin) == repr(lstm)
    for module in (twin, lstm):
        module(x)
    torch.testing.assert_close(twin.penalty(), lstm.penalty())


@pytest.mark.filterwarnings("ignore")  # torch, about tracing itself
def test_a_trace_under_a_mask_gives_the_layers_numbers() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = LSTM(3, 4, batch_first=True)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.lstm(x, mask=mask)[0]

    model = Masked().eval()
    example, mask = torch.randn(2, 5, 3), torch.rand(2, 5) > 0.3
    with torch.no_grad():
        traced = torch.jit.trace(model, (example, mask))
        x = torch.randn(2, 5, 3)
        torch.testing.assert_close(traced(x, mask), model(x, mask))
        model.lstm.backend = "fused_cpu"
        with pytest.raises(ValueError, match=r"torch\.jit\.trace would not see"):
            torch.jit.trace(model, (example, mask), check_trace=False)


# ---------------------------------------------------------------------- tracers


#: Knobs and modes. In training mode with rates a trace is random, and torch's check would say so.
SAME_EVERY_TIME = [({}, True), ({}, False), (RATES | PENALTIES, False)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about tracing itself
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize(("knobs", "training"), SAME_EVERY_TIME, ids=["off, train", "off, eval", "on, eval"])
def test_a_trace_passes_torchs_check_and_gives_the_layers_numbers_and_gradients(knobs, training, with_states):
    lstm = LSTM(3, 5, num_layers=2, bidirectional=True, **knobs).train(training)
    states = ((torch.randn(4, 2, 5), torch.randn(4, 2, 5)),) if with_states else ()
    traced = torch.jit.trace(lstm, (torch.randn(7, 2, 3), *states))
    x = torch.randn(7, 2, 3, requires_grad=True)
    found, expected = traced(x, *states), lstm(x, *states)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    slopes = [torch.autograd.grad(y[0].square().sum(), [x, *lstm.parameters()]) for y in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")  # of torch, about tracing itself
def test_a_trace_of_packed_sequences_is_not_bound_to_their_number():
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = LSTM(3, 5)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return pad_packed_sequence(self.lstm(pack_padded_sequence(x, lengths))[0])[0]

    model = Packing()
    traced = torch.jit.trace(model, (torch.randn(7, 2, 3), torch.tensor([7, 4])))
    x, lengths = torch.randn(7, 3, 3), torch.tensor([7, 5, 2])
    torch.testing.assert_close(traced(x, lengths), model(x, lengths), rtol=0, atol=0)


@pytest.mark.parametrize("knobs", [{}, RATES | PENALTIES], ids=["off", "on"])
def test_torch_fx_takes_the_layer_as_a_leaf_as_it_takes_torchs(knobs):
    class Tagger(nn.Module):
        def __init__(self, lstm: nn.Module) -> None:
            super().__init__()
            self.inner = nn.ModuleDict({"lstm": lstm})
            self.head = nn.Linear(5, 2)

        def forward(self, x: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor]:
            output, (_, c_n) = self.inner["lstm"](torch.relu(x), (h_0, c_0))
            return self.head(output), c_n

    ours, theirs = Tagger(LSTM(3, 5, **knobs)).eval(), Tagger(nn.LSTM(3, 5))
    graphs = [torch.fx.symbolic_trace(model) for model in (ours, theirs)]
    nodes = [[(node.op, str(node.target)) for node in graph.graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    assert ("call_module", "inner.lstm") in nodes[0]
    arguments = torch.randn(7, 2, 3), torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    torch.testing.assert_close(graphs[0](*arguments), ours(*arguments), rtol=0, atol=0)
    assert graphs[0].inner.lstm is ours.inner["lstm"]  # penalties and all


def test_torch_fx_passes_a_mask_on():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = LSTM(3, 5)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.lstm(x, mask=mask)[0]

    model = Masked()
    x, mask = torch.randn(7, 2, 3), torch.rand(2, 7) > 0.5
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x, mask), model(x, mask), rtol=0, atol=0)


def test_torch_fx_cannot_trace_the_layer_by_itself():
    with pytest.raises(TypeError, match="cannot trace one by itself"):
        torch.fx.symbolic_trace(LSTM(3, 5))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_jit_script_is_refused_by_name_and_the_remedy_works():
    model = Model(**RATES).eval()
    lstm = model.lstm
    with pytest.raises(TypeError, match=r"lstm\.to_torch\(\)"):
        torch.jit.script(model)
    assert model.lstm is lstm  # torch asks for a substitute, and would put it there
    x = torch.randn(4, 7, 3)
    expected = model(x)
    model.lstm = lstm.to_torch()

    class Scriptable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = model.lstm, model.head

        def forward(self, x: Tensor) -> Tensor:
            output, _ = self.lstm(x)
            return self.head(output[:, -1])

    torch.testing.assert_close(torch.jit.script(Scriptable())(x), expected)


@pytest.mark.filterwarnings("ignore")  # of torch.ao, about its own end
def test_dynamic_quantization_takes_what_to_torch_gives_and_leaves_the_layer_itself():
    model = Model(**RATES).eval()
    x = torch.randn(4, 7, 3)
    expected = model(x)
    assert type(torch.ao.quantization.quantize_dynamic(model).lstm) is LSTM  # it looks for nn.LSTM and nothing else
    model.lstm = model.lstm.to_torch()
    quantized = torch.ao.quantization.quantize_dynamic(model)
    assert type(quantized.lstm) is torch.ao.nn.quantized.dynamic.LSTM
    torch.testing.assert_close(quantized(x), expected, rtol=0, atol=0.05)  # 8 bits


# ---------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("knobs", [RATES, PENALTIES | RATES, {"dropout": 0.5, "per_gate_input_masks": True}])
def test_a_penalty_on_the_gradient_trains_with_knobs_on(knobs):
    models = twins(**knobs)
    models[1].lstm.backend = "reference"
    x = torch.randn(4, 7, 3, requires_grad=True)
    found = []
    for model in models:
        torch.manual_seed(3)
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        loss = (slope.norm() - 1).square() + sum(penalties(model).values())
        found.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("knobs", [{}, RATES], ids=["off", "on"])
def test_jacobians_are_the_same_however_they_are_asked_for(knobs):
    lstm = LSTM(3, 5, **knobs, seed=7)
    x = torch.randn(4, 2, 3)

    def output(x: Tensor) -> Tensor:
        lstm.seed = 7  # the same masks in every call
        return lstm(x)[0]

    plain = torch.autograd.functional.jacobian(output, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, about itself
        found = [torch.autograd.functional.jacobian(output, x, vectorize=True)]
        if not knobs:  # it lets nothing be drawn
            found.append(torch.autograd.functional.jacobian(output, x, vectorize=True, strategy="forward-mode"))
        found += [torch.func.jacrev(output)(x), torch.func.jacfwd(output, randomness="same")(x)]
    for jacobian in found:
        torch.testing.assert_close(jacobian, plain)


@pytest.mark.parametrize("knobs", [{}, RATES], ids=["off", "on"])
def test_gradients_of_each_sequence_by_vmap_are_those_of_calls_one_by_one(knobs):
    lstm = LSTM(3, 5, **knobs).eval()
    weights = {name: weight.detach() for name, weight in lstm.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(lstm, weights, (x,))[0].square().sum()

    x = torch.randn(6, 7, 3)  # six unbatched sequences
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for name, weight in lstm.named_parameters():
        for each, alone in zip(found[name], x, strict=True):
            torch.testing.assert_close(each, torch.autograd.grad(lstm(alone)[0].square().sum(), weight)[0])


def test_code_that_inspects_torchs_layer_finds_no_subclass_since_a_subclass_would_break_compiled_graphs():
    class Subclass(nn.LSTM):
        pass

    class Holder(nn.Module):
        def __init__(self, lstm: nn.Module) -> None:
            super().__init__()
            self.lstm = lstm

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    assert not isinstance(LSTM(3, 5), nn.RNNBase)
    x = torch.randn(7, 2, 3)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(Holder(Subclass(3, 5)), backend="eager", fullgraph=True)(x)
    ours = Holder(LSTM(3, 5))
    torch.testing.assert_close(torch.compile(ours, backend="eager", fullgraph=True)(x), ours(x))
