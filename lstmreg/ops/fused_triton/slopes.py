"""Gradients of what elastic nets cost, left where they are: to read them would make the host wait."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from lstmreg.ops.penalties import Strengths


class Slopes(NamedTuple):
    """The strengths of nets, and the gradients of what they cost."""

    strengths: Strengths = Strengths()
    d_total: Tensor | None = None
    d_parts: Tensor | None = None

    @property
    def are_any(self) -> bool:
        """Whether somebody asks for a gradient of what the nets cost."""
        return self.d_total is not None or self.d_parts is not None

    @property
    def has_activity(self) -> bool:
        """Whether a gradient of the output is among them."""
        return self.are_any and any(self.strengths.activity or ())

    @property
    def concerns_output(self) -> bool:
        """Whether a gradient comes from the output; this may look, and wait."""
        if not self.has_activity or self.d_total is not None:
            return self.has_activity
        assert self.d_parts is not None
        return bool(self.d_parts[-1] != 0)

    def of_weights(self, like: Tensor) -> dict[str, Any]:
        """Return what a kernel takes of the gradients; ``like`` stands for what is not there."""
        return {
            "d_total": like if self.d_total is None else self.d_total,
            "d_parts": like if self.d_parts is None else self.d_parts,
            "HAS_TOTAL": self.d_total is not None,
            "HAS_PARTS": self.d_parts is not None,
        }

    def arguments(self, like: Tensor) -> dict[str, Any]:
        """Return what a kernel takes that goes back through the output."""
        l1, l2 = self.strengths.activity or (0.0, 0.0)
        return self.of_weights(like) | {"l1": float(l1), "l2": float(l2), "HAS_ACTIVITY": self.has_activity}
