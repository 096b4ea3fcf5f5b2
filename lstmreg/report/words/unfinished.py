"""What is said of a search that has not come to its end: first of all that it has not."""

from __future__ import annotations

from lstmreg.report.answers import Answer, Judged, SoFar, Unfinished
from lstmreg.search.records import Role
from lstmreg.search.shown import Shown
from lstmreg.search.space import describe, short

from .writing import bounds, change, counted_seeds, counted_trainings, listed, percent, spoken

#: What a search does in each of its parts.
DOING: dict[Role, str] = {
    "learning rate": "choosing the learning rate",
    "screen": "trying every value alone",
    "grow": "going on where an end is best",
    "propose": "trying what the sampler proposes",
    "race": "giving more seeds to those about whom they may decide",
    "combine": "trying combinations of the best",
    "judge": "judging with fresh seeds",
    "test": "meeting the test",
    "explain": "explaining the answer",
}


def doing(stage: str) -> str:
    """Say what a search does in a part of it."""
    return next((said for role, said in DOING.items() if role == stage), "saving the model of the answer")


def about_unfinished(answer: Answer) -> list[str]:
    """Say it where the answer stands, and the search has not come to its end."""
    if answer.unfinished is None:
        return []
    return [
        where_it_stands(answer.unfinished),
        "The answer stands: what is missing explains it, or is its saved model, and decides nothing.",
    ]


def where_it_stands(unfinished: Unfinished) -> str:
    """Say in one sentence that a search has not ended, where it is, how much is done, and how to go on.

    It ends with a line to copy, and so without a full stop.
    """
    done = f"{unfinished.done:,} of at most {unfinished.planned:,} trainings done"
    at = f"at stage {unfinished.stage!r} ({doing(unfinished.stage)}), with {done}"
    if unfinished.is_running:
        return f"The search has not ended: a process is at work on it, {at}; if that is interrupted, {_on(unfinished)}"
    return f"The search has not ended: it stopped {at}; {_on(unfinished)}"


def _on(unfinished: Unfinished) -> str:
    return f"go on with: {unfinished.go_on}"


def headline_so_far(known: SoFar) -> str:
    """Say in one sentence what may be done by now."""
    if known.unfinished.stage != "test":
        return "Nothing is recommended yet: the search has not ended."
    if not known.is_confirmed:
        return "The judge recommends nothing; the test is still to come."
    differ = {"knobs": " (blocks differ on the value)", "places": " (blocks differ on which)"}
    agreed = "value" if known.judged is None else known.judged.agreed
    return f"The judge recommends {spoken(known.recommended)}{differ.get(agreed, '')}; the test is still to come."


def sentences_so_far(known: SoFar) -> list[str]:
    """Say what is known and what is not, first of all that the search has not ended."""
    return [
        where_it_stands(known.unfinished),
        *_about_judge(known),
        *_about_best(known),
        *_about_learning_rate(known),
        *_about_failures(known),
        _about_unknown(known),
        *known.data.notes,
    ]


def _about_judge(known: SoFar) -> list[str]:
    if known.unfinished.stage != "test":
        return []
    judged = known.judged
    if judged is None:
        return [
            f"Nothing looked at least {percent(known.smallest_effect)} better than no regularization, so there was "
            f"nothing to judge."
        ]
    return [_said(known, judged)]


def _said(known: SoFar, judged: Judged) -> str:
    fresh = f"{judged.effect.blocks} blocks with {counted_seeds(judged.seeds)} that nobody had seen"
    interval = f"{percent(known.confidence)} interval {bounds(judged.effect)}"
    what = spoken(known.candidate) or "what the blocks pick"
    said = f"The judge: {what} changes the loss by {change(judged.effect.mean)} ({interval}; {fresh})."
    against = f" It is not recommended, by: {listed(judged.against)}." if judged.against else ""
    return f"{said}{against}"


def _about_best(known: SoFar) -> list[str]:
    shown = [each for each in known.tried if each.ratio is not None]
    if not shown or known.unfinished.stage == "test":
        return []
    best = shown[0]
    assert best.ratio is not None
    if best.ratio >= 1:
        return [f"Of {len(shown)} settings that were tried so far none looks better than no regularization."]
    return [
        f"Of {len(shown)} settings that were tried so far {describe(best.setting)} looks best: "
        f"{change(best.ratio - 1)}, and better on {best.better} of {best.blocks} blocks. That is no recommendation: of "
        f"many settings some look good by chance."
    ]


def _about_learning_rate(known: SoFar) -> list[str]:
    if known.learning_rate is not None:
        return [f"The baseline trains at learning rate {short(known.learning_rate)}."]
    return ["The learning rate of the baseline is not chosen yet, and no setting was tried beside it."]


def _about_failures(known: SoFar) -> list[str]:
    return [f"{counted_trainings(count)} failed: {reason}" for reason, count in known.failures.items()]


def _about_unknown(known: SoFar) -> str:
    if known.unfinished.stage == "test":
        return "Not known yet: the errors on the test, which chooses nothing, and what explains the answer."
    return (
        "Not known yet: which settings help for certain, which the judge says at the end of the search, and the errors "
        "on the test. No effect here has an interval, because intervals hold of all that is tried."
    )


def table_so_far_note(known: SoFar) -> str:
    """Say how to read the table."""
    if known.unfinished.stage == "test":
        return "Effects are changes of the loss against no regularization; less is better."
    return (
        "Effects are mean changes of the loss against no regularization in what has ended, without what failed; less "
        "is better. Each setting is by itself here, at the value that did best so far. not judged yet: fresh seeds "
        "have still to say whether it helps."
    )


def shown_table(shown: list[Shown], *, beside: bool = True) -> list[list[str]]:
    """Return a table of what settings have shown: a header row, then a row for each of the first.

    Args:
        shown: What they have shown.
        beside: Whether it is beside no regularization.
    """
    header = ["setting", "loss", "change of the loss", "better on blocks", "failed"]
    return [header, *(shown_row(each, is_baseline=not each.setting and beside) for each in shown[:_MOST_ROWS])]


#: So many rows such a table has.
_MOST_ROWS = 40


def shown_row(shown: Shown, *, is_baseline: bool = False) -> list[str]:
    """Return the cells of a row: setting, loss, its change, on how many blocks it is better, how many failed."""
    return [
        "no regularization" if is_baseline else describe(shown.setting),
        "–" if shown.loss is None else f"{shown.loss:.4g}",
        "–" if shown.ratio is None else change(shown.ratio - 1),
        "–" if shown.ratio is None else f"{shown.better} of {shown.blocks}",
        f"{shown.failed}" if shown.failed else "–",
    ]
