"""What the things in an answer are called, and what may be said of them; every sentence asks here."""

from __future__ import annotations

from lstmreg.knobs import knob_at
from lstmreg.report.answers import Answer, Knob
from lstmreg.report.diagnosis import MOSTLY
from lstmreg.search.space import WEIGHT_DECAY, Setting, place_of, short
from lstmreg.tasks import Task, task_named

from .writing import layer_settings, listed, name_of, paths_of, percent, spoken


def task(answer: Answer) -> type[Task]:
    """Return the task, which has words of its own."""
    return task_named(answer.task)


def floor_name(answer: Answer, name: str) -> str:
    """Say what a prediction without a model is."""
    return task(answer).floor_names.get(name, name)


def short_floor_name(answer: Answer, name: str) -> str:
    """Say it without the explanation in brackets."""
    return floor_name(answer, name).split(" (")[0]


def better_simple_model(answer: Answer) -> str | None:
    """Return the simple model, if it is better for certain than what was judged, or than what is left without it."""
    effect, judged = answer.simple_model_effect, answer.judged
    is_better = (effect is not None and effect.low > 0) or (judged is not None and "simple model" in judged.against)
    return floor_name(answer, answer.best_simple_model) if is_better and answer.best_simple_model is not None else None


def places_of(setting: Setting) -> str:
    """Say what a setting acts on, whatever the norm."""
    found = []
    for path in paths_of(setting):
        knob = knob_at(path)
        if knob is None:
            found.append("weight decay" if path == WEIGHT_DECAY else name_of(path))
        else:
            found.append(f"{'a penalty on' if knob.kind == 'strength' else 'dropout of'} {place_of(path)}")
    return listed(list(dict.fromkeys(found)))


def is_cut_short(answer: Answer) -> bool:
    """Whether most trainings ended before their patience did."""
    return answer.settings.get("training.patience") is not None and answer.diagnosis.unfinished > MOSTLY


def has_sure_effect(answer: Answer) -> bool:
    """Whether the candidate helps for certain and by enough, whatever else speaks against it."""
    judged = answer.judged
    return judged is not None and not {"interval", "smallest effect"} & set(judged.against)


def rules_out_an_effect(answer: Answer) -> bool:
    """Whether the judge's interval lies within the smallest effect on both sides."""
    effect = None if answer.judged is None or not answer.candidate else answer.judged.effect
    return effect is not None and -answer.smallest_effect < effect.low <= effect.high < answer.smallest_effect


def worth_having(answer: Answer) -> str:
    """Say the least improvement that counts."""
    return percent(answer.smallest_effect)


def beyond_what(answer: Answer) -> str:
    """Say beside what all effects are measured."""
    stopping = "early stopping" if answer.settings.get("training.patience") is not None else "training to the end"
    return stopping + (f" and the configured {spoken(answer.kept_on)}" if answer.kept_on else "")


def stopping(answer: Answer) -> str:
    """Say how it comes that the last epoch is not the one that is kept."""
    has_patience = answer.settings.get("training.patience") is not None
    return "early stopping" if has_patience else "going back to the best epoch"


def tried_knobs(answer: Answer) -> list[Knob]:
    """List the knobs that were tried."""
    return [k for k in answer.knobs if k.role == "knob" and k.verdict != "not searched"]


def the_candidate(answer: Answer) -> str:
    """Say what was judged, and no more of it than the blocks agree on."""
    setting, judged = answer.candidate, answer.judged
    agreed = "value" if judged is None else judged.agreed
    if agreed == "knobs":
        return listed([f"{name_of(path)} at about {short(setting[path])}" for path in paths_of(setting)])
    if agreed == "places":
        return places_of(setting)
    return spoken(setting) if agreed == "value" else "what the blocks pick"


def is_rival(setting: Setting) -> bool:
    """Whether a setting is weight decay and nothing else."""
    return WEIGHT_DECAY in setting and not layer_settings(setting)
