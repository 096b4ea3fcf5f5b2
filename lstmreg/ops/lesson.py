"""A step of training of K small networks in one call of compiled code: a layer, a head on its last output, and a loss.

A model goes forward and back before the next one does, so that what the forward pass keeps need not leave the cache:
of networks with few units that is most of what a step waits for.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import compiled
from .fused_cpu import REALS, Problem, library_of, parallel

#: The losses that it has, by name, as the compiled code numbers them; and what it adds where a NaN is no target.
CRITERIA = {"mse": 0, "mae": 1, "huber": 2}
MAY_LACK = 4

#: That of classes, whose target says of each class ``c`` how much of ``-log p_c`` the loss of the case has.
CROSS_ENTROPY = 3


class Lesson(NamedTuple):
    """What K networks learn from; all tensors are of one type."""

    x: Tensor  #: (T, B, D), or (K, T, B, D)
    targets: Tensor  #: (B, O), or (K, B, O)
    weights: Tensor  #: (K, P): of the layer w_ih, w_hh and bias, and of the head (O, H) and (O), one after the other
    hidden: int  #: H
    criteria: Tensor  #: (K) int64, of :data:`CRITERIA`, or :data:`CROSS_ENTROPY`
    input_mask: Tensor | None = None  #: (K, G, B, D)
    recurrent_mask: Tensor | None = None  #: (K, G, B, H)
    l1: Tensor | None = None  #: (K): what each number of the last output costs
    l2: Tensor | None = None
    short_products: bool = False  #: whether the layer multiplies bfloat16, where the processor does


class Learnt(NamedTuple):
    """What came out, but for the gradients."""

    predictions: Tensor  #: (K, B, O)
    losses: Tensor  #: (K)
    activity: Tensor  #: (K)


def serves(x: Tensor, targets: Tensor, weights: Tensor) -> bool:
    """Tell whether there is compiled code for such tensors; compiles it if need be. Autocast asks for other types."""
    if torch.is_autocast_enabled("cpu"):
        return False
    alike = all(t.is_cpu and t.dtype is weights.dtype for t in (x, targets, weights))
    if not alike or weights.dtype not in REALS or 0 in x.shape:
        return False
    return compiled.why_not(REALS[weights.dtype]) is None


def learn(lesson: Lesson, gradient: Tensor) -> Learnt:
    """Compute a step that is served, and write the gradients ``(K, P)`` of loss and activity into ``gradient``."""
    assert gradient.is_contiguous()
    assert gradient.shape == lesson.weights.shape
    return _computed(lesson, gradient)


def judge(lesson: Lesson) -> Learnt:
    """Compute the same of a lesson from which nothing is learnt: nothing is kept of its way through time."""
    return _computed(lesson, None)


def _computed(lesson: Lesson, gradient: Tensor | None) -> Learnt:
    x = lesson.x if lesson.x.stride(-1) == 1 or lesson.x.shape[-1] == 1 else lesson.x.contiguous()
    steps, batch, features = x.shape[-3:]
    models, outputs = len(lesson.weights), lesson.targets.shape[-1]
    targets, weights, masks, costs = (
        [None if t is None else t.contiguous() for t in some]
        for some in (
            (lesson.targets,),
            (lesson.weights,),
            (lesson.input_mask, lesson.recurrent_mask),
            (lesson.l1, lesson.l2),
        )
    )
    predictions = x.new_empty(models, batch, outputs)
    losses, activity = x.new_empty(models), x.new_empty(models)
    problem = Problem(
        models=models,
        steps=steps,
        batch=batch,
        features=features,
        hidden=lesson.hidden,
        threads=torch.get_num_threads(),
        short_products=lesson.short_products,
        input_groups=_groups(lesson.input_mask),
        recurrent_groups=_groups(lesson.recurrent_mask),
        x_model=x.stride(0) if x.dim() == 4 else 0,
        x_step=x.stride(-3),
        x_row=x.stride(-2),
        x=x.data_ptr(),
        input_mask=_address(masks[0]),
        recurrent_mask=_address(masks[1]),
        parallel=parallel(),
    )
    given = _Lesson(
        problem,
        outputs,
        batch * outputs if lesson.targets.dim() == 3 else 0,
        lesson.weights.shape[1],
        *map(_address, (weights[0], targets[0], lesson.criteria, *costs, gradient, predictions, losses, activity)),
    )
    reference, function = ctypes.byref(given), _learn(x.dtype)
    scratch = torch.empty(function(reference), dtype=torch.uint8)
    given.layer.scratch = scratch.data_ptr()
    function(reference)
    return Learnt(predictions, losses, activity)


class _Lesson(ctypes.Structure):
    """``Lesson`` in ``csrc/lstm.cpp``, field by field."""

    _fields_ = [
        ("layer", Problem),
        *((name, ctypes.c_int64) for name in ("outputs", "y_model", "weights_model")),
        *((name, ctypes.c_void_p) for name in ("weights", "targets", "criteria", "l1", "l2", "gradient")),
        *((name, ctypes.c_void_p) for name in ("predictions", "losses", "activity")),
    ]


def _groups(mask: Tensor | None) -> int:
    return 0 if mask is None else mask.shape[-3]


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def _learn(dtype: torch.dtype) -> Any:
    found = library_of(dtype)
    found.lstmreg_learn.argtypes, found.lstmreg_learn.restype = [ctypes.POINTER(_Lesson)], ctypes.c_int64
    found.lstmreg_lesson_size.restype = ctypes.c_int64
    ours, theirs = ctypes.sizeof(_Lesson), found.lstmreg_lesson_size()
    assert ours == theirs, f"Lesson has {theirs} bytes in lstm.cpp, {ours} here: a field is on one side alone"
    return found.lstmreg_learn
