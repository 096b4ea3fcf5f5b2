"""The answer in words: the same sentences in the terminal, in Markdown and on the page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

from lstmreg.knobs import KNOBS
from lstmreg.search.evidence import Effect, Resolution
from lstmreg.search.space import WEIGHT_DECAY, Setting, knobs_of, short
from lstmreg.tasks import Task, task_named

from .diagnosis import MOSTLY
from .numbers import Answer, Columns, Judged, Knob

#: The optimizer that knows weight decay is set beside it.
_OPTIMIZER = "training.optimizer"


def task(answer: Answer) -> type[Task]:
    """Return the task, which has words of its own."""
    return task_named(answer.task)


def floor_name(answer: Answer, name: str) -> str:
    """Say what a prediction without a model is."""
    return task(answer).floor_names.get(name, name)


def short_floor_name(answer: Answer, name: str) -> str:
    """Say it without the explanation in brackets."""
    return floor_name(answer, name).split(" (")[0]


# ---------------------------------------------------------------------- the headline


def headline(answer: Answer) -> str:
    """Say in one sentence what to do."""
    if answer.is_confirmed:
        return _what_to_use(answer)
    floor = None if answer.best_floor is None else floor_name(answer, answer.best_floor)
    if floor is not None and answer.floor_effect is not None and answer.floor_effect.low > 0:
        return f"Use {floor}: this model is worse."
    if simple := _better_simple_model(answer):
        if _has_sure_effect(answer):
            return f"Use {simple} until a network beats it: {_candidate(answer)} helps this one, but not enough."
        return f"Use {simple}: this model is worse."
    if _is_cut_short(answer):
        return "Nothing could be shown, because training was cut short: raise training.max_epochs and ask again."
    if _has_sure_effect(answer) and answer.judged is not None:
        if "failures" in answer.judged.against:
            return (
                f"Nothing is recommended: {_candidate(answer)} helps, but training fails more often with it than "
                f"without."
            )
        if "unstable" in answer.judged.against:
            return "Nothing is recommended: regularization helps, but the blocks do not agree on which."
    if floor is not None and (answer.floor_effect is None or answer.floor_effect.high >= 0):
        if _has_sure_effect(answer):
            return f"Use {floor} until a model beats it: {_candidate(answer)} helps this one, but not enough."
        return f"Nothing could be shown, not even that the model beats {floor}."
    knobs = _knobs(answer)
    if knobs and all(k.verdict in ("off for certain", "harms") for k in knobs):
        return f"Leave every knob off: none brings {_worth(answer)} beyond {_beyond(answer)}."
    return f"Nothing could be shown: no knob helps for certain beyond {_beyond(answer)}."


def _better_simple_model(answer: Answer) -> str | None:
    """Return the simple model, if it is better for certain than what was judged, or than what is left without it."""
    effect, judged = answer.simple_model_effect, answer.judged
    is_better = (effect is not None and effect.low > 0) or (judged is not None and "simple model" in judged.against)
    return floor_name(answer, answer.best_simple_model) if is_better and answer.best_simple_model is not None else None


def _what_to_use(answer: Answer) -> str:
    """Say the recommended setting, and no more of it than the blocks agree on."""
    setting, agreed = answer.recommended, "value" if answer.judged is None else answer.judged.agreed
    beside = f" beside the configured {spoken(answer.kept_on)}" if answer.kept_on else ""
    turned = _layers(setting)
    others = [k for k in _knobs(answer) if k.path not in turned]
    rest = f"; leave {'the others' if turned else 'every knob'} off." if others else "."
    values = [short(setting[path]) for path in _main(setting)]
    if agreed == "value" or not values:
        return f"Use {spoken(setting)}{beside}{rest}"
    if agreed == "knobs":
        differ = f"blocks differ on the value{'s' if len(values) > 1 else ''}"
        names = listed([_name(path) for path in _main(setting)])
        return f"Use {names}, at about {listed(values)} ({differ}){beside}{rest}"
    return f"Use {_places(setting)}, such as {spoken(setting)} (blocks differ on which){beside}{rest}"


def _places(setting: Setting) -> str:
    """Say what a setting acts on, whatever the norm."""
    found = []
    for path in _main(setting):
        knob = KNOBS.get(path)
        if knob is None:
            found.append("weight decay" if path == WEIGHT_DECAY else _name(path))
        else:
            found.append(f"{'a penalty on' if knob.kind == 'strength' else 'dropout of'} {knob.acts_on}")
    return listed(list(dict.fromkeys(found)))


def _is_cut_short(answer: Answer) -> bool:
    return answer.settings.get("training.patience") is not None and answer.diagnosis.unfinished > MOSTLY


def _has_sure_effect(answer: Answer) -> bool:
    """Whether the candidate helps for certain and by enough, whatever else speaks against it."""
    judged = answer.judged
    return judged is not None and not {"interval", "smallest effect"} & set(judged.against)


def _worth(answer: Answer) -> str:
    return percent(answer.smallest_effect)


def _beyond(answer: Answer) -> str:
    stopping = "early stopping" if answer.settings.get("training.patience") is not None else "training to the end"
    return stopping + (f" and the configured {spoken(answer.kept_on)}" if answer.kept_on else "")


def _knobs(answer: Answer) -> list[Knob]:
    """List the knobs that were tried."""
    return [k for k in answer.knobs if k.role == "knob" and k.verdict != "not searched"]


def _candidate(answer: Answer) -> str:
    """Say what was judged, and no more of it than the blocks agree on."""
    setting, judged = answer.candidate, answer.judged
    agreed = "value" if judged is None else judged.agreed
    if agreed == "knobs":
        return listed([f"{_name(path)} at about {short(setting[path])}" for path in _main(setting)])
    if agreed == "places":
        return _places(setting)
    return spoken(setting) if agreed == "value" else "what the blocks pick"


# ---------------------------------------------------------------------- what supports it


def summary(answer: Answer) -> list[str]:
    """Say in two or three short paragraphs what supports the headline, and what a simple model says to it."""
    simple = answer.simple_model_effect
    rivals = _about_simple_model(answer) if answer.is_confirmed and simple is not None and simple.high >= 0 else []
    crossing = _about_crossing(answer)
    if crossing:
        return [*crossing, _about_candidate(answer), *rivals]
    decides = _about_deciding(answer)
    is_worse = answer.floor_effect is not None and answer.floor_effect.low > 0
    if _is_cut_short(answer) and not answer.is_confirmed and not is_worse:
        return [_about_candidate(answer), _about_diagnosis(answer)]
    is_ahead = answer.floor_effect is not None and answer.floor_effect.high < 0
    if decides and is_ahead and not _better_simple_model(answer):
        return [_about_candidate(answer), *decides]
    worse = _about_simple_model(answer) if _better_simple_model(answer) and not is_worse else []
    return [_about_candidate(answer), *(worse or _about_floor(answer)), *rivals]


def details(answer: Answer) -> list[str]:
    """Say the rest, most important first."""
    said = [
        _about_diagnosis(answer),
        *_about_deciding(answer),
        *_about_floor(answer),
        *_about_simple_model(answer),
        *_about_rival(answer),
        *_about_picks(answer),
        _about_test(answer),
        *_about_averaging(answer),
        *_about_columns(answer),
        *_about_open_knobs(answer),
        *_about_failures(answer),
        *_about_strong_starts(answer),
        *_about_last_epochs(answer),
        _about_learning_rate(answer),
        *_about_configured(answer),
        *_about_single_column(answer),
        *_about_differences(answer),
        *answer.data.notes,
    ]
    return [sentence for sentence in dict.fromkeys(said) if sentence not in summary(answer)]


def sentences(answer: Answer) -> list[str]:
    """Say what supports the headline, most important first."""
    return [*summary(answer), *details(answer)]


def _about_crossing(answer: Answer) -> list[str]:
    """Say it where the network goes from behind the best prediction without a model to ahead of it."""
    judged, floor = answer.judged, answer.best_floor
    if not answer.is_confirmed or judged is None or floor is None:
        return []
    before, after = judged.baseline_against_floor, judged.against_floor
    if before is None or after is None or before.high < 0 or after.high >= 0:
        return []
    name, without = short_floor_name(answer, floor), "a knob" if _layers(answer.candidate) else "regularization"
    loses = f"loses to {name}" if before.low > 0 else f"does not beat {name} for certain"
    return [
        f"Without {without} the network {loses} (loss {change(before.mean)}, {bounds(before)}); with "
        f"{_candidate(answer)} its loss is {_size(after.mean)} lower than that of {name} ({interval(after, answer)})."
    ]


def _about_candidate(answer: Answer) -> str:
    judged = answer.judged
    if judged is None:
        return _about_nothing_judged(answer)
    if not answer.candidate:
        return f"Of all that was tried nothing looked better than no regularization, beyond {_beyond(answer)}."
    fresh = f"{judged.effect.blocks} blocks with {judged.seeds} fresh seeds each"
    parts = [f"{change(judged.effect.mean)} against nothing ({interval(judged.effect, answer)})"]
    if judged.rival and judged.beyond_rival is not None and not _is_rival(answer.candidate):
        rival = short(judged.rival[WEIGHT_DECAY]) if WEIGHT_DECAY in judged.rival else spoken(judged.rival)
        beyond = f"{change(judged.beyond_rival.mean)} against the best weight decay"
        parts.append(f"{beyond}, of {rival} ({bounds(judged.beyond_rival)})")
    measured = f"{_candidate(answer)}: {', '.join(parts)}; {fresh}."
    if answer.is_confirmed:
        return _capital(measured)
    return f"The best candidate, {measured} {_why_not(answer, judged)}"


def _about_nothing_judged(answer: Answer) -> str:
    if _knobs(answer) and all(k.verdict in ("off for certain", "harms") for k in _knobs(answer)):
        return (
            f"The bands of all values of all knobs rule out an improvement of {_worth(answer)} beyond "
            f"{_beyond(answer)}, so there was nothing to judge, and the search ended there."
        )
    return (
        f"No setting of the knobs looked at least {_worth(answer)} better than none beyond {_beyond(answer)}, so there "
        f"was nothing to judge."
    )


def _why_not(answer: Answer, judged: Judged) -> str:
    best = answer.best_floor
    floor = "a prediction without a model" if best is None else short_floor_name(answer, best)
    why = {
        "interval": "its interval does not leave zero out",
        "smallest effect": f"it brings less than {_worth(answer)}",
        "unstable": f"the blocks do not agree on it ({percent(round(judged.stable, 2))} do)",
        "floor": f"it is not shown to beat {floor}",
        "simple model": f"{_better_simple_model(answer)} is better for certain",
        "failures": "its training fails more often than that without it",
    }
    return f"It is not recommended, because {listed([why[reason] for reason in judged.against])}."


def _is_rival(setting: Setting) -> bool:
    """Whether a setting is weight decay and nothing else."""
    return WEIGHT_DECAY in setting and not _layers(setting)


def _about_rival(answer: Answer) -> list[str]:
    judged = answer.judged
    if judged is None or not judged.rival or judged.rival_effect is None:
        return []
    value = short(judged.rival[WEIGHT_DECAY]) if WEIGHT_DECAY in judged.rival else spoken(judged.rival)
    if _is_rival(answer.candidate):
        return [
            f"Weight decay is what one would do without the knobs, and here it is the best that was found: no knob was "
            f"picked over it. The best weight decay is {value}."
        ]
    by_itself = f"{change(judged.rival_effect.mean)} ({interval(judged.rival_effect, answer)})"
    said = f"Weight decay is what one would do without the knobs: the best, {value}, by itself changes the loss by"
    if judged.beyond_rival is None or judged.beyond_rival.high < 0 or not answer.is_confirmed:
        return [f"{said} {by_itself}."]
    return [f"{said} {by_itself}; it is not shown that {_candidate(answer)} is worth more than that."]


def _about_picks(answer: Answer) -> list[str]:
    judged = answer.judged
    if judged is None or not judged.picks:
        return []
    blocks = sum(count for _, count in judged.picks)
    counted = [f"{spoken(setting) or 'nothing'} on {count}" for setting, count in judged.picks]
    agreed = "They agree." if len(counted) == 1 else ""
    return [
        f"No block is judged by a pick that it made: each judges what the other blocks would pick, which is "
        f"{listed(counted)} of {blocks} blocks. {agreed}".rstrip()
    ]


# ---------------------------------------------------------------------- what would decide


def _about_deciding(answer: Answer) -> list[str]:
    """Say what would show more, where the judge left something open."""
    judged, is_open = answer.judged, not answer.is_confirmed and not _is_cut_short(answer)
    if not is_open or judged is None or not {"interval", "smallest effect"} & set(judged.against):
        return []
    found = judged.resolution
    shown = f"effects within {_half(found.half_width)} cannot be told from none"
    if found.half_width >= 1:
        shown = "hardly any effect can be told from none"
    said = f"With {found.blocks} blocks and {_seeds(round(found.seeds))} on each, {shown}"
    if found.more_blocks == 0:
        return [f"{said}."]
    needed = _needed(answer, found)
    if found.seeds_suffice and (seeds := _enough_seeds(found)) is not None:
        return [f"{said}. To decide takes {needed}; or more seeds: {_line(answer, judge_seeds=seeds)}"]
    if found.blocks < min(_ENOUGH_BLOCKS, answer.most_blocks):
        blocks = min(_ENOUGH_BLOCKS, answer.most_blocks)
        return [f"{said}, because few blocks hardly agree by chance alone. Take more: {_line(answer, blocks=blocks)}"]
    return [
        f"{said}; with unlimited seeds within {_half(found.with_unlimited_seeds)}. To decide takes {needed}. More "
        f"computing cannot decide: blocks cut from the same {task(answer).parts_are} would only be shorter."
    ]


#: With fewer, an interval is wide because they are few, whatever they show.
_ENOUGH_BLOCKS = 8

#: So many seeds a configuration may ask for.
_MOST_SEEDS = 1000


def _needed(answer: Answer, found: Resolution) -> str:
    """Say how many more blocks, or how little noise."""
    parts = []
    if found.more_blocks:
        more = _rounded(found.more_blocks * sum(answer.data.judged_cases) / len(answer.data.judged_cases))
        parts.append(
            f"about {found.more_blocks:,} more block{'s' if found.more_blocks > 1 else ''} like these (about {more:,} "
            f"more {task(answer).parts_are})"
        )
    if found.noise < 1:
        parts.append(_share_of_the_noise(found.noise))
    return " or ".join(parts) or "more than anybody has"


def _rounded(count: float) -> int:
    """Round to two digits."""
    return int(float(f"{count:.1e}")) if count >= 1 else 1


def _share_of_the_noise(share: float) -> str:
    names = {1 / 4: "a quarter", 1 / 3: "a third", 1 / 2: "half", 2 / 3: "two thirds", 3 / 4: "three quarters"}
    nearest = min(names, key=lambda value: abs(value - share))
    return f"{names[nearest] if abs(nearest - share) < 0.03 else f'{100 * share:.2g} %'} of the noise"


def _enough_seeds(found: Resolution) -> int | None:
    """Return with how many seeds an interval would be as narrow as it must, if the estimates hold."""
    now, unlimited, wanted = (
        math.log1p(width) ** 2 for width in (found.half_width, found.with_unlimited_seeds, found.wanted)
    )
    if not unlimited < wanted < now < math.inf:
        return None
    seeds = math.ceil(found.seeds * (now - unlimited) / (wanted - unlimited))
    return seeds if seeds <= _MOST_SEEDS else None


def _half(width: float) -> str:
    return f"±{change(width).lstrip('+')}" if math.isfinite(width) else "any size"


def _line(answer: Answer, **search: int) -> str:
    """Write what asks again: a run that has begun keeps its plan, so the new one has a name of its own."""
    if answer.data.is_in_memory:
        settings = ", ".join(f"{name}={value}" for name, value in search.items())
        return f"SearchConfig({settings}) in a Config of another name ({_A_LOOK})"
    config = shlex.quote(f"{answer.directory}/config.yaml")
    given = [f"--search.{name}={value}" for name, value in search.items()]
    name = "-".join([answer.run, *(f"{value}-{name.removeprefix('judge_')}" for name, value in search.items())])
    line = " ".join(["lstmreg search -c", config, *given, f"--name={shlex.quote(name)}"])
    return f"{line} ({_A_LOOK})"


#: What must be said wherever somebody is led to ask again.
_A_LOOK = "another look at the same data, which gives chance another opportunity: believe a new yes the less for it"


def _about_open_knobs(answer: Answer) -> list[str]:
    """Say of the rows of which nothing can be told which would be decided first, and by what."""
    open_ones = [k for k in answer.knobs if k.verdict == "cannot tell" and k.resolution is not None]
    if not open_ones:
        return []
    names = listed([k.name for k in open_ones])
    nearest = min(open_ones, key=lambda k: _distance(k.resolution))
    found = nearest.resolution
    assert found is not None
    said = f"Of {names} nothing can be told by themselves"
    if not found.more_blocks:
        return [f"{said}."]
    which = f"{nearest.name} would be decided first, by" if len(open_ones) > 1 else "It would be decided by"
    help_too = "; more seeds would do too" if found.seeds_suffice else ""
    return [f"{said}. {which} {_needed(answer, found)}{help_too}."]


def _distance(found: Resolution | None) -> float:
    return math.inf if found is None or found.more_blocks is None else found.more_blocks


# ---------------------------------------------------------------------- floor, test, averaging


def _about_floor(answer: Answer) -> list[str]:
    if answer.best_floor is None:
        return []
    return [_against_floor(floor_name(answer, answer.best_floor), answer)]


def _against_floor(name: str, answer: Answer) -> str:
    effect = answer.floor_effect
    if effect is None:
        return f"The recommended model failed on some blocks, so it cannot be compared with {name}."
    measured = f"{change(effect.mean)} ({interval(effect, answer)})"
    if effect.high < 0:
        return f"Against the best prediction without a model, {name}, the loss is {measured}."
    if effect.low > 0:
        return (
            f"The model is worse than the best prediction without a model: against {name} its loss is {measured}. "
            f"Use that instead."
        )
    advice = "Consider using that instead." if effect.mean >= 0 else "More data would tell."
    return (
        f"The model does not beat the best prediction without a model for certain: against {name} its loss is "
        f"{measured}. {advice}"
    )


def _about_simple_model(answer: Answer) -> list[str]:
    """Say how the recommended model compares with one that learns and is no network."""
    effect = answer.simple_model_effect
    if effect is None or answer.best_simple_model is None:
        return []
    said = (
        f"Against the best simple model, {floor_name(answer, answer.best_simple_model)}, the loss is "
        f"{change(effect.mean)} ({interval(effect, answer)})"
    )
    if effect.high < 0:
        return [f"{said}."]
    if effect.low > 0:
        return [f"{said}: use that instead."]
    return [f"{said}: which of them is better is not shown, and the other is simpler."]


def _about_test(answer: Answer) -> str:
    test = answer.test
    said = f"On the test {task(answer).parts_are} the {test.metric} is {number(test.baseline)} without regularization"
    if test.candidate is not None:
        said += f", {number(test.candidate)} with {spoken(answer.candidate)}"
    if test.rival is not None and answer.judged is not None and answer.judged.rival:
        said += f", {number(test.rival)} with {spoken(answer.judged.rival)}"
    said += f" ({_seeds(test.seeds)})."
    if test.change is not None:
        beyond = ""
        if test.beyond_rival is not None:
            beyond = f", and by {change(test.beyond_rival.mean)} ({bounds(test.beyond_rival)}) against weight decay"
        said += (
            f" With {spoken(answer.candidate)} the loss changes by {change(test.change.mean)} "
            f"({interval(test.change, answer)}){beyond}, on this one test of {test.change.blocks:,} "
            f"{task(answer).cases_are}."
        )
        if test.change.failed:
            are = "is" if test.change.failed == 1 else "are"
            said += f" {_trainings(test.change.failed)} with it failed and {are} left out."
    floors = [f"{floor_name(answer, n)} {number(e)}" for n, e in sorted(test.floors.items(), key=lambda f: f[1])]
    return said + (f" Without a network: {', '.join(floors)}." if floors else "")


def _about_averaging(answer: Answer) -> list[str]:
    """Say what averaging networks is worth, which is an answer among others."""
    named = {
        "no regularization": "without regularization",
        "candidate": f"with {spoken(answer.candidate)}",
        "weight decay": "with weight decay",
    }
    said = [
        f"{number(a.averaged)} instead of {number(a.single)} {named.get(name, name)}, {change(a.change)} of the loss"
        for name, a in answer.test.averaging.items()
    ]
    if not said:
        return []
    members = max(a.members for a in answer.test.averaging.values())
    return [
        f"Averaging is an answer too: the mean prediction of {members} networks, one for each seed, has a "
        f"{answer.test.metric} on the test {task(answer).parts_are} of {'; '.join(said)}. It costs {members} times the "
        f"time and the memory of one network whenever it predicts."
    ]


def _about_columns(answer: Answer) -> list[str]:
    """Say which columns are heard most and least, and where the least heard ones stood without the knob."""
    found = answer.columns
    if found is None:
        return []
    value = list(found.weights)[-1]
    least = found.names[: -_FEW - 1 : -1]
    places = ranks(found.weights[next(iter(found.weights))])
    without = [str(places[found.names.index(name)]) for name in least]
    shares = found.weights[value]
    most = [name for name, share in zip(found.names[:_FEW], shares, strict=False) if share >= _MUCH]
    rest = f" (all others have less than {percent(math.ceil(100 * shares[len(most)]) / 100)} of that)"
    return [
        f"At {_name(found.path)} = {value} the network listens most to {listed(most)}{rest}, and least to "
        f"{listed(least)}, by the largest input weight of each column; without it "
        f"{'that was' if len(least) == 1 else 'those were'} number {listed(without)} of {len(found.names)}.",
        *_about_zero_columns(found),
    ]


def _about_zero_columns(found: Columns) -> list[str]:
    """Say which columns the last value of the knob switches off, in all networks or in some."""
    value, shares = list(found.zero.items())[-1]
    off = [name for name, share in zip(found.names, shares, strict=True) if share == 1]
    some = sum(0 < share < 1 for share in shares)
    if not off and not some:
        return []
    said = [f"in some networks {some}"] if some else []
    if off:
        named = listed(off) if len(off) <= _MOST_NAMED else f"{', '.join(off[:_MOST_NAMED])} and others"
        said.insert(0, f"in every network {len(off)} ({named})")
    return [
        f"At {_name(found.path)} = {value} input weights are exactly zero, which switches columns off: {listed(said)} "
        f"of {len(found.names)}."
    ]


#: So many columns that are switched off are named.
_MOST_NAMED = 12


#: So many columns of either end are named,
_FEW = 2

#: of the upper end those alone whose weight is this share of the largest.
_MUCH = 0.5


def ranks(weights: Sequence[float]) -> list[int]:
    """Return the place of each weight, the largest first, counted from 1."""
    order = sorted(range(len(weights)), key=lambda k: -weights[k])
    return [order.index(k) + 1 for k in range(len(weights))]


# ---------------------------------------------------------------------- training


def _about_failures(answer: Answer) -> list[str]:
    said = [
        f"{knob.name} = {short(dose.value)} in {_trainings(dose.effect.failed)}"
        for knob in answer.knobs
        for dose in knob.doses
        if dose.effect.failed
    ]
    judged = answer.judged
    if judged is not None and judged.effect.failed:
        said.append(f"{spoken(answer.candidate)} in {_trainings(judged.effect.failed)} before the judge")
    if judged is not None and judged.rival and judged.rival_effect is not None and judged.rival_effect.failed:
        said.append(f"{spoken(judged.rival)} in {_trainings(judged.rival_effect.failed)} before the judge")
    return [f"Training failed with {listed(said)}: each counts as a loss twice as high, or worse."] if said else []


def _about_strong_starts(answer: Answer) -> list[str]:
    """Say which penalties begin far above the loss that they stand beside."""
    said = [
        f"{knob.name} = {short(dose.value)} starts at {_times(dose.start)} the data loss"
        for knob in answer.knobs
        for dose in knob.doses
        if dose.start is not None and dose.start > _STRONG
    ]
    if not said:
        return []
    return [f"{_capital(listed(said))}: such a training first shrinks the weights, whatever the data say."]


#: A penalty so many times the loss of the data leaves those nothing to say at first.
_STRONG = 10.0


def _times(ratio: float) -> str:
    """Write how many times something is something else: ``4.2 times``."""
    return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def starts_note(answer: Answer) -> str:
    """Say how large penalties are at the start; nothing where there are none."""
    ranges = []
    for knob in answer.knobs:
        starts = [dose for dose in knob.doses if dose.start is not None]
        if starts:
            ends = starts if len(starts) == 1 else [starts[0], starts[-1]]
            ranges.append(
                f"{knob.name} = {' to '.join(short(dose.value) for dose in ends)} starts at "
                f"{' to '.join(f'{dose.start:.2g}' for dose in ends)}"
            )
    if not ranges:
        return ""
    return (
        f"How large a penalty is at the initial weights, in units of the data loss of the first epoch: "
        f"{'; '.join(ranges)}."
    )


def _trainings(count: int) -> str:
    return f"{count} training{'s' if count > 1 else ''}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _about_configured(answer: Answer) -> list[str]:
    said = []
    if answer.turned_off:
        said.append(
            f"The configured {spoken(answer.turned_off)} was turned off, because it is searched: no regularization "
            f"means without it."
        )
    if answer.kept_on:
        said.append(
            f"The configured {spoken(answer.kept_on)} was not searched and stayed on in every training, also those "
            f"without regularization: effects are beyond it."
        )
    return said


def _about_diagnosis(answer: Answer) -> str:
    """Say what ails the network without regularization, which regularization may mend or not."""
    return f"Diagnosis: {answer.diagnosis.word}: {_symptoms(answer)}"


def _symptoms(answer: Answer) -> str:
    found = answer.diagnosis
    if found.word == "leak suspected":
        return f"{_too_good(answer)} See whether an input knows what is to be predicted, before anything else."
    if found.word == "not converged":
        return (
            f"most trainings without regularization reached training.max_epochs = "
            f"{answer.settings['training.max_epochs']} before validation had stopped falling, so nothing is known of "
            f"overfitting yet. Ask again, in a folder of its own: {_longer(answer)}"
        )
    gap, turn = f"{found.gap:.1f}", f"{found.turn:.1f}"
    if found.word == "overfits":
        learned = f", while the training loss went on falling to {found.fall:.2g} of what it was"
        return (
            f"without regularization, averaged over the blocks, the validation loss is {gap} times the training loss "
            f"at the best epoch, and {turn} times its best where training stopped{learned if found.fall < 1 else ''}."
        )
    if found.word == "underfits":
        floor = (
            "in the first epoch" if answer.best_floor is None else f"of {short_floor_name(answer, answer.best_floor)}"
        )
        return (
            f"without regularization even the training loss comes down to {found.learned:.2g} times the loss {floor} "
            f"and no further. Either there is no more to learn, or the network is too small or learns too slowly; "
            f"regularization is against the opposite."
        )
    if found.word == "noisy":
        return (
            f"from one epoch to the next the validation loss jumps by {_size(found.scatter or 0.0)}, and half of all "
            f"that was tried changes the loss by less than {_size(found.separates)}. So it is partly chance which "
            f"epoch is kept; more validation cases or a lower learning rate would calm it."
        )
    return (
        f"without regularization, averaged over the blocks, the validation loss is {gap} times the training loss at "
        f"the best epoch, and {turn} times its best where training stopped: regularization could mend little."
    )


def _too_good(answer: Answer) -> str:
    """Say how low a loss is that is too low to be true."""
    found = answer.diagnosis
    names = (
        (answer.best_floor, found.against_floor),
        (answer.best_simple_model, found.against_simple_model),
    )
    others = [
        f"{ratio:.2g} times that of {short_floor_name(answer, name)}"
        for name, ratio in names
        if name is not None and ratio is not None
    ]
    beside = f", {' and '.join(others)}" if others else ""
    return (
        f"the loss on cases that trained nothing is {found.loss:.2g}{beside}, and validation is {found.gap:.1f} times "
        f"training at the best epoch. That is too good for most data."
    )


def _about_last_epochs(answer: Answer) -> list[str]:
    """Say what early stopping saves, as far as the curves show it: no training went on beyond its patience."""
    if answer.diagnosis.word == "not converged":
        return []
    without = "a knob" if answer.candidate_turn is None or _layers(answer.candidate) else "regularization"
    parts = [f"{change(answer.diagnosis.turn - 1)} without {without}"]
    if answer.candidate_turn is not None:
        parts.append(f"{change(answer.candidate_turn - 1)} with {spoken(answer.candidate)}")
    has_patience = answer.settings.get("training.patience") is not None
    stopping = "early stopping" if has_patience else "going back to the best epoch"
    return [
        f"Without {stopping} the last epoch would have cost {listed(parts)}, in validation loss against the best "
        f"epoch, as far as training went."
    ]


def _longer(answer: Answer) -> str:
    """Write the line that asks the same with more epochs."""
    epochs = 3 * int(answer.settings["training.max_epochs"])  # type: ignore[arg-type]
    config = shlex.quote(f"{answer.directory}/config.yaml")
    name = shlex.quote(f"{answer.run}-{epochs}")
    return f"lstmreg search -c {config} --training.max_epochs={epochs} --name={name}"


def _about_learning_rate(answer: Answer) -> str:
    tried = sorted(answer.settings["search.learning_rates"])  # type: ignore[arg-type]
    said = f"The baseline trains at learning rate {short(answer.learning_rate)}"
    if len(tried) == 1:
        return f"{said}, the only one tried."
    said += f", the best of {listed([short(rate) for rate in tried])}"
    if answer.learning_rate in (tried[0], tried[-1]):
        said += "; it is at the edge, so more search.learning_rates on that side may be worth a try"
    return f"{said}."


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


# ---------------------------------------------------------------------- how things are written


def spoken(setting: Setting) -> str:
    """Write a setting in a sentence: knobs and weight decay, and in brackets at what else."""
    main = _main(setting)
    parts = [_assigned(setting, path) for path in main]
    rest = [p for p in setting if p not in main and not (p == _OPTIMIZER and WEIGHT_DECAY in setting)]
    beside = listed([_assigned(setting, path) for path in rest])
    return listed(parts) + (f" (at {beside})" if rest and parts else beside)


def _main(setting: Setting) -> list[str]:
    """List what a setting turns, knobs first; where it turns none, everything in it."""
    return knobs_of(setting) or list(setting)


def _layers(setting: Setting) -> list[str]:
    """List the knobs of the layers that a setting turns."""
    return [path for path in KNOBS if path in setting]


def _assigned(setting: Setting, path: str) -> str:
    # Another optimizer's weight decay is another thing.
    has_optimizer = path == WEIGHT_DECAY and _OPTIMIZER in setting
    optimizer = f" with {_OPTIMIZERS[str(setting[_OPTIMIZER])]}" if has_optimizer else ""
    return f"{_name(path)} = {short(setting[path])}{optimizer}"


_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def listed(parts: Sequence[str]) -> str:
    """Write a list in a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else list(parts))


def _capital(sentence: str) -> str:
    """Begin a sentence, unless it begins with the name of a setting."""
    is_name = "_" in sentence.split()[0] or sentence.split()[1:2] == ["="]
    return sentence if is_name else sentence[:1].upper() + sentence[1:]


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


def _size(relative: float) -> str:
    """Write a change without its sign."""
    return change(relative).lstrip("+−")


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{share * 100:g} %"


def number(value: float) -> str:
    """Write a measured number with four digits."""
    return f"{value:.4g}"


# ---------------------------------------------------------------------- the table, and how it was found


def table(answer: Answer) -> list[list[str]]:
    """Return the table: a header row, then a row for each knob, for weight decay and for each other setting."""
    rows = [["setting", "Keras", "value", "effect alone", "band", "verdict"]]
    for knob in answer.knobs:
        rows.append(
            [
                f"{knob.name} (the rival)" if knob.role == "rival" else knob.name,
                knob.keras or "–",
                "–" if knob.value is None else short(knob.value),
                "–" if knob.alone is None else change(knob.alone.mean),
                "–" if knob.alone is None else bounds(knob.alone),
                knob.verdict,
            ]
        )
    return rows


def table_note(answer: Answer) -> str:
    """Say how to read the table."""
    verdicts = {k.verdict for k in answer.knobs}
    meanings: Iterable[tuple[bool, str]] = (
        ("use" in verdicts, "use: it is in what is recommended."),
        (
            "helps alone, not needed" in verdicts,
            "helps alone, not needed: some value helps by itself, but what is recommended does without it.",
        ),
        (
            "helps alone, not confirmed" in verdicts,
            "helps alone, not confirmed: some value helps by itself, but fresh seeds did not confirm it.",
        ),
        (
            "off for certain" in verdicts,
            f"off for certain: the bands of all its values rule out an improvement of {_worth(answer)}.",
        ),
        ("harms" in verdicts, "harms: the bands of all its values lie above zero."),
        ("cannot tell" in verdicts, "cannot tell: none of these."),
        ("not searched" in verdicts, "not searched: it was not tried."),
    )
    rival = " Weight decay is the rival: what one would do without the knobs." if _has_rival(answer) else ""
    return " ".join(
        [
            f"Effects are changes of the loss against no regularization, beyond {_beyond(answer)}; less is better. "
            f"Each setting is by itself here, at the value that did best; value is the one in use, if there is one. "
            f"The bands of all values of all rows hold together ({percent(answer.table_confidence)}). They stand on "
            f"the trainings that chose the values; of what is judged, believe the judge's interval.{rival}",
            *(meaning for is_there, meaning in meanings if is_there),
        ]
    )


def _has_rival(answer: Answer) -> bool:
    return any(k.role == "rival" for k in answer.knobs)
