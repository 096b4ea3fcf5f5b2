"""Dropout masks from a generator that counts: any number of any stream can be had without those before it."""

from __future__ import annotations

import triton
import triton.language as tl

#: Sets these numbers apart from those of torch's own operations, whose counter has a zero there.
_OURS = tl.constexpr(1)


@triton.jit(do_not_specialize=["seed", "place", "rate", "scale", "size"])
def draw(
    masks,
    seeds,
    places,
    rates,
    seed,
    place,
    rate,
    scale,
    size,
    BLOCK: tl.constexpr,
    OF_MODELS: tl.constexpr,
):
    """Draw masks ``(K, size)``: of one model, or of K with a seed, a place and a rate for each."""
    model = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if OF_MODELS:
        seed, place = tl.load(seeds + model), tl.load(places + model)
        wide = tl.load(rates + model)  # float64
        rate, scale = wide.to(tl.float32), (1.0 / (1.0 - wide)).to(tl.float32)
    seed, place = seed.to(tl.int64), place.to(tl.int64)
    low, high = (place & 0xFFFFFFFF).to(tl.uint32), (place >> 32).to(tl.uint32)
    nothing = i.to(tl.uint32) * 0
    bits, _, _, _ = tl.philox(seed, i.to(tl.uint32), nothing + low, nothing + high, nothing + _OURS)
    uniform = (bits >> 8).to(tl.float32) * (1.0 / (1 << 24))
    tl.store(masks + model * size + i, tl.where(uniform >= rate, scale, 0.0), i < size)
