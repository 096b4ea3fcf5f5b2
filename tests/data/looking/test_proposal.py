"""What is proposed holds: it reads back as it was written, each other way is one, and it runs."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st

import lstmreg
from lstmreg.cli import main, parse
from lstmreg.config import Config
from lstmreg.data.looking import Proposal, Wish, look, propose, written
from lstmreg.data.looking.beside import said as said_of_others
from lstmreg.data.looking.proposal import Setting
from lstmreg.data.looking.writing import in_yaml
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError
from lstmreg.other_sets import Change, Kind, OtherSet, Tried
from lstmreg.tasks import read_task
from lstmreg.verbs.settings import VerbWithSettings
from lstmreg.yaml_file import read_yaml

from .made import FILES, daily, days, table, waves

#: Two trainings of an epoch, and a search of the least size.
SHORT = ["--training.max_epochs=1", "--model.hidden_size=2"]
SMALL = [*SHORT, "--search.blocks=3", "--search.race=0", "--search.judge_seeds=2", "--search.test_seeds=2"]
SMALL += ["--search.weight_decay=[]", "--search.learning_rates=[0.01]"]
SMALL += ['--search.space={"model.kernel_l2": [0.001]}']


def config_of(path: Path) -> Config:
    verb, parsed = parse(["fit", "-c", str(path)])
    assert isinstance(verb, VerbWithSettings)
    return verb.config(parsed)


def proposal_for(name: str, folder: Path) -> Proposal:
    make, said, _, _ = FILES[name]
    wish = Wish(target=said[1] if said else None)
    return propose(look(str(make(folder)), wish), wish)


def is_null(text: str) -> bool:
    """Tell whether a text is nothing but a null or a comment to a reader of YAML."""
    return is_read_as(type(None), text)


def is_read_as(kind: type, text: str) -> bool:
    """Tell what a text is to a reader of YAML."""
    try:
        return isinstance(yaml.safe_load(text), kind)
    except (yaml.YAMLError, ValueError):
        return False


#: Some seconds for each kind of file: every fourth in the ordinary run.
SOMETIMES = [pytest.param(name, marks=[pytest.mark.storm] if k % 4 else []) for k, name in enumerate(FILES)]


@pytest.mark.parametrize("name", SOMETIMES)
def test_what_is_written_runs_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, said, task, _ = FILES[name]
    assert main(["init", make(tmp_path).name, *said]) == 0
    assert config_of(Path("lstmreg.yaml")).task == task
    assert main(["fit", "-c", "lstmreg.yaml", *SHORT]) == 0
    assert main(["search", "-c", "lstmreg.yaml", *SMALL]) == 0
    assert list(tmp_path.glob("runs/*/report.html"))


@pytest.mark.parametrize("name", FILES)
def test_the_file_says_what_was_proposed(name: str, tmp_path: Path) -> None:
    proposal = proposal_for(name, tmp_path)
    (tmp_path / "o.yaml").write_text(written(proposal, "o.yaml"), encoding="utf-8")
    assert config_of(tmp_path / "o.yaml") == proposal.config()
    for line in (tmp_path / "o.yaml").read_text().splitlines():
        assert line.startswith("#") or not line or line.endswith(":") or re.search(r"\S +# \S", line), line


@pytest.mark.parametrize("name", FILES)
def test_each_other_way_is_one(name: str, tmp_path: Path) -> None:
    proposal = proposal_for(name, tmp_path)
    ways = [setting for setting in proposal.settings if not setting.is_on]
    assert ways
    for way in ways:
        assert proposal.config(way) != proposal.config()
        lines = written(proposal, "o.yaml").splitlines()
        text = next(line for line in lines if line.strip().startswith(f"# {way.name.rpartition('.')[2]}: "))
        assert yaml.safe_load(text.replace("# ", "", 1)).keys() == {way.name.rpartition(".")[2]}


# ---------------------------------------------------------------------- hostile names

NAMES = st.text(min_size=1, max_size=20).filter(lambda name: "\0" not in name and name.strip() == name)
HOSTILE = [
    "no",
    "~",
    "1e3",
    "0x1F",
    "12:30:45",
    "2024-01-01",
    "- a",
    "a: b",
    "#x",
    "{",
    "'\"",
    "\n",
    "\u2028",
    "\x85",
    "\x7f",
]
HOSTILE += [
    "!!python/object",
    "&a",
    "*a",
    "%",
    "@",
    "`",
    "=",
    "<<",
    "null",
    ".5",
    "1_000",
    "\ufeff",
    "😀",
    "\ud7ff",
    "|",
    ">",
]


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), max_size=5))
@example(HOSTILE)
def test_any_text_reads_back_as_it_was(names: list[str]) -> None:
    assert yaml.safe_load(f"x: {in_yaml(names)}  # and a comment") == {"x": names}


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    path=st.one_of(NAMES, st.sampled_from(HOSTILE)),
    names=st.lists(st.one_of(NAMES, st.sampled_from(HOSTILE)), min_size=2, unique=True),
)
def test_hostile_names_reach_the_command_line_as_they_are(path: str, names: list[str]) -> None:
    assume(not is_read_as(list, names[0]))
    said = [Setting("task", "forecast", path), Setting("name", "run", "\n".join(names))]
    data = {"path": path, "target": names[0], "features": names, "group": names[1], "time": names[-1], "tokens": names}
    data |= {"group": None, "time": None} if is_null(names[1]) or is_null(names[-1]) else {}
    said += [Setting(f"data.{name}", value, names[-1]) for name, value in data.items()]
    proposal = Proposal(path, names[0], tuple(said))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "o.yaml"
        file.write_text(written(proposal, names[0]), encoding="utf-8")
        assert read_yaml(file)["data"] == data
        assert config_of(file) == proposal.config()


def test_a_target_whose_name_is_read_as_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.target cannot be '- a', which is read as a list. Rename"):
        written(Proposal("x.csv", "", (Setting("data.target", "- a", "first"),)), "o.yaml")


def test_a_column_whose_name_is_read_as_null_is_refused_where_null_means_something() -> None:
    with pytest.raises(ConfigError, match=r"data.time cannot be '~', which is read as null. Rename"):
        written(Proposal("x.csv", "", (Setting("data.time", "~", "first"),)), "o.yaml")


def test_a_name_that_yaml_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="no text that YAML can hold"):
        in_yaml("\ud800")


@settings(max_examples=12, deadline=None)
@given(name=NAMES.filter(lambda name: not re.fullmatch(r"[\d.,\-:+eEinfaINFAT]+", name)))
def test_a_table_with_hostile_names_is_looked_at_and_its_settings_read_it(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([["date", name + "x"], *zip(days(60), waves(60), strict=True)])
        output = Path(folder) / "o.yaml"
        assert main(["init", str(path), "-o", str(output)]) == 0
        assert config_of(output).data.target == name + "x"


@pytest.mark.parametrize(
    "name", ["läden.csv", "-x.csv", ".hidden.csv", "a b.csv", "2024.csv", "x" * 120 + ".csv", "().csv"]
)
def test_a_files_name_that_can_name_no_run_is_no_obstacle(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    daily(tmp_path).rename(tmp_path / name)
    assert main(["init", f"./{name}"]) == 0
    assert config_of(tmp_path / "lstmreg.yaml").directory.parent == Path("runs")


# ---------------------------------------------------------------------- the file that is there


def test_a_file_that_is_there_is_not_written_over_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    daily(tmp_path)
    Path("lstmreg.yaml").write_text("mine")
    assert main(["init", "daily.csv"]) == 2
    assert "lstmreg.yaml: is there already" in capsys.readouterr().err
    assert Path("lstmreg.yaml").read_text() == "mine"
    assert main(["init", "daily.csv", "--force"]) == 0
    assert config_of(Path("lstmreg.yaml")).data.target == "sales"


def test_what_cannot_be_fitted_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.csv").write_text("x\n1\n2\n4\n")
    assert main(["init", "short.csv"]) == 3
    assert "too few" in capsys.readouterr().err
    assert not Path("lstmreg.yaml").exists()


@pytest.mark.parametrize(
    ("damage", "left_out"),
    [
        (
            lambda rows: [*rows[:58], rows[57], *rows[58:]],
            "data.time, for column 'date' has 2024-02-27 again on line 60. Keep one row for each time, and run init "
            "again.",
        ),
        (
            lambda rows: [*rows[:58], rows[57], rows[58], *rows[58:]],
            "data.time, for column 'date' has 2 times twice, the first of them 2024-02-27 again on line 60. Keep one "
            "row for each time, and run init again. If these are several series, name their column with --group.",
        ),
        (
            lambda rows: [re.sub(r"^2024-(\d\d)-(\d\d)", r"\1/\2/2024", row) for row in rows],
            "data.time, for dates such as 01/01/2024 in column 'date' may be read in two ways. Write them as "
            "2024-03-31, and run init again.",
        ),
        (
            lambda rows: [row.replace(",33.5", ",oops") for row in rows],
            "column 'temp', for 1 cell is no number, on line 35: 'oops'. Correct such cells or leave them empty, and "
            "run init again.",
        ),
        (lambda rows: rows, None),
    ],
)
def test_what_is_left_out_is_said_with_its_place_and_the_way_back(
    damage: Callable[[list[str]], list[str]],
    left_out: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{day},{y:.3f},{k + 0.5}" for k, (day, y) in enumerate(zip(days(140), waves(140), strict=True))]
    Path("sales.csv").write_text("\n".join(["date,sales,temp", *damage(rows)]) + "\n")
    assert main(["init", "sales.csv", "--target", "sales"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    comments = [line for line in Path("lstmreg.yaml").read_text().splitlines() if line.startswith("#")]
    said = " ".join(" ".join(line[1:] for line in comments).split())
    assert ("Left out: " in shown, "Left out: " in said) == (left_out is not None,) * 2
    assert f"Left out: {left_out or ''}" in shown or left_out is None
    assert f"Left out: {left_out or ''}" in said or left_out is None
    assert (config_of(Path("lstmreg.yaml")).data.time is None) == (left_out is not None and "data.time" in left_out)


@pytest.mark.parametrize(
    ("times", "calendar"),
    [
        (days(140), ["weekday", "yearday"]),
        ([f"{2010 + k // 12}-{k % 12 + 1:02}" for k in range(140)], ["month"]),
        ([f"{2010 + k // 4}-Q{k % 4 + 1}" for k in range(140)], None),
        ([day.replace("-", "") for day in days(140)], None),
        (range(140), None),
    ],
)
def test_what_may_be_known_in_advance_is_named_and_can_be_used(
    times: list[str], calendar: list[str] | None, tmp_path: Path
) -> None:
    path = table(tmp_path / "sales.csv", ["when", "sales", "promo"], times, waves(140), [k % 3 for k in range(140)])
    wish = Wish(target="sales")
    proposal = propose(look(str(path), wish), wish)
    ways = {way.name: way for way in proposal.settings if not way.is_on}
    assert ways["data.known_future"].value == ["promo"]
    assert read_series(proposal.config(ways["data.known_future"]).data).ahead_names == ("promo",)
    assert (ways["data.calendar"].value if "data.calendar" in ways else None) == calendar
    if calendar is not None:
        assert read_series(proposal.config(ways["data.calendar"]).data).ahead.shape == (140, 2 * len(calendar))


def test_a_bad_cell_of_the_target_is_named(tmp_path: Path) -> None:
    wish = Wish(target="sales")
    values = ["7?" if k == 3 else f"{y:.3f}" for k, y in enumerate(waves(50))]
    seen = look(str(table(tmp_path / "sales.csv", ["date", "sales"], days(50), values)), wish)
    with pytest.raises(ConfigError, match=r"to be predicted, and 1 cell is no number, on line 5: '7\?'"):
        propose(seen, wish)


def test_whole_numbers_are_regressed_by_the_line_that_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"s{k},{(k % 5) + step / 9:.3f},{k % 5}" for k in range(60) for step in range(4)]
    Path("ratings.csv").write_text("\n".join(["id,x,rating", *rows]) + "\n")
    assert main(["init", "ratings.csv", "--target", "rating"]) == 0
    text = Path("lstmreg.yaml").read_text()
    (other,) = [line for line in text.splitlines() if line.startswith("# task: regress")]
    assert "such as ratings" in other
    lines = [line for line in text.splitlines() if not line.startswith("task: classify")]
    Path("lstmreg.yaml").write_text("\n".join(lines).replace("# task: regress", "task: regress") + "\n")
    assert main(["fit", "-c", "lstmreg.yaml", *SHORT]) == 0
    model = lstmreg.load("runs/ratings/fit")
    assert model.task == "regress"
    assert model.predict("ratings.csv").shape == (60, 1)


def test_a_file_that_is_not_there_is_said_before_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    daily(tmp_path)
    Path("lstmreg.yaml").write_text("mine")
    assert main(["init", "dayly.csv"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("lstmreg: dayly.csv: no such file in ")
    assert said.endswith("Did you mean 'daily.csv'?\n")


def test_unequal_classes_are_weighted(tmp_path: Path) -> None:
    def settings_of(rare: int) -> dict[str, Any]:
        rows = [(f"r{n}", t, t * (1 + (n < rare)), "ab"[n < rare]) for n in range(40) for t in range(6)]
        path = tmp_path / f"{rare}.csv"
        path.write_text("recording,t,x,y\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in rows))
        proposal = propose(look(str(path), Wish()), Wish())
        return {setting.name: setting.value for setting in proposal.settings if setting.is_on}

    assert settings_of(8)["training.class_weight"] == "balanced"
    assert "training.class_weight" not in settings_of(18)


# ---------------------------------------------------------------------- what other data say


def of_others(task: str | None, has_several: bool | None, **pooled: tuple[float, float]) -> Kind:
    """Return three sets of a study in which each knob has a mean and its half width."""
    changes = {f"model.{name}": Change(mean, mean - half, mean + half) for name, (mean, half) in pooled.items()}
    sets = tuple(
        OtherSet(name, "forecast", 3, (100, 300), {path: Tried(of, (0.1 * k,), of) for path, of in changes.items()})
        for k, name in enumerate("abc", 1)
    )
    return Kind(task, has_several, sets, changes, dict.fromkeys(changes, 0.01), 0.02, 0.95)


def test_only_a_knob_that_helps_other_data_for_certain_is_named() -> None:
    assert said_of_others(of_others("forecast", True, kernel_l1=(-0.2, 0.3), dropout=(0.3, 0.1))) == (
        "On 3 real sets like this (forecast, several input columns) no knob is shown to help on average for certain; "
        "the search shall tell what helps here. docs/evidence.md has the study."
    )
    assert said_of_others(of_others("label", None, kernel_l1=(-0.2, 0.1), dropout=(-0.5, 0.6))) == (
        "On 3 real sets of the same task (label) the mean effect of kernel_l1, when it is tuned, is below zero with "
        "its interval: −18 % (−26 to −10) of the loss, at 0.1 to 0.3; of 2 knobs that were looked at, luck alone would "
        "name 0.1. The search shall tell whether it helps here. docs/evidence.md has the study."
    )
    of_all = of_others(None, None, kernel_l1=(-0.2, 0.1), dropout=(-0.3, 0.1), bias_l2=(-0.1, 0.05))
    assert of_all.luck == pytest.approx(3 * 0.025)
    several = said_of_others(of_all)
    assert several.startswith("On 3 real sets of all tasks the mean effect of dropout, when it is tuned, is below zero")
    assert ", and so is that of kernel_l1, bias_l2; of 3 knobs" in several


def test_what_is_known_of_other_data_stands_in_the_file_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []
    kind = of_others("forecast", True, kernel_l1=(-0.2, 0.1))

    def like(task: str, columns: int) -> Kind:
        asked.append((task, columns))
        return kind

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lstmreg.data.looking.beside.like", like)
    rows = [f"{day},{y:.3f},{k + 0.5}" for k, (day, y) in enumerate(zip(days(140), waves(140), strict=True))]
    Path("sales.csv").write_text("\n".join(["date,sales,temp", *rows]) + "\n")
    assert main(["init", "sales.csv", "--target", "sales"]) == 0
    assert asked == [("forecast", len(read_task(config_of(Path("lstmreg.yaml"))).features))]
    assert asked[0][1] > 1
    assert said_of_others(kind) in " ".join(capsys.readouterr().out.split())
    text = Path("lstmreg.yaml").read_text()
    section = text[text.index("\nsearch:\n") :]
    comments = [line.strip().removeprefix("# ") for line in section.splitlines() if line.startswith("  # ")]
    assert " ".join(comments).startswith(said_of_others(kind))


def test_where_nothing_is_known_of_other_data_nothing_is_said(tmp_path: Path) -> None:
    proposal = proposal_for(next(iter(FILES)), tmp_path)
    said, known = written(proposal, "o.yaml"), written(proposal, "o.yaml", "All that is told. " * 20)
    told = [line for line in known.splitlines() if line.startswith("  # ") and "that is" in line]
    assert [line for line in known.splitlines() if line not in told] == said.splitlines()
    assert " ".join(line.removeprefix("  # ") for line in told) == ("All that is told. " * 20).strip()
    assert max(map(len, told)) <= 110
