"""Arguments of the recurrence at any size, and all that a call yields: outputs and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lstmreg import ops

NAMES = ("x", "h_0", "c_0", "w_ih", "w_hh", "bias")
OUTPUTS = ("output", "h_n", "c_n")
Arguments = list[Tensor | None]


class Kind(NamedTuple):
    """What a call may have or lack."""

    input_groups: int | None = None
    recurrent_groups: int | None = None
    pattern: str | None = None
    reverse: bool = False
    bias: bool = True
    K: int | None = None
    shares_x: bool = False
    shares_valid: bool = False

    def __str__(self) -> str:
        told = [f"{name}={value}" for name, value in self._asdict().items() if value != self._field_defaults[name]]
        return " ".join(told) or "plain"


def make_call(
    size: tuple[int, int, int, int], kind: Kind, dtype: torch.dtype = torch.float64
) -> tuple[Arguments, dict[str, Any]]:
    """Return the arguments and the options of a call."""
    T, B, D, H = size
    arguments: Arguments = list(make_arguments(T, B, D, H, dtype, kind.K, kind.shares_x))
    if not kind.bias:
        arguments[-1] = None
    options = {
        "input_mask": make_mask(kind.input_groups, B, D, dtype, kind.K),
        "recurrent_mask": make_mask(kind.recurrent_groups, B, H, dtype, kind.K),
        "valid": make_valid(kind.pattern, T, B, None if kind.shares_valid else kind.K),
        "reverse": kind.reverse,
    }
    return arguments, options


def moved(call: tuple[Arguments, dict[str, Any]], device: str | torch.device) -> tuple[Arguments, dict[str, Any]]:
    """Return the same call on a device."""
    arguments, options = call
    own = [None if a is None else a.detach().to(device).requires_grad_() for a in arguments]
    return own, {name: o.to(device) if isinstance(o, Tensor) else o for name, o in options.items()}


def make_arguments(
    T: int,
    B: int,
    D: int,
    H: int,
    dtype: torch.dtype = torch.float64,
    K: int | None = None,
    shares_x: bool = False,
) -> list[Tensor]:
    shapes = [(T, B, D), (B, H), (B, H), (4 * H, D), (4 * H, H), (4 * H,)]
    spread = [1.0, 1.0, 1.0, D**-0.5, H**-0.5, 1.0]
    if K is not None:
        shapes = [(T, B, D) if shares_x else (K, T, B, D), *((K, *shape) for shape in shapes[1:])]
    arguments = [torch.randn(shape, dtype=dtype) * s for shape, s in zip(shapes, spread, strict=True)]
    return [a.requires_grad_() for a in arguments]


def make_mask(
    groups: int | None, B: int, width: int, dtype: torch.dtype = torch.float64, K: int | None = None
) -> Tensor | None:
    if groups is None:
        return None
    shape = (groups, B, width) if K is None else (K, groups, B, width)
    return torch.empty(shape, dtype=dtype).bernoulli_(0.6) / 0.6


def make_valid(pattern: str | None, T: int, B: int, K: int | None = None) -> Tensor | None:
    if pattern is None:
        return None
    if K is not None:
        return torch.stack([make_valid(pattern, T, B) for _ in range(K)])
    if pattern == "prefix":
        return torch.arange(T).unsqueeze(1) < torch.randint(1, T + 1, (B,))
    valid = torch.rand(T, B) < 0.5  # holes anywhere
    valid[:, 0] = False  # and a sequence without a single valid step
    return valid


def results(function: Callable[..., Any], arguments: Arguments, **options: Any) -> dict[str, Tensor]:
    """Outputs, and the gradients of every argument under cotangents that are the same for every function."""
    outputs = dict(zip(OUTPUTS, function(*arguments, **options), strict=True))
    leaves = {name: a for name, a in zip(NAMES, arguments, strict=True) if a is not None}
    cotangents = make_cotangents(outputs.values())
    found = torch.autograd.grad(list(outputs.values()), list(leaves.values()), cotangents)
    return outputs | dict(zip(leaves, found, strict=True))


def make_cotangents(outputs: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y) for y in outputs]


def true_results(arguments: Arguments, **options: Any) -> dict[str, Tensor]:
    """What the definition gives for these very numbers, in float64."""

    def precise(t: Any) -> Any:
        return t.detach().double() if isinstance(t, Tensor) and t.is_floating_point() else t

    twins = [None if a is None else precise(a).requires_grad_() for a in arguments]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # they would wait for each other after every operation
    found = results(ops.lstm, twins, backend="reference", **{name: precise(o) for name, o in options.items()})
    torch.set_num_threads(threads)
    return found


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float | None = None) -> None:
    """Compare by name; numbers that cancel in a sum may be as wrong as its usual size allows."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        loss = tolerance or {torch.float32: 1e-4, torch.float64: 1e-12}[found[name].dtype]
        size = value.detach().square().mean().sqrt().item() if value.numel() else 0.0
        torch.testing.assert_close(
            found[name].to(value.dtype),
            value,
            rtol=loss,
            atol=loss * max(size, 1e-3),
            msg=lambda text, name=name: f"{name}: {text}",
        )


def losses(found: dict[str, Tensor], true: dict[str, Tensor]) -> dict[str, float]:
    """Return how far off numbers are, relative to their usual size."""

    def size(t: Tensor) -> float:
        return t.detach().double().square().mean().sqrt().item()

    return {name: size(found[name].double() - value) / max(size(value), 1e-3) for name, value in true.items()}


def assert_loses_little(found: dict[str, Tensor], true: dict[str, Tensor]) -> None:
    assert found.keys() == true.keys()
    assert {name: loss for name, loss in losses(found, true).items() if not loss < 0.03} == {}
    assert_close({name: t.float() for name, t in found.items()}, true, tolerance=0.2)  # of each number
