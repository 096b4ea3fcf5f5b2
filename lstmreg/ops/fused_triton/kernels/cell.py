"""What happens within a cell, and how its tiles are read: the parts that all kernels here share.

Gates lie in memory as ``([K,] T, B, 4, H)``, i, f, g, o beside each other. States and sums are float32, whatever the
type of the tensors. A tile is padded to what products take; padding is zero, and stays so.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

#: Whether Triton's interpreter is at work, which takes bfloat16 for whole numbers where it multiplies.
_INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))


@triton.jit
def sigmoid(x):
    """Compute it without an overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def tanh(x):
    """Compute it to some units in the last place, near zero too, where the difference would lose digits."""
    e = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - e) / (1.0 + e)
    is_near = tl.abs(x) < 0.25
    small = tl.where(is_near, x, 0.0)
    s = small * small
    near = small * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))))
    return tl.where(is_near, near, tl.where(x < 0, -far, far))


@triton.jit
def step(z_i, z_f, z_g, z_o, c):
    """Return the gates, and the next cell state."""
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    return i, f, g, o, f * c + i * g


@triton.jit
def slopes(i, f, g, o, c, c_before, d_h, d_c):
    """Return the gradients of the gates before their activations, and of the cell state before."""
    tanh_c = tanh(c)
    d_c += d_h * o * (1.0 - tanh_c * tanh_c)
    d_i = d_c * g * i * (1.0 - i)
    d_f = d_c * c_before * f * (1.0 - f)
    d_g = d_c * i * (1.0 - g * g)
    d_o = d_h * tanh_c * o * (1.0 - o)
    return d_i, d_f, d_g, d_o, d_c * f


@triton.jit
def add_product(sums, a, b, PRECISION: tl.constexpr):
    """Return ``sums + a @ b``; ``a`` is rounded to the type of ``b``."""
    a = a.to(b.dtype)
    if _INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, sums, input_precision=PRECISION)


@triton.jit
def four(pointer, places, apart, inside):
    """Load one tile for each gate, in the type that they have; ``apart`` is how far one is from the next."""
    return (
        tl.load(pointer + places, inside, 0.0),
        tl.load(pointer + places + apart, inside, 0.0),
        tl.load(pointer + places + 2 * apart, inside, 0.0),
        tl.load(pointer + places + 3 * apart, inside, 0.0),
    )


@triton.jit
def four_floats(pointer, places, apart, inside):
    """Load the same in float32."""
    i, f, g, o = four(pointer, places, apart, inside)
    return i.to(tl.float32), f.to(tl.float32), g.to(tl.float32), o.to(tl.float32)


@triton.jit
def set_four(pointer, places, apart, inside, i, f, g, o):
    """Store one tile for each gate."""
    tl.store(pointer + places, i, inside)
    tl.store(pointer + places + apart, f, inside)
    tl.store(pointer + places + 2 * apart, g, inside)
    tl.store(pointer + places + 3 * apart, o, inside)


@triton.jit
def masks(pointer, places, apart, inside, GROUPS: tl.constexpr):
    """Load the masks of four gates in float32; what all share is loaded but once."""
    if GROUPS == 4:
        m_i, m_f, m_g, m_o = four_floats(pointer, places, apart, inside)
    else:
        m_i = tl.load(pointer + places, inside, 0.0).to(tl.float32) if GROUPS == 1 else inside  # there is none
        m_f, m_g, m_o = m_i, m_i, m_i
    return m_i, m_f, m_g, m_o


@triton.jit
def masked(x, pointer, places, inside):
    """Return numbers times those of a mask, in their own type."""
    return (x.to(tl.float32) * tl.load(pointer + places, inside, 0.0).to(tl.float32)).to(x.dtype)
