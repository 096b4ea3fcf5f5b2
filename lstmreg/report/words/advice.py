"""The answer in one sentence: what to do."""

from __future__ import annotations

from lstmreg.report.answers import Answer
from lstmreg.search.space import short

from .naming import (
    better_simple_model,
    beyond_what,
    floor_name,
    has_sure_effect,
    is_cut_short,
    places_of,
    rules_out_an_effect,
    the_candidate,
    tried_knobs,
    worth_having,
)
from .writing import layer_settings, listed, name_of, paths_of, spoken


def headline(answer: Answer) -> str:
    """Say in one sentence what to do."""
    if answer.is_confirmed:
        return _what_to_use(answer)
    floor = None if answer.best_floor is None else floor_name(answer, answer.best_floor)
    if floor is not None and answer.floor_effect is not None and answer.floor_effect.low > 0:
        return f"Use {floor}: this model is worse."
    if simple := better_simple_model(answer):
        if has_sure_effect(answer):
            return f"Use {simple} until a network beats it: {_the_candidate_helps(answer)} this one, but not enough."
        return f"Use {simple}: this model is worse."
    if is_cut_short(answer):
        return "Nothing could be shown, because training was cut short: raise training.max_epochs and ask again."
    if has_sure_effect(answer) and answer.judged is not None:
        if "failures" in answer.judged.against:
            them = "them" if _are_several(answer) else "it"
            return (
                f"Nothing is recommended: {_the_candidate_helps(answer)}, but training fails more often with {them} "
                f"than without."
            )
        if "unstable" in answer.judged.against:
            return "Nothing is recommended: regularization helps, but the blocks do not agree on which."
    if floor is not None and (answer.floor_effect is None or answer.floor_effect.high >= 0):
        if has_sure_effect(answer):
            return f"Use {floor} until a model beats it: {_the_candidate_helps(answer)} this one, but not enough."
        return f"Nothing could be shown, not even that the model beats {floor}."
    knobs = tried_knobs(answer)
    if knobs and all(k.verdict in ("off for certain", "harms") for k in knobs):
        return f"Leave every knob off: none brings {worth_having(answer)} beyond {beyond_what(answer)}."
    if rules_out_an_effect(answer):
        return (
            f"Nothing worth having was found: of {the_candidate(answer)}, which looked best, an effect of "
            f"{worth_having(answer)} beyond {beyond_what(answer)} is ruled out."
        )
    return f"Nothing could be shown: no knob helps for certain beyond {beyond_what(answer)}."


def _the_candidate_helps(answer: Answer) -> str:
    return f"{the_candidate(answer)} {'help' if _are_several(answer) else 'helps'}"


def _are_several(answer: Answer) -> bool:
    """Tell whether what was judged is named as several knobs."""
    agreed = "value" if answer.judged is None else answer.judged.agreed
    return agreed in ("value", "knobs") and len(paths_of(answer.candidate)) > 1


def _what_to_use(answer: Answer) -> str:
    """Say the recommended setting, and no more of it than the blocks agree on."""
    setting, agreed = answer.recommended, "value" if answer.judged is None else answer.judged.agreed
    beside = f" beside the configured {spoken(answer.kept_on)}" if answer.kept_on else ""
    turned = layer_settings(setting)
    others = [k for k in tried_knobs(answer) if k.path not in turned]
    rest = f"; leave {'the others' if turned else 'every knob'} off." if others else "."
    values = [short(setting[path]) for path in paths_of(setting)]
    if agreed == "value" or not values:
        return f"Use {spoken(setting)}{beside}{rest}"
    if agreed == "knobs":
        differ = f"blocks differ on the value{'s' if len(values) > 1 else ''}"
        names = listed([name_of(path) for path in paths_of(setting)])
        return f"Use {names}, at about {listed(values)} ({differ}){beside}{rest}"
    return f"Use {places_of(setting)}, such as {spoken(setting)} (blocks differ on which){beside}{rest}"
