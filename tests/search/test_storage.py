"""Studies in a real PostgreSQL database: the same answer as in a file, one process alone, and no secret anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from lstmreg import cli, search
from lstmreg.config import Config, with_settings
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.search import Progress, study_server
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import STAGES
from tests.servers import DATABASE, PASSWORD, PostgreSQL, postgresql
from tests.tiny import smallest_config


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return search.run(smallest_config(tmp_path_factory.mktemp("file")))


@pytest.fixture
def config(server: PostgreSQL, tmp_path: Path, request: pytest.FixtureRequest) -> Config:
    """Return the configuration of a run of its own in the database."""
    found = smallest_config(tmp_path, storage=server.url)
    return dataclasses.replace(found, name=request.node.originalname[:60])


def told(evidence: Evidence) -> dict[str, list[str]]:
    """What ran and what came out, to the last digit, in the order of the records; how long it took aside."""

    def one(record: object) -> str:
        plain = dataclasses.asdict(record)  # type: ignore[call-overload]
        if plain["result"] is not None:
            del plain["result"]["seconds"]
        return json.dumps(plain)

    return {stage: [one(record) for record in evidence.records[stage]] for stage in STAGES}


def trainings(evidence: Evidence) -> int:
    return sum(len(records) for records in evidence.records.values())


def at_record(number: int, act: Callable[[], None]) -> Callable[[Progress], None]:
    """Return a listener that acts when so many trainings have ended."""
    ended: list[object] = []

    def hear(progress: Progress) -> None:
        if progress.record is not None:
            ended.append(progress.record)
            if len(ended) == number:
                act()

    return hear


def interrupt() -> None:
    raise KeyboardInterrupt


def counts(server: PostgreSQL, run_name: str) -> str:
    """How many trials of each state the database has of a run."""
    return server.ask(
        "SELECT state, count(*) FROM trials JOIN studies USING (study_id) "
        f"WHERE study_name LIKE '{run_name}/%' GROUP BY state"
    ).strip()


# ---------------------------------------------------------------------- the same answer


def test_a_search_in_a_database_gives_the_answer_of_one_in_a_file(config: Config, in_a_file: Evidence) -> None:
    found = search.run(config)
    assert told(found) == told(in_a_file)
    assert told(search.read(config.directory)) == told(in_a_file)
    assert not (config.directory / "study.db").exists()


def test_a_search_that_was_cut_goes_on_from_the_database(
    config: Config, server: PostgreSQL, in_a_file: Evidence
) -> None:
    with pytest.raises(KeyboardInterrupt):
        search.run(config, at_record(5, interrupt))
    state, _, number = counts(server, config.run_name).partition("|")
    assert (state, 5 <= int(number) < trainings(in_a_file)) == ("COMPLETE", True)
    assert told(search.run(config)) == told(in_a_file)


def test_another_storage_under_the_name_of_a_run_is_refused(config: Config, in_a_file: Evidence) -> None:
    other = dataclasses.replace(in_a_file.config, search=config.search)
    with pytest.raises(ConfigError, match=r"search\.storage: None then, 'postgresql\+psycopg://anna@127"):
        search.run(other)


# ---------------------------------------------------------------------- one process alone


def test_a_run_that_another_process_holds_is_refused_with_its_name(config: Config, tmp_path: Path) -> None:
    """From another folder, whose lock says nothing of it."""
    elsewhere = dataclasses.replace(config, runs=str(tmp_path / "elsewhere"))
    refused: list[str] = []

    def second() -> None:
        program = (
            "import sys, yaml; from lstmreg import search; from lstmreg.config import from_dict; "
            "from lstmreg.errors import ConfigError\n"
            "try: search.run(from_dict(yaml.safe_load(sys.stdin)))\n"
            "except ConfigError as error: print(error)"
        )
        settings = json.dumps(dataclasses.asdict(elsewhere))
        line = [sys.executable, "-c", program]
        refused.append(subprocess.run(line, input=settings, capture_output=True, text=True, check=True).stdout)

    search.run(config, at_record(1, second))
    assert f"process {os.getpid()} on {socket.gethostname()[:30]} is working on the run" in refused[0]
    assert "/studies: " in refused[0]
    assert not Path(elsewhere.runs).exists() or not list(Path(elsewhere.runs).rglob("config.yaml"))


# ---------------------------------------------------------------------- the server goes away


def test_a_server_that_restarts_changes_nothing_in_the_answer(
    config: Config, server: PostgreSQL, in_a_file: Evidence
) -> None:
    def restart() -> None:
        server.stop()
        server.start()

    found = search.run(config, at_record(4, restart))
    assert told(found) == told(in_a_file)
    assert told(search.read(config.directory)) == told(in_a_file)
    assert counts(server, config.run_name) == f"COMPLETE|{trainings(in_a_file)}"


def test_a_server_that_is_gone_ends_the_search_in_one_line_and_it_goes_on_later(
    config: Config,
    server: PostgreSQL,
    in_a_file: Evidence,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(study_server, "PAUSES", (0.01, 0.01))
    with pytest.raises(OSError, match=r"cannot be reached.*told of are kept.*run the search again") as caught:
        search.run(config, at_record(4, server.stop))
    try:
        assert caught.value.filename == f"127.0.0.1:{server.port}/{DATABASE}"
        said = [record.getMessage() for record in caplog.records if record.name == "lstmreg"]
        assert len(said) == 1
        assert "trying again" in said[0]
        with pytest.raises(OSError, match="cannot be reached"):
            search.run(config)
    finally:
        server.start()
    assert counts(server, config.run_name) == "COMPLETE|4"  # the fifth was told after the server's end
    assert told(search.run(config)) == told(in_a_file)
