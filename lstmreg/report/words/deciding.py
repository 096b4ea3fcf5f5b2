"""What would decide where something is open: more seeds, blocks, rows or epochs, and the line that asks for them."""

from __future__ import annotations

import math
import shlex

from lstmreg.report.answers import Answer
from lstmreg.search.evidence import Resolution

from .naming import is_cut_short, rules_out_an_effect, task
from .writing import counted_seeds, half_of, listed


def about_deciding(answer: Answer) -> list[str]:
    """Say what would show more, where the judge left something open."""
    judged, is_open = answer.judged, not answer.is_confirmed and not is_cut_short(answer)
    if (
        not is_open
        or judged is None
        or rules_out_an_effect(answer)
        or not {"interval", "smallest effect"} & set(judged.against)
    ):
        return []
    found = judged.resolution
    shown = f"effects within {half_of(found.half_width)} cannot be told from none"
    if found.half_width >= 1:
        shown = "hardly any effect can be told from none"
    said = f"With {found.blocks} blocks and {counted_seeds(round(found.seeds))} on each, {shown}"
    if found.more_blocks == 0:
        return [f"{said}."]
    needed = _needed(answer, found)
    if found.seeds_suffice and (seeds := _enough_seeds(found)) is not None:
        return [f"{said}. To decide takes {needed}; or more seeds: {_line(answer, judge_seeds=seeds)}"]
    if found.blocks < min(_ENOUGH_BLOCKS, answer.most_blocks):
        blocks = min(_ENOUGH_BLOCKS, answer.most_blocks)
        return [f"{said}, because few blocks hardly agree by chance alone. Take more: {_line(answer, blocks=blocks)}"]
    return [
        f"{said}; with unlimited seeds within {half_of(found.with_unlimited_seeds)}. To decide takes {needed}. More "
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


def about_open_knobs(answer: Answer) -> list[str]:
    """Say of the rows of which nothing can be told which would be decided first, and by what."""
    open_ones = [k for k in answer.knobs if k.verdict == "cannot tell" and k.resolution is not None]
    if not open_ones:
        return []
    names = listed([k.name for k in open_ones])
    nearest = min(open_ones, key=lambda k: _distance(k.resolution))
    found = nearest.resolution
    assert found is not None
    said = f"Of {names} nothing can be told by {'themselves' if len(open_ones) > 1 else 'itself'}"
    if not found.more_blocks:
        return [f"{said}."]
    which = f"{nearest.name} would be decided first, by" if len(open_ones) > 1 else "It would be decided by"
    help_too = "; more seeds would do too" if found.seeds_suffice else ""
    return [f"{said}. {which} {_needed(answer, found)}{help_too}."]


def _distance(found: Resolution | None) -> float:
    return math.inf if found is None or found.more_blocks is None else found.more_blocks


def line_for_longer(answer: Answer) -> str:
    """Write the line that asks the same with more epochs."""
    epochs = 3 * int(answer.settings["training.max_epochs"])  # type: ignore[arg-type]
    config = shlex.quote(f"{answer.directory}/config.yaml")
    name = shlex.quote(f"{answer.run}-{epochs}")
    return f"lstmreg search -c {config} --training.max_epochs={epochs} --name={name}"
