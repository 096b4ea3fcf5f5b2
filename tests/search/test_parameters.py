"""Settings as a dashboard shows them: every value that a search may try has its place."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from lstmreg.config import Range
from lstmreg.search.study.parameters import distributions, parameters
from tests.search.made_up import made_up


def of_space(**space: object) -> dict[str, object]:
    return dict(distributions(made_up(space=dict(space), weight_decay=[0.1], learning_rates=[0.01, 0.1]).config))


def test_numbers_lie_between_what_a_list_may_grow_to_and_a_rate_stays_below_one() -> None:
    found = of_space(**{"model.kernel_l2": [0.01, 0.1], "model.dropout": [0.2]})
    # Three steps by a factor of three at each end, as the method rounds them; a rate goes half of its way to 1.
    assert found["model.kernel_l2"] == FloatDistribution(0.00037, 2.7, log=True)
    assert found["model.dropout"] == FloatDistribution(0.0074, 0.9, log=True)
    assert found["training.learning_rate"] == FloatDistribution(0.00333, 0.3, log=True)


def test_what_is_no_number_is_one_of_several_and_what_stands_beside_it_too() -> None:
    found = of_space(**{"training.optimizer": ["sgd", "adam"], "model.hidden_size": Range(4, 16, step=4)})
    assert found["training.optimizer"] == CategoricalDistribution(["sgd", "adam", "adamw"])
    assert found["model.hidden_size"] == FloatDistribution(4.0, 16.0)


def test_a_value_without_a_place_is_left_out() -> None:
    known = distributions(made_up(space={"model.dropout": [0.2]}).config)
    setting = {"model.dropout": 0.4, "training.keep": "last", "training.learning_rate": 7.0}
    assert parameters(setting, known) == {"model.dropout": 0.4}
