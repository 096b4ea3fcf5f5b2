"""A search over single layers and under conditions: what ran, and what the answer calls it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lstmreg import report, search
from lstmreg.cli import main, parse
from lstmreg.config import ModelConfig, Values, with_settings
from lstmreg.errors import ConfigError
from lstmreg.search import Evidence
from lstmreg.search.config_file import read_config
from lstmreg.search.space import key
from tests.tiny import smallest_config, tiny_config

DEEP, RELU = {"model.num_layers": 2}, {"model.num_layers": 2, "model.activation[1]": "relu"}
DROPPED = {"model.num_layers": 2, "model.dropout[1]": 0.2}
LAYERS = {
    "model.num_layers": [1, 2],
    "model.dropout[1]": Values([0.2], when={"model.num_layers": 2}),
    "model.activation[1]": Values(["relu"], when={"model.num_layers": 2}),
    "model.kernel_l2[0]": [0.01],
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("layers")
    return search.run(smallest_config(folder, space=LAYERS, trials=4, batch=4))


def test_a_conditional_setting_is_tried_alone_with_what_it_needs(evidence: Evidence) -> None:
    screened = {key(r.setting) for r in evidence.records["choose"] if r.role == "screen" and r.setting}
    assert screened == {key(setting) for setting in (DEEP, DROPPED, RELU, {"model.kernel_l2[0]": 0.01})}


def test_no_training_held_what_its_network_has_not(evidence: Evidence) -> None:
    for stage in ("choose", "judge", "test"):
        for record in evidence.records[stage]:
            assert record.failure is None
            named_second = [path for path in record.setting if path.endswith("[1]")]
            assert not named_second or record.setting["model.num_layers"] == 2


def test_the_run_goes_on_from_its_file(evidence: Evidence) -> None:
    again = search.run(read_config(evidence.config.directory))
    assert again.config.search == evidence.config.search
    assert len(again.records["choose"]) == len(evidence.records["choose"])


def test_the_answer_names_layers_and_what_stands_beside_them(evidence: Evidence, tmp_path: Path) -> None:
    answer = report.answer(evidence)
    names = {knob.path: (knob.name, knob.keras) for knob in answer.knobs if knob.verdict != "not searched"}
    assert names == {
        "model.kernel_l2[0]": ("kernel_l2[0]", "kernel_regularizer, L2, first layer"),
        "model.dropout[1]": ("dropout[1] (with num_layers=2)", "dropout, second layer"),
        "model.num_layers": ("num_layers", ""),
        "model.activation[1]": ("activation[1] (with num_layers=2)", ""),
    }
    assert "model.kernel_l2" not in {knob.path for knob in answer.knobs}
    report.write(answer, tmp_path)
    assert "dropout[1] (with num_layers=2)" in (tmp_path / "report.html").read_text()


def test_what_was_only_proposed_is_not_called_unsearched(tmp_path: Path) -> None:
    space = {"model.kernel_l2": [0.01], "model.dropout": [0.2]}
    answer = report.answer(search.run(smallest_config(tmp_path, space=space, screen=False, trials=2, sampler="grid")))
    assert answer.course["propose"][0] == 2 * 3  # two points of the grid on three blocks
    assert "screen" not in answer.course
    verdicts = {knob.path: knob.verdict for knob in answer.knobs}
    assert {verdicts[path] for path in space} <= {"not tried alone", "use", "cannot tell", "harms"}
    assert verdicts["model.kernel_l1"] == "not searched"


# ---------------------------------------------------------------------- the example of the docs


def documented_space() -> dict[str, Any]:
    """Return the space with a condition as ``docs/search.md`` writes it."""
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    (example,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "when:" in block)
    space: dict[str, Any] = yaml.safe_load(example)["search"]["space"]
    return space


@pytest.mark.parametrize("model", [{}, {"num_layers": 2, "dropout": 0.4}])
def test_the_documented_example_is_searched_from_the_command_line(model: dict[str, Any], tmp_path: Path) -> None:
    least = dataclasses.asdict(smallest_config(tmp_path))
    least["search"] |= {"space": documented_space(), "trials": 4, "batch": 4}
    least["model"] |= model
    (tmp_path / "lstmreg.yaml").write_text(yaml.safe_dump(least))
    assert main(["search", "-c", str(tmp_path / "lstmreg.yaml")]) == 0
    found = search.read(tmp_path / "runs" / "waves")
    tried = [record.setting for record in found.records["choose"]]
    base = model.get("num_layers", 1)
    for setting in tried:
        assert setting.get("model.num_layers", base) == 2 or not any(path.endswith("[1]") for path in setting)
    assert {"model.dropout[0]": 0.1} in tried
    assert {"model.dropout[1]": 0.3} | ({} if base == 2 else {"model.num_layers": 2}) in tried
    assert {"model.num_layers": 3 - base} in tried
    assert all(record.failure is None for record in found.records["choose"])
    # The file that it kept asks the same elsewhere.
    verb, again = parse(["search", "-c", str(tmp_path / "runs" / "waves" / "config.yaml")])
    assert verb.config(again).search == found.config.search  # type: ignore[attr-defined]


def test_a_setting_of_fewer_layers_keeps_what_the_others_have(tmp_path: Path) -> None:
    config = dataclasses.replace(smallest_config(tmp_path), model=ModelConfig(num_layers=3, dropout=[0.1, 0.2, 0.3]))
    assert with_settings(config, {"model.num_layers": 2}).model == ModelConfig(num_layers=2, dropout=[0.1, 0.2])
    assert with_settings(config, {"model.num_layers": 2, "model.dropout[1]": 0.1}).model == ModelConfig(
        num_layers=2, dropout=0.1
    )
    # What a further layer would have, nobody has said.
    with pytest.raises(ConfigError, match=r"a list of model\.num_layers=4 values"):
        with_settings(config, {"model.num_layers": 4})


def test_a_refused_search_leaves_no_folder(tmp_path: Path) -> None:
    too_large = ModelConfig(hidden_size=16384, num_layers=900)
    config = dataclasses.replace(tiny_config(tmp_path), model=too_large)
    with pytest.raises(ConfigError, match=r"Lower model\.hidden_size"):
        search.run(config)
    assert not config.directory.exists()
