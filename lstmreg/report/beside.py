"""The answer beside the public study: what the knobs that it is about did on other sets like these data."""

from __future__ import annotations

import math

from lstmreg import other_sets
from lstmreg.config import Config
from lstmreg.knobs import knob_at
from lstmreg.other_sets import Kind, Record
from lstmreg.search.evidence import Effect, Evidence
from lstmreg.search.space import WEIGHT_DECAY, Setting
from lstmreg.setting_path import whole
from lstmreg.tasks import task_named

from .answers import OnOtherSets, OtherSets

_OPTIMIZER = "training.optimizer"


def beside(evidence: Evidence, recommended: Setting) -> OtherSets | None:
    """Look up what is known of other sets; it changes nothing of the answer.

    Args:
        evidence: All that is known of these data.
        recommended: The setting of the answer; empty if nothing is recommended.

    Returns:
        What the study says; ``None`` if it is of other networks or of other knobs, or has too few sets.
    """
    config = evidence.config
    if task_named(config.task).has_own_networks:
        return None
    kind = other_sets.like(config.task, len(evidence.card.features))
    if kind is None:
        return None
    if recommended:
        paths = [path for path in dict.fromkeys(map(whole, recommended)) if path in kind.pooled]
        paths = [path for path in paths if _is_the_same(path, recommended, config)]
    else:
        adamw: Setting = {_OPTIMIZER: "adamw"}  # of which the study's weight decay is
        best = kind.best(path for path in kind.pooled if _is_the_same(path, adamw, config))
        paths = [] if best is None else [best]
    return of_kind(kind, paths, is_of_the_answer=bool(recommended)) if paths else None


def of_kind(kind: Kind, paths: list[str], *, is_of_the_answer: bool) -> OtherSets:
    """Return what stands in an answer of some knobs, on the sets of a kind.

    Args:
        kind: The sets.
        paths: The knobs.
        is_of_the_answer: Whether they are recommended, or only did best there.
    """
    return OtherSets(
        sets=[one.name for one in kind.sets],
        cases=[min(one.cases[0] for one in kind.sets), max(one.cases[1] for one in kind.sets)],
        task=kind.task,
        has_several=kind.has_several,
        is_of_the_answer=is_of_the_answer,
        of=len(kind.pooled),
        knobs=[_plain(kind.record(path), len(kind.sets)) for path in paths],
        worth=kind.worth,
        confidence=kind.confidence,
    )


def _is_the_same(path: str, setting: Setting, config: Config) -> bool:
    """Tell whether a knob is what the study tried: an L1 in the loss, AdamW's weight decay."""
    if path == WEIGHT_DECAY:
        return setting.get(_OPTIMIZER, config.training.optimizer) == "adamw"
    knob = knob_at(path)
    return not (config.training.proximal and knob is not None and knob.proximal_ladder)


def _plain(record: Record, sets: int) -> OnOtherSets:
    mean, low, high = (math.expm1(end) for end in (record.pooled.mean, record.pooled.low, record.pooled.high))
    return OnOtherSets(
        path=record.path,
        name=record.path.rpartition(".")[2],
        helped=record.helped,
        helped_for_certain=record.helped_for_certain,
        harmed=record.harmed,
        harmed_for_certain=record.harmed_for_certain,
        values=list(record.values),
        effect=Effect(mean, low, high, sets),
        copied=record.copied,
        copied_helped=record.copied_helped,
        copied_harmed=record.copied_harmed,
    )
