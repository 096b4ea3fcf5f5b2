"""A row steps as torch's optimizer would step it alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lstmreg import TrainingConfig
from lstmreg.ops import adam
from lstmreg.training.population.optimizers import MemberOptimizer

K, P = 5, 11

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def trainings(optimizer: str, *, decays=(0.0, 0.3, 0.0, 0.1, 0.02), clips=(None, 2.0, 0.5, None, 100.0)):
    """Settings in which no two rows are alike; random gradients of 11 numbers have a norm of about 3."""
    rates = (0.1, 0.01, 0.03, 0.2, 1e-3)
    return [
        TrainingConfig(optimizer=optimizer, learning_rate=rate, weight_decay=decay, gradient_clip=clip)
        for rate, decay, clip in zip(rates, decays, clips, strict=True)
    ]


class Alone:
    """One row with an optimizer of torch's."""

    def __init__(self, row: Tensor, training: TrainingConfig) -> None:
        self.clip = training.gradient_clip
        self.w = nn.Parameter(row.clone())
        settings = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
        self.optimizer = KINDS[training.optimizer]([self.w], **settings)

    def step(self, gradient: Tensor) -> None:
        self.w.grad = gradient.clone()
        if self.clip is not None:
            nn.utils.clip_grad_norm_([self.w], self.clip)
        self.optimizer.step()


def gradient(step: int, dtype: torch.dtype) -> Tensor:
    """Small ones, usual ones and large ones, now and then with zeros."""
    values = torch.randn(K, P, dtype=dtype) * 10.0 ** (step % 4 - 2)
    return values * (torch.rand(K, P) < 0.9)


#: Which rows step, in turn.
TURNS = [[slice(None)], [slice(0, 2)], [slice(1, 3), slice(4, 5)], [slice(0, 1), slice(1, 2), slice(3, 5)], []]

SETTINGS = {
    "all different": {},
    "no decay": {"decays": (0.0,) * K},
    "no clip": {"clips": (None,) * K},
    "neither": {"decays": (0.0,) * K, "clips": (None,) * K},
}


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-11), (torch.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_steps_as_torchs_optimizer_would_alone_whenever_it_does(kind, settings, dtype, rtol):
    settings = trainings(kind, **settings)
    weights = nn.Parameter(torch.randn(K, P, dtype=dtype))
    alone = [Alone(row, training) for row, training in zip(weights.detach(), settings, strict=True)]
    optimizer = MemberOptimizer(weights, settings)
    counts = [0] * K
    for step in range(60):
        weights.grad = gradient(step, dtype)
        rows = TURNS[step % len(TURNS)]
        stepping = sorted(row for part in rows for row in range(K)[part])
        resting = [row for row in range(K) if row not in stepping]
        before = weights.detach()[resting]
        optimizer.step(rows=rows)
        for row in stepping:
            alone[row].step(weights.grad[row])
            counts[row] += 1
        assert torch.equal(weights.detach()[resting], before)
        expected = torch.stack([single.w.detach() for single in alone])
        torch.testing.assert_close(weights.detach(), expected, rtol=rtol, atol=rtol)
    assert len(set(counts)) > 2  # or rows would always step together


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [[4, 1], [0], [2, 3, 4], []], ids=str)
def test_rows_that_are_kept_go_on_as_if_nothing_were(kept, kind):
    settings = trainings(kind)
    weights = nn.Parameter(torch.randn(K, P))
    whole = nn.Parameter(weights.detach().clone())
    optimizer, other = MemberOptimizer(weights, settings), MemberOptimizer(whole, settings)
    for step in range(12):
        whole.grad = gradient(step, torch.float32)
        if step == 6:
            optimizer.keep(torch.tensor(kept, dtype=torch.int64))
            weights.data = weights.data[kept]
        weights.grad = whole.grad.clone() if step < 6 else whole.grad[kept]
        rows = TURNS[step % len(TURNS)] if step < 6 else [slice(None)]  # at different times, so that counts differ
        optimizer.step(rows=rows)
        other.step(rows=rows)
    assert torch.equal(weights, whole[kept])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1e38])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_not_finite_spoils_no_other(kind, value):
    ends = []
    for spoils in (False, True):
        torch.manual_seed(1)
        weights = nn.Parameter(torch.randn(K, P))
        optimizer = MemberOptimizer(weights, trainings(kind))
        for step in range(8):
            weights.grad = gradient(step, torch.float32)
            if spoils and step > 2:
                weights.grad[1] = value
            optimizer.step()
        ends.append(weights.detach())
    others = [0, 2, 3, 4]
    assert torch.equal(ends[0][others], ends[1][others])
    assert not torch.equal(ends[0][1], ends[1][1])


def test_a_closure_is_called_once_before_the_step():
    weights = nn.Parameter(torch.ones(K, P))
    optimizer = MemberOptimizer(weights, [TrainingConfig(optimizer="sgd", learning_rate=0.5)] * K)

    def closure() -> float:
        weights.grad = torch.ones(K, P) if weights.grad is None else weights.grad + 1
        return 3.5

    assert optimizer.step(closure) == 3.5
    assert torch.equal(weights.detach(), torch.full((K, P), 0.5))


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_where_nothing_is_compiled_torchs_operations_step_alike(kind, monkeypatch):
    ends = []
    for is_compiled in (True, False):
        if not is_compiled:
            monkeypatch.setattr(adam, "serves", lambda *rows: False)
        generator = torch.Generator().manual_seed(0)
        weights = nn.Parameter(torch.randn(3, 37, generator=generator, dtype=torch.float64))
        optimizer = MemberOptimizer(weights, trainings(kind)[:3])
        for _ in range(4):
            weights.grad = torch.randn(3, 37, generator=generator, dtype=torch.float64)
            optimizer.step(rows=[slice(0, 1), slice(1, 3)])
        ends.append(weights.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-13, atol=1e-13)
