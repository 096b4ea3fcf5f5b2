"""A world in which the truth is known: what each training would give."""

from __future__ import annotations

import hashlib

import numpy as np

from lstmreg.search.method import Arm, Cell, LogLosses, Plan, Step, arms_of, steps

ARMS = (
    Arm("model.kernel_l1", (0.001, 0.01, 0.1), place="the input weights"),
    Arm("model.kernel_l2", (0.001, 0.01, 0.1), place="the input weights"),
    Arm("model.dropout", (0.1, 0.3, 0.5), kind="rate", place="the inputs"),
    Arm("training.weight_decay", (0.1, 0.3), beside=(("training.optimizer", "adamw"),), is_rival=True),
)

PLAN = Plan(ARMS, blocks=6, budget=420)


class World:
    """Gives each cell its log loss: the same whenever it is asked, and in whatever order."""

    def __init__(
        self,
        effects: dict[str, dict[float, float]] | None = None,
        *,
        seed: int = 0,
        noise: float = 0.2,
        shared: float = 0.6,
        between_blocks: float = 0.05,
        shift: float = 0.0,
        arms: tuple[Arm, ...] = ARMS,
    ) -> None:
        self.effects = effects or {}
        self.seed, self.noise, self.shared, self.between_blocks, self.shift = seed, noise, shared, between_blocks, shift
        self.arms = arms

    def effect(self, candidate: object) -> float:
        setting = candidate.setting  # type: ignore[attr-defined]
        return sum(
            self.effects.get(arm.path, {}).get(float(setting[arm.path]), 0.0)
            for arm in arms_of(candidate, self.arms)  # type: ignore[arg-type]
        )

    def log_loss(self, cell: Cell) -> float:
        luck = self.shared * self._normal("luck", cell.block, cell.seed)
        own = np.sqrt(1 - self.shared**2) * self._normal(cell.candidate.key, cell.block, cell.seed)
        of_block = self.between_blocks * self._normal(cell.candidate.key, cell.block) if cell.candidate.values else 0.0
        level = self._normal("level", cell.block)
        return float(self.shift + level + self.effect(cell.candidate) + of_block + self.noise * (luck + own))

    def _normal(self, *what: object) -> float:
        digest = hashlib.blake2b(repr((self.seed, *what)).encode(), digest_size=16).digest()
        first, second = (int.from_bytes(part, "little") / 2**64 for part in (digest[:8], digest[8:]))
        return float(np.sqrt(-2 * np.log(first + 2**-70)) * np.cos(2 * np.pi * second))


def played(world: World, plan: Plan = PLAN) -> tuple[LogLosses, list[Step]]:
    """Run a whole experiment."""
    log_losses, taken = LogLosses(plan.blocks), []
    for step in steps(plan, log_losses):
        taken.append(step)
        for cell in step.cells:
            log_losses.add(cell, world.log_loss(cell))
    return log_losses, taken
