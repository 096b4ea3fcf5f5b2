"""Initial weights: Keras' distributions for an LSTM (the default), and ``torch.nn.LSTM``'s.

The functions fill torch's layout in place: ``w_ih (4H, D)``, ``w_hh (4H, H)``, ``bias (4H)``, gates in the
order i, f, g, o. Keras' matrices are the transposes, and both of its distributions are the same for a
matrix and its transpose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def keras_(w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> None:
    """Fill with Keras' defaults: Glorot-uniform, orthogonal, and zeros with ones for the forget gate.

    The Glorot limit is that of the full matrix, ``sqrt(6 / (D + 4H))``, and the orthogonal matrix has
    orthonormal columns over all four gates at once (its blocks per gate are not orthogonal), as in Keras.

    Args:
        w_ih: Input weights ``(4H, D)``.
        w_hh: Recurrent weights ``(4H, H)``.
        bias: Bias ``(4H)`` or ``None``.
    """
    nn.init.xavier_uniform_(w_ih)
    drawn = torch.empty_like(w_hh, dtype=torch.promote_types(w_hh.dtype, torch.float32))
    w_hh.copy_(nn.init.orthogonal_(drawn))  # there is no QR in half precision
    if bias is not None:
        hidden_size = bias.shape[0] // 4
        bias.zero_()
        bias[hidden_size : 2 * hidden_size] = 1.0


@torch.no_grad()
def torch_(w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> None:
    """Fill as ``torch.nn.LSTM`` does: everything uniform in ``±1/sqrt(H)``.

    The one bias is the sum of two such draws, because ``nn.LSTM`` adds two biases.

    Args:
        w_ih: Input weights ``(4H, D)``.
        w_hh: Recurrent weights ``(4H, H)``.
        bias: Bias ``(4H)`` or ``None``.
    """
    limit = 1.0 / math.sqrt(w_hh.shape[1])
    nn.init.uniform_(w_ih, -limit, limit)
    nn.init.uniform_(w_hh, -limit, limit)
    if bias is not None:
        nn.init.uniform_(bias, -limit, limit)
        bias += nn.init.uniform_(torch.empty_like(bias), -limit, limit)


INITIALIZERS = {"keras": keras_, "torch": torch_}
