"""The answer in words: the same sentences in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from lstmreg.search.evidence import Effect
from lstmreg.search.space import Setting, key, knobs_of, short, without_knobs

from .numbers import Answer, Knob

FLOOR_NAMES = {
    "mean": "the mean of the training rows",
    "persistence": "persistence (the last value again)",
    "seasonal": "seasonal persistence (the value one season ago)",
}


def headline(answer: Answer) -> str:
    """Say in one sentence what to do."""
    if not answer.is_confirmed:
        if _is_cut_short(answer):
            return "No knob helped, but training was cut short: raise training.max_epochs and ask again."
        return "No knob helped beyond early stopping."
    turned = _listed([f"{p.split('.')[1]} = {short(answer.recommended[p])}" for p in knobs_of(answer.recommended)])
    rest = "; leave the others off." if len(knobs_of(answer.recommended)) < len(answer.knobs) else "."
    return f"Use {turned}{rest}"


def _is_cut_short(answer: Answer) -> bool:
    return answer.cut_short > 0.5


def sentences(answer: Answer) -> list[str]:
    """Say what supports the headline, most important first."""
    return [
        *_about_candidate(answer),
        *_about_sizes(answer),
        *_about_precision(answer.knobs),
        _about_floor(answer),
        _about_test(answer),
        _about_overfitting(answer),
        _about_learning_rate(answer),
        *_about_knobs_not_searched(answer.knobs),
        *answer.data.notes,
    ]


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


def _about_candidate(answer: Answer) -> list[str]:
    worth = percent(float(answer.settings["search.smallest_effect"]))  # type: ignore[arg-type]
    if answer.effect is None:
        return [
            f"On the splits where settings are chosen, no setting of the knobs was at least {worth} better than "
            f"none, so there was nothing to confirm. All effects are beyond early stopping."
        ]
    candidate = _setting(answer.candidate)
    where = f"on {answer.effect.splits} fresh splits"
    measured = f"{change(answer.effect.mean)} ({interval(answer.effect, answer)})"
    if answer.is_confirmed:
        return [
            f"Beyond what early stopping gives, {candidate} changed the validation loss by {measured} {where}, "
            f"compared with no regularization at the same sizes and seeds."
        ]
    if answer.effect.high < 0 and answer.effect.mean <= -float(answer.settings["search.smallest_effect"]):  # type: ignore[arg-type]
        return [
            f"The best candidate, {candidate}, changed the validation loss by {measured} {where}, but even so the "
            f"model does not beat {FLOOR_NAMES[answer.best_floor]} for certain: there is little here to learn."
        ]
    return [
        f"The best candidate, {candidate}, changed the validation loss by {measured} {where}. To count, an effect "
        f"must be an improvement of at least {worth} whose interval excludes zero."
    ]


def _about_precision(knobs: Sequence[Knob]) -> list[str]:
    searched = [k for k in knobs if k.verdict != "not searched"]
    open_ones = [k for k in searched if k.verdict == "no evidence"]
    if not open_ones:
        return []
    return [
        f"For {len(open_ones)} of the {len(searched)} knobs searched the interval of the effect alone is too wide to "
        f"rule a useful effect in or out; more rows, search.splits or search.seeds would narrow it."
    ]


def _about_floor(answer: Answer) -> str:
    name, effect = FLOOR_NAMES[answer.best_floor], answer.floor_effect
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
    floors = ", ".join(f"{FLOOR_NAMES[n]} {number(e)}" for n, e in sorted(test.floors.items(), key=lambda f: f[1]))
    compared = "without regularization" if knobs_of(answer.candidate) or not answer.candidate else "as configured"
    said = f"On the test rows the {test.metric} is {number(test.plain)} {compared}"
    if test.candidate is not None and test.change is not None:
        said += (
            f" and {number(test.candidate)} with {_setting(answer.candidate)}: {change(test.change.mean)} "
            f"({interval(test.change, answer)}, over {test.seeds} seeds on this one stretch of time)"
        )
    else:
        said += f" ({test.seeds} seeds)"
    said += f". Without a model: {floors}."
    needed = len({key(s) for s in ({}, without_knobs(answer.candidate), answer.candidate)})
    if test.settings > needed:
        said += (
            f" Because the search was continued, {test.settings} settings have met these rows, and not {needed}: "
            f"trust this number the less for it."
        )
    return said


def _about_overfitting(answer: Answer) -> str:
    gap, turn = f"{answer.gap:.1f}", f"{answer.turn:.1f}"
    if _is_cut_short(answer):
        return (
            f"Most trainings without regularization reached training.max_epochs = "
            f"{answer.settings['training.max_epochs']} while their validation loss was still falling or had just "
            f"stopped to: this says nothing about overfitting yet."
        )
    if answer.gap < 1.1 and answer.turn < 1.1:
        return "The unregularized model hardly overfits: its two losses stay close."
    return (
        f"Without regularization, averaged over the fresh splits, the validation loss is {gap} times the training "
        f"loss at the best epoch, and {turn} times its best where training stopped."
    )


def _about_knobs_not_searched(knobs: Sequence[Knob]) -> list[str]:
    return [
        f"{knob.name} has no verdict: {knob.why}."
        for knob in knobs
        if knob.verdict == "not searched" and "search.space" not in knob.why
    ]


def _setting(setting: Setting) -> str:
    parts = [f"{p.split('.')[1]} = {short(setting[p])}" for p in knobs_of(setting)]
    sizes = [f"{p.split('.')[1]} = {short(v)}" for p, v in without_knobs(setting).items()]
    return _listed(parts) + (f" (at {_listed(sizes)})" if sizes and parts else _listed(sizes))


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else list(parts))


def interval(effect: Effect, answer: Answer) -> str:
    """Write an interval with its confidence."""
    confidence = percent(float(answer.settings["search.confidence"]))  # type: ignore[arg-type]
    return f"{confidence} interval {bounds(effect)}"


def bounds(effect: Effect) -> str:
    """Write the two ends of an interval."""
    return f"{change(effect.low)} to {change(effect.high)}"


def change(relative: float) -> str:
    """Write a relative change in percent, with its sign."""
    if relative == float("inf"):
        return "unbounded"
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
                "–" if knob.left_out is None else change(knob.left_out),
                knob.verdict,
            ]
        )
    return rows


def table_note(answer: Answer) -> str:
    """Say how to read the table."""
    confidence = percent(float(answer.settings["search.confidence"]))  # type: ignore[arg-type]
    worth = percent(float(answer.settings["search.smallest_effect"]))  # type: ignore[arg-type]
    return (
        f"Effects are changes of the validation loss against no regularization, beyond early stopping; less is "
        f"better. A knob's value was chosen on other splits than it was judged on, so where the best value differs "
        f"from split to split, a knob can look worse here than at any value of the curves. The intervals hold "
        f"together for all knobs ({confidence}). Value: the one in use, else the one that did best alone. "
        f"use: in the confirmed setting. off: the interval rules out an improvement of {worth}. "
        f"no evidence: neither."
    )
