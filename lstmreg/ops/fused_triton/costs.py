"""What elastic nets cost on the weights of a pass and on its output, and their gradients: nothing is read back."""

from __future__ import annotations

from torch import Tensor

from lstmreg.ops.call import Differentiable
from lstmreg.ops.penalties import Costs, Strength, Strengths

from .kernels import costs as kernels
from .problem import tiles
from .slopes import Slopes

_BLOCK, _WARPS = 1024, 4

#: Programs that share one tensor, at most.
_MOST_SHARES = 64


def costs_of(weights: tuple[Tensor, Tensor, Tensor | None], output: Tensor, strengths: Strengths) -> Costs:
    """Return what nets cost on ``w_ih``, ``w_hh``, the bias and an output, each in one piece and float32."""
    tensors = [w if w is not None else output for w in (*weights, output)]
    sizes = [0 if w is None else w.numel() for w in (*weights, output)]
    l1, l2 = _columns(strengths)
    shares = min(_MOST_SHARES, tiles(max(sizes), _BLOCK))
    found = output.new_empty(len(strengths), shares)
    kernels.sums[len(strengths), shares](*tensors, found, *sizes, *l1, *l2, BLOCK=_BLOCK, num_warps=_WARPS)
    parts = found.sum(1)
    return Costs(parts.sum(), parts)


def add_to_gradients(
    found: Differentiable[Tensor | None], weights: tuple[Tensor, Tensor, Tensor | None], slopes: Slopes
) -> None:
    """Add the gradients of nets on ``w_ih``, ``w_hh`` and the bias to theirs, in place."""
    own = found.w_ih, found.w_hh, found.bias
    pairs = [(w, g) if w is not None and g is not None else None for w, g in zip(weights, own, strict=True)]
    sizes = [0 if pair is None else pair[0].numel() for pair in pairs]
    tensors = [weights[0] if pair is None else pair[0] for pair in pairs]
    gradients = [weights[0] if pair is None else pair[1] for pair in pairs]
    l1, l2 = _columns(slopes.strengths)
    kernels.add_slopes[tiles(max(sizes), _BLOCK), 3](
        *tensors,
        *gradients,
        size_0=sizes[0],
        size_1=sizes[1],
        size_2=sizes[2],
        **{f"l1_{i}": l1[i] for i in range(3)},
        **{f"l2_{i}": l2[i] for i in range(3)},
        **slopes.of_weights(weights[0]),
        BLOCK=_BLOCK,
        num_warps=_WARPS,
    )


def _columns(strengths: Strengths) -> tuple[list[float], list[float]]:
    pairs: list[Strength] = [strength or (0.0, 0.0) for strength in strengths]
    return [float(l1) for l1, _ in pairs], [float(l2) for _, l2 in pairs]
