"""Answers made by hand, complete and plausible, so that what a report says of one needs no search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from lstmreg.config import Scalar
from lstmreg.knobs import KNOBS
from lstmreg.report.answers import (
    Answer,
    Columns,
    Curve,
    Dose,
    Judged,
    Knob,
    OnOtherSets,
    OtherSets,
    Part,
    Test,
    Verdict,
    Whereabouts,
    WorstCase,
)
from lstmreg.report.diagnosis import Diagnosis
from lstmreg.search.card import DataCard
from lstmreg.search.evidence import Effect, Resolution
from lstmreg.search.explaining import End, LeftOut, Unstopped
from lstmreg.search.held_out import Averaging

BLOCKS = 8

#: What each value of each arm does to the loss of the appliances' hourly energy use, roughly as it was measured.
DOSES: dict[str, dict[float, float]] = {
    "model.kernel_l1": {0.001: -0.06, 0.003: -0.13, 0.01: -0.21, 0.03: -0.27, 0.1: -0.24, 0.3: -0.05},
    "model.kernel_l2": {0.001: -0.01, 0.01: -0.05, 0.03: -0.11, 0.1: -0.17},
    "model.recurrent_l1": {0.001: 0.0, 0.01: 0.02},
    "model.recurrent_l2": {0.001: 0.0, 0.01: 0.01},
    "model.bias_l2": {0.01: 0.0},
    "model.activity_l1": {0.001: -0.01, 0.01: -0.02},
    "model.activity_l2": {0.001: 0.0, 0.01: -0.01},
    "model.dropout": {0.1: 0.12, 0.2: 0.31, 0.3: 0.58, 0.5: 1.49},
    "model.recurrent_dropout": {0.1: -0.01, 0.3: -0.03, 0.5: 0.02},
    "training.weight_decay": {0.01: 0.0, 0.1: -0.05, 0.3: -0.11, 1.0: -0.1},
}

VERDICTS: dict[str, Verdict] = {
    "model.kernel_l1": "use",
    "model.kernel_l2": "helps alone, not needed",
    "model.bias_l2": "off for certain",
    "model.dropout": "harms",
    "training.weight_decay": "helps alone, not needed",
}

GROWN = {("model.kernel_l1", 0.3)}

#: What penalties cost at strength 1 at the start, as multiples of the data loss.
STARTS = {"model.kernel_l1": 90.0, "model.kernel_l2": 30.0, "model.recurrent_l1": 120.0, "model.recurrent_l2": 20.0}

OPEN = Resolution(0.11, 0.09, 0.035, more_blocks=14, noise=0.34, seeds_suffice=False, blocks=BLOCKS, seeds=8.0)

SETTINGS: dict[str, Any] = {
    "model.hidden_size": 16,
    "model.num_layers": 1,
    "model.bidirectional": False,
    "model.per_gate_input_masks": None,
    "training.optimizer": "adam",
    "training.learning_rate": 0.003,
    "training.loss": "mse",
    "training.batch_size": 32,
    "training.max_epochs": 200,
    "training.patience": 20,
    "data.window": 24,
    "data.horizon": 4,
    "data.season": 24,
    "data.difference": None,
    "search.learning_rates": [0.001, 0.003, 0.01],
    "search.blocks": BLOCKS,
    "search.race": 12,
    "search.judge_seeds": 8,
    "search.test_seeds": 5,
    "search.smallest_effect": 0.02,
    "search.confidence": 0.97,
    "search.seed": 0,
}


def effect(mean: float, half: float = 0.06, blocks: int = BLOCKS, failed: int = 0) -> Effect:
    """Return an effect whose interval is symmetric."""
    return Effect(mean, max(mean - half, -0.99), mean + half, blocks, failed)


def knob(
    path: str,
    means: dict[Any, float],
    verdict: Verdict,
    role: Literal["knob", "rival", "setting"] = "knob",
    half: float = 0.05,
) -> Knob:
    """Return a row with a dose for each value."""
    generator = np.random.default_rng(len(path))
    doses = [
        Dose(
            value,
            effect(mean, half + 0.1 * abs(mean)),
            (mean + generator.normal(0, half, BLOCKS)).tolist(),
            seeds=5 if mean < -0.2 else 1,
            is_grown=(path, value) in GROWN,
            start=STARTS[path] * value if path in STARTS else None,
        )
        for value, mean in means.items()
    ]
    best = min(doses, key=lambda dose: dose.effect.mean, default=None)
    return Knob(
        path=path,
        name=path.rpartition(".")[2],
        keras=KNOBS[path].spoken if path in KNOBS else "AdamW, weight_decay" if role == "rival" else "",
        role=role,
        verdict=verdict,
        value=None if best is None else best.value,
        alone=None if best is None else best.effect,
        p_value=None if best is None else 0.001 if best.effect.high < 0 else 0.6,
        doses=doses,
        resolution=OPEN if verdict == "cannot tell" else None,
    )


def table() -> list[Knob]:
    """Return the rows of the appliances: knobs, weight decay, and a size."""
    return [
        *(
            knob(
                path,
                means,
                VERDICTS.get(path, "cannot tell"),
                "knob" if path in KNOBS else "rival",
                half=0.012 if VERDICTS.get(path) == "off for certain" else 0.05,
            )
            for path, means in DOSES.items()
        ),
        knob("model.hidden_size", {8: 0.03, 32: -0.02}, "cannot tell", "setting"),
    ]


def curve(best: int, low: float, turn: float, gap: float, epochs: int = 60, block: int = 5) -> Curve:
    """Return curves whose validation loss falls to ``low`` at the best epoch and turns up after it."""
    val = [low + (1 - low) * math.exp(-5 * k / best) + turn * max(0, k - best) / epochs for k in range(epochs)]
    train = [low / gap + (1.1 - low / gap) * math.exp(-4 * k / best) for k in range(epochs)]
    return Curve(train, val, int(np.argmin(val)), gap, block)


#: Of curves like those of the appliances' network without regularization.
DIAGNOSIS = Diagnosis(
    word="overfits",
    trainings=64,
    unfinished=0.0,
    gap=3.1,
    turn=1.4,
    fall=0.72,
    loss=1.19,
    against_floor=1.19,
    against_simple_model=1.25,
    learned=0.3,
    scatter=0.02,
    separates=0.03,
)


def losses(**relative: float) -> dict[str, list[float]]:
    """Return losses on blocks that differ much, in which what predicted differs as told."""
    generator = np.random.default_rng(1)
    blocks = generator.lognormal(-0.5, 0.4, BLOCKS)
    named = {name.replace("_", " "): factor for name, factor in relative.items()}
    return {name: (blocks * factor * generator.lognormal(0, 0.05, BLOCKS)).tolist() for name, factor in named.items()}


JUDGED = Judged(
    effect=Effect(-0.27, -0.34, -0.19, BLOCKS),
    agreed="value",
    stable=0.75,
    picks=[({"model.kernel_l1": 0.03}, 6), ({"model.kernel_l1": 0.1}, 2)],
    seeds=8,
    against=[],
    resolution=Resolution(0.1, 0.08, 0.27, more_blocks=0, noise=1.0, seeds_suffice=True, blocks=BLOCKS, seeds=8.0),
    rival={"training.weight_decay": 0.3, "training.optimizer": "adamw"},
    rival_effect=Effect(-0.11, -0.16, -0.06, BLOCKS),
    beyond_rival=Effect(-0.18, -0.25, -0.11, BLOCKS),
    losses=losses(no_regularization=1.19, pick=0.87, weight_decay=1.06, floor=1.0, simple_model=0.95),
    against_floor=Effect(-0.13, -0.18, -0.08, BLOCKS),
    baseline_against_floor=Effect(0.19, 0.09, 0.3, BLOCKS),
    against_simple_model=Effect(-0.08, -0.14, -0.02, BLOCKS),
    baseline_against_simple_model=Effect(0.25, 0.15, 0.36, BLOCKS),
)


def card(**changes: Any) -> DataCard:
    """Return the data card of the appliances."""
    generator = np.random.default_rng(2)
    wave = 100 + 40 * np.sin(np.arange(244) * 2 * np.pi / 24) + generator.normal(0, 8, 244)
    hours = [f"2016-05-{1 + k // 24:02d}T{k % 24:02d}:00" for k in range(240)]
    spans = [
        [f"2016-0{1 + k // 3}-{1 + 9 * (k % 3):02d}", f"2016-0{1 + k // 3}-{9 + 9 * (k % 3):02d}"] for k in range(8)
    ]
    given: dict[str, Any] = {
        "path": "energy.csv",
        "sha256": "0f" * 32,
        "size": 1200,
        "features": [
            "Appliances",
            "lights",
            *(f"T{k}" for k in range(1, 13)),
            *(f"RH_{k}" for k in range(1, 13)),
            "rv1",
            "rv2",
        ],
        "target": "Appliances",
        "notes": ["2 of 28 columns hold the same numbers in every row."],
        "blocks": spans,
        "test": [hours[0], hours[-1]],
        "block_keys": [[k] for k in range(8)],
        "final_key": [960],
        "most_blocks": 8,
        "judged_cases": [106, 107, 106, 107, 106, 107, 106, 107],
        "floors": {"persistence": JUDGED.losses["floor"], "ridge": JUDGED.losses["simple model"]},
        "simple_models": ["ridge"],
        "test_floors": {"persistence": 61.2, "seasonal": 80.5, "mean": 92.0},
        "test_labels": hours,
        "test_truth": [[float(x) for x in wave[k : k + 4]] for k in range(240)],
        "scales": {"target": 40.0, "naive": 12.0},
        "test_floor_errors": {
            name: {"root mean square error": rmse, "mean absolute error": 0.6 * rmse}
            for name, rmse in (("persistence", 61.2), ("seasonal", 80.5), ("mean", 92.0))
        },
        "outputs": 4,
        "classes": [],
        "steps": "last",
        "length": 24,
    }
    return DataCard(**(given | changes))


def test_numbers() -> Test:
    """Return what the test of the appliances showed."""
    truth = np.array(card().test_truth)
    generator = np.random.default_rng(3)
    errors = {"no regularization": 66.1, "candidate": 54.9, "weight decay": 60.3}
    return Test(
        metric="root mean square error",
        baseline=66.1,
        candidate=54.9,
        rival=60.3,
        floors=card().test_floors,
        change=Effect(-0.31, -0.4, -0.21, 240),
        beyond_rival=Effect(-0.17, -0.26, -0.07, 240),
        seeds=5,
        averaging={
            "no regularization": Averaging(5, 66.1, 60.2, -0.17),
            "candidate": Averaging(5, 54.9, 53.8, -0.04),
            "weight decay": Averaging(5, 60.3, 56.0, -0.14),
        },
        predictions={
            name: (truth + generator.normal(0, error / 5, truth.shape)).tolist() for name, error in errors.items()
        },
        error_by_step={name: [error * (0.8 + 0.1 * k) for k in range(4)] for name, error in errors.items()},
        errors={
            **{name: {"root mean square error": e, "mean absolute error": 0.6 * e} for name, e in errors.items()},
            **card().test_floor_errors,
        },
    )


def where_numbers() -> Whereabouts:
    """Return where the loss of the appliances' candidate is: in a few hours of one week."""
    names = card().test_labels
    worst = [
        WorstCase(
            name=names[200 + k],
            group="",
            step=4 - k % 2,
            target=None,
            truth=410.0 - 30 * k,
            predicted={"no regularization": 95.0 + k, "candidate": 120.0 + k},
            likelihood={},
            loss={"no regularization": 30.0 - k, "candidate": 27.0 - k},
            share=0.09 - 0.01 * k,
        )
        for k in range(5)
    ]
    steps = [
        part(str(k + 1), 240, (0.2, 0.23, 0.27, 0.3)[k], 1 + 0.1 * k, Effect(-0.3 + 0.05 * k, -0.4, -0.1, 240))
        for k in range(4)
    ]
    return Whereabouts("candidate", 240, 14 / 240, 0.44, [names[180], names[215]], 0.15, worst, {"step": steps})


def part(name: str, count: int, share: float, loss: float, change: Effect | None) -> Part:
    """Return a part of a test in which the candidate's loss is ``loss``."""
    before = 1.0 if change is None else 1 + change.mean
    losses = {"no regularization": loss / before} | ({} if change is None else {"candidate": loss})
    return Part(name, count, share, losses, change)


def columns() -> Columns:
    """Return to which columns the networks of the appliances listen: to two random ones less and less."""
    names = [name for name in card().features if name not in ("rv1", "rv2")] + ["rv2", "rv1"]
    off = [1 - 0.02 * k for k in range(26)] + [0.77, 0.91]
    values = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    along = {
        f"{v:g}": [w ** (1 + 1.5 * k) if name[:2] != "rv" else w * 0.2**k for name, w in zip(names, off, strict=True)]
        for k, v in enumerate(values, start=1)
    }
    weights = {"off": off} | along
    return Columns(names, "model.kernel_l1", weights, {value: [0.0] * 28 for value in weights})


def left_out() -> LeftOut:
    """Return what leaving some of the columns of the appliances out does: of the random ones, nothing."""
    effects = {
        "Appliances": Effect(0.31, 0.2, 0.43, BLOCKS),
        "lights": Effect(0.03, -0.02, 0.08, BLOCKS),
        "rv2": Effect(-0.002, -0.012, 0.008, BLOCKS),
        "rv1": Effect(0.001, -0.01, 0.012, BLOCKS),
    }
    return LeftOut({"model.kernel_l1": 0.03}, 1, effects, 28)


def unstopped() -> Unstopped:
    """Return what becomes of the appliances' trainings that nothing stops."""
    return Unstopped(
        96,
        [
            End({}, Effect(0.38, 0.2, 0.6, BLOCKS), None),
            End({"model.kernel_l1": 0.03}, Effect(0.04, -0.01, 0.09, BLOCKS), Effect(-0.4, -0.5, -0.28, BLOCKS)),
            End({"model.dropout": 0.1}, Effect(0.1, 0.02, 0.18, BLOCKS, 1), Effect(-0.1, -0.25, 0.06, BLOCKS, 1)),
        ],
    )


#: What a study might say of kernel_l1 on sets like the appliances.
ON_OTHERS = OnOtherSets(
    path="model.kernel_l1",
    name="kernel_l1",
    helped=3,
    helped_for_certain=2,
    harmed=1,
    harmed_for_certain=0,
    values=[0.003, 0.03],
    effect=Effect(-0.12, -0.21, 0.04, 5),
    copied=0.01,
    copied_helped=4,
    copied_harmed=0,
)

OTHERS = OtherSets(
    sets=["bike", "solar", "traffic", "walmart", "wind"],
    cases=[86, 3000],
    task="forecast",
    has_several=True,
    is_of_the_answer=True,
    of=11,
    knobs=[ON_OTHERS],
    worth=0.02,
    confidence=0.95,
)


def made(**changes: Any) -> Answer:
    """Return the answer of the appliances, which is a yes: kernel_l1 = 0.03, beyond weight decay and beyond the floor.

    Args:
        changes: What is to be otherwise.
    """
    whole = Answer(
        run="appliances",
        task="forecast",
        directory="runs/appliances",
        recommended={"model.kernel_l1": 0.03},
        candidate={"model.kernel_l1": 0.03},
        is_confirmed=True,
        learning_rate=0.003,
        judged=JUDGED,
        best_floor="persistence",
        floor_effect=JUDGED.against_floor,
        best_simple_model="ridge",
        simple_model_effect=JUDGED.against_simple_model,
        knobs=table(),
        baseline_curve=curve(14, 0.5, 0.4, 3.1),
        candidate_curve=curve(30, 0.37, 0.05, 1.2),
        candidate_turn=1.05,
        diagnosis=DIAGNOSIS,
        columns=columns(),
        most_blocks=8,
        turned_off={},
        kept_on={},
        test=test_numbers(),
        where=where_numbers(),
        data=card(),
        trials=None,
        course={
            "learning rate": [24, 0],
            "screen": [264, 0],
            "grow": [8, 0],
            "race": [96, 0],
            "combine": [48, 0],
            "propose": [0, 0],
            "judge": [192, 0],
            "test": [15, 0],
            "explain": [88, 0],
        },
        settings=dict(SETTINGS),
        confidence=0.97,
        table_confidence=0.95,
        smallest_effect=0.02,
        seconds=171.0,
        versions={"python": "3.12.3", "lstmreg": "0.1.0", "torch": "2.9.0", "lightning": "2.6.6", "optuna": "5.0.0"},
        left_out=left_out(),
        unstopped=unstopped(),
        other_sets=OTHERS,
    )
    return dataclasses.replace(whole, **changes)


def judged(**changes: Any) -> Judged:
    """Return what the judge said of the appliances' pick, but for some changes."""
    return dataclasses.replace(JUDGED, **changes)


def with_test(answer: Answer, **changes: Any) -> Answer:
    """Return an answer whose test is otherwise."""
    return dataclasses.replace(answer, test=dataclasses.replace(answer.test, **changes))


def with_data(answer: Answer, **changes: Any) -> Answer:
    """Return an answer whose data are otherwise."""
    return dataclasses.replace(answer, data=dataclasses.replace(answer.data, **changes))


def with_verdicts(answer: Answer, *verdicts: Verdict) -> list[Knob]:
    """Return the rows of an answer with these verdicts, over and over, but for a row that is no knob."""
    return [
        dataclasses.replace(k, verdict=verdicts[n % len(verdicts)], resolution=None) if k.role == "knob" else k
        for n, k in enumerate(answer.knobs)
    ]


def use(setting: dict[str, Scalar], agreed: Any = "value") -> Answer:
    """Return an answer that recommends a setting."""
    rows = [
        dataclasses.replace(k, verdict="use", value=setting[k.path], resolution=None)
        if k.path in setting
        else dataclasses.replace(k, verdict="cannot tell", resolution=OPEN)
        if k.verdict == "use"
        else k
        for k in table()
    ]
    found = judged(agreed=agreed, picks=[(setting, 8)] if agreed == "value" else [(setting, 4), ({}, 4)])
    return made(recommended=setting, candidate=setting, knobs=rows, judged=found)


def nothing_shown(**changes: Any) -> Answer:
    """Return an answer that recommends nothing, of a model that beats the floor: the interval is too wide."""
    found = judged(
        effect=Effect(-0.05, -0.16, 0.06, BLOCKS),
        against=["interval"],
        resolution=OPEN,
        beyond_rival=Effect(-0.02, -0.1, 0.07, BLOCKS),
        against_floor=Effect(-0.3, -0.4, -0.19, BLOCKS),
        baseline_against_floor=Effect(-0.27, -0.38, -0.15, BLOCKS),
        losses=losses(no_regularization=0.73, pick=0.7, weight_decay=0.71, floor=1.0),
    )
    plain = made(
        is_confirmed=False,
        recommended={},
        judged=found,
        floor_effect=found.baseline_against_floor,
        other_sets=dataclasses.replace(OTHERS, is_of_the_answer=False),
        knobs=[
            knob(
                path,
                {v: m / 9 for v, m in means.items()},
                "cannot tell",
                "knob" if path in KNOBS else "rival",
                half=0.09,
            )
            for path, means in DOSES.items()
        ],
    )
    return dataclasses.replace(plain, **changes)


def ruled_out() -> Answer:
    """Return an answer of plenty of data, in which the screen ruled every knob out and nothing was judged."""
    plain = nothing_shown(judged=None, candidate={}, candidate_curve=None, candidate_turn=None, most_blocks=40)
    doses = {path: dict.fromkeys(means, 0.001) for path, means in DOSES.items()}
    return with_test(
        dataclasses.replace(
            plain,
            knobs=[
                knob(path, means, "off for certain", "knob" if path in KNOBS else "rival", half=0.008)
                for path, means in doses.items()
            ],
            course={"learning rate": [24, 0], "screen": [264, 0], "judge": [0, 0], "test": [5, 0]},
            where=dataclasses.replace(
                where_numbers(),
                of="no regularization",
                worst=[
                    dataclasses.replace(case, loss={"no regularization": 30.0}, predicted={"no regularization": 95.0})
                    for case in where_numbers().worst
                ],
                parts={"step": [part(str(k), 240, 0.25, 1.0, None) for k in range(1, 5)]},
            ),
        ),
        candidate=None,
        rival=None,
        change=None,
        beyond_rival=None,
        averaging={"no regularization": Averaging(5, 66.1, 65.0, -0.03)},
        predictions={"no regularization": plain.test.predictions["no regularization"]},
        error_by_step={"no regularization": plain.test.error_by_step["no regularization"]},
    )


def failing() -> Answer:
    """Return an answer whose pick helps where its training succeeds, which it does less often than without."""
    rows = [
        dataclasses.replace(
            k,
            verdict="cannot tell",
            doses=[dataclasses.replace(d, effect=dataclasses.replace(d.effect, failed=2)) for d in k.doses[-1:]],
        )
        if k.name == "kernel_l1"
        else k
        for k in table()
    ]
    found = judged(effect=Effect(-0.27, -0.34, -0.19, BLOCKS, failed=5), against=["failures"])
    return nothing_shown(judged=found, knobs=rows)


def floor_wins() -> Answer:
    """Return an answer whose model is worse than a prediction without one."""
    found = judged(
        effect=Effect(-0.05, -0.16, 0.06, BLOCKS),
        against=["interval", "floor"],
        resolution=OPEN,
        against_floor=Effect(0.25, 0.12, 0.4, BLOCKS),
        baseline_against_floor=Effect(0.3, 0.17, 0.45, BLOCKS),
    )
    return nothing_shown(judged=found, floor_effect=found.baseline_against_floor)


def simple_model_wins() -> Answer:
    """Return an answer whose pick helps, and a simple model is better still."""
    found = judged(against=["simple model"], against_simple_model=Effect(0.1, 0.04, 0.17, BLOCKS))
    return nothing_shown(judged=found, simple_model_effect=Effect(0.3, 0.2, 0.41, BLOCKS))


def cut_short() -> Answer:
    """Return an answer whose trainings were ended by max_epochs."""
    diagnosis = dataclasses.replace(DIAGNOSIS, word="not converged", unfinished=0.9)
    return nothing_shown(diagnosis=diagnosis)


def weight_decay_wins() -> Answer:
    """Return an answer that recommends the rival."""
    setting: dict[str, Scalar] = {"training.weight_decay": 0.3, "training.optimizer": "adamw"}
    shown = use(setting)
    found = judged(
        effect=JUDGED.rival_effect,
        picks=[(setting, 8)],
        beyond_rival=Effect(0.0, 0.0, 0.0, BLOCKS),
        losses=losses(no_regularization=1.19, pick=1.06, weight_decay=1.06, floor=1.2),
        against_floor=Effect(-0.1, -0.14, -0.06, BLOCKS),
        baseline_against_floor=Effect(0.0, -0.05, 0.06, BLOCKS),
    )
    return with_test(
        dataclasses.replace(shown, judged=found, floor_effect=found.against_floor), rival=None, beyond_rival=None
    )


CLASSES = [str(k) for k in range(10)]


def digits() -> Answer:
    """Return an answer of a classification: dropout of the inputs."""
    generator = np.random.default_rng(4)
    truth = np.arange(60) % 10

    def probabilities(confidence: float) -> list[list[float]]:
        raw = generator.random((60, 10))
        raw[np.arange(60), truth] += confidence
        return (raw / raw.sum(axis=1, keepdims=True)).tolist()

    shown = use({"model.dropout": 0.2})
    found = judged(picks=[({"model.dropout": 0.2}, 8)], effect=Effect(-0.35, -0.47, -0.2, BLOCKS))
    errors = {"no regularization": (0.52, 0.86), "candidate": (0.34, 0.91), "weight decay": (0.43, 0.88)}
    scores = {name: {"log loss": loss, "accuracy": share} for name, (loss, share) in errors.items()}
    floors = {"majority": (2.3, 0.1), "logistic": (0.7, 0.8)}
    floor_scores = {name: {"log loss": loss, "accuracy": share} for name, (loss, share) in floors.items()}
    return dataclasses.replace(
        shown,
        run="digits",
        task="classify",
        columns=None,
        directory="runs/digits",
        judged=found,
        best_floor="majority",
        best_simple_model="logistic",
        settings={name: value for name, value in SETTINGS.items() if not name.startswith("data.")}
        | {"training.loss": "cross_entropy"},
        data=card(
            path="digits.npz",
            size=300,
            features=["x", "y"],
            target="digit",
            notes=[],
            test=["digit 240", "digit 299"],
            test_labels=[f"digit {240 + k}" for k in range(60)],
            test_truth=[[float(k)] for k in truth],
            scales={"classes": CLASSES, "counts": [24] * 10},
            test_floors={name: loss for name, (loss, _) in floors.items()},
            test_floor_errors=floor_scores,
            outputs=10,
            classes=CLASSES,
            length=40,
        ),
        test=Test(
            metric="log loss",
            baseline=0.52,
            candidate=0.34,
            rival=0.43,
            floors={name: loss for name, (loss, _) in floors.items()},
            change=Effect(-0.35, -0.5, -0.15, 60),
            beyond_rival=Effect(-0.21, -0.4, 0.04, 60),
            seeds=5,
            averaging={"candidate": Averaging(5, 0.34, 0.28, -0.18)},
            predictions={"no regularization": probabilities(0.3), "candidate": probabilities(0.7)},
            error_by_step={},
            errors=scores | floor_scores,
        ),
        where=Whereabouts(
            of="candidate",
            cases=60,
            half=0.12,
            worst_twentieth=0.3,
            stretch=[],
            stretch_share=None,
            worst=[
                WorstCase(
                    name=f"digit {240 + k}",
                    group="a writer",
                    step=None,
                    target=None,
                    truth=CLASSES[k],
                    predicted={"no regularization": CLASSES[k - 1], "candidate": CLASSES[k - 1]},
                    likelihood={"no regularization": 0.02, "candidate": 0.05},
                    loss={"no regularization": 3.9, "candidate": 3.0},
                    share=0.12,
                )
                for k in range(5)
            ],
            parts={
                "class": [
                    dataclasses.replace(
                        part(name, 6, share, 0.3, Effect(-0.2, -math.inf, math.inf, 6)),
                        recall={"no regularization": 0.8, "candidate": 0.85},
                        precision={"no regularization": 0.7, "candidate": 0.75},
                    )
                    for name, share in zip(CLASSES, [0.3, 0.2, *[0.0625] * 8], strict=True)
                ]
            },
        ),
    )


def panel() -> Answer:
    """Return an answer of several shops in one table: the cases of one follow those of another."""
    names, weeks = ["north", "south, old", "west"], 20
    truth = [[100.0 * (k + 1) + week] for k in range(3) for week in range(weeks)]
    labels = [f"{name}, 2012-W{week + 1:02d}" for name in names for week in range(weeks)]
    of_groups = {"target": [[40.0]] * 3, "naive": [[12.0]] * 3, "group": np.repeat(range(3), weeks).tolist()}
    shown = with_data(
        made(),
        target="sales",
        test_labels=labels,
        test_truth=truth,
        scales=of_groups | {"names": ["sales"]},
        outputs=1,
    )
    factors = {"no regularization": 1.2, "candidate": 1.1}
    predicted = {name: (np.array(truth) * factor).tolist() for name, factor in factors.items()}
    shares = [0.7, 0.2, 0.1]
    where = dataclasses.replace(
        where_numbers(),
        cases=60,
        stretch=[],
        stretch_share=None,
        worst=[
            dataclasses.replace(case, name=labels[k], group=names[0], step=None)
            for k, case in enumerate(where_numbers().worst)
        ],
        parts={
            "group": [
                part(name, weeks, share, 3 * share, Effect(-0.1, -math.inf, math.inf, weeks))
                for name, share in zip(names, shares, strict=True)
            ]
        },
    )
    shown = dataclasses.replace(shown, where=where)
    return with_test(shown, predictions=predicted, error_by_step={name: [20.0] for name in predicted})


#: One of each kind, by name.
ANSWERS: dict[str, Callable[[], Answer]] = {
    "a yes": made,
    "blocks differ on the value": lambda: use({"model.kernel_l1": 0.03}, "knobs"),
    "blocks differ on the norm": lambda: use({"model.kernel_l1": 0.03}, "places"),
    "two knobs at another rate": lambda: use(
        {"model.kernel_l1": 0.03, "model.recurrent_dropout": 0.3, "training.learning_rate": 0.01}
    ),
    "weight decay": weight_decay_wins,
    "a classification": digits,
    "a panel": panel,
    "nothing shown": nothing_shown,
    "ruled out": ruled_out,
    "failures": failing,
    "a floor": floor_wins,
    "a simple model": simple_model_wins,
    "cut short": cut_short,
}
