"""Draws dropout masks: rate, shape and source of randomness in; a tensor of ``0`` and ``1/(1-p)`` out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from lstmreg.ops import fused_triton
from lstmreg.ops.fused_cpu import masks_of as compiled_masks
from lstmreg.tracing import is_compiling, is_plain


class Streams(NamedTuple):
    """The random numbers of K models on a GPU, of which a draw takes those of all models at once.

    A stream has the numbers that a single model on a GPU draws after ``torch.manual_seed``.
    """

    seeds: Tensor  #: (K), int64: their bits
    places: Tensor  #: (K), int64: how far each has got; draws move it in place

    @classmethod
    def of(cls, seeds: Iterable[int], device: torch.device) -> Streams:
        """Return streams at their beginning."""
        bits = torch.tensor([seed - (1 << 64) if seed >= 1 << 63 else seed for seed in seeds], device=device)
        return cls(bits, torch.zeros_like(bits))

    def rows(self, rows: slice | Tensor) -> Streams:
        """Return some of them; of a slice, the places are those here."""
        return Streams(self.seeds[rows], self.places[rows])


#: Where K models draw from: a generator each, or their streams.
Generators: TypeAlias = Sequence[torch.Generator] | Streams

#: How far a draw moves a stream: torch wants multiples of four.
_A_DRAW = 4


def has_streams(device: torch.device) -> bool:
    """Tell whether a device has them."""
    return device.type == "cuda" and fused_triton.missing_on(device) is None


def draw_mask(
    rate: float,
    groups: int,
    batch: int,
    features: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Draw ``groups`` masks from torch's global generator of ``device``.

    Args:
        rate: Probability ``p`` in ``[0, 1)`` of a zero; what stays is scaled by ``1 / (1 - p)``.
        groups: ``G``: 1 (one mask for all gates) or 4 (one per gate i, f, g, o).
        batch: ``B``, sequences; each has its own mask.
        features: Width of a mask: ``D`` for inputs, ``H`` for the recurrent state.
        device: Where to draw.
        dtype: Type of the result.

    Returns:
        A tensor ``(G, B, features)``.
    """
    if device.type == "cuda" and is_plain() and has_streams(device) and not torch.cuda.is_current_stream_capturing():
        from lstmreg.ops.fused_triton import masks

        seed, place = _next_place(device)
        return masks.draw(rate, (groups, batch, features), seed, place, torch.empty(0, device=device, dtype=dtype))
    return _masks_of(torch.rand(groups, batch, features, device=device), rate, 1.0 - rate, dtype)


def _next_place(device: torch.device) -> tuple[int, int]:
    """Return the seed of torch's generator of a GPU, and where it is; it moves on."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    place = generator.get_offset()
    generator.set_offset(place + _A_DRAW)
    return generator.initial_seed(), place


def draw_masks(
    rates: tuple[float, float],
    sizes: tuple[tuple[int, int, int], tuple[int, int, int]],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor | None, Tensor | None]:
    """Draw the masks of the input and of the recurrence, as :func:`draw_mask` would one after the other.

    On the CPU, and of one rate, both come in one piece: small masks cost not numbers but operations.

    Args:
        rates: Of both.
        sizes: ``(G, B, features)`` of both; of a ``G`` of 0 nothing is drawn.
        device: As in :func:`draw_mask`.
        dtype: Likewise.
    """
    (of_x, batch, features), (of_h, _, hidden) = sizes
    first, second = of_x * batch * features, of_h * batch * hidden
    if device.type != "cpu" or not (first and second) or rates[0] != rates[1] or not is_plain():
        x_mask, h_mask = (
            draw_mask(rate, *size, device=device, dtype=dtype) if size[0] > 0 else None
            for rate, size in zip(rates, sizes, strict=True)
        )
        return x_mask, h_mask
    random = torch.rand(first + second)
    masks = compiled_masks(random, rates[0]) if dtype is torch.float32 else None
    if masks is None:
        masks = _masks_of(random, rates[0], 1.0 - rates[0], dtype)
    return (
        masks.as_strided(sizes[0], (batch * features, features, 1)),
        masks.as_strided(sizes[1], (batch * hidden, hidden, 1), first),
    )


def draw_member_masks(
    rates: Tensor,
    groups: int,
    batch: int,
    features: int,
    *,
    generators: Generators,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Draw masks for K models: for each what :func:`draw_mask` would draw from a generator of its own.

    One model is not drawn as one of K: rates in a tensor and a generator of its own take 1.6 times as long for masks
    of 8 units, 1.2 times for 128 (of 32 sequences).

    Args:
        rates: Rate of each model, ``(K)``, float64.
        groups: As in :func:`draw_mask`; likewise ``batch``, ``features``, ``device``, ``dtype``.
        batch: Sequences.
        features: Width of a mask.
        generators: One for each model, on ``device``; or their streams.
        device: Where to draw.
        dtype: Type of the result.

    Returns:
        A tensor ``(K, groups, batch, features)``.
    """
    if isinstance(generators, Streams):
        from lstmreg.ops.fused_triton import masks

        like = torch.empty(0, device=device, dtype=dtype)
        drawn = masks.draw_of_models(rates.to(device), (groups, batch, features), *generators, like)
        generators.places.add_(_A_DRAW)
        return drawn
    random = torch.empty(len(rates), groups, batch, features, device=device)
    for k, generator in enumerate(generators):
        random[k].uniform_(generator=generator)
    column = rates.to(device).view(-1, 1, 1, 1)
    return _masks_of(random, column.float(), (1.0 - column).to(dtype), dtype)


def _masks_of(random: Tensor, rate: float | Tensor, kept: float | Tensor, dtype: torch.dtype) -> Tensor:
    """Make masks of uniform random numbers, which are overwritten; ``kept`` is ``1 - rate``.

    On the CPU this is three times as fast as ``bernoulli_`` for the masks of a small layer. The numbers are float32:
    in a shorter type they would be too coarse for the rate.
    """
    return random.ge_(rate).to(dtype).div_(kept)


def draw_keras_mask(
    rate: float,
    groups: int,
    batch: int,
    features: int,
    *,
    seed: int,
    draws: Tensor,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Draw the masks that Keras' torch backend draws on the CPU for the same seed, bit for bit.

    Keras gives its draw number ``k`` a fresh generator seeded ``seed + k`` and always draws in float32
    on the shape of one mask; drawn in another type, the pattern would differ.

    Args:
        rate: As in :func:`draw_mask`; likewise ``batch``, ``features``, ``device``, ``dtype``.
        groups: Number of masks; they take the next draws.
        batch: Sequences.
        features: Width of a mask.
        seed: The layer's seed.
        draws: Number of draws that this seed has served already, an integer scalar on the CPU; it is advanced.
        device: Where the result shall lie.
        dtype: Type of the result.

    Returns:
        A tensor ``(groups, batch, features)``.
    """
    draw = _draw_kept if is_compiling() else _draw_kept._init_fn
    kept: Tensor = draw(draws, rate, groups, batch, features, seed)
    if device.type == "cuda" and not is_compiling():
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "seeded masks are drawn on the CPU, and a CUDA graph would repeat the same for ever. Use seed=None."
            )
        # From memory that is not pinned, a copy would let the host wait for all that the GPU has still to do.
        return kept.to(dtype).pin_memory().to(device, non_blocking=True) / (1.0 - rate)
    return kept.to(device=device, dtype=dtype) / (1.0 - rate)


# One operation for torch.compile, which has no generators; the counter is a tensor, so that advancing it does
# not compile anew.
@torch.library.custom_op("lstmreg::draw_kept", mutates_args=("draws",))
def _draw_kept(draws: Tensor, rate: float, groups: int, batch: int, features: int, seed: int) -> Tensor:
    first = seed + int(draws)
    with torch._C._DisableFuncTorch():  # function transforms would refuse to let the counter be changed in place
        draws += groups
    probability = torch.full((batch, features), 1.0 - rate)
    return torch.stack(
        [
            torch.bernoulli(probability, generator=torch.Generator().manual_seed((first + g) & 0xFFFFFFFF))
            for g in range(groups)
        ]
    )


@_draw_kept.register_fake
def _(draws: Tensor, rate: float, groups: int, batch: int, features: int, seed: int) -> Tensor:
    return torch.empty(groups, batch, features)


def spread_seed(seed: int, count: int) -> list[int]:
    """Turn one seed into ``count``: the first as it is, the others a hash of ``(seed, index)``.

    Neighbouring integers would not do: in Keras' scheme seed ``s`` at draw ``k + 1`` and seed ``s + 1`` at
    draw ``k`` are the same mask.
    """

    def mix(index: int) -> int:
        return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=4).digest(), "little")

    return [seed] + [mix(index) for index in range(1, count)]
