"""Studies in a real PostgreSQL database: the same answer as in a file, one process alone, and no secret anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest

from lstmreg import cli, search
from lstmreg.config import Config
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.search import Progress
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import STAGES
from lstmreg.search.study import server as study_server
from lstmreg.search.study.place import storage_of
from lstmreg.yaml_file import write_yaml
from tests.servers import DATABASE, PASSWORD, Cutting, PostgreSQL, dashboard, postgresql
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
    """What ran and what came out, to the last digit, in the order of the records; not how long it took, and where."""

    def one(record: object) -> str:
        plain = dataclasses.asdict(record) | {"place": None}  # type: ignore[call-overload]
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


def test_a_search_that_was_killed_goes_on_from_the_database_at_once(
    config: Config, server: PostgreSQL, in_a_file: Evidence, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "lstmreg", *command_line(config, tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd=tmp_path) as searching:
        try:
            while server.ask("SELECT to_regclass('trials')") == "\n" or not counts(server, config.run_name):
                assert searching.poll() is None
                time.sleep(0.2)  # who asks less often leaves it more of the machine
        finally:
            searching.kill()
    assert told(search.run(config)) == told(in_a_file)
    assert counts(server, config.run_name) == f"COMPLETE|{trainings(in_a_file)}"


def test_another_storage_under_the_name_of_a_run_is_refused(config: Config, in_a_file: Evidence) -> None:
    other = dataclasses.replace(in_a_file.config, search=config.search)
    with pytest.raises(ConfigError, match=r"search\.storage: None then, 'postgresql\+psycopg://anna@127"):
        search.run(other)


def test_without_what_speaks_with_the_database_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstmreg.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"search\.storage needs psycopg.*pip install 'lstmreg\[postgresql\]'"):
        storage_of(smallest_config(tmp_path, storage="postgresql+psycopg://db/studies"))


def test_the_remedy_is_said_too_where_it_is_there_and_cannot_be_loaded() -> None:
    code = (
        "from lstmreg import Config, DataConfig\n"
        "from lstmreg.config import SearchConfig\n"
        "from lstmreg.search.study.place import storage_of\n"
        "search = SearchConfig(storage='postgresql+psycopg://db/studies')\n"
        "storage_of(Config(DataConfig('a.csv', 'a'), search=search))"
    )
    environment = os.environ | {"PSYCOPG_IMPL": "none"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert re.search(
        r"ConfigError: search\.storage needs psycopg, which cannot be loaded \(.*'none'.*\)\. Install it with all that "
        r"it needs: pip install 'lstmreg\[postgresql\]'$",
        done.stderr.strip(),
    )


# ---------------------------------------------------------------------- who watches


def got(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as answered:
        return json.load(answered)


@pytest.mark.parametrize("place", ["file", "database"])
def test_the_dashboard_shows_trials_with_their_values_and_what_they_tried(
    place: str, in_a_file: Evidence, request: pytest.FixtureRequest
) -> None:
    evidence, address = in_a_file, f"sqlite:///{in_a_file.config.directory / 'study.db'}"
    if place == "database":
        config: Config = request.getfixturevalue("config")
        evidence, address = search.run(config), str(config.search.storage)
    with dashboard(address) as shown:
        studies = {study["study_name"]: study["study_id"] for study in got(f"{shown}/api/studies")["study_summaries"]}
        for stage, records in evidence.records.items():
            found = got(f"{shown}/api/studies/{studies[f'{evidence.config.run_name}/{stage}']}")
            values = {trial["number"]: trial.get("values") for trial in found["trials"]}
            assert values == {r.number: [r.result.test_error if stage == "test" else r.result.loss] for r in records}
            tried = {t["number"]: {p["name"]: p["param_internal_value"] for p in t["params"]} for t in found["trials"]}
            if stage != "explain":  # where columns are left out, which nobody searches
                assert tried == {r.number: r.setting for r in records}


def test_who_may_only_read_can_report_and_watch(
    config: Config, server: PostgreSQL, in_a_file: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.url.replace("anna@", "") + "?application_name=ours&sslmode=prefer"
    monkeypatch.setenv("PGUSER", "anna")
    search.run(dataclasses.replace(config, search=dataclasses.replace(config.search, storage=address)))
    server.ask(f"CREATE ROLE ben LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO ben")
    monkeypatch.setenv("PGUSER", "ben")
    assert told(search.read(config.directory)) == told(in_a_file)
    with dashboard(address) as shown:
        names = [study["study_name"] for study in got(f"{shown}/api/studies")["study_summaries"]]
        assert f"{config.run_name}/judge" in names
        assert got(f"{shown}/api/studies/1")["trials"]
    with pytest.raises(OSError, match="permission denied"):
        search.run(
            dataclasses.replace(config, name="of_ben", search=dataclasses.replace(config.search, storage=address))
        )


# ---------------------------------------------------------------------- one process alone


def test_a_run_that_another_process_holds_is_refused_with_its_name(config: Config, tmp_path: Path) -> None:
    """From another folder, whose lock says nothing of it; to the database any other connection is another process."""
    elsewhere = dataclasses.replace(config, runs=str(tmp_path / "elsewhere"))
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(ConfigError) as caught:
            search.run(elsewhere)
        refused.append(str(caught.value))

    search.run(config, at_record(1, second))
    assert f"process {os.getpid()} on {socket.gethostname()[:30]} is working on the run" in refused[0]
    assert "/studies: " in refused[0]
    assert not Path(elsewhere.runs).exists() or not list(Path(elsewhere.runs).rglob("config.yaml"))


# ---------------------------------------------------------------------- secrets and damage


def command_line(config: Config, folder: Path) -> list[str]:
    """Return what searches as configured."""
    write_yaml(config, folder / "lstmreg.yaml")
    return ["search", "-c", str(folder / "lstmreg.yaml")]


def test_the_password_is_nowhere_but_in_the_environment(
    config: Config, server: PostgreSQL, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = command_line(config, tmp_path)
    assert cli.main(line) == 0
    assert cli.main(["report", str(config.directory)]) == 0
    said = "".join(capfd.readouterr())
    assert "report.html" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert config.directory / "config.yaml" in files
    for kept in (said, server.dump(), *(path.read_bytes().decode("latin-1") for path in files)):
        assert PASSWORD not in kept


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_a_wrong_password_is_said_with_the_remedy_and_not_shown(
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    verbose: list[str],
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-Swordfish")
    assert cli.main([*command_line(config, tmp_path), *verbose]) == 1
    said = "".join(capfd.readouterr())
    assert "password authentication failed" in said
    assert "PGPASSWORD or ~/.pgpass" in said
    assert "wrong-Swordfish" not in said


def test_a_digit_that_changed_in_the_database_is_no_other_answer(config: Config, server: PostgreSQL) -> None:
    search.run(config)
    first = f"SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = '{config.run_name}/rates'"
    server.ask(
        "UPDATE trial_user_attributes SET value_json = "
        "jsonb_set(value_json::jsonb, '{loss}', to_jsonb((value_json::jsonb ->> 'loss')::float8 * 0.5))::text "
        f"WHERE key = 'result' AND trial_id = ({first} ORDER BY trial_id LIMIT 1)"
    )
    with pytest.raises(CorruptFileError, match="trial 0 of stage 'rates': it is not what was written") as caught:
        search.read(config.directory)
    assert caught.value.exit_code == 4
    assert f"127.0.0.1:{server.port}/{DATABASE}: the study" in str(caught.value)


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


def test_what_another_process_wrote_while_the_connection_was_lost_is_not_mixed_in(
    config: Config, server: PostgreSQL, in_a_file: Evidence
) -> None:
    def restart_and_write() -> None:
        server.stop()
        server.start()
        others = optuna.storages.RDBStorage(str(config.search.storage))
        optuna.load_study(storage=others, study_name=f"{config.run_name}/explain").add_trial(
            optuna.create_trial(value=1.0)
        )
        others.engine.dispose()

    with pytest.raises(OSError, match="another process has worked on this run") as caught:
        search.run(config, at_record(4, restart_and_write))
    assert caught.value.filename == f"127.0.0.1:{server.port}/{DATABASE}"
    assert told(search.run(config)) == told(in_a_file)


def test_a_lost_connection_to_which_the_server_still_holds_is_no_other_process(server: PostgreSQL) -> None:
    storage = study_server.StudyServer(server.url, "lost")
    with closing(storage._locked()) as lost:
        with pytest.raises(study_server._LostError):
            storage._locked()  # which ends the other
        with pytest.raises(psycopg.OperationalError):
            lost.execute("SELECT 1")
    for _ in range(100):  # as soon as the server has let go
        with suppress(study_server._LostError), closing(storage._locked()):
            break
    else:
        pytest.fail("it still holds")


def test_a_trial_whose_commit_was_not_answered_is_not_written_twice(
    config: Config, server: PostgreSQL, in_a_file: Evidence
) -> None:
    """Between the two stands what takes the first trial's commit to the server, and never brings the answer back."""
    with Cutting(server.port, "INSERT INTO trials ", "COMMIT") as cutting:
        address = server.url.replace(str(server.port), str(cutting.port))
        found = search.run(dataclasses.replace(config, search=dataclasses.replace(config.search, storage=address)))
    assert cutting.has_cut
    assert told(found) == told(in_a_file)
    assert counts(server, config.run_name) == f"COMPLETE|{trainings(in_a_file)}"


def test_a_server_that_is_gone_ends_the_search_in_one_line_and_it_goes_on_later(
    config: Config,
    server: PostgreSQL,
    in_a_file: Evidence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(study_server, "PAUSES", (0.01, 0.01))
    with pytest.raises(OSError, match=r"cannot be reached.*told of are kept.*run the search again") as caught:
        search.run(config, at_record(4, server.stop))
    try:
        assert caught.value.filename == f"127.0.0.1:{server.port}/{DATABASE}"
        said = [record.getMessage() for record in caplog.records if record.name == "lstmreg"]
        assert len(said) == 1
        assert "trying again" in said[0]
        assert cli.main(command_line(config, tmp_path)) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert "the database cannot be reached" in line
        assert "See that the server runs" in line
    finally:
        server.start()
    assert counts(server, config.run_name) == "COMPLETE|4"  # the fifth was told after the server's end
    assert told(search.run(config)) == told(in_a_file)
