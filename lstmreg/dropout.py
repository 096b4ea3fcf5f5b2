"""Draws dropout masks: rate, shape and source of randomness in; a tensor of ``0`` and ``1/(1-p)`` out."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


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
    keep = 1.0 - rate
    return torch.empty(groups, batch, features, device=device, dtype=dtype).bernoulli_(keep).div_(keep)


def draw_keras_mask(
    rate: float,
    groups: int,
    batch: int,
    features: int,
    *,
    seed: int,
    draw: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Draw the masks that Keras' torch backend draws on the CPU for the same seed, bit for bit.

    Keras gives its draw number ``k`` a fresh generator seeded ``seed + k`` and always draws in float32
    on the shape of one mask; drawn in another type, the pattern would differ.

    Args:
        rate: As in :func:`draw_mask`; likewise ``groups``, ``batch``, ``features``, ``device``, ``dtype``.
        groups: Number of masks; they take the draws ``draw, draw + 1, …``.
        batch: Sequences.
        features: Width of a mask.
        seed: The layer's seed.
        draw: Number of draws that this seed has served already.
        device: Where the result shall lie.
        dtype: Type of the result.

    Returns:
        A tensor ``(groups, batch, features)``.
    """
    keep = 1.0 - rate
    probability = torch.full((batch, features), keep)
    masks = [
        torch.bernoulli(probability, generator=torch.Generator().manual_seed((seed + draw + g) & 0xFFFFFFFF))
        for g in range(groups)
    ]
    return torch.stack(masks).to(device=device, dtype=dtype) / keep


def spread_seed(seed: int, count: int) -> list[int]:
    """Turn one seed into ``count``: the first as it is, the others a hash of ``(seed, index)``.

    Neighbouring integers would not do: in Keras' scheme seed ``s`` at draw ``k + 1`` and seed ``s + 1`` at
    draw ``k`` are the same mask.
    """

    def mix(index: int) -> int:
        return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=4).digest(), "little")

    return [seed] + [mix(index) for index in range(1, count)]
