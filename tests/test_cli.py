"""The command line as a user meets it: in a process of its own, with its exit codes and one-line errors."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser, Namespace

from lstmreg import __version__
from lstmreg.cli import main, parse
from lstmreg.config import Config, DataConfig, from_dict
from lstmreg.errors import ConfigError, DataError
from lstmreg.search import Progress, Shown
from lstmreg.terminal import Console, FitLines, Pulse, TrialLines, pulse, say
from lstmreg.verbs import VERBS, Verb
from lstmreg.verbs.settings import VerbWithSettings
from tests.program import Program, completed
from tests.tiny import write_series

SETTINGS = {
    "data": {"path": "waves.csv", "target": "wave", "time": "day", "window": 6},
    "model": {"hidden_size": 4},
    "training": {"max_epochs": 3, "patience": 2},
    "search": {
        "blocks": 3,
        "race": 0,
        "judge_seeds": 2,
        "test_seeds": 2,
        "learning_rates": ["3e-2"],
        "weight_decay": [0.1],
        "space": {"model.kernel_l2": [1e-4], "model.recurrent_dropout": {"low": 0.1, "high": 0.5}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path / "waves.csv")
    (tmp_path / "lstmreg.yaml").write_text(yaml.safe_dump(SETTINGS))
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lstmreg", *arguments]


def lstmreg(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; where an interpreter must find its environment, in a new one."""
    if not environment:
        return completed(folder, *arguments)
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def config_of(arguments: list[str]) -> Config:
    verb, parsed = parse(arguments)
    assert isinstance(verb, VerbWithSettings)
    return verb.config(parsed)


def test_a_search_ends_with_its_answer_and_its_files_and_goes_on_when_asked_again(folder: Path) -> None:
    first = lstmreg(folder, "search", "-c", "lstmreg.yaml", "--model.hidden_size", "3")
    assert (first.returncode, first.stderr) == (0, "")
    run = folder / "runs" / "waves"
    present = {p.name for p in run.iterdir() if not p.name.startswith(".")}
    assert present == {
        "config.yaml",
        "study.db",
        "answer.json",
        "answer.md",
        "report.html",
        "model.json",
        "model.safetensors",
        "status.json",
    }
    answer = json.loads((run / "answer.json").read_text())
    assert answer["headline"] in first.stdout
    for sentence in answer["sentences"]:
        assert " ".join(sentence.split()) in " ".join(first.stdout.split())
    assert "Report: runs/waves/report.html" in first.stdout
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["hidden_size"] == 3  # the override
    assert re.search(r"Every value alone, on every block \(\d+ trained at once; about \d+ seconds left\)", first.stdout)
    compared = r" +loss ×\S+ of the baseline, better on \d of 3 blocks"
    assert len(re.findall(r"kernel_l2=0\.0001" + compared, first.stdout)) >= 1
    screen = first.stdout.partition("Every value alone")[2].partition("The judge: fresh seeds")[0]
    assert len(re.findall(compared, screen)) == 1 + 3 + 1  # the interval at three values, and weight decay
    plan = r"The plan: up to 54 trainings, about \S+ \w+\. 3 settings with 5 values are tried on 3 blocks"
    assert re.search(plan, " ".join(first.stdout.split()))

    again = lstmreg(folder, "search", "-c", "runs/waves/config.yaml")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads((run / "answer.json").read_text())["judged"] == answer["judged"] is not None
    asked = ("--model.hidden_size=3", "--trials", "5", "--search.effort=thorough")
    more = lstmreg(folder, "search", "-c", "lstmreg.yaml", *asked)
    assert more.returncode == 2
    assert "search.trials: 0 then, 5 now" in more.stderr
    assert "search.effort: 'default' then, 'thorough' now" in more.stderr
    assert json.loads((run / "answer.json").read_text())["judged"] == answer["judged"]

    (run / "answer.json").unlink()
    (folder / "waves.csv").unlink()  # a report needs the study alone
    again = lstmreg(folder, "report", "runs/waves")
    assert again.returncode == 0
    assert json.loads((run / "answer.json").read_text())["headline"] in again.stdout


def test_a_search_says_first_what_becomes_of_configured_knobs(folder: Path) -> None:
    knobs = ["--model.recurrent_dropout=0.2", "--model.bias_l2=0.1"]
    done = lstmreg(folder, "search", "-c", "lstmreg.yaml", *knobs)
    assert (done.returncode, done.stderr) == (0, "")
    before = done.stdout.partition("No regularization")[0]
    assert "The search turns off recurrent_dropout=0.2 of the configuration" in before
    assert "bias_l2=0.1 of the configuration stays on everywhere" in before
    answer = json.loads((folder / "runs/waves/answer.json").read_text())
    assert "stayed on in every training" in " ".join(answer["sentences"])


def test_fit_trains_once_compares_with_the_floors_and_saves(folder: Path) -> None:
    done = lstmreg(folder, "fit", "-c", "lstmreg.yaml", "--training.learning_rate=1e-2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Best epoch" in done.stdout
    assert "persistence" in done.stdout
    assert (folder / "runs/waves/fit/model.safetensors").exists()


def test_fit_writes_over_a_saved_model_only_where_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    small = ["fit", "-c", "lstmreg.yaml", "--training.max_epochs=1"]
    assert main(small) == 0
    weights = Path("runs/waves/fit/model.safetensors")
    before = weights.read_bytes()

    other = [*small, "--model.hidden_size=3"]
    capsys.readouterr()
    assert main(other) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "runs/waves/fit: an earlier fit has saved its model here" in refused.err
    assert "--name NAME" in refused.err
    assert "--force" in refused.err
    assert weights.read_bytes() == before

    assert main([*other, "--name=smaller"]) == 0
    assert main([*other, "--force"]) == 0
    assert weights.read_bytes() == Path("runs/smaller/fit/model.safetensors").read_bytes() != before


def test_fit_says_which_forecast_it_does_not_beat_and_what_to_do_about_a_trend(folder: Path) -> None:
    rows = [f"{1990 + k // 12}-{k % 12 + 1:02},{k + 5 * (k % 12)}" for k in range(120)]
    (folder / "rising.csv").write_text("month,sales\n" + "\n".join(rows) + "\n")
    arguments = ["--data.path=rising.csv", "--data.target=sales", "--data.time=month", "--data.season=12"]
    small = ["--training.max_epochs=3", "--model.hidden_size=4", "--data.window=12"]
    done = lstmreg(folder, "fit", *arguments, *small)
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(done.stdout.split())
    for judged in (
        r"validation rows .*, a ridge regression on the window: loss \S+ against \S+\.",
        r"test rows .*, a ridge regression on the window: root mean square er",
    ):
        assert re.search(f"On the {judged}", shown)
    assert re.search(r"1\d of 18 test rows have a target above all that the training rows show", shown)
    assert "data.difference: 1 (from the row before), or season" in shown

    changes = lstmreg(folder, "fit", *arguments, *small, "--data.difference=season", "--force")
    assert (changes.returncode, changes.stderr) == (0, "")
    month_by_month = [line.split() for line in changes.stdout.splitlines()]
    errors = {cells[0]: float(cells[-1]) for cells in month_by_month if cells[:1] in (["this"], ["seasonal"])}
    assert errors["this"] < 0.1 * errors["seasonal"]  # each month is 12 above that of the year before
    assert "data.difference" not in changes.stdout
    about = json.loads((folder / "runs/rising/fit/model.json").read_text())["about"]
    assert about["difference"]["lag"] == 12


#: A background job ignores Ctrl-C, and what ``nohup`` runs SIGHUP; a program on a terminal hears both.
HEARING = "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL); "


def be_talkative() -> None:
    """Have no patience for silence: say all the time where it is."""
    pulse._SILENCE = 0.02


def talkative(folder: Path, *arguments: str) -> Program:
    """Start the command line, which says all the time where it is."""
    return Program(folder, *arguments, prepare=be_talkative)


def talkative_anew(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start it in a new interpreter, whose children are its own."""
    program = (
        "import signal; from lstmreg.__main__ import run; from tests.test_cli import be_talkative; be_talkative(); "
    )
    return subprocess.Popen(
        [sys.executable, "-c", program + HEARING + "run()", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str] | Program, pattern: str) -> None:
    """Read what is printed up to a line that begins like this."""
    assert process.stdout is not None
    assert any(re.match(pattern, line) for line in process.stdout), "it ended before"


def test_ctrl_c_ends_a_fit_at_its_best_epoch_and_saves_it(folder: Path) -> None:
    arguments = ["fit", "-c", "lstmreg.yaml", "--training.max_epochs=100000", "--training.patience=100000"]
    with talkative(folder, *arguments) as process:
        wait_for(process, r"  Training, epoch \d{2,} of at most 100000; ")
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "Best epoch" in shown
    assert "raise training.max_epochs" not in shown  # that is not what ended it
    assert (folder / "runs/waves/fit/model.safetensors").exists()


def test_ctrl_c_again_while_it_ends_is_no_other_end(folder: Path) -> None:
    arguments = ["fit", "-c", "lstmreg.yaml", "--training.max_epochs=100000", "--training.patience=100000"]
    with talkative(folder, *arguments) as process:
        wait_for(process, r"  Training, epoch \d{2,} of at most 100000; ")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == "Interrupted.\n"
        while process.poll() is None:  # all through the interpreter's end
            process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, "")


#: Imports that last, as on a slow disk, so that a signal meets them.
SLOW_IMPORTS = (
    """
import importlib.abc, signal, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "lstmreg.cli":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
"""
    + HEARING
    + """
from lstmreg.__main__ import run
run()
"""
)


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program, which does not outlive the test."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(program: str, line: str, sent: signal.Signals) -> tuple[int, str]:
    """Send a signal to a program as soon as it prints a line; return its exit code and what it says of it."""
    with running(program) as process:
        wait_for(process, line)
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_answered_before_anything_heavy_is_loaded(sent: signal.Signals, code: int) -> None:
    assert interrupted(SLOW_IMPORTS, "importing", sent) == (code, "Interrupted.\n")


#: What ends a program meets it where nothing can be raised, as it does where a library lets go of what it holds.
LETS_GO = f"""
import signal, time
from lstmreg import signals
{HEARING}
signals.answer_signals()
class Held:
    def __del__(self):
        print("letting go", flush=True)
        time.sleep(60)
try:
    Held()
    time.sleep(60)
except (KeyboardInterrupt, signals.Terminated):
    print("in order", flush=True)
    signals.exit_now(0)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_nothing_can_be_raised_for_is_raised_a_moment_later(sent: signal.Signals, code: int) -> None:
    with running(LETS_GO) as process:
        wait_for(process, "letting go")
        process.send_signal(sent)
        assert process.communicate(timeout=60) == ("in order\n", "Interrupted.\n")
    assert process.returncode == code


def deaf(seconds: float) -> str:
    """Return a program that swallows what ends it, as a library may, and is ended after some time."""
    return f"""
import signal, time
from lstmreg import signals
signals._SECONDS_TO_END = {seconds}
{HEARING}
signals.answer_signals()
said = "ready"
while True:
    try:
        print(said, flush=True)
        time.sleep(600)
    except BaseException:
        said = "swallowed"
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_does_not_end_in_order_is_ended(sent: signal.Signals, code: int) -> None:
    assert interrupted(deaf(0.1), "ready", sent) == (code, "Interrupted.\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_second_signal_ends_at_once_with_the_code_of_the_first(
    first: signal.Signals, code: int, second: signal.Signals
) -> None:
    with running(deaf(600)) as process:
        wait_for(process, "ready")
        process.send_signal(first)
        wait_for(process, "swallowed")
        process.send_signal(second)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "Interrupted.\n")


def test_a_signal_that_is_ignored_as_by_nohup_stays_so() -> None:
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from lstmreg import signals; "
    program += "signals.answer_signals(); print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"


def test_help_and_arguments_load_nothing_heavy(folder: Path) -> None:
    shown = lstmreg(folder, "--help")
    assert shown.returncode == 0
    for verb in ("demo", "fit", "search", "report"):
        assert verb in shown.stdout
    heavy = "import sys; from lstmreg.cli import parse; parse(['search', '-c', 'lstmreg.yaml']); "
    heavy += "print([m for m in ('torch', 'lightning', 'optuna', 'matplotlib', 'scipy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", heavy], cwd=folder, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_version_is_told(folder: Path) -> None:
    told = lstmreg(folder, "--version")
    assert (told.returncode, told.stdout.split()) == (0, ["lstmreg", __version__])


class Count(Verb):
    """A verb that somebody adds."""

    name = "count"
    help = "count up to a number"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("last", type=int, help="where to stop")
        parser.add_argument("--by", type=int, default=1, help="how far a step is")

    def run(self, arguments: Namespace, out: Console) -> None:
        if arguments.by < 1:
            raise DataError(f"--by must be at least 1, got {arguments.by}.")
        say(out, " ".join(str(number) for number in range(1, arguments.last + 1, arguments.by)))


WITH_COUNT = [*VERBS, Count()]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["count", "5"], 0, "1 2 3 4 5\n"),
        (["count", "5", "--by=2"], 0, "1 3 5\n"),
        (["count", "5", "--by", "0"], 3, "lstmreg: --by must be at least 1, got 0.\n"),
        (["count"], 2, "lstmreg: required: last. 'lstmreg count --help' says more.\n"),
        (["count", "many"], 2, "lstmreg: last must be a whole number, got 'many'.\n"),
        (["count", "5", "6"], 2, "lstmreg: unknown argument 6. 'lstmreg count --help' lists what there is.\n"),
        (["count", "5", "--bye=2"], 2, "lstmreg: unknown argument --bye. Did you mean '--by'?\n"),
        (
            [],
            2,
            "lstmreg: name what to do: demo, init, fit, search, status, report, predict, convert, count. "
            "'lstmreg --help' says more.\n",
        ),
    ],
)
def test_a_verb_is_added_by_its_object_alone(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, WITH_COUNT) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ((said, "") if code == 0 else ("", said))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--help"], ["count up to a number", *(verb.help for verb in VERBS)]),
        (["count", "--help"], ["count up to a number", "where to stop", "--by BY", "how far a step is (type: int"]),
    ],
)
def test_an_added_verb_is_in_the_help(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, WITH_COUNT)
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in parts:
        assert part in shown


def test_printed_configuration_is_one_that_can_be_read_again(folder: Path) -> None:
    printed = lstmreg(folder, "search", "-c", "lstmreg.yaml", "--print_config")
    assert printed.returncode == 0
    (folder / "again.yaml").write_text(printed.stdout)
    again = lstmreg(folder, "search", "-c", "again.yaml", "--print_config")
    assert again.stdout == printed.stdout
    config = from_dict(yaml.safe_load(printed.stdout))
    assert config.search.learning_rates == [0.03]  # from the text 3e-2
    assert lstmreg(folder, "demo", "--print_config").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name what to do: demo, init, fit, search, status, report"),
        (["report"], 2, "name the run's folder"),
        (["fit", "lstmreg.yaml"], 2, "given as -c lstmreg.yaml"),
        (["serch"], 2, "there is no 'serch'. Did you mean 'search'?"),
        (["search"], 2, "data.path, data.target"),
        (["search", "-c", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["search", "-c", "lstmreg.yaml", "--model.dropuot", "0.1"], 2, "Did you mean '--model.dropout'?"),
        (["search", "-c", "lstmreg.yaml", "--model.dropout", "1.2"], 2, "model.dropout must be in [0, 1), got 1.2"),
        (["search", "-c", "lstmreg.yaml", "--model.dropout", "1.0"], 2, "model.dropout must be in [0, 1), got 1.0"),
        (["search", "-c", "lstmreg.yaml", "--model.dropout", "much"], 2, "model.dropout must be a number"),
        (["search", "-c", "lstmreg.yaml", "--model.kernel_l2", "-1"], 2, "model.kernel_l2 must be finite and not neg"),
        (["search", "-c", "lstmreg.yaml", "--model.hidden_size", "1000000000"], 2, "model.hidden_size must be between"),
        (["search", "-c", "lstmreg.yaml", "--training.batch_size", "0"], 2, "training.batch_size must be between"),
        (["search", "-c", "lstmreg.yaml", "--search.blocks", "2"], 2, "search.blocks must be between 3"),
        (["search", "-c", "lstmreg.yaml", "--name", "../../x"], 2, "name must be"),
        (["search", "-c", "lstmreg.yaml", "--data.path", "wave.csv"], 3, "Did you mean 'waves.csv'?"),
        (["search", "-c", "lstmreg.yaml", "--data.target", "wvae"], 3, "Did you mean 'wave'?"),
        (["search", "-c", "lstmreg.yaml", "--data.window", "100"], 3, "120 rows are too few"),
        (["search", "-c", "lstmreg.yaml", "--data.path", "https://example.org/x.csv"], 3, "Download it first"),
        (["fit", "-c", "lstmreg.yaml", "--data.window", "119"], 3, "120 rows are too few"),
        (["fit", "-c", "lstmreg.yaml", "--training.optimizer=sgd", "--training.learning_rate=1e30"], 5, "diverged"),
        (["report", "runs/nothing"], 4, "no run here"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_exit_code(
    folder: Path, arguments: list[str], code: int, said: str
) -> None:
    refused = lstmreg(folder, *arguments)
    assert refused.returncode == code, refused.stderr
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert refused.stdout == ""
    assert not (folder / "runs").exists() or not any((folder / "runs").rglob("study.db"))


WITH_PASSWORD = "postgresql+psycopg://anna:hidden-Swordfish@db/studies"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--search.storage={WITH_PASSWORD}"],
        ["--search.storage", WITH_PASSWORD],
        ["--search.storage", WITH_PASSWORD, "-v"],
        [f"--search={{storage: '{WITH_PASSWORD}'}}"],
        [f"--search.storag={WITH_PASSWORD}"],
        ["--search.trials", WITH_PASSWORD],
        ["--search.space", WITH_PASSWORD],
        [WITH_PASSWORD],
        ["-c", WITH_PASSWORD],
        ["-c", "secret.yaml"],
        ["-c", "secret.yaml", "-v"],
        ["--search.storage", WITH_PASSWORD, "--print_config"],
        ["-c", "secret.yaml", "--print_config"],
        [f"--search={{storage: '{WITH_PASSWORD}'}}", "--print_config"],
        ["--search.storage", WITH_PASSWORD.replace("anna:", "anna@db/x?password="), "-v"],
    ],
)
def test_a_password_in_an_address_is_refused_and_never_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "secret.yaml").write_text(yaml.safe_dump({"search": {"storage": WITH_PASSWORD}}))
    try:
        code: object = main(["search", "-c", "lstmreg.yaml", *arguments])
    except SystemExit as ended:
        code = ended.code
    said = "".join(capfd.readouterr())
    assert "Swordfish" not in said
    assert code == 2
    assert not (folder / "runs").exists()


REQUIRED = ["--data.path", "waves.csv", "--data.target", "wave"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", *REQUIRED, "--trails", "9"], "unknown argument --trails. Did you mean '--trials'?"),
        (["search", *REQUIRED, "--trails=9"], "unknown argument --trails. Did you mean '--trials'?"),
        (["fit", *REQUIRED, "--trials", "9"], "unknown argument --trials. Did you mean '--search.trials'?"),
        (["fit", *REQUIRED, "--window", "9"], "unknown argument --window. Did you mean '--data.window'?"),
        (["fit", *REQUIRED, "--data.diference", "1"], "Did you mean '--data.difference'?"),
        (["fit", *REQUIRED, "--conf", "x.yaml"], "unknown argument --conf. Did you mean '--config'?"),
        (["fit", *REQUIRED, "--verbse"], "Did you mean '--verbose'?"),
        (["convert", "m.keras", "-o", "x", "--ot", "onnx"], "unknown argument --ot. Did you mean '--to'?"),
        (["convert", "m.keras", "-o", "x", "y"], "unknown argument y. The folder to write into is given as -o y."),
        (["convert", "--model", "m.keras", "-o", "x"], "unknown argument --model."),
        (["report", "runs/a", "runs/b"], "unknown argument runs/b. Name one run's folder at a time."),
        (["fit", "sales.csv"], "unknown argument sales.csv. A table is given as --data.path sales.csv."),
        (["fit", "x"], "A file of settings is given as -c x, a table as --data.path x."),
        (["fit", "--data", "sales.csv"], "--data must name a setting, as in --data.path sales.csv --data.target sales"),
        (["fit", "--data=sales.csv"], "as in --data.path sales.csv --data.target sales, got 'sales.csv'."),
        (["fit", "--data"], "--data must name a setting, as in --data.path sales.csv --data.target sales."),
        (["search", *REQUIRED, "--search", "9"], "--search must name a setting, as in --search.trials 100, got '9'."),
        (["search", *REQUIRED, "--trials", "many"], "search.trials must be a whole number, got 'many'."),
        (["fit", "-cnowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["fit", "-c=nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["fit", *REQUIRED, "--data.difference", "2"], "data.difference must be 1, 'season' or null, got 2."),
    ],
)
def test_a_mistaken_argument_is_answered_with_the_right_one(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(arguments)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_stands_behind_a_section_is_not_imported(folder: Path) -> None:
    (folder / "sales.py").write_text("open('imported', 'w')")
    assert lstmreg(folder, "fit", "--data", "sales.csv").returncode == 2
    assert not (folder / "imported").exists()


def test_a_section_may_be_given_whole(folder: Path) -> None:
    config = config_of(["fit", "--data", "{path: waves.csv, target: wave, season: 7, difference: season}"])
    assert config.data == DataConfig("waves.csv", "wave", season=7, difference="season")


def test_verbose_shows_where_an_error_comes_from(folder: Path) -> None:
    assert "Traceback" in lstmreg(folder, "search", "-v", "-c", "lstmreg.yaml", "--data.target", "x").stderr


def test_a_bad_cell_is_named_by_line_and_column(folder: Path) -> None:
    lines = (folder / "waves.csv").read_text().splitlines()
    lines[7] = "6,abc,0.5"
    (folder / "waves.csv").write_text("\n".join(lines))
    refused = lstmreg(folder, "search", "-c", "lstmreg.yaml")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "waves.csv, line 8, column 'wave': 'abc' is not a number" in refused.stderr


@pytest.mark.parametrize(
    ("sent", "code", "workers"),
    [(signal.SIGINT, 130, 0), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 0), (signal.SIGHUP, 129, 2)],
)
def test_an_interrupted_search_closes_its_trial_and_the_same_line_goes_on(
    folder: Path, sent: signal.Signals, code: int, workers: int
) -> None:
    arguments = ["search", "-c", "lstmreg.yaml", "--training.max_epochs=80", "--training.patience=80"]
    start = talkative_anew if workers else talkative
    with start(folder, *arguments, f"--workers={workers}") as process:
        for _ in range(2):
            wait_for(process, r" +\d+/\d+ ")  # a setting is done
        wait_for(process, r"  .+, epoch \d+, \d+ of \d+ trainings; ")  # others are on their way
        os.killpg(process.pid, sent)  # as a terminal does
        shown, said = process.communicate(timeout=60)
        wait_until_all_have_ended(process.pid)
    assert process.returncode == code
    assert "Every finished trial is kept. Go on with: lstmreg search -c lstmreg.yaml" in said
    assert "Traceback" not in said
    assert "What is known so far: runs/waves/report.html, answer.md, answer.json" in shown
    known = json.loads((folder / "runs/waves/answer.json").read_text())
    assert known["unfinished"]["go_on"] == "lstmreg search -c runs/waves/config.yaml"
    with sqlite3.connect(folder / "runs/waves/study.db") as database:
        states = [state for (state,) in database.execute("SELECT state FROM trials")]
    assert "RUNNING" not in states
    assert states.count("COMPLETE") >= 2


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_trained(folder: Path) -> None:
    refused = lstmreg(folder, "search", "-c", "lstmreg.yaml", "--runs=/proc/runs")  # where nobody can
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert refused.stderr.startswith("lstmreg: /proc/runs")


def wait_until_all_have_ended(group: int) -> None:
    """See that no process of a group is left, once the first is gone and the others have noticed it."""
    deadline = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)
        pytest.fail("a process outlived the search")


def test_a_reader_that_leaves_does_not_stop_the_search(folder: Path) -> None:
    with Program(folder, "search", "-c", "lstmreg.yaml") as searching:
        searching.stdout.readline()
        searching.stdout.close()
        said = searching.stderr.read()
    assert (searching.wait(), said) == (0, "")
    assert (folder / "runs/waves/report.html").exists()


def leave_room(room: int) -> None:
    """Let no file grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


@pytest.mark.parametrize("room", [64_000])
def test_a_full_disk_is_said_and_the_search_goes_on_when_there_is_room(folder: Path, room: int) -> None:
    """At the smaller size the study cannot be made, at the larger one it fills up in the middle of the search."""
    arguments = ["search", "-c", "lstmreg.yaml", "--trials=4"]
    with Program(folder, *arguments, prepare=functools.partial(leave_room, room)) as program:
        _, said = program.communicate()
    assert program.returncode == 1
    assert said.startswith("lstmreg: runs/waves/study.db: ")
    assert said.count("\n") == 1
    assert lstmreg(folder, *arguments).returncode == 0
    assert json.loads((folder / "runs/waves/answer.json").read_text())["course"]["propose"] == [4 * 3, 0]


def lines_of(*told: Progress) -> list[str]:
    """Return what is printed of a search that tells this, where there is no terminal."""
    stream = io.StringIO()
    with TrialLines(Console(file=stream, width=200)) as lines:
        for progress in told:
            lines.show(progress)
    return stream.getvalue().splitlines()


def test_a_step_ends_with_its_settings_the_best_first() -> None:
    def shown(value: float, ratio: float | None, **more: object) -> Shown:
        return Shown({"model.dropout": value}, 0.5, ratio, better=2, blocks=3, **more)  # type: ignore[arg-type]

    many = [shown(0.1 + k / 100, 1.5 + k / 10) for k in range(8)]
    settings = (shown(0.4, 1.25, failed=1, failure="diverged"), shown(0.3, 0.88), *many)
    title, *lines = lines_of(
        Progress("screen", None, 2, 99, together=30),
        Progress("screen", None, 32, 99, shown=settings),
    )
    assert title == "Every value alone, on every block (30 trained at once)"
    best, second, *_, left = lines
    assert best.split(maxsplit=2) == ["32/99", "dropout=0.3", "loss ×0.88 of the baseline, better on 2 of 3 blocks"]
    assert second.endswith("loss ×1.25 of the baseline, better on 2 of 3 blocks; 1 failed: diverged")
    assert left.strip() == "and 2 that did worse"
    (alone,) = lines_of(Progress("test", None, 9, 9, shown=(Shown({}, 0.25),)))
    assert alone.split() == ["9/9", "baseline", "0.25"]  # which is compared with nothing


def test_a_log_hears_of_a_silent_step_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lstmreg.terminal.progress.Pulse", functools.partial(Pulse, clock=lambda: now[0]))
    stream = io.StringIO()
    with TrialLines(Console(file=stream, width=200)) as lines:
        lines.show(Progress("race", None, 0, 90, together=90))
        for epoch in range(1, 100):
            now[0] += 10
            lines.show(Progress("race", None, epoch // 2, 90, together=90, epoch=epoch))
            lines.pulse.tick()
    title, *beats = stream.getvalue().splitlines()
    assert title == "More seeds for those about whom they may decide (90 trained at once)"
    assert len(beats) == 33
    where = "More seeds for those about whom they may decide, epoch 18, 9 of 90 trainings"
    assert beats[5] == f"  {where}; 3 min so far, about 27 min left."


def test_a_long_fit_says_its_epoch_and_how_long_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lstmreg.terminal.progress.Pulse", functools.partial(Pulse, clock=lambda: now[0]))
    stream = io.StringIO()
    with FitLines(Console(file=stream, width=200), 200) as lines:
        for tenth in range(31):
            lines.show(tenth / 10)
            now[0] += 12
        lines.pulse.tick()
    assert stream.getvalue() == "  Training, epoch 4 of at most 200; 6 min so far, at most 6 h 34 min left.\n"


def test_a_plain_terminal_gets_plain_text(folder: Path) -> None:
    done = lstmreg(folder, "fit", "-c", "lstmreg.yaml", LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def saved_keras_model(folder: Path) -> None:
    """A model of Keras' with knobs, made in a process of its own, which has Keras."""
    program = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
from keras import layers
lstm = layers.LSTM(4, recurrent_dropout=0.2, kernel_regularizer=keras.regularizers.L2(0.01), name="reads")
model = keras.Sequential([keras.Input((None, 3)), lstm, layers.Dense(2, activation="softmax", name="says")])
model.save("m.keras"); model.save_weights("m.weights.h5"); open("m.json", "w").write(model.to_json())
"""
    made = completed(folder, code=program)
    assert made.returncode == 0, made.stderr


def test_convert_tells_what_it_found_and_writes_what_each_tool_reads(tmp_path: Path) -> None:
    import onnxruntime
    import torch

    from lstmreg import interop

    saved_keras_model(tmp_path)
    done = lstmreg(tmp_path, "convert", "m.keras", "-o", "ours")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"reads +LSTM +128 +units=4, .*kernel_regularizer=L2\(l2=0.01\)", done.stdout)
    assert "recurrent_dropout=0.2" in done.stdout
    assert re.search(r"says +Dense +10 +units=2, activation='softmax'", done.stdout)
    assert 'lstmreg.interop.load_model("ours")' in done.stdout
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == ["model.json", "model.safetensors"]
    x = torch.randn(2, 5, 3)
    expected = interop.load_model(tmp_path / "m.keras")(x)
    assert torch.equal(interop.load_model(tmp_path / "ours")(x), expected)

    again = lstmreg(tmp_path, "convert", "m.weights.h5", "--architecture", "m.json", "-o", "again", "--to", "keras")
    assert (again.returncode, again.stderr) == (0, "")
    assert torch.equal(interop.load_model(tmp_path / "again" / "model.keras")(x), expected)
    assert torch.equal(interop.load_model(tmp_path / "again" / "model.weights.h5", tmp_path / "m.json")(x), expected)

    onnx = lstmreg(tmp_path, "convert", "ours", "-o", "onnx", "--to", "onnx")
    assert (onnx.returncode, onnx.stderr) == (0, "")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    [says] = session.run(["says"], {"input_layer": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(says), expected.detach())


def test_convert_takes_a_model_with_the_hard_sigmoid_of_keras_2_to_keras_3(tmp_path: Path) -> None:
    import torch

    from lstmreg import LSTM, activations, interop

    gates = {"recurrent_activation": "keras2_hard_sigmoid", "kernel_regularizer": "l2"}
    interop.save_model(LSTM(3, 4, **gates), tmp_path / "ours")
    done = lstmreg(tmp_path, "convert", "ours", "-o", "theirs", "--to", "keras")
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "Note: lstm: hard_sigmoid of Keras 1 and 2 is written as that of Keras 3, with the weights in front" in said
    assert "in training kernel_regularizer will see the larger weights." in said
    x = torch.randn(2, 5, 3)
    theirs = interop.load_model(tmp_path / "theirs" / "model.keras")
    torch.testing.assert_close(theirs(x), interop.load_model(tmp_path / "ours")(x))
    [lstm] = theirs.layers.values()
    assert lstm.layers[0].recurrent_activation is activations.hard_sigmoid
    alone = interop.load_lstm(tmp_path / "theirs" / "model.keras")
    interop.load_weights(alone, tmp_path / "theirs" / "model.weights.h5")
    torch.testing.assert_close(alone(x)[0], theirs(x))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["m.keras", "-o", "x", "--to", "tensorflow"],
            2,
            "--to must be torch, keras, onnx or torch-export, got 'tensorflow'.",
        ),
        (["m.keras"], 2, "name the folder to write into: -o DIR."),
        (["m.keras", "conv9"], 2, "unknown argument conv9. The folder to write into is given as -o conv9."),
        (["-o", "x"], 2, "name the model, such as model.keras."),
        (["nothing.keras", "-o", "x"], 2, "nothing.keras: there is no such file."),
        (["bad.keras", "-o", "x"], 4, "bad.keras: is neither a .keras file (zip) nor HDF5, nor a model's description"),
        (["https://example.org/m.h5", "-o", "x"], 4, "has no network code. Download it first."),
        (["m.keras", "-o", "a file"], 2, "a file: is a file; -o names the folder to write into."),
        (["runs", "-o", "x"], 2, "runs: no saved model in this folder. A fit saves into runs/NAME/fit"),
    ],
)
def test_convert_refuses_in_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_text("hello")
    (tmp_path / "m.keras").write_text("hello")
    (tmp_path / "runs").mkdir()
    (tmp_path / "a file").write_text("hello")
    done = lstmreg(tmp_path, "convert", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x").exists()
