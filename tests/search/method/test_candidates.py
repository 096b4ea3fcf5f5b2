"""Ladders grow by their rule, and combinations are those of the rule."""

from __future__ import annotations

import pytest

from lstmreg.search.method import BASELINE, Arm, Candidate, arms_of
from lstmreg.search.method.candidates import combinations_of, parts, together

L1 = Arm("model.kernel_l1", (0.01, 0.1), place="kernel")
L2 = Arm("model.kernel_l2", (0.01, 0.1), place="kernel")
DROPOUT = Arm("model.dropout", (0.1, 0.5), kind="rate", place="inputs", with_other_rates=True)
STATE = Arm("model.recurrent_dropout", (0.1, 0.5), kind="rate", place="state")
DECAY = Arm("training.weight_decay", (0.1, 1.0), beside=(("training.optimizer", "adamw"),), is_rival=True)
ARMS = (L1, L2, DROPOUT, STATE, DECAY)


def test_a_candidate_is_the_same_however_its_settings_are_ordered() -> None:
    one, two = Candidate.of({"b": 1.0, "a": 2.0}), Candidate.of({"a": 2.0, "b": 1.0})
    assert one == two
    assert hash(one) == hash(two)
    assert one.key == two.key
    assert one.setting == {"a": 2.0, "b": 1.0}
    assert Candidate.of({}) == BASELINE


@pytest.mark.parametrize(
    ("arm", "value", "higher", "lower"),
    [(L1, 0.1, 0.3, 0.0333), (L1, 0.03, 0.09, 0.01), (DROPOUT, 0.5, 0.75, 0.167), (DROPOUT, 0.75, 0.875, 0.25)],
)
def test_a_strength_grows_threefold_and_a_rate_half_of_its_way_to_one(
    arm: Arm, value: float, higher: float, lower: float
) -> None:
    assert arm.higher(value) == pytest.approx(higher)
    assert arm.lower(value) == pytest.approx(lower)


@pytest.mark.parametrize(("ladder", "kind"), [((), "strength"), ((0.0, 1.0), "strength"), ((0.5, 1.0), "rate")])
def test_a_ladder_holds_what_the_knob_may_be(ladder: tuple[float, ...], kind: str) -> None:
    with pytest.raises(ValueError, match="ladder"):
        Arm("model.dropout", ladder, kind=kind)  # type: ignore[arg-type]


def test_an_arm_brings_what_must_stand_beside_it() -> None:
    assert DECAY.at(0.3).setting == {"training.weight_decay": 0.3, "training.optimizer": "adamw"}
    assert parts(DECAY.at(0.3), ARMS) == 1


def test_what_stands_beside_an_arm_is_no_other_arm_even_where_it_is_one_by_itself() -> None:
    optimizer = Arm("training.optimizer", ("adamw", "sgd"), "choice")
    arms = (*ARMS, optimizer)
    assert arms_of(DECAY.at(0.3), arms) == [DECAY]
    assert arms_of(optimizer.at("adamw"), arms) == [optimizer]
    assert arms_of(together([L1.at(0.1), optimizer.at("sgd")]), arms) == [L1, optimizer]


def test_a_choice_does_not_grow_and_may_be_of_anything() -> None:
    sizes, optimizers = Arm("model.hidden_size", (16, 2), "choice"), Arm("training.optimizer", ("sgd",), "choice")
    flags = Arm("model.bidirectional", (True, False), "choice")
    assert not any(
        arm.grows for arm in (sizes, optimizers, flags, Arm("model.dropout", (0.1,), "rate", may_grow=False))
    )
    assert all(arm.grows for arm in ARMS)
    assert optimizers.at("sgd").setting == {"training.optimizer": "sgd"}


def test_a_size_doubles_and_does_not_shrink() -> None:
    size = Arm("model.hidden_size", (10,), "size")
    assert (size.grows, size.higher(10), size.lower(10)) == (True, 20, None)


def test_pairs_the_triple_all_that_help_and_the_best_four_are_tried_together() -> None:
    singles = [(L1, 0.1, -0.3), (L2, 0.1, -0.02), (DROPOUT, 0.1, -0.2), (STATE, 0.5, 0.1), (DECAY, 1.0, -0.1)]
    found = combinations_of(singles)
    a, b, c, d = L1.at(0.1), DROPOUT.at(0.1), DECAY.at(1.0), L2.at(0.1)
    wanted = [[a, b], [a, c], [b, c], [a, b, c], [a, b, c, d], [a, d]]
    assert set(found) == {together(group) for group in wanted}
    assert len(found) == len(set(found))


def test_what_is_not_tried_beside_another_is_not_combined_with_it() -> None:
    layers = Arm("model.num_layers", (2, 3), "choice")
    upper = Arm("model.dropout[1]", (0.2,), "rate", beside=((layers.path, 2),), requires=((layers.path, (2, 3)),))
    alone = Arm("model.bias_l2", (0.1,), requires=((layers.path, (1, None)),))
    arms = (layers, upper, alone)
    deep = Candidate.of({"model.num_layers": 3, "model.dropout[1]": 0.2})
    assert combinations_of([(upper, 0.2, -0.3), (layers, 3, -0.2), (alone, 0.1, -0.1)]) == [deep]
    assert (parts(upper.at(0.2), arms), parts(deep, arms)) == (1, 2)
    assert arms_of(upper.at(0.2), arms) == [upper]
    assert arms_of(deep, arms) == [layers, upper]


def test_the_l1_and_the_l2_of_one_layer_are_an_elastic_net() -> None:
    one, two, other = (
        Arm(f"model.kernel_{norm}[{layer}]", (0.1,), place=f"kernel {layer}")
        for norm, layer in (("l1", 0), ("l2", 0), ("l2", 1))
    )
    assert combinations_of([(one, 0.1, -0.3), (two, 0.1, 0.02), (other, 0.1, 0.02)]) == [
        together([one.at(0.1), two.at(0.1)])
    ]


def test_an_elastic_net_needs_only_its_better_half_to_help() -> None:
    assert combinations_of([(L1, 0.1, -0.3), (L2, 0.1, 0.02)]) == [together([L1.at(0.1), L2.at(0.1)])]
    assert combinations_of([(L1, 0.1, 0.01), (L2, 0.1, 0.02)]) == []
    assert combinations_of([(L1, 0.1, -0.3), (STATE, 0.1, 0.02)]) == []


def test_the_best_dropout_is_tried_at_other_learning_rates() -> None:
    found = combinations_of([(DROPOUT, 0.1, -0.2), (L1, 0.1, 0.1)], learning_rate=0.01)
    assert [c.setting["training.learning_rate"] for c in found] == pytest.approx([0.00333, 0.03])
    assert all(c.setting["model.dropout"] == 0.1 and parts(c, ARMS) == 2 for c in found)
    assert combinations_of([(DROPOUT, 0.1, 0.2)], learning_rate=0.01) == []
