"""How the trainings went: the diagnosis, penalties at their start, failures, and what was set."""

from __future__ import annotations

from typing import Any

from lstmreg.config import Scalar
from lstmreg.report.answers import Answer
from lstmreg.search.space import short

from .deciding import line_for_longer
from .naming import short_floor_name, stopping
from .writing import capitalized, change, counted_trainings, layer_settings, listed, size_of, spoken, times_as_much


def about_failures(answer: Answer) -> list[str]:
    """Say which trainings failed, if any."""
    said = [
        f"{knob.name} = {short(dose.value)} in {counted_trainings(dose.effect.failed)}"
        for knob in answer.knobs
        for dose in knob.doses
        if dose.effect.failed
    ]
    judged = answer.judged
    if judged is not None and judged.effect.failed:
        said.append(f"{spoken(answer.candidate)} in {counted_trainings(judged.effect.failed)} before the judge")
    if judged is not None and judged.rival and judged.rival_effect is not None and judged.rival_effect.failed:
        said.append(f"{spoken(judged.rival)} in {counted_trainings(judged.rival_effect.failed)} before the judge")
    return [f"Training failed with {listed(said)}: each counts as a loss twice as high, or worse."] if said else []


def about_strong_starts(answer: Answer) -> list[str]:
    """Say which penalties begin far above the loss that they stand beside."""
    said = [
        f"{knob.name} = {short(dose.value)} starts at {times_as_much(dose.start)} the data loss"
        for knob in answer.knobs
        for dose in knob.doses
        if dose.start is not None and dose.start > _STRONG
    ]
    if not said:
        return []
    return [f"{capitalized(listed(said))}: such a training first shrinks the weights, whatever the data say."]


#: A penalty so many times the loss of the data leaves those nothing to say at first.
_STRONG = 10.0


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


def about_configured(answer: Answer) -> list[str]:
    """Say what became of the knobs that are configured."""
    said = []
    if answer.turned_off:
        said.append(
            f"The configured {spoken(answer.turned_off)} was turned off, because it is searched: no regularization "
            f"means without it. {_tried_at_all(answer)}"
        )
    if answer.kept_on:
        said.append(
            f"The configured {spoken(answer.kept_on)} was not searched and stayed on in every training, also those "
            f"without regularization: effects are beyond it."
        )
    return said


def _tried_at_all(answer: Answer) -> str:
    """Say whether the values that were turned off are among those that were tried."""
    tried = {knob.path: {dose.value for dose in knob.doses} for knob in answer.knobs}
    untried = {path: value for path, value in answer.turned_off.items() if not _is_among(value, tried.get(path, set()))}
    if not untried:
        return "It is among the values that were tried."
    return f"{capitalized(spoken(untried))} itself was not tried."


def _is_among(value: Any, tried: set[Scalar]) -> bool:
    """Tell whether a value was tried; a list has one for each layer, which all are the same where it was."""
    of_layers = set(value) if isinstance(value, list) else {value}
    return len(of_layers) == 1 and of_layers <= tried


def about_diagnosis(answer: Answer) -> str:
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
            f"overfitting yet. Ask again, in a folder of its own: {line_for_longer(answer)}"
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
            f"from one epoch to the next the validation loss jumps by {size_of(found.scatter or 0.0)}, and half of all "
            f"that was tried changes the loss by less than {size_of(found.separates)}. So it is partly chance which "
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


def about_last_epochs(answer: Answer) -> list[str]:
    """Say what early stopping saves, as far as the curves show it: no training went on beyond its patience."""
    if answer.diagnosis.word == "not converged":
        return []
    without = "a knob" if answer.candidate_turn is None or layer_settings(answer.candidate) else "regularization"
    parts = [f"{change(answer.diagnosis.turn - 1)} without {without}"]
    if answer.candidate_turn is not None:
        parts.append(f"{change(answer.candidate_turn - 1)} with {spoken(answer.candidate)}")
    return [
        f"Without {stopping(answer)} the last epoch would have cost {listed(parts)}, in validation loss against the "
        f"best epoch, as far as training went."
    ]


def about_learning_rate(answer: Answer) -> str:
    """Say at which learning rate the baseline trains, and out of which."""
    tried = sorted(answer.settings["search.learning_rates"])  # type: ignore[arg-type]
    said = f"The baseline trains at learning rate {short(answer.learning_rate)}"
    if len(tried) == 1:
        return f"{said}, the only one tried."
    said += f", the best of {listed([short(rate) for rate in tried])}"
    if answer.learning_rate in (tried[0], tried[-1]):
        said += "; it is at the edge, so more search.learning_rates on that side may be worth a try"
    return f"{said}."


def about_machines(answer: Answer) -> list[str]:
    """Say on what the trainings ran, if on several kinds of machines."""
    if len(answer.machines) < 2:
        return []
    named = listed([f"{counted_trainings(count)} on {machine}" for machine, count in answer.machines.items()])
    return [f"Not all trainings ran on the same kind of machine, so that last digits may differ: {named}."]


def about_trials(answer: Answer) -> list[str]:
    """Say how many settings a sampler was asked for, and how many of them were new."""
    trials = answer.trials
    if trials is None:
        return []
    asked = f"{trials.asked} more setting{'s' if trials.asked != 1 else ''}"
    said = f"search.trials asks {answer.settings['search.sampler']} for {asked}, and {trials.new} new ones were tried"
    if trials.new < trials.asked:
        said += "; beyond them it had nothing new within search.space, or the trainings of the search were spent"
    return [f"{said}."]


def about_differences(answer: Answer) -> list[str]:
    """Say so where a network learns changes."""
    difference = answer.settings.get("data.difference")
    if difference is None:
        return []
    since = "one season before" if difference == "season" else "the row before"
    return [
        f"The network learns how much the target changes from {since} (data.difference: {difference}); its losses are "
        f"those of changes, and its forecasts and test errors are in the target's units."
    ]


def about_single_column(answer: Answer) -> list[str]:
    """Say what a single input column does to dropout."""
    if len(answer.data.features) > 1 or not answer.settings["model.per_gate_input_masks"]:
        return []
    return [
        "There is a single input column, so dropout draws a mask for each gate (model.per_gate_input_masks): one for "
        "all gates would blank the whole series of a sample."
    ]
