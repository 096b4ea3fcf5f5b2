"""The answer in words: the same sentences in the terminal, in Markdown and on the page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from lstmreg.search.evidence import Effect
from lstmreg.search.space import Setting, key, knobs_of, short, without_knobs
from lstmreg.tasks import Task, task_named

from .numbers import MOSTLY, Answer, Knob


def task(answer: Answer) -> type[Task]:
    """Return the task, which has words of its own."""
    return task_named(answer.task)


def floor_name(answer: Answer, name: str) -> str:
    """Say what a prediction without a model is."""
    return task(answer).floor_names.get(name, name)


def headline(answer: Answer) -> str:
    """Say in one sentence what to do."""
    if answer.is_confirmed:
        turned = _setting({p: answer.recommended[p] for p in knobs_of(answer.recommended)})
        rest = "; leave the others off." if len(knobs_of(answer.recommended)) < len(answer.knobs) else "."
        beside = f" beside the configured {_setting(answer.kept_on)}" if answer.kept_on else ""
        return f"Use {turned}{beside}{rest}"
    floor = None if answer.best_floor is None else floor_name(answer, answer.best_floor)
    if floor is not None and answer.floor_effect is not None and answer.floor_effect.low > 0:
        return f"Use {floor}: this model is worse."
    if _is_cut_short(answer):
        return "Nothing could be shown, because training was cut short: raise training.max_epochs and ask again."
    if floor is not None and (answer.floor_effect is None or answer.floor_effect.high >= 0):
        if _has_sure_effect(answer):
            return f"Use {floor} until a model beats it: {_setting(answer.candidate)} helps this one, but not enough."
        return f"Nothing could be shown, not even that the model beats {floor}."
    if all(k.verdict in ("off for certain", "harms") for k in _searched(answer.knobs)):
        return f"Leave every knob off: none brings {_worth(answer)} beyond {_beyond(answer)}."
    return f"Nothing could be shown: no knob helps for certain beyond {_beyond(answer)}."


def _is_cut_short(answer: Answer) -> bool:
    return answer.cut_short > MOSTLY


def _has_sure_effect(answer: Answer) -> bool:
    """Whether the candidate's knobs help for certain and by enough, whatever the model is worth."""
    effect = answer.effect
    return effect is not None and effect.high < 0 and effect.mean <= -answer.smallest_effect


def _worth(answer: Answer) -> str:
    return percent(answer.smallest_effect)


def _beyond(answer: Answer) -> str:
    return "early stopping" + (f" and the configured {_setting(answer.kept_on)}" if answer.kept_on else "")


def _searched(knobs: Sequence[Knob]) -> list[Knob]:
    return [k for k in knobs if k.verdict != "not searched"]


def summary(answer: Answer) -> list[str]:
    """Say in two short paragraphs what supports the headline."""
    precision = _about_precision(answer)
    if precision and answer.floor_effect is not None and answer.floor_effect.high < 0:
        return [_about_candidate(answer), *precision]
    return [_about_candidate(answer), *_about_floor(answer)]


def details(answer: Answer) -> list[str]:
    """Say the rest, most important first."""
    said = [
        *_about_precision(answer),
        *_about_floor(answer),
        *_about_sizes(answer),
        _about_test(answer),
        *_about_averaging(answer),
        *_about_failures(answer),
        *_about_looks(answer),
        _about_overfitting(answer),
        _about_learning_rate(answer),
        *_about_configured(answer),
        *_about_single_column(answer),
        *_about_differences(answer),
        *answer.data.notes,
    ]
    return [sentence for sentence in said if sentence not in summary(answer)]


def sentences(answer: Answer) -> list[str]:
    """Say what supports the headline, most important first."""
    return [*summary(answer), *details(answer)]


def _about_sizes(answer: Answer) -> list[str]:
    if answer.sizes_effect is None:
        return []
    effect = answer.sizes_effect
    return [
        f"Apart from any knob, {_setting(without_knobs(answer.candidate))} changed the validation loss by "
        f"{change(effect.mean)} ({interval(effect, answer)}) against the baseline; effects of knobs are measured "
        f"at these values."
    ]


def _about_learning_rate(answer: Answer) -> str:
    tried = sorted(answer.settings["search.learning_rates"])  # type: ignore[arg-type]
    said = f"The baseline trains at learning rate {short(answer.learning_rate)}"
    if len(tried) == 1:
        return f"{said}, the only one tried."
    said += f", the best of {_listed([short(rate) for rate in tried])}"
    if answer.learning_rate in (tried[0], tried[-1]):
        said += "; it is at the edge, so more search.learning_rates on that side may be worth a try"
    return f"{said}."


def _about_candidate(answer: Answer) -> str:
    if answer.effect is None:
        return (
            f"On the splits where settings are chosen, no setting of the knobs was at least {_worth(answer)} better "
            f"than none beyond {_beyond(answer)}, so there was nothing to confirm."
        )
    measured = (
        f"changed the validation loss by {change(answer.effect.mean)} ({interval(answer.effect, answer)}) "
        f"on {answer.effect.splits} fresh splits"
    )
    if answer.is_confirmed:
        return f"Beyond {_beyond(answer)}, {_setting(answer.candidate)} {measured}."
    said = f"The best candidate, {_setting(answer.candidate)}, {measured}"
    if _has_sure_effect(answer) and answer.best_floor is not None:
        return f"{said}, but it is not shown that the model then beats {floor_name(answer, answer.best_floor)}."
    return f"{said}. To count, it must be an improvement of at least {_worth(answer)} whose interval excludes zero."


def _about_precision(answer: Answer) -> list[str]:
    """Say what would show more, where something is open."""
    open_ones = [k for k in _searched(answer.knobs) if k.verdict not in ("use", "off for certain", "harms")]
    found = answer.resolution
    if answer.is_confirmed or found is None or not open_ones:
        return []
    shown = f"effects within {_half(found.half_width)} cannot be told from none"
    if found.half_width >= 1:
        shown = "hardly any effect can be told from none"
    said = f"With {found.splits} splits and {found.seeds} seed{'s' if found.seeds > 1 else ''} on each, {shown}"
    kind = "confirm_" if knobs_of(answer.candidate) else ""
    times = (found.with_unlimited_seeds / answer.smallest_effect) ** 2
    if found.splits < _ENOUGH_SPLITS and found.splits < answer.most_splits:
        more = {f"{kind}splits": min(answer.most_splits, 2 * found.splits)}
        return [f"{said}: so few splits hardly agree by themselves. More of them: {_line(answer, **more)}"]
    if found.seeds == 1:
        return [f"{said}. What more seeds would bring shows with two at least: {_line(answer, **{f'{kind}seeds': 2})}"]
    unlimited = f"with unlimited seeds that would be {_half(found.with_unlimited_seeds)}"
    if found.with_unlimited_seeds < _NOTHING * found.half_width:
        unlimited = "nearly all of that is the spread of seeds"
    if found.with_unlimited_seeds < _MUCH_LESS * found.half_width:
        return [f"{said}; {unlimited}, so more seeds would help: {_line(answer, **{f'{kind}seeds': 2 * found.seeds})}"]
    if found.splits < answer.most_splits:
        more = {f"{kind}splits": answer.most_splits}
        return [f"{said}; {unlimited}. More splits may help more: {_line(answer, **more)}"]
    return [
        f"{said}; {unlimited}. More splits would only be shorter ones, so only more data would show less: for effects "
        f"of {_worth(answer)} about {times:.0f} times as many {task(answer).parts_are}."
    ]


#: With fewer, an interval over splits is wide whatever the seeds show.
_ENOUGH_SPLITS = 4

#: Seeds are worth adding where unlimited ones would leave less than this of an interval.
_MUCH_LESS = 0.8

#: An estimate of less than this of an interval is hardly one.
_NOTHING = 0.1


def _half(width: float) -> str:
    return f"±{change(width).lstrip('+')}" if math.isfinite(width) else "any size"


def _line(answer: Answer, **search: int) -> str:
    """Write the line that goes on with the search."""
    config = shlex.quote(f"{answer.directory}/config.yaml")
    return " ".join([f"lstmreg search -c {config}", *(f"--search.{name}={value}" for name, value in search.items())])


def _about_floor(answer: Answer) -> list[str]:
    if answer.best_floor is None:
        return []
    return [_against_floor(floor_name(answer, answer.best_floor), answer)]


def _against_floor(name: str, answer: Answer) -> str:
    effect = answer.floor_effect
    if effect is None:
        return f"The recommended model failed on the fresh splits, so it cannot be compared with {name}."
    measured = f"{change(effect.mean)} ({interval(effect, answer)})"
    if effect.high < 0:
        return f"Against the best prediction without a model, {name}, the validation loss is {measured}."
    if effect.low > 0:
        return (
            f"The model is worse than the best prediction without a model: against {name} its validation loss is "
            f"{measured}. Use that instead."
        )
    return (
        f"The model does not beat the best prediction without a model for certain: against {name} its validation "
        f"loss is {measured}. Consider using that instead."
    )


def _about_test(answer: Answer) -> str:
    test = answer.test
    floors = ", ".join(
        f"{floor_name(answer, n)} {number(e)}" for n, e in sorted(test.floors.items(), key=lambda f: f[1])
    )
    compared = "without regularization" if knobs_of(answer.candidate) or not answer.candidate else "as configured"
    said = f"On the test {task(answer).parts_are} the {test.metric} is {number(test.plain)} {compared}"
    if test.candidate is not None and test.change is not None:
        said += (
            f" and {number(test.candidate)} with {_setting(answer.candidate)}; the loss, averaged over {test.seeds} "
            f"seeds, changes by {change(test.change.mean)} ({interval(test.change, answer)}, on this one test of "
            f"{test.change.splits} {task(answer).cases_are})"
        )
    else:
        said += f" ({test.seeds} seeds)"
    said += f". Without a model: {floors}." if floors else "."
    if test.change is not None and test.change.failed:
        said += f" With {_setting(answer.candidate)} {_trainings(test.change.failed)} failed and is left out here."
    needed = len({key(s) for s in ({}, without_knobs(answer.candidate), answer.candidate)})
    if test.settings > needed:
        said += (
            f" Because the search was continued, {test.settings} settings have met them, and not {needed}: "
            f"trust this number the less for it."
        )
    return said


def _about_averaging(answer: Answer) -> list[str]:
    said = [
        f"{number(a.averaged)} instead of {number(a.single)} "
        f"{f'with {_setting(answer.candidate)}' if name == 'candidate' else 'without regularization'} "
        f"({change(a.change)} of the loss)"
        for name, a in answer.test.averaging.items()
    ]
    if not said:
        return []
    members = max(a.members for a in answer.test.averaging.values())
    return [
        f"The average of the predictions of {members} networks, one for each seed, has a {answer.test.metric} on the "
        f"test {task(answer).parts_are} of {_listed(said)}; to predict so takes {members} times as long."
    ]


def _about_failures(answer: Answer) -> list[str]:
    said = [
        f"{knob.name} = {short(dose.value)} in {_trainings(dose.failed)}"
        for knob in answer.knobs
        for dose in knob.doses
        if dose.failed
    ]
    if answer.effect is not None and answer.effect.failed:
        said.append(f"{_setting(answer.candidate)} in {_trainings(answer.effect.failed)} on the fresh splits")
    return [f"Training failed with {_listed(said)}: each counts as a loss twice as high, or worse."] if said else []


def _trainings(count: int) -> str:
    return f"{count} training{'s' if count > 1 else ''}"


def _about_looks(answer: Answer) -> list[str]:
    if answer.looks < 2:
        return []
    return [
        f"Because the search was continued, the fresh splits were looked at {answer.looks} times. Each look gives "
        f"chance another opportunity: trust their interval the less for it."
    ]


def _about_configured(answer: Answer) -> list[str]:
    said = []
    if answer.turned_off:
        said.append(
            f"The configured {_setting(answer.turned_off)} was turned off, because it is searched: no regularization "
            f"means without it."
        )
    if answer.kept_on:
        said.append(
            f"The configured {_setting(answer.kept_on)} was not searched and stayed on in every training, also those "
            f"without regularization: effects are beyond it."
        )
    return said


def _about_overfitting(answer: Answer) -> str:
    gap, turn = f"{answer.gap:.1f}", f"{answer.turn:.1f}"
    if _is_cut_short(answer):
        return (
            f"Most trainings without regularization reached training.max_epochs = "
            f"{answer.settings['training.max_epochs']} while their validation loss was still falling or had just "
            f"stopped to: this says nothing about overfitting yet. Ask again, in a folder of its own: "
            f"{_longer(answer)}"
        )
    if answer.gap < 1.1 and answer.turn < 1.1:
        return "The unregularized model hardly overfits: its two losses stay close."
    return (
        f"Without regularization, averaged over the fresh splits, the validation loss is {gap} times the training "
        f"loss at the best epoch, and {turn} times its best where training stopped."
    )


def _longer(answer: Answer) -> str:
    """Write the line that asks the same with more epochs."""
    epochs = 3 * int(answer.settings["training.max_epochs"])  # type: ignore[arg-type]
    return f"{_line(answer)} --training.max_epochs={epochs} --name={shlex.quote(f'{answer.run}-{epochs}')}"


def _about_differences(answer: Answer) -> list[str]:
    difference = answer.settings.get("data.difference")
    if difference is None:
        return []
    since = "one season before" if difference == "season" else "the row before"
    return [
        f"The network learns how much the target changes from {since} (data.difference: {difference}); its losses are "
        f"those of changes, and its forecasts and test errors are in the target's units."
    ]


def _about_single_column(answer: Answer) -> list[str]:
    if len(answer.data.features) > 1 or not answer.settings["model.per_gate_input_masks"]:
        return []
    return [
        "There is a single input column, so dropout draws a mask for each gate (model.per_gate_input_masks): one for "
        "all gates would blank the whole series of a sample."
    ]


def _setting(setting: Setting) -> str:
    parts = [f"{p.split('.')[1]} = {short(setting[p])}" for p in knobs_of(setting)]
    sizes = [f"{p.split('.')[1]} = {short(v)}" for p, v in without_knobs(setting).items()]
    return _listed(parts) + (f" (at {_listed(sizes)})" if sizes and parts else _listed(sizes))


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else list(parts))


def interval(effect: Effect, answer: Answer) -> str:
    """Write an interval with its confidence."""
    return f"{percent(answer.confidence)} interval {bounds(effect)}"


def bounds(effect: Effect) -> str:
    """Write the two ends of an interval."""
    return f"{change(effect.low)} to {change(effect.high)}"


#: From here on a change is written as a factor.
_TIMES = 10.0


def change(relative: float) -> str:
    """Write a relative change in percent, with its sign."""
    if relative == math.inf:
        return "unbounded"
    if relative >= _TIMES:
        return f"×{1 + relative:.3g}"
    rounded = round(relative * 100, 1) + 0.0  # turns a negative zero into zero
    text = f"{rounded:.0f}" if abs(rounded) >= 10 else f"{rounded:.1f}"
    return f"{text.replace('-', '−') if rounded < 0 else '+' + text} %"


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{share * 100:g} %"


def number(value: float) -> str:
    """Write a measured number with four digits."""
    return f"{value:.4g}"


def table(answer: Answer) -> list[list[str]]:
    """Return the six-knob table: a header row, then a row per knob."""
    rows = [["knob", "Keras", "value", "effect alone", "interval", "if left out", "verdict"]]
    for knob in answer.knobs:
        rows.append(
            [
                knob.name,
                knob.keras,
                "–" if knob.value is None else short(knob.value),
                "–" if knob.alone is None else change(knob.alone.mean),
                "–" if knob.alone is None else bounds(knob.alone),
                "–" if knob.left_out is None else f"{change(knob.left_out.mean)} ({bounds(knob.left_out)})",
                knob.verdict,
            ]
        )
    return rows


def table_note(answer: Answer) -> str:
    """Say how to read the table."""
    confidence = percent(answer.confidence)
    return (
        f"Effects are changes of the validation loss against no regularization, beyond {_beyond(answer)}; less is "
        f"better. A knob's value was chosen on other splits than it was judged on, so where the best value differs "
        f"from split to split, a knob can look worse here than at any value of the curves. The intervals hold "
        f"together for all knobs ({confidence}). Value: the one in use, else the one that did best alone. "
        f"If left out: what the fresh splits say of the best candidate without that knob ({confidence} interval). "
        f"use: in the confirmed setting. helps alone: the interval lies below zero. off for certain: it rules out an "
        f"improvement of {_worth(answer)}. harms: it lies above zero. cannot tell: none of these."
    )
