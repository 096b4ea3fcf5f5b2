"""Tells who is running the code: plain PyTorch, its compiler, one of its function transforms, or a backward pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

#: Tells whether torch.compile or torch.export is reading the code. It is asked many times in each call of a layer.
is_compiling = torch.compiler.is_compiling


def in_transform() -> bool:
    """Tell whether a function transform (``torch.func``) is at work; its tensors may have no memory of their own."""
    return bool(torch._C._are_functorch_transforms_active())


def in_vmap() -> bool:
    """Tell whether ``torch.vmap`` is at work, alone or among other transforms, so that a tensor may be many."""
    if is_compiling() or not in_transform():
        return False
    return any(level.key() == _functorch.TransformType.Vmap for level in _functorch.get_interpreter_stack() or ())


def has_batch(tensors: Iterable[Tensor | None]) -> bool:
    """Tell whether a tensor is the many that ``torch.autograd.grad(is_grads_batched=True)`` goes back with at once."""
    return any(tensor is not None and _functorch.is_legacy_batchedtensor(tensor) for tensor in tensors)


def in_forward_mode() -> bool:
    """Tell whether derivatives are taken along with the forward pass (``forward_ad``, ``torch.func.jvp``)."""
    return not is_compiling() and forward_ad._current_level >= 0


def is_plain() -> bool:
    """Tell whether plain PyTorch runs the code: none of the others here, apart from a backward pass."""
    return not (
        is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


def is_transformed() -> bool:
    """Tell whether a function transform or the compiler is at work, and wants plain operations."""
    return is_compiling() or in_transform()


def is_recorded() -> bool:
    """Tell whether ``torch.jit.trace`` is recording; it sees PyTorch's operations and nothing else."""
    return torch._C._get_tracing_state() is not None


def is_symbolic(value: object) -> bool:
    """Tell whether ``torch.fx`` is drawing a graph, and a value is the name of one that will be there later."""
    return not is_compiling() and isinstance(value, torch.fx.Proxy)


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass in this thread, as when a checkpoint recomputes."""
    if is_compiling():  # nothing compiled runs a backward in its middle
        return False
    return bool(torch._C._current_graph_task_id() != -1)
