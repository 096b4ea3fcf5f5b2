"""Writes programs of ``torch.export`` with dynamic batch and time, for a process that has PyTorch and lstmreg."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lstmreg.errors import ConfigError
from lstmreg.files import write_atomically

from .onnx import example_of, free_axes, silence
from .raw import Raw


def save_exported(
    module: nn.Module, path: str | os.PathLike[str], example: Sequence[Tensor] | Tensor | None = None
) -> None:
    """Write a model as a program of ``torch.export``; batch and time stay free.

    ``import lstmreg.ops`` before ``torch.export.load(path).module()``: an LSTM is one operation of lstmreg's in it.

    Args:
        module: The model; what it does in eval mode is written.
        path: The file; by custom its name ends in ``.pt2``.
        example: As for :func:`lstmreg.interop.save_onnx`.

    Raises:
        ConfigError: If an example is needed, or PyTorch cannot read the module.
    """
    inputs = example_of(module) if example is None else (example,) if isinstance(example, Tensor) else tuple(example)
    about = {"about.json": json.dumps(module.about)} if isinstance(module, Raw) else {}
    file = io.BytesIO()
    try:
        with silence(), torch.no_grad():
            plain = copy.deepcopy(module).eval()
            program = torch.export.export(plain, inputs, dynamic_shapes=free_axes(module, inputs))
            torch.export.save(program, file, extra_files=about)
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"torch.export cannot read the {type(module).__name__} ({reason.rstrip('.')}).") from error
    write_atomically(Path(path), file.getvalue())
