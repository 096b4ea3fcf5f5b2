"""How the network compares with predictions that need none, what the test says, and what averaging is worth."""

from __future__ import annotations

from lstmreg.report.answers import Answer

from .naming import floor_name, task
from .writing import bounds, change, counted_seeds, counted_trainings, interval, number, spoken


def about_floor(answer: Answer) -> list[str]:
    """Say how the recommended model compares with the best prediction without a model, if there is any."""
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


def about_simple_model(answer: Answer) -> list[str]:
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


def about_test(answer: Answer) -> str:
    """Say what the test says."""
    test = answer.test
    said = f"On the test {task(answer).parts_are} the {test.metric} is {number(test.baseline)} without regularization"
    if test.candidate is not None:
        said += f", {number(test.candidate)} with {spoken(answer.candidate)}"
    if test.rival is not None and answer.judged is not None and answer.judged.rival:
        said += f", {number(test.rival)} with {spoken(answer.judged.rival)}"
    said += f" ({counted_seeds(test.seeds)})."
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
            said += f" {counted_trainings(test.change.failed)} with it failed and {are} left out."
    floors = [f"{floor_name(answer, n)} {number(e)}" for n, e in sorted(test.floors.items(), key=lambda f: f[1])]
    return said + (f" Without a network: {', '.join(floors)}." if floors else "")


def about_averaging(answer: Answer) -> list[str]:
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
