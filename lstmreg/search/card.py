"""The data card: what a report must know about the data, so that it needs the data no more."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config, ModelConfig
from lstmreg.initializers import seeded
from lstmreg.knobs import KNOBS
from lstmreg.layers import penalties
from lstmreg.tasks import Splits, Task
from lstmreg.training.single import Lesson, floor_losses

from .study.kept import fields_of

#: A loss below this, in units of the target's variance, is no loss but the rounding of 32 bits.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class DataCard:
    """The data of one run, in plain types.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        size: Rows in use, or sequences.
        features: Input columns.
        target: What is predicted.
        notes: What the reader noticed, a sentence each.
        blocks: First and last judged case of each block, as their labels say.
        test: Likewise of the test.
        block_keys: By which the trainings on each block are known.
        final_key: Likewise of the split whose models meet the test.
        most_blocks: So many blocks the cases allow without getting very short.
        judged_cases: How many cases are judged on each block.
        floors: Loss of each prediction without a model on the judged cases of each block, in scaled units.
        test_floors: Their most important error on the test, in the user's units.
        test_labels: How a reader knows each test case.
        test_truth: The truth of each test case, as :func:`kept` keeps it.
        scales: What losses and errors of the test need beside predictions and truth.
        test_floor_errors: All errors of each prediction without a model on the test; older runs have none.
        outputs: How many a network has; older runs, all of which forecast, have as many as steps ahead.
        classes: Names of the classes, where such are predicted.
        steps: ``last`` if a network predicts once for each case, ``all`` if at every step.
        simple_models: Which of the floors are simple models, that learn from the cases.
        is_in_memory: Whether the data were given from Python, so that ``path`` only names them.
        length: Steps of the longest case; older runs, all of which forecast, have those of the window.
        initial_penalties: What each penalty on weights, by its path, costs a network that has not been trained at
            strength 1; nothing of networks of somebody's own, nor in older runs.
        targets: Names of the targets; older runs have none.
        test_groups: What each test case belongs to, where there are groups; older runs have none.
        vocabularies: How many tokens each input column has that holds some, by name; older runs have none.
    """

    path: str
    sha256: str
    size: int
    features: list[str]
    target: str
    notes: list[str]
    blocks: list[list[str]]
    test: list[str]
    block_keys: list[list[int]]
    final_key: list[int]
    most_blocks: int
    judged_cases: list[int]
    floors: dict[str, list[float]]
    test_floors: dict[str, float]
    test_labels: list[str]
    test_truth: list[Any]
    scales: dict[str, Any]
    test_floor_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    outputs: int | None = None
    classes: list[str] = field(default_factory=list)
    steps: str = "last"
    length: int | None = None
    simple_models: list[str] = field(default_factory=list)
    is_in_memory: bool = False
    initial_penalties: dict[str, float] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    test_groups: list[str] = field(default_factory=list)
    vocabularies: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_kept(cls, kept: Any) -> DataCard:
        """Rebuild it from its fields; what a later version kept beside them is left out.

        Raises:
            ValueError: If something is missing, or is not what it must be.
        """
        return cls(**fields_of(cls, kept, "data card"))

    def other_columns(self, now: DataCard) -> str:
        """Say which columns of other data are not these; empty if they are the same."""
        if self.features == now.features:
            return ""
        gone = [name for name in self.features if name not in now.features]
        new = [name for name in now.features if name not in self.features]
        said = [f"{what}: {', '.join(names)}" for what, names in (("gone", gone), ("new", new)) if names]
        return f"other columns ({'; '.join(said) or 'in another order'})"

    @property
    def best_floor(self) -> str | None:
        """The prediction without a model that is hardest to beat on the blocks, if there is any."""
        return self._best([name for name in self.floors if name not in self.simple_models])

    @property
    def best_simple_model(self) -> str | None:
        """The simple model that is hardest to beat on the blocks, if there is any."""
        return self._best([name for name in self.floors if name in self.simple_models])

    def _best(self, names: list[str]) -> str | None:
        return min(names, key=lambda name: float(np.mean([log_loss(x) for x in self.floors[name]])), default=None)


def make_card(config: Config, task: Task, splits: Splits, most_blocks: int) -> DataCard:
    """Describe the data of a run."""
    lessons = [Lesson.of(task, split) for split in splits.blocks]
    per_block = [floor_losses(config.training, lesson, lesson.split.judged) for lesson in lessons]
    final = splits.final
    truth, scales = task.truth(final.judged), task.judging(task.encoder(final), final, final.judged)
    test_floors = {
        name: task.errors(config.training, floor, truth, scales)
        for name, floor in task.floors(final, final.judged).items()
    }
    return DataCard(
        path=task.path,
        sha256=task.sha256,
        size=task.size,
        features=list(task.features),
        target=task.target,
        notes=[*task.notes, *_about_fewer_cases(config, splits)],
        blocks=[list(split.span) for split in splits.blocks],
        test=list(final.span),
        block_keys=[list(split.key) for split in splits.blocks],
        final_key=list(final.key),
        most_blocks=most_blocks,
        judged_cases=[len(split.judged) for split in splits.blocks],
        floors={name: [losses[name] for losses in per_block] for name in per_block[0] if _is_in_all(name, per_block)},
        test_floors={name: next(iter(errors.values())) for name, errors in test_floors.items()},
        test_labels=task.labels(final.judged),
        test_truth=kept(truth),
        scales=scales,
        test_floor_errors=test_floors,
        classes=list(scales.get("classes", [])),
        simple_models=sorted(name for name in per_block[0] if name in task.simple_models),
        is_in_memory=not Path(task.path).exists(),
        initial_penalties=_initial_penalties(config, task),
        targets=list(task.targets),
        test_groups=task.groups(final.judged),
        **_sizes(lessons[0]),
    )


def _about_fewer_cases(config: Config, splits: Splits) -> list[str]:
    """Say that the networks of the blocks train on fewer cases than there are, if they do."""
    cases, final = config.search.cases, len(splits.final.train)
    if cases is None or cases >= final:
        return []
    return [
        f"On the blocks each network trained on at most {cases} cases, evenly chosen (search.cases); those of the test "
        f"on all {final}. Regularization matters more where there are fewer cases: see whether its effect on the test "
        f"is as large."
    ]


def _initial_penalties(config: Config, task: Task) -> dict[str, float]:
    """Return what each penalty on weights costs a new network of the run's sizes at strength 1."""
    if task.has_own_networks:
        return {}
    on_weights = [knob for knob in KNOBS.values() if knob.weights is not None]
    off: dict[str, Any] = {knob.name: 0.0 for knob in KNOBS.values() if knob.kind == "strength"}
    found: dict[str, float] = {}
    for norm in ("l1", "l2"):
        turned = {knob.name: 1.0 for knob in on_weights if knob.keyword == norm}
        with seeded(config.search.seed):
            network = task.network(dataclasses.replace(config.model, members=1, **off | turned))
        found |= {f"{kind}_{norm}": float(f"{cost.item():.6g}") for kind, cost in penalties(network).items()}
    return {knob.path: found[f"{knob.penalty}_{knob.keyword}"] for knob in on_weights}


def _sizes(lesson: Lesson) -> dict[str, Any]:
    """Return what code of the network must say, as far as it is known of it."""
    if lesson.task.has_own_networks:
        return {}
    network = lesson.task.network(ModelConfig(hidden_size=1))
    return {
        "outputs": network.output_size,
        "steps": network.steps,
        "length": lesson.cases.inputs.shape[1],
        "vocabularies": {lesson.task.features[column]: count for column, count in network.vocabularies.items()},
    }


def _is_in_all(name: str, per_block: list[dict[str, float]]) -> bool:
    return all(name in losses for losses in per_block)


def log_loss(loss: float) -> float:
    """Return the logarithm of a loss in scaled units; of one that is exactly zero, that of rounding."""
    return math.log(max(loss, _ROUNDING))


def kept(values: NDArray[np.float64]) -> list[Any]:
    """Return numbers of any number of axes as JSON keeps them, with null where there is none."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return list(plain.tolist())


def restored(plain: list[Any]) -> NDArray[np.float64]:
    """Return the numbers that :func:`kept` kept."""
    return np.array(plain, dtype=np.float64)
