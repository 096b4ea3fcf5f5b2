"""The masks of a population are those that its members would draw by themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lstmreg.dropout import draw_mask, draw_masks, draw_member_masks
from lstmreg.ops import fused_cpu

CPU = torch.device("cpu")
SEEDS = [7, 3, 2**32 - 1, 0, 3]
RATES = [0.1, 0.5, 0.0, 1 / 3, 0.999]


def drawn(generators: list[torch.Generator], groups: int, width: int, dtype: torch.dtype) -> Tensor:
    rates = torch.tensor(RATES, dtype=torch.float64)
    return draw_member_masks(rates, groups, 13, width, generators=generators, device=CPU, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_member_draws_the_masks_of_a_single_model_of_its_seed_call_after_call(groups, dtype):
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    calls = [drawn(generators, g, width, dtype) for g, width in ((groups, 3), (1, 17), (groups, 3))]
    for k, (seed, rate) in enumerate(zip(SEEDS, RATES, strict=True)):
        torch.manual_seed(seed)
        for masks, (g, width) in zip(calls, ((groups, 3), (1, 17), (groups, 3)), strict=True):
            alone = draw_mask(rate, g, 13, width, device=CPU, dtype=dtype)
            assert masks.shape == (len(SEEDS), g, 13, width)
            assert masks.dtype == dtype
            assert torch.equal(masks[k], alone)
    assert len({mask.numpy().tobytes() for masks in calls for mask in masks[:2]}) == 6  # or order would not matter
    assert not torch.equal(calls[0][0], calls[2][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.7, 0.7), (1 / 3, 1 / 3), (0.2, 0.5)], ids=str)
@pytest.mark.parametrize("sizes", [((4, 1, 1), (4, 1, 1)), ((4, 33, 7), (4, 33, 65)), ((1, 5, 3), (4, 5, 17))], ids=str)
def test_masks_that_are_drawn_together_are_those_that_are_drawn_one_after_the_other(sizes, rates, dtype):
    fused_cpu.library_of(torch.float32)  # makes float32 masks from here on
    for only in (sizes, ((0, *sizes[0][1:]), sizes[1]), (sizes[0], (0, *sizes[1][1:]))):
        torch.manual_seed(3)
        each = [
            draw_mask(rate, *size, device=CPU, dtype=dtype) if size[0] > 0 else None
            for rate, size in zip(rates, only, strict=True)
        ]
        after = torch.rand(2)
        torch.manual_seed(3)
        for found, expected in zip(draw_masks(rates, only, device=CPU, dtype=dtype), each, strict=True):
            assert (found is None) == (expected is None)
            assert found is None or (torch.equal(found, expected) and found.dtype is dtype and found.is_contiguous())
        assert torch.equal(torch.rand(2), after)


def test_the_rate_is_how_much_is_zero_and_what_stays_makes_up_for_it():
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    masks = drawn(generators, 4, 2000, torch.float64)  # 104,000 of each
    for rate, mask in zip(RATES, masks, strict=True):
        spread = (rate * (1 - rate) / mask.numel()) ** 0.5
        assert float((mask == 0).double().mean()) == pytest.approx(rate, abs=4 * spread)
        assert set(mask.unique().tolist()) <= {0.0, 1 / (1 - rate)}


def test_members_leave_the_global_generator_and_each_other_alone():
    random = torch.get_rng_state()
    together = drawn([torch.Generator().manual_seed(seed) for seed in SEEDS], 4, 5, torch.float32)
    assert torch.equal(torch.get_rng_state(), random)
    others = drawn([torch.Generator().manual_seed(seed) for seed in [1, 2, *SEEDS[2:]]], 4, 5, torch.float32)
    assert torch.equal(together[2:], others[2:])
    assert not torch.equal(together[:2], others[:2])
