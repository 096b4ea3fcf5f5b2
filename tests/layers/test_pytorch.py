"""The layer as a part of PyTorch: compile, autocast, export, ONNX, checkpointing, data parallel, copies."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lstmreg import L1, L2, LSTM, MaxNorm, apply_constraints, penalties

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
import os, sys, torch, torch.distributed as dist
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
dist.destroy_process_group()
"""


def test_two_processes_train_as_one_on_the_whole_batch(tmp_path: Path):
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", DDP, str(rank), str(tmp_path / "meet")], cwd=root) for rank in (0, 1)
    ]
    assert [process.wait(timeout=180) for process in processes] == [0, 0]
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
        traced = torch.jit.trace(model, (example, mask), check_trace=False)
        x = torch.randn(2, 5, 3)
        torch.testing.assert_close(traced(x, mask), model(x, mask))
        model.lstm.backend = "fused_cpu"
        with pytest.raises(ValueError, match=r"torch\.jit\.trace would not see"):
            torch.jit.trace(model, (example, mask), check_trace=False)
