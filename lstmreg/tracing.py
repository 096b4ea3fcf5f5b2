"""Tells who is running the code: plain PyTorch, its compiler, one of its function transforms, or a backward pass."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def is_compiling() -> bool:
    """Tell whether torch.compile or torch.export is reading the code."""
    return bool(torch.compiler.is_compiling())


def in_transform() -> bool:
    """Tell whether a function transform (``torch.func``) is at work; its tensors may have no memory of their own."""
    return bool(torch._C._are_functorch_transforms_active())


def in_forward_mode() -> bool:
    """Tell whether derivatives are taken along with the forward pass (``torch.autograd.forward_ad``)."""
    return forward_ad._current_level >= 0


def is_transformed() -> bool:
    """Tell whether a function transform or the compiler is at work, and wants plain operations."""
    return is_compiling() or in_transform()


def is_recorded() -> bool:
    """Tell whether ``torch.jit.trace`` is recording; it sees PyTorch's operations and nothing else."""
    return torch._C._get_tracing_state() is not None


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass in this thread, as when a checkpoint recomputes."""
    if is_compiling():  # nothing compiled runs a backward in its middle
        return False
    return bool(torch._C._current_graph_task_id() != -1)
