"""Masks drawn on the GPU: those of K models in one launch, which torch's generators draw one after the other."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from .kernels import masks as kernels
from .problem import tiles

_BLOCK, _WARPS = 1024, 4


def draw(rate: float, size: tuple[int, ...], seed: int, place: int, like: Tensor) -> Tensor:
    """Draw the masks of one model: zeros with probability ``rate``, and ``1 / (1 - rate)`` elsewhere.

    Args:
        rate: Of zeros, in ``[0, 1)``.
        size: Of the masks.
        seed: Of the stream, below ``2**64``.
        place: In the stream, below ``2**63``; each has numbers of its own.
        like: Has the device and the type.
    """
    masks = like.new_empty(size)
    streams = seed - (1 << 64) if seed >= 1 << 63 else seed, place  # the same bits with a sign
    _launch(masks, None, (*streams, rate, 1.0 / (1.0 - rate)), models=1)
    return masks if masks.dtype is not torch.float64 else masks.sign().div_(1.0 - rate)  # which it has in float32


def draw_of_models(rates: Tensor, size: tuple[int, ...], seeds: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Draw those of K models, ``(K, *size)``, each as :func:`draw` would.

    Args:
        rates: ``(K)``, float64.
        size: As there.
        seeds: ``(K)``, int64: the bits of a seed.
        places: ``(K)``, int64.
        like: As there.
    """
    masks = like.new_empty(len(rates), *size)
    _launch(masks, (seeds, places, rates), (0, 0, 0.0, 0.0), models=len(rates))
    if masks.dtype is not torch.float64:
        return masks
    return masks.sign().div_((1.0 - rates).view(-1, *[1] * len(size)))


def _launch(
    masks: Tensor,
    of_models: tuple[Tensor, Tensor, Tensor] | None,
    of_one: tuple[int, int, float, float],
    *,
    models: int,
) -> None:
    size = masks.numel() // models
    if size == 0:
        return
    with torch.cuda.device(masks.device) if masks.is_cuda else nullcontext():
        kernels.draw[tiles(size, _BLOCK), models](
            masks,
            *(of_models or (masks, masks, masks)),
            *of_one,
            size,
            BLOCK=_BLOCK,
            OF_MODELS=of_models is not None,
            num_warps=_WARPS,
        )
