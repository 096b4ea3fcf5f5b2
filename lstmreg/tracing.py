"""Tells who is running the code: plain PyTorch, its compiler, one of its function transforms, or a backward pass."""

from __future__ import annotations

import torch


def is_compiling() -> bool:
    """Tell whether torch.compile or torch.export is reading the code."""
    return bool(torch.compiler.is_compiling())


def is_transformed() -> bool:
    """Tell whether a function transform (``torch.func``) or the compiler is at work, and wants plain operations."""
    return is_compiling() or bool(torch._C._are_functorch_transforms_active())


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass in this thread, as when a checkpoint recomputes."""
    if is_compiling():  # nothing compiled runs a backward in its middle
        return False
    return bool(torch._C._current_graph_task_id() != -1)
