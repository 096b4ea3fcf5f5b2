"""Studies that were damaged or planted: refused by name, or what they were; no traceback, and no other answer."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lstmreg import search
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.search.evidence import Evidence
from lstmreg.search.study.kept import check_seal, sealed
from tests.tiny import smallest_config

FLIPS = 40


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return search.run(smallest_config(tmp_path_factory.mktemp("damage")))


@pytest.fixture
def run(evidence: Evidence, tmp_path: Path) -> Path:
    """Return a copy of the run's folder."""
    directory = tmp_path / evidence.config.run_name
    shutil.copytree(evidence.config.directory, directory)
    return directory


def change(run: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(run / "study.db")) as database, database:
        assert database.execute(statement, values).rowcount > 0


def replaced(run: Path, table: str, name: str, edit: Callable[[Any], object], where: str = "") -> None:
    """Edit the JSON of the first attribute of a name."""
    with closing(sqlite3.connect(run / "study.db")) as database, database:
        column = "study_user_attribute_id" if table == "study_user_attributes" else "trial_user_attribute_id"
        number, kept = database.execute(
            f"SELECT {column}, value_json FROM {table} WHERE key = ? {where} ORDER BY {column} LIMIT 1", (name,)
        ).fetchone()
        edited = json.dumps(edit(json.loads(kept)))
        database.execute(f"UPDATE {table} SET value_json = ? WHERE {column} = ?", (edited, number))


def refusal(run: Path) -> str:
    with pytest.raises(CorruptFileError) as caught:
        search.read(run)
    assert caught.value.exit_code == 4
    assert str(run / "study.db") in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------- bits


def flipped(content: bytes, random_bit: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[random_bit.randrange(len(damaged))] ^= 1 << random_bit.randrange(8)
    return bytes(damaged)


def is_refused_or_the_same(run: Path, content: bytes, known: Evidence) -> bool:
    """Tell whether a study is refused; if it is read, it must say what it said."""
    (run / "study.db").write_bytes(content)
    try:
        found = search.read(run)
    except CorruptFileError:
        return True
    assert {stage: list(map(_told, records)) for stage, records in found.records.items()} == {
        stage: list(map(_told, records)) for stage, records in known.records.items()
    }
    assert found.card == known.card
    return False


def _told(record: Any) -> object:
    return dataclasses.replace(record, traceback=None)


def flip(run: Path, known: Evidence, times: int, seed: int) -> None:
    content, random_bit = (run / "study.db").read_bytes(), random.Random(seed)
    refused = sum(is_refused_or_the_same(run, flipped(content, random_bit), known) for _ in range(times))
    assert 0 < refused < times  # free pages and dates may be anything


def test_a_flipped_bit_is_refused_or_changes_nothing(run: Path, evidence: Evidence) -> None:
    flip(run, evidence, FLIPS, seed=0)


def test_a_name_in_the_file_that_is_no_text_any_more_is_refused(run: Path) -> None:
    content = bytearray((run / "study.db").read_bytes())
    content[content.index(b"sqlite_autoindex_trial_values_1") + 3] ^= 0x80  # SQLite quotes it in what it says
    (run / "study.db").write_bytes(content)
    assert "the study is damaged" in refusal(run)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(1, 11))
def test_thousands_of_flipped_bits_are_refused_or_change_nothing(run: Path, evidence: Evidence, seed: int) -> None:
    flip(run, evidence, 1000, seed)


@pytest.mark.parametrize("missing", [1, 2, 1000, 4096])
def test_a_file_that_lost_its_end_is_refused(run: Path, missing: int) -> None:
    path = run / "study.db"
    path.write_bytes(path.read_bytes()[:-missing])
    assert "the study is damaged" in refusal(run)


def test_an_empty_file_is_said_to_be_empty(run: Path) -> None:
    (run / "study.db").write_bytes(b"")
    assert "the study is damaged (it is empty)" in refusal(run)


# ---------------------------------------------------------------------- digits


def test_a_digit_of_a_result_is_no_other_answer(run: Path) -> None:
    replaced(run, "trial_user_attributes", "result", lambda result: result | {"loss": result["loss"] * 0.5})
    assert "trial 0 of stage 'rates': it is not what was written" in refusal(run)


def test_a_digit_of_a_trials_value_is_no_other_answer(run: Path) -> None:
    change(run, "UPDATE trial_values SET value = value + 1e-9 WHERE trial_id = 1")
    assert "its value is not what was written" in refusal(run)


def test_a_digit_of_the_data_card_is_no_other_answer(run: Path) -> None:
    def worse(begun: Any) -> object:
        begun["card"]["floors"]["persistence"][0] += 0.01
        return begun

    replaced(run, "study_user_attributes", "begun", worse)
    assert "it is not what was written" in refusal(run)


def test_a_trial_that_is_gone_is_missed(run: Path) -> None:
    change(run, "DELETE FROM trials WHERE trial_id = 2")
    assert "trial 1 of stage 'rates' is missing" in refusal(run)


def test_a_study_that_is_gone_is_missed(run: Path) -> None:
    change(run, "UPDATE studies SET study_name = 'another' WHERE study_name LIKE '%/judge'")
    assert f"its study '{run.name}/judge' is missing" in refusal(run)


def test_a_configuration_that_was_edited_is_refused_with_the_difference(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("smallest_effect: 0.02", "smallest_effect: 0.01"))
    with pytest.raises(ConfigError, match=r"config\.yaml.*search\.smallest_effect: 0\.02 then, 0\.01 now"):
        search.read(run)


# ---------------------------------------------------------------------- planted


def planted(run: Path, name: str, value: object) -> None:
    """Give the first trial an attribute that it never had, with a seal that is right."""
    with closing(sqlite3.connect(run / "study.db")) as database, database:
        rows = database.execute("SELECT key, value_json FROM trial_user_attributes WHERE trial_id = 1").fetchall()
        kept = {key: json.loads(text) for key, text in rows if key != "seal"} | {name: value}
        [(begun,)] = database.execute("SELECT value_json FROM study_user_attributes WHERE key = 'begun'")
        place = f"{json.loads(begun)['card']['sha256']}/rates"
        for key, each in sealed(kept, place).items():
            database.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = 1 AND key = ?",
                (json.dumps(each), key),
            )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("setting", "__import__('os')", "its setting is \"__import__('os')\""),
        ("setting", {"training.learning_rate": ["a"]}, "its setting is"),
        ("replicate", ["0", 1], "its replicate is ['0', 1]"),
        ("replicate", [0, 1, 2], "its replicate is [0, 1, 2]"),
        ("split", {"a": 1}, "its split is {'a': 1}"),
        ("role", None, "its role is None"),
        ("result", {"loss": "<script>"}, "its result has"),
    ],
)
def test_planted_types_are_refused_by_name_though_sealed(run: Path, name: str, value: object, said: str) -> None:
    planted(run, name, value)
    assert said in refusal(run)


def test_a_trial_of_another_run_is_refused(run: Path) -> None:
    def moved(seal: Any) -> object:
        return sealed({"another": "run"}, "rates")["seal"]

    replaced(run, "trial_user_attributes", "seal", moved)
    assert "it is not what was written" in refusal(run)


@pytest.mark.parametrize("value", [None, [], "card", 7, {"card": {}}])
def test_a_planted_beginning_is_refused(run: Path, value: object) -> None:
    replaced(run, "study_user_attributes", "begun", lambda begun: value)
    refusal(run)


def test_a_planted_card_of_other_types_is_refused_though_sealed(run: Path) -> None:
    def planted_card(begun: Any) -> object:
        begun = {name: value for name, value in begun.items() if name != "seal"}
        begun["card"]["floors"] = "<img onerror=alert(1)>"
        return sealed(begun, "begun")

    replaced(run, "study_user_attributes", "begun", planted_card)
    assert "its data card has floors='<img onerror=alert(1)>'" in refusal(run)


def test_a_newer_schema_is_refused_with_the_remedy(run: Path) -> None:
    replaced(run, "study_user_attributes", "begun", lambda begun: begun | {"schema": 99})
    assert "written by a newer lstmreg (schema 99" in refusal(run)


def test_a_study_without_seals_is_read_as_an_earlier_version_wrote_it(run: Path, evidence: Evidence) -> None:
    with closing(sqlite3.connect(run / "study.db")) as database, database:
        [(begun,)] = database.execute("SELECT value_json FROM study_user_attributes WHERE key = 'begun'")
        card = json.dumps(json.loads(begun)["card"])
        database.execute("UPDATE study_user_attributes SET key = 'card', value_json = ? WHERE key = 'begun'", (card,))
        database.execute("DELETE FROM trial_user_attributes WHERE key IN ('seal', 'value')")
    assert search.read(run).records == evidence.records


def test_a_run_that_knew_no_storage_is_read_as_it_was(run: Path, evidence: Evidence) -> None:
    def earlier(begun: Any) -> object:
        begun = {name: value for name, value in begun.items() if name != "seal"}
        assert begun["config"]["search"].pop("storage") is None
        return sealed(begun, "begun")

    replaced(run, "study_user_attributes", "begun", earlier)
    path = run / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "storage:" not in line))
    assert search.read(run).records == evidence.records


def test_a_seal_holds_for_its_place_alone() -> None:
    kept = sealed({"a": 1.5, "b": [1, None]}, "here")
    check_seal(json.loads(json.dumps(kept)), "here")
    for broken, place in (
        (kept, "there"),
        (kept | {"a": 1.6}, "here"),
        (kept | {"c": 0}, "here"),
        ({"a": 1.5}, "here"),
    ):
        with pytest.raises(ValueError, match="it "):
            check_seal(broken, place)
