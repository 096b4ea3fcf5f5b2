"""What only a GPU can show: layers, fits and populations on it. Without one, all of this is skipped."""

from __future__ import annotations

import copy
import dataclasses
import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lstmreg import L2, LSTM, ModelConfig, Network, Population, TrainingConfig, fit, fit_population, penalties
from lstmreg.dropout import Streams, draw_mask, draw_member_masks
from lstmreg.initializers import seeded
from lstmreg.losses import CrossEntropy
from lstmreg.ops import Call, dispatch
from tests.ops.arguments import NAMES, Kind, assert_close, make_call, moved, results, true_results

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CUDA = torch.device("cuda", 0)
SIX = {
    "dropout": 0.3,
    "recurrent_dropout": 0.3,
    "kernel_regularizer": L2(1e-3),
    "recurrent_regularizer": L2(1e-3),
    "bias_regularizer": L2(1e-3),
    "activity_regularizer": L2(1e-3),
}


@pytest.fixture(autouse=True)
def _float32_is_exact() -> Iterator[None]:
    before = torch.backends.cudnn.rnn.fp32_precision
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.rnn.fp32_precision = before


# ------------------------------------------------------------------ the recurrence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1), Kind(4, 4, "holes", reverse=True), Kind(4, 1, K=3)], ids=str)
@pytest.mark.parametrize("backend", ["eager", "reference", "auto"])
def test_other_backends_work_there_unchanged(backend, kind, dtype):
    from lstmreg import ops

    call = make_call((7, 33, 3, 17), kind, dtype)
    arguments, options = moved(call, CUDA)
    found = results(ops.lstm, arguments, backend=backend, **options)
    assert_close({name: t.cpu() for name, t in found.items()}, true_results(call[0], **call[1]))


@pytest.mark.parametrize(("kind", "chosen"), [(Kind(), "native"), (Kind(4, 4), "fused_triton")], ids=str)
def test_what_is_fastest_there_is_chosen(kind, chosen):
    arguments, options = moved(make_call((3, 2, 2, 3), kind, torch.float32), CUDA)
    call = Call(*arguments, None, options["input_mask"], options["recurrent_mask"], options["valid"])
    assert dispatch.choose(call, "auto") == chosen
    assert dispatch.choose(call.cast(torch.float64), "auto") == ("native" if chosen == "native" else "eager")


@pytest.mark.parametrize("H", [96, 257])
def test_recorded_passes_give_what_launched_ones_give(H):
    """A pass of many launches is recorded at its second call; a forward pass between two others changes nothing."""
    from lstmreg import ops

    calls = [moved(make_call((20, 33, 3, H), Kind(4, 4, "prefix"), torch.float32), CUDA) for _ in range(3)]
    (x, *rest), options = calls[0]  # whose memory begins at an odd place
    odd = x.new_zeros(x.numel() + 1)[1:].view_as(x).copy_(x.detach()).requires_grad_()
    calls[0] = [odd, *rest], options
    with torch.inference_mode():
        for arguments, options in calls:
            ops.lstm(*(a.detach() for a in arguments), backend="fused_triton", **options)
    with torch.no_grad():
        ops.lstm(*calls[0][0], backend="fused_triton", **calls[0][1])
    for _ in range(3):
        every = [ops.lstm(*arguments, backend="fused_triton", **options) for arguments, options in calls]
        for (arguments, options), outputs in zip(calls, every, strict=True):
            found = torch.autograd.grad(outputs, arguments, [torch.ones_like(y) for y in outputs])
            again = ops.lstm(*arguments, backend="reference", **options)
            expected = torch.autograd.grad(again, arguments, [torch.ones_like(y) for y in again])
            assert_close(
                dict(zip(NAMES, found, strict=True)) | {"output": outputs[0]},
                dict(zip(NAMES, expected, strict=True)) | {"output": again[0]},
            )


def test_a_step_does_not_wait_for_the_gpu():
    layer = LSTM(5, 17, **SIX).to(CUDA)
    x = torch.randn(7, 4, 5, device=CUDA)

    def step() -> None:
        output, _ = layer(x)
        (output.square().mean() + layer.penalty()).backward()

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_whole_step_can_be_captured_in_a_graph():
    layer = LSTM(5, 17, dropout=0.3, recurrent_dropout=0.3).to(CUDA)
    x = torch.randn(7, 4, 5, device=CUDA)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            layer(x)[0].sum().backward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output, _ = layer(x)
    graph.replay()
    first = output.clone()
    graph.replay()
    assert first.isfinite().all()
    assert not torch.equal(first, output)  # other masks


# ------------------------------------------------------------------ layers


def test_a_layer_gives_there_what_it_gives_on_the_cpu():
    layer = LSTM(5, 17, num_layers=2, bidirectional=True, seed=3, **SIX)
    x = torch.randn(7, 4, 5)
    there = copy.deepcopy(layer).to(CUDA)
    for one, where in ((layer, "cpu"), (there, CUDA)):
        output, _ = one(x.to(where))
        (output.square().mean() + one.penalty()).backward()
    for (name, p), q in zip(layer.named_parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_layers_are_made_there_and_move():
    layer = LSTM(5, 17, **SIX, device=CUDA, dtype=torch.float32)
    assert {p.device for p in layer.parameters()} == {CUDA}
    x = torch.randn(7, 4, 5)
    output, (h_n, c_n) = layer(x.to(CUDA))
    assert {output.device, h_n.device, c_n.device} == {CUDA}
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    loaded = torch.load(file, map_location="cpu", weights_only=False).eval()
    torch.testing.assert_close(loaded(x)[0], layer.eval()(x.to(CUDA))[0].cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    layer = LSTM(5, 17, **SIX).to(CUDA)
    with torch.autocast("cuda", dtype):
        output, _ = layer(torch.randn(7, 4, 5, device=CUDA))
        loss = output.float().square().mean() + layer.penalty()
    assert output.dtype is dtype
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in layer.parameters())


def test_the_compiler_takes_a_layer_as_a_whole():
    layer = LSTM(5, 17, seed=1, **SIX).to(CUDA)
    x = torch.randn(7, 4, 5, device=CUDA)
    expected, _ = copy.deepcopy(layer)(x)
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_data_parallel_on_one_device(tmp_path):
    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        layer = LSTM(5, 17, seed=1, **SIX).to(CUDA)
        alone = copy.deepcopy(layer)
        parallel = nn.parallel.DistributedDataParallel(layer, device_ids=[0])
        x = torch.randn(7, 4, 5, device=CUDA)
        for one in (parallel, alone):
            one(x)[0].sum().backward()
        for p, q in zip(layer.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
        del parallel
    finally:
        torch.distributed.destroy_process_group()


# ------------------------------------------------------------------ masks


def test_a_seed_decides_the_masks_and_the_generator_is_torchs():
    def drawn() -> Tensor:
        return draw_mask(0.3, 4, 65, 129, device=CUDA, dtype=torch.float32)

    torch.manual_seed(3)
    first, second = drawn(), drawn()
    state = torch.cuda.get_rng_state()
    third = drawn()
    torch.manual_seed(3)
    assert torch.equal(drawn(), first)
    assert torch.equal(drawn(), second)
    torch.cuda.set_rng_state(state)
    assert torch.equal(drawn(), third)
    assert not torch.equal(first, second)
    assert abs(float((first == 0).float().mean()) - 0.3) < 0.02


def test_a_member_draws_what_a_model_of_its_seed_draws():
    seeds, rates = [7, 3, 2**63 + 5], torch.tensor([0.1, 0.5, 1 / 3], dtype=torch.float64)
    streams = Streams.of(seeds, CUDA)
    calls = [
        draw_member_masks(rates, g, 13, width, generators=streams, device=CUDA, dtype=torch.float32)
        for g, width in ((4, 3), (1, 17))
    ]
    for k, (seed, rate) in enumerate(zip(seeds, rates.tolist(), strict=True)):
        torch.manual_seed(seed)
        for masks, (g, width) in zip(calls, ((4, 3), (1, 17)), strict=True):
            assert torch.equal(masks[k], draw_mask(rate, g, 13, width, device=CUDA, dtype=torch.float32))


def test_seeded_masks_are_keras_there_too():
    layer = LSTM(5, 17, seed=3, **SIX)
    x = torch.randn(7, 4, 5)
    there = copy.deepcopy(layer).to(CUDA)
    torch.testing.assert_close(there(x.to(CUDA))[0].cpu(), layer(x)[0], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ training

DATA = tuple((torch.randn(n, 9, 3), torch.randn(n, 1)) for n in (70, 30))
CONFIGS = [
    ModelConfig(hidden_size=6, dropout=rate, recurrent_dropout=rate, kernel_l2=l2, activity_l2=l2)
    for rate, l2 in ((0.1, 0.0), (0.3, 1e-3), (0.5, 1e-2))
]
TRAININGS = [TrainingConfig(seed=k, max_epochs=6, patience=2, batch_size=16, learning_rate=0.02) for k in range(3)]


#: None ends before the others, and is removed.
ENDLESS = [dataclasses.replace(training, patience=None) for training in TRAININGS]


def made(config: ModelConfig) -> Network:
    with seeded(0):
        return Network(config, 3, 1)


def test_a_fit_leaves_the_network_and_the_generators_where_they_were():
    network, state = made(CONFIGS[0]), torch.cuda.get_rng_state()
    result = fit(network, DATA, TRAININGS[0])
    assert result.val_loss < float("inf")
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_a_member_of_a_population_follows_the_single_fit():
    networks = [made(config) for config in CONFIGS]
    population = Population(copy.deepcopy(networks))
    found = fit_population(population, DATA, TRAININGS)
    assert population.weights.device.type == "cpu"
    for k, network in enumerate(networks):
        alone = fit(network, DATA, TRAININGS[k])
        assert len(alone.history) == len(found[k].history)
        assert found[k].val_loss == pytest.approx(alone.val_loss, rel=1e-3)
        assert found[k].train_loss == pytest.approx(alone.train_loss, rel=1e-3)
        for p, q in zip(population[k].parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q.cpu(), rtol=1e-2, atol=1e-3)


def test_a_member_that_diverges_is_told_with_its_step_and_leaves_the_others_alone():
    trainings = [*TRAININGS[:2], TrainingConfig(seed=2, max_epochs=6, patience=2, batch_size=16, learning_rate=1e30)]
    found = fit_population(Population([made(config) for config in CONFIGS]), DATA, trainings)
    usual = fit_population(Population([made(config) for config in CONFIGS[:2]]), DATA, trainings[:2])
    assert found[2].stopped == "diverged"
    assert found[2].failure is not None
    for one, other in zip(found[:2], usual, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)


def test_a_step_of_a_population_does_not_wait_for_the_gpu(monkeypatch):
    from lstmreg.training.population.module import PopulationModule

    step = PopulationModule.training_step

    def strict(self, batch, batch_idx):
        if self.global_step > 3:
            torch.cuda.set_sync_debug_mode("error")
        try:
            return step(self, batch, batch_idx)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(PopulationModule, "training_step", strict)
    fit_population(Population([made(config) for config in CONFIGS]), DATA, ENDLESS)
    classes = tuple((x, (y[:, 0] > 0).long()) for x, y in DATA)
    with seeded(0):
        networks = [Network(config, 3, 2) for config in CONFIGS]
    fit_population(Population(networks), classes, ENDLESS, criterion=CrossEntropy(2, class_weights=[1.0, 2.0]))


def test_penalties_are_there_where_the_weights_are():
    network = made(CONFIGS[2]).to(CUDA)
    network(torch.randn(4, 9, 3, device=CUDA))
    assert {value.device for value in penalties(network).values()} == {CUDA}
