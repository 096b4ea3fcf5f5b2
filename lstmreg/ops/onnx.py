"""The recurrence as ``torch.onnx.export(dynamo=True)`` shall write it: one LSTM of ONNX, with free batch and time.

It stands in the exported graph from the beginning, because the exporter knows no operations but torch's and ONNX's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call, Result


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_exporting() -> bool:
    """Tell whether torch's exporter of ONNX is at work."""
    return bool(torch.onnx.is_in_onnx_export())


def lstm(call: Call) -> Result:
    """Write what :func:`lstmreg.ops.lstm` defines, for a call without masks.

    Raises:
        NotImplementedError: If units are dropped, steps are masked, or numbers are bfloat16.
    """
    if call.x.dtype is torch.bfloat16:
        raise NotImplementedError(
            "torch.onnx.export cannot write an LSTM of bfloat16, which ONNX's own does not know. Export outside of "
            "torch.autocast, and a model with weights in bfloat16 after model.float()."
        )
    if not (call.input_mask is None and call.recurrent_mask is None and call.valid is None):
        raise NotImplementedError(
            "torch.onnx.export writes no dropout and no masked steps of an LSTM. Export in eval mode and without a "
            "mask, or use lstmreg.interop.save_onnx, which writes masks too."
        )
    hidden = call.h_0.shape[-1]
    batch = call.x.shape[1]
    bias = None if call.bias is None else torch.cat([_reordered(call.bias), torch.zeros_like(call.bias)])[None]
    weights = _reordered(call.w_ih)[None], _reordered(call.w_hh)[None], bias
    output, h_n, c_n = torch.onnx.ops.symbolic_multi_out(
        "LSTM",
        (call.x, *weights, None, call.h_0[None], call.c_0[None]),
        {"hidden_size": hidden, "direction": "reverse" if call.reverse else "forward"},
        dtypes=(call.x.dtype,) * 3,
        shapes=((call.steps, 1, batch, hidden), (1, batch, hidden), (1, batch, hidden)),
    )
    return output.squeeze(1), h_n[0], c_n[0]


def _reordered(weight: Tensor) -> Tensor:
    """Return the rows of the gates i, f, g, o in ONNX's order: i, o, f, g."""
    hidden = len(weight) // 4
    return torch.cat([weight[:hidden], weight[3 * hidden :], weight[hidden : 3 * hidden]])
