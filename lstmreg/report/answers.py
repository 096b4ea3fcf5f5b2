"""What an answer consists of: plain dataclasses, which words, pictures, code and ``answer.json`` are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lstmreg.config import Scalar
from lstmreg.search.card import DataCard
from lstmreg.search.evidence import Effect, Resolution
from lstmreg.search.explaining import LeftOut, Unstopped
from lstmreg.search.held_out import Averaging
from lstmreg.search.shown import Shown
from lstmreg.search.space import Setting

from .diagnosis import Diagnosis

Verdict = Literal[
    "use",
    "helps alone, not needed",
    "helps alone, not confirmed",
    "off for certain",
    "harms",
    "cannot tell",
    "not tried alone",
    "not searched",
    "not judged yet",
]

#: By this the readers of ``answer.json`` know what stands in it.
SCHEMA = 4


@dataclass(frozen=True)
class Dose:
    """What one value of an arm did by itself on the blocks, with the seeds that choose.

    Attributes:
        value: The value.
        effect: Its effect on the loss; the intervals of all doses of all arms hold together.
        by_block: The effect on each block.
        seeds: How many seeds on each block stand behind it.
        is_grown: Whether the ladder grew to it.
        start: Of a penalty on weights: how many times the data loss of the first epoch it is at the initial weights.
    """

    value: Scalar
    effect: Effect
    by_block: list[float]
    seeds: int
    is_grown: bool
    start: float | None = None


@dataclass(frozen=True)
class Knob:
    """One row of the table: a knob, weight decay, or another setting that was tried.

    Attributes:
        path: The setting, such as ``model.kernel_l2``.
        name: Its last part, such as ``kernel_l2``, or ``dropout[1]`` in the second layer; with what stands beside it
            where it is searched under a condition.
        keras: Keras' argument, or of weight decay the optimizer's; empty of other settings.
        role: ``knob``; ``rival``, what one would do without the knobs; ``setting``, anything else.
        verdict: ``use``; else what follows from the bands of its doses.
        value: The one in use, else the one that did best alone.
        alone: The effect by itself of the dose in use, else of the best.
        p_value: That some dose lowers the loss, adjusted for all doses of all arms.
        doses: In the order of their values.
        resolution: Where nothing can be told: what would decide.
    """

    path: str
    name: str
    keras: str
    role: Literal["knob", "rival", "setting"]
    verdict: Verdict
    value: Scalar | None
    alone: Effect | None
    p_value: float | None
    doses: list[Dose]
    resolution: Resolution | None


@dataclass(frozen=True)
class Judged:
    """What fresh seeds said of the pick.

    Attributes:
        effect: Of the pick on the loss, against no regularization.
        agreed: Of what the blocks agree on: the value, or only the knobs, or only the places they act on, or nothing.
        stable: In which share of the blocks the others pick the same value.
        picks: What the blocks' picks are, each with how many blocks it has, the most first.
        seeds: How many fresh seeds on each block.
        against: Why the pick is not recommended (``interval``, ``smallest effect``, ``unstable``, ``floor``,
            ``simple model``, ``failures``); empty if it is.
        resolution: What would decide.
        rival: The best weight decay; ``None`` if none was tried.
        rival_effect: Its effect against no regularization.
        beyond_rival: The pick's effect against it.
        losses: Mean loss over the fresh seeds on each block, in units of the validation loss: of ``no regularization``,
            ``pick``, ``weight decay``, ``floor`` and ``simple model``, as far as there are such.
        against_floor: The pick's loss against the best prediction without a model.
        baseline_against_floor: Likewise of no regularization.
        against_simple_model: The pick's loss against the best simple model.
        baseline_against_simple_model: Likewise of no regularization.
    """

    effect: Effect
    agreed: Literal["value", "knobs", "places", "nothing"]
    stable: float
    picks: list[tuple[Setting, int]]
    seeds: int
    against: list[str]
    resolution: Resolution
    rival: Setting | None
    rival_effect: Effect | None
    beyond_rival: Effect | None
    losses: dict[str, list[float]]
    against_floor: Effect | None
    baseline_against_floor: Effect | None
    against_simple_model: Effect | None
    baseline_against_simple_model: Effect | None


@dataclass(frozen=True)
class Columns:
    """To which input columns networks listen: how large the largest input weight of each is, of the largest of all.

    Attributes:
        names: Of the columns, those that the last value leaves largest first.
        path: The knob along whose values it is shown.
        weights: A share in [0, 1] of each column, in the order of the names, as a mean over blocks and seeds; for no
            regularization (``off``) and each value of the knob up to the one in use, or that did best alone.
        zero: The share of the networks in which all input weights of a column are exactly zero, likewise.
        off_on: On how many blocks the last value switches each column off in every network, in the order of the names.
        blocks: How many blocks there are.
    """

    names: list[str]
    path: str
    weights: dict[str, list[float]]
    zero: dict[str, list[float]]
    off_on: list[int] = field(default_factory=list)
    blocks: int = 0


@dataclass(frozen=True)
class Curve:
    """Learning curves of one training, and where it was best.

    Attributes:
        train: Training loss after each epoch.
        val: Validation loss after each epoch.
        best_epoch: Whose weights were kept, counted from 0.
        gap: Validation over training loss there.
        block: On which block it was, counted from 1.
    """

    train: list[float]
    val: list[float]
    best_epoch: int
    gap: float
    block: int


@dataclass(frozen=True)
class Trials:
    """What a sampler was ``asked`` to propose, in settings, and how many ``new`` ones were trained."""

    asked: int
    new: int


@dataclass(frozen=True)
class Test:
    """Errors on the test, in the target's units, as means over seeds.

    Attributes:
        metric: Name of the error.
        baseline: Of no regularization.
        candidate: Of the candidate.
        rival: Of the best weight decay; ``None`` if none was tried, or it is the candidate.
        floors: Of each prediction without a model.
        change: Of the loss, from the baseline to the candidate; its ``blocks`` are the test's cases.
        beyond_rival: Of the loss, from the rival to the candidate.
        seeds: How many.
        averaging: What averaging the seeds' predictions is worth, by what predicted.
        predictions: Of one seed, a row for each case, for the picture, by what predicted.
        error_by_step: For each column of the predictions, such as each step ahead, by name; where a task has such.
        errors: All errors, by name of what predicted (``no regularization``, ``candidate``, ``weight decay``, floors)
            and of the error.
    """

    metric: str
    baseline: float
    candidate: float | None
    rival: float | None
    floors: dict[str, float]
    change: Effect | None
    beyond_rival: Effect | None
    seeds: int
    averaging: dict[str, Averaging]
    predictions: dict[str, list[Any]]
    error_by_step: dict[str, list[float]]
    errors: dict[str, dict[str, float]]


@dataclass(frozen=True)
class WorstCase:
    """A case of the test that carries much of the loss; everything "by what predicted" is a mean over seeds.

    Attributes:
        name: How a reader knows it: its time, its name.
        group: What it belongs to; empty where there are no groups.
        step: Of several steps the one that is predicted worst, counted from 1; else ``None``.
        target: Of several targets the one that is predicted worst; else ``None``.
        truth: What was to be predicted there, in the user's units: a number or a class; ``None`` where no prediction
            is looked at.
        predicted: What was, by what predicted; of classes the likeliest.
        likelihood: Of classes: the probability that was given to the true one, by what predicted.
        loss: The loss of the whole case, by what predicted.
        share: What of the loss of all cases it carries.
    """

    name: str
    group: str
    step: int | None
    target: str | None
    truth: float | str | None
    predicted: dict[str, float | str]
    likelihood: dict[str, float]
    loss: dict[str, float]
    share: float


@dataclass(frozen=True)
class Part:
    """A part of the test: a group, a class, a step ahead or a target.

    Attributes:
        name: Its name.
        count: How many cases it has; of a class at each step, how many steps.
        share: What of the loss of all cases it carries.
        loss: The mean loss in it, by what predicted.
        effect: What the candidate does to that loss: its ``blocks`` are cases, and its interval, which knows of time
            and of seeds, holds by itself and not together with those of other parts. Unbounded of few cases; ``None``
            without a candidate.
        recall: Of a class: which share of it was found, by what predicted.
        precision: Of a class: which share of what was taken for it was it, by what predicted.
    """

    name: str
    count: int
    share: float
    loss: dict[str, float]
    effect: Effect | None
    recall: dict[str, float] = field(default_factory=dict)
    precision: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Whereabouts:
    """Where the loss on the test is.

    Attributes:
        of: Whose loss: ``candidate``, or ``no regularization`` where there is none.
        cases: How many cases have a loss.
        half: The least share of the cases that carries half of the loss.
        worst_twentieth: What of the loss the worst 5 % of the cases carry.
        stretch: The shortest stretch of cases with half of the loss, by its first and last, where cases follow each
            other in time; else empty.
        stretch_share: Its share of the cases; else ``None``.
        worst: The worst cases.
        parts: Parts by their kind: ``group``, ``class``, ``step`` and ``target``, as far as there are several; those
            that carry most of the loss first, and steps in their order.
    """

    of: str
    cases: int
    half: float
    worst_twentieth: float
    stretch: list[str]
    stretch_share: float | None
    worst: list[WorstCase]
    parts: dict[str, list[Part]]


@dataclass(frozen=True)
class OnOtherSets:
    """What a knob did on other sets of data. Counts are of estimates, those for certain of intervals without zero.

    Attributes:
        path: The knob.
        name: Its last part.
        helped: In how many sets it lowered the loss by more than is worth it, when it was tuned.
        helped_for_certain: In how many of them for certain.
        harmed: In how many it raised the loss by as much.
        harmed_for_certain: In how many of them for certain.
        values: Which values were chosen where it helped.
        effect: Its mean effect over the sets; its ``blocks`` are sets.
        copied: The value that people copy.
        copied_helped: In how many sets that lowered the loss by as much.
        copied_harmed: In how many it raised it by as much.
    """

    path: str
    name: str
    helped: int
    helped_for_certain: int
    harmed: int
    harmed_for_certain: int
    values: list[float]
    effect: Effect
    copied: float
    copied_helped: int
    copied_harmed: int


@dataclass(frozen=True)
class OtherSets:
    """The public study on sets like these data. It has no say in the answer.

    Attributes:
        sets: Their names.
        cases: How many cases train there, at least and at most.
        task: What is asked of all of them; ``None`` if they are of any task, since there are too few of this one.
        has_several: Whether they have several input columns; ``None`` if some have and others have not.
        is_of_the_answer: Whether the knobs are those that the answer recommends, or else the one with the best mean.
        of: Among how many knobs that is the best.
        knobs: What each did.
        worth: The least relative change of the loss that is counted.
        confidence: Of the intervals.
    """

    sets: list[str]
    cases: list[int]
    task: str | None
    has_several: bool | None
    is_of_the_answer: bool
    of: int
    knobs: list[OnOtherSets]
    worth: float
    confidence: float


@dataclass(frozen=True)
class Unfinished:
    """Where a search stands that has not come to its end.

    Attributes:
        stage: What its next trainings are for, such as ``race``; ``save`` where the model of the answer is next.
        done: Trainings that have ended.
        planned: Trainings in all, at most.
        go_on: The line that goes on with it; of data given from Python what to do there.
        is_running: Whether a process of this machine is at it.
    """

    stage: str
    done: int
    planned: int
    go_on: str
    is_running: bool = False


@dataclass(frozen=True)
class SoFar:
    """What is known before a search has met its test. It recommends nothing that the judge has not.

    Attributes:
        run: Name of the run.
        task: Name of the task.
        directory: Its folder.
        unfinished: Where the search stands.
        recommended: What the judge recommends; empty before it has judged, and where it recommends nothing.
        candidate: What was judged; empty before.
        is_confirmed: Whether the candidate is recommended.
        judged: What the judge said; ``None`` before, and if nothing was judged.
        learning_rate: That of the baseline; ``None`` while it is being chosen.
        learning_rates: What each learning rate has shown, without regularization.
        knobs: The table. Before the judge has judged every verdict of what is tried is ``not judged yet``, and effects
            are means of what has ended, without intervals and without what failed.
        tried: What was tried with the seeds that choose, the best first.
        judging: What the seeds that judge have shown; empty before.
        failures: How many trainings failed, by reason.
        course: As in :class:`Answer`.
        data: The data card.
        confidence: Of the judge's intervals.
        smallest_effect: The least relative improvement of the loss that is worth a knob.
        seconds: Training time in all.
        versions: Of what computed it.
    """

    run: str
    task: str
    directory: str
    unfinished: Unfinished
    recommended: Setting
    candidate: Setting
    is_confirmed: bool
    judged: Judged | None
    learning_rate: float | None
    learning_rates: list[Shown]
    knobs: list[Knob]
    tried: list[Shown]
    judging: list[Shown]
    failures: dict[str, int]
    course: dict[str, list[int]]
    data: DataCard
    confidence: float
    smallest_effect: float
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """Which knobs to turn, and the evidence.

    Attributes:
        run: Name of the run.
        task: Name of the task.
        directory: Its folder.
        recommended: The setting to use, by path; empty: no regularization.
        candidate: What was judged; empty if the screen ruled everything out, so that nothing was.
        is_confirmed: Whether the candidate is recommended.
        learning_rate: That of the baseline, chosen by experiment.
        judged: What the judge said; ``None`` if nothing was judged.
        best_floor: The prediction without a model that is hardest to beat, if there is any.
        floor_effect: Loss of the recommended model relative to it.
        best_simple_model: The simple model that is hardest to beat, if there is any.
        simple_model_effect: Loss of the recommended model relative to it.
        knobs: The table: knobs, then weight decay, then other settings.
        baseline_curve: Learning curves of the baseline on the block whose gap is in the middle of all blocks'.
        candidate_curve: Likewise of the candidate, on the same block.
        candidate_turn: How far the candidate's validation loss turns up, as ``diagnosis.turn`` says of the baseline's,
            with the seeds that judge; ``None`` if there is none.
        diagnosis: What ails the baseline, in a word, and the numbers on which that stands.
        columns: To which input columns the networks listen; ``None`` where there are fewer than three.
        most_blocks: So many blocks the data allow without getting very short.
        turned_off: Settings that the configuration turns and the search turned off in the baseline.
        kept_on: Knobs that the configuration turns and that were on in every training.
        test: The test.
        where: Where the loss on the test is; ``None`` where there is none.
        data: The data card.
        trials: Settings that a sampler proposed; ``None`` where none was asked.
        course: How many trainings each part of the experiment took (``learning rate``, ``screen``, ``grow``, ``race``,
            ``combine``, ``propose``, ``judge``, ``test``, ``explain``), in this order, and how many of them failed.
        settings: The run's configuration at the baseline: sizes, training, and the search's rules.
        confidence: Of the judge's intervals, and of the test's.
        table_confidence: Of the bands in the table, all together.
        smallest_effect: The least relative improvement of the loss that is worth a knob.
        seconds: Training time in all.
        versions: Of what computed it.
        machines: How many trainings ran on each kind of processor and version of torch; older runs name none.
        left_out: What leaving a column out does; ``None`` where that was not trained.
        unstopped: What becomes of trainings that nothing stops; likewise.
        unfinished: Where the search stands, if only what explains the answer or its saved model is missing; ``None`` of
            one that has come to its end.
        other_sets: What the public study says of sets like these; ``None`` where it says nothing of this answer.
    """

    run: str
    task: str
    directory: str
    recommended: Setting
    candidate: Setting
    is_confirmed: bool
    learning_rate: float
    judged: Judged | None
    best_floor: str | None
    floor_effect: Effect | None
    best_simple_model: str | None
    simple_model_effect: Effect | None
    knobs: list[Knob]
    baseline_curve: Curve
    candidate_curve: Curve | None
    candidate_turn: float | None
    diagnosis: Diagnosis
    columns: Columns | None
    most_blocks: int
    turned_off: Setting
    kept_on: Setting
    test: Test
    where: Whereabouts | None
    data: DataCard
    trials: Trials | None
    course: dict[str, list[int]]
    settings: dict[str, Scalar | list[Scalar] | None]
    confidence: float
    table_confidence: float
    smallest_effect: float
    seconds: float
    versions: dict[str, str]
    machines: dict[str, int] = field(default_factory=dict)
    left_out: LeftOut | None = None
    unstopped: Unstopped | None = None
    unfinished: Unfinished | None = None
    other_sets: OtherSets | None = None
