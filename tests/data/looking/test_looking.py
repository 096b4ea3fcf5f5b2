"""What is seen in data: in made ones exactly what was put in, in real ones what is known of them, in noise nothing."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import string
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmreg
from lstmreg.cli import main
from lstmreg.config import DataConfig
from lstmreg.data.looking import QuestionError, Sighting, Wish, look, look_at, propose
from lstmreg.data.looking.season import season_of
from lstmreg.data.looking.signs import cut, delimiter_of, lacks_header, signs_of
from lstmreg.data.sequences import read_sequences
from lstmreg.data.sources.csv_file import open_csv
from lstmreg.data.sources.frame import from_frame
from lstmreg.errors import ConfigError

from .made import FILES, days, gappy, hours, sequences, table, text, waves

SUNSPOTS = Path(lstmreg.__file__).parent / "data" / "sunspots.csv"


def seen_in(frame: pd.DataFrame, **wish: Any) -> Sighting:
    return look_at(from_frame(frame, DataConfig("a frame", "")), Wish(**wish))


@pytest.mark.parametrize("name", FILES)
def test_task_and_target_of_each_kind_of_file_are_found(name: str, tmp_path: Path) -> None:
    make, said, task, target = FILES[name]
    seen = look(str(make(tmp_path)), Wish(target=said[1] if said else None))
    assert (seen.task, seen.target) == (task, target)


# ---------------------------------------------------------------------- columns


def test_every_oddity_of_a_table_is_seen(tmp_path: Path) -> None:
    seen = look(str(gappy(tmp_path)), Wish())
    kinds = {column.name: column.kind for column in seen.columns}
    assert kinds == {
        "day": "time",
        "y": "number",
        "always": "constant",
        "part": "number",
        "again": "number",
        "sky": "category",
    }
    assert seen.column("again").same_as == "part"
    assert [column.missing for column in seen.columns] == [0, 1, 0, 0, 0, 0]
    assert seen.clock is not None
    assert (seen.clock.is_sorted, seen.clock.gaps, seen.clock.longest_gap, seen.clock.doubled) == (False, 1, 4, 0)
    assert seen.season is not None
    assert seen.season.lag == 7


def test_a_column_in_which_some_cells_are_no_numbers_is_named_with_the_first_of_them() -> None:
    cells = ["1.5", "2", "3.25*", "4", "4*", "6"]
    seen = seen_in(pd.DataFrame({"y": np.arange(6.0) ** 2, "x": cells}))
    assert seen.column("x").note == "2 cells are no numbers, the first on row 2: '3.25*'"
    assert not seen.column("x").is_input


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(["date", "shop", "sales", "price", "always"]))
def test_the_order_of_the_columns_changes_nothing(order: list[str]) -> None:
    frame = pd.DataFrame(
        {
            "date": days(40) * 2,
            "shop": ["north"] * 40 + ["south"] * 40,
            "sales": np.concatenate([waves(40), waves(40, seed=1)]),
            "price": np.tile([3.0, 4.0, 5.0, 6.0], 20),
            "always": 1,
        }
    )
    first, second = seen_in(frame, target="sales"), seen_in(frame[order], target="sales")
    assert {column.name: column for column in first.columns} == {column.name: column for column in second.columns}
    assert (first.clock, first.series, first.season) == (second.clock, second.series, second.season)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_is_seen_and_changes_nothing_else(seed: int) -> None:
    frame = pd.DataFrame({"date": days(60), "sales": waves(60)})
    shuffled = frame.sample(frac=1, random_state=seed)
    first, second = seen_in(frame), seen_in(shuffled)
    assert first.clock is not None
    assert second.clock is not None
    assert dataclasses.replace(second.clock, is_sorted=True) == first.clock
    assert first.clock.is_sorted
    assert not second.clock.is_sorted
    assert first.season == second.season


# ---------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("times", "step", "lags"),
    [
        (hours(30), "1 hour", (24, 168)),
        (days(30), "1 day", (7, 365)),
        ([day for day in days(60) if datetime.fromisoformat(day).weekday() < 5], "1 working day", (5, 252)),
        (days(210)[::7], "1 week", (52,)),
        ([f"{2010 + k // 12}-{k % 12 + 1:02d}" for k in range(30)], "1 month", (12,)),
        ([f"{2010 + k // 12}-{k % 12 + 1:02d}-01" for k in range(30)], "1 month", (12,)),
        ([f"{2010 + k // 4}-Q{k % 4 + 1}" for k in range(30)], "1 quarter", (4,)),
        ([f"{1990 + k}-01-01" for k in range(30)], "1 year", ()),
        ([f"2024-01-01 {k // 6:02d}:{k % 6}0" for k in range(30)], "10 minutes", (144, 1008)),
        ([f"{20240101 + k}" for k in range(30)], "1 day", (7, 365)),
        ([f"2024/01/{k + 1:02d}" for k in range(30)], "1 day", (7, 365)),
        ([f"{k + 1:02d}.01.2024" for k in range(30)], "1 day", (7, 365)),
    ],
)
def test_the_step_of_a_time_column_and_its_seasons_are_known(
    times: list[str], step: str, lags: tuple[int, ...]
) -> None:
    seen = seen_in(pd.DataFrame({"when": times, "x": np.arange(len(times)) ** 2.0}))
    assert seen.clock is not None
    assert (seen.clock.step, seen.clock.lags, seen.clock.gaps) == (step, lags, 0)


@settings(max_examples=50, deadline=None)
@given(
    minutes=st.sampled_from([1, 5, 10, 15, 30, 60, 120, 1440]),
    dropped=st.sets(st.integers(1, 98), max_size=20),
)
def test_gaps_are_counted_as_they_were_made(minutes: int, dropped: set[int]) -> None:
    kept = [k for k in range(100) if k not in dropped]
    times = [(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes * k)).isoformat() for k in kept]
    clock = seen_in(pd.DataFrame({"when": times, "x": np.arange(len(times)) ** 2.0})).clock
    assert clock is not None
    assert clock.gaps == sum(after - before > 1 for before, after in itertools.pairwise(kept))
    assert clock.zone == "UTC"


def test_two_offsets_are_daylight_saving_and_none_is_none() -> None:
    zoned = ["2024-03-30T12:00+01:00", "2024-03-31T12:00+02:00", "2024-04-01T12:00+02:00"]
    for times, zone in (
        (zoned, "+01:00 and +02:00 (daylight saving)"),
        (["2024-03-30 12:00", "2024-03-31 12:00"], "none given"),
    ):
        clock = seen_in(pd.DataFrame({"when": times, "x": np.arange(len(times)) ** 2.0})).clock
        assert clock is not None
        assert clock.zone == zone


def test_hours_that_come_twice_are_counted_and_no_order_for_the_reader(tmp_path: Path) -> None:
    times = hours(100)
    times[50] = times[49]
    seen = look(str(table(tmp_path / "doubled.csv", ["when", "x"], times, waves(100))), Wish())
    assert seen.clock is not None
    assert seen.clock.doubled == 1
    proposal = propose(seen, Wish())
    assert proposal.config().data.time is None
    for way in proposal.settings:  # none of the other ways needs the times
        assert way.is_on or proposal.config(way)


# ---------------------------------------------------------------------- series and sequences


@settings(max_examples=40, deadline=None)
@given(shops=st.integers(2, 6), seed=st.integers(0, 100), is_by_time=st.booleans(), is_number=st.booleans())
def test_several_series_are_told_apart_by_their_column(
    shops: int, seed: int, is_by_time: bool, is_number: bool
) -> None:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "date": days(30) * shops,
            "shop": np.repeat(np.arange(shops) + 10, 30),
            "sales": generator.normal(size=30 * shops),
            "promotion": generator.integers(0, 2, size=30 * shops),
        }
    )
    if not is_number:
        frame["shop"] = "shop " + frame["shop"].astype(str)
    if is_by_time:
        frame = frame.sort_values("date", kind="stable")
    seen = seen_in(frame, target="sales")
    assert seen.series is not None
    assert seen.clock is not None
    assert (seen.series.name, seen.series.count, seen.series.shortest, seen.task) == ("shop", shops, 30, "forecast")
    assert seen.clock.is_sorted
    assert not seen.clock.doubled
    assert propose(seen, Wish()).config().data.group == "shop"


def test_one_series_is_not_several_and_the_hour_is_no_shop() -> None:
    one = pd.DataFrame({"date": days(48), "kind": ["a", "b"] * 24, "sales": waves(48)})
    assert seen_in(one).series is None
    hourly = pd.DataFrame({"date": np.repeat(days(10), 24), "hour": list(range(24)) * 10, "load": waves(240, 24)})
    seen = seen_in(hourly, target="load")
    assert seen.series is None
    assert seen.clock is not None
    assert seen.clock.doubled


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(2, 9), min_size=10, max_size=30), seed=st.integers(0, 1000))
def test_sequences_are_told_apart_by_runs_in_which_the_label_stays(lengths: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(lengths)), lengths)
    frame = pd.DataFrame(
        {
            "recording": [f"r{n}" for n in which],
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "x": generator.normal(size=len(which)),
            "kind": [("walk", "run", "rest")[n % 3] for n in which],
        }
    )
    seen = seen_in(frame)
    assert seen.sequences is not None
    parts = seen.sequences
    assert (parts.name, parts.count, parts.shortest, parts.longest) == (
        "recording",
        len(lengths),
        min(lengths),
        max(lengths),
    )
    assert (seen.task, seen.target) == ("classify", "kind")
    assert (
        dict(seen.balance)
        == pd.Series([("walk", "run", "rest")[n % 3] for n in range(len(lengths))]).value_counts().to_dict()
    )


def test_the_subject_and_the_other_name_of_the_label_are_no_inputs(tmp_path: Path) -> None:
    frame = pd.read_csv(sequences(tmp_path))
    frame["number"] = (frame["gait"] == "fast").astype(int)
    config = propose(seen_in(frame, target="gait"), Wish()).config()
    assert (config.data.group, config.data.sequence, config.data.time) == ("subject", "recording", "t")
    assert config.data.features == ["x", "mode"]
    assert config.data.tokens == ["mode"]


def test_a_column_of_few_words_goes_into_a_forecast_as_tokens_and_numbers_with_bad_cells_do_not() -> None:
    frame = pd.DataFrame(
        {
            "day": days(140),
            "y": waves(140),
            "sky": ["wet", "dry"] * 70,
            "x": ["1", "2", "3", "4", "3*"] * 28,
            "remark": [f"no. {k}" for k in range(140)],
        }
    )
    proposal = propose(seen_in(frame, target="y"), Wish())
    data = proposal.config().data
    assert (data.tokens, data.features) == (["sky"], ["y", "sky"])
    assert any("column 'x', for 28 cells are no numbers" in line for line in proposal.left_out)
    known = next(setting for setting in proposal.settings if setting.name == "data.known_future")
    assert proposal.config(known).data.known_future == ["sky"]


def test_shops_in_runs_with_a_region_each_are_asked_about_and_not_classified() -> None:
    frame = pd.DataFrame(
        {
            "shop": np.repeat([f"shop {k}" for k in range(12)], 20),
            "region": np.repeat(["north", "south"] * 6, 20),
            "sales": np.random.default_rng(0).normal(size=240),
        }
    )
    seen = seen_in(frame)
    assert seen.target is None
    assert seen.targets == ("region", "sales")


# ---------------------------------------------------------------------- season


@settings(max_examples=60, deadline=None)
@given(
    lag=st.sampled_from([4, 5, 7, 12, 24, 52]),
    seasons=st.integers(8, 12),
    seed=st.integers(0, 1000),
    slope=st.floats(-1, 1),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_a_season_is_found_whatever_the_trend_and_the_unit(
    lag: int, seasons: int, seed: int, slope: float, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    rows = np.arange(lag * seasons)
    pattern = generator.normal(size=lag)
    pattern = (pattern - pattern.mean()) / pattern.std()
    series = pattern[rows % lag] + slope * rows + 0.2 * generator.normal(size=len(rows))
    season = season_of(scale * series, (lag, 1000))
    assert season is not None
    assert season.lag == lag
    assert season.correlation > 0.7


def test_noise_and_random_walks_have_no_season() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        noise = generator.normal(size=200)
        found += season_of(noise, (7, 30)) is not None
        found += season_of(np.cumsum(noise), (7, 30)) is not None
        found += season_of(noise[:100], ()) is not None
        found += season_of(np.cumsum(noise)[:100], ()) is not None
    assert found <= 0.02 * 800


def test_a_line_a_constant_and_too_few_rows_have_no_season() -> None:
    for series in (np.arange(100.0), np.ones(100), waves(20), np.full(100, np.nan), np.empty(0)):
        assert season_of(series, (7,)) is None


def test_the_suns_spots_come_again_after_ten_or_eleven_years() -> None:
    seen = look(str(SUNSPOTS), Wish())
    assert seen.task == "forecast"
    assert seen.season is not None
    assert seen.season.lag in (10, 11)
    assert seen.season.correlation > 0.6


def test_a_season_that_is_hidden_by_missing_cells_is_found() -> None:
    series = waves(140)
    series[np.random.default_rng(0).permutation(140)[:40]] = np.nan
    season = season_of(series, (7, 365))
    assert season is not None
    assert season.lag == 7


# ---------------------------------------------------------------------- how a file is written


@settings(max_examples=80, deadline=None)
@given(
    delimiter=st.sampled_from(",;\t|"),
    signs=st.sampled_from([(".", None), (",", None), (".", ","), (",", "."), (".", " "), (".", "'")]),
    numbers=st.lists(st.integers(1_000_000, 9_999_999), min_size=3, max_size=20),
)
def test_delimiter_and_signs_are_found(delimiter: str, signs: tuple[str, str | None], numbers: list[int]) -> None:
    decimal, thousands = signs

    def shown(number: int) -> str:
        cell = f"{number / 100:,.2f}" if thousands else f"{number / 100:.2f}"
        cell = cell.translate(str.maketrans({",": thousands or "", ".": decimal}))
        return f'"{cell}"' if delimiter in cell else cell

    lines = text(
        ["day", "x", "name"], days(len(numbers)), map(shown, numbers), ["one"] * len(numbers), delimiter=delimiter
    )
    rows = lines.splitlines(keepends=True)
    assert delimiter_of(rows) == delimiter
    cells = cut(rows, delimiter)
    assert signs_of(list(zip(*cells[1:], strict=True))) == [signs]


@given(
    names=st.lists(st.text(string.ascii_letters, min_size=1, max_size=8), min_size=1, max_size=6),
    rows=st.integers(1, 5),
)
def test_names_are_a_header_and_numbers_and_times_are_none(names: list[str], rows: int) -> None:
    names = [f"x{name}" for name in names]  # "nan" is a number, and "inf" too
    values = [["2024-01-01", *["1.5"] * (len(names) - 1)]] * (rows + 1)
    assert not lacks_header([names, *values])
    assert lacks_header(values)


# ---------------------------------------------------------------------- questions


def several(folder: Path) -> Path:
    return table(folder / "several.csv", ["date", "a b", "-c"], days(100), waves(100), waves(100, seed=1))


def headless(folder: Path) -> Path:
    return table(folder / "headless.csv", ["2023-12-31", "9.5"], days(100), waves(100))


def ambiguous(folder: Path) -> Path:
    cells = [f'"{1000 + k * k % 37:,}"' for k in range(100)]
    return table(folder / "ambiguous.csv", ["date", "x"], days(100), cells)


def steps_or_series(folder: Path) -> Path:
    rows = [(f"r{n}", t, ("a", "b")[n % 2], 0.5 * t**2 + n) for n in range(30) for t in range(9)]
    return table(folder / "walks.csv", ["recording", "t", "label", "x"], *zip(*rows, strict=True))


def unnamed(folder: Path) -> Path:
    rows = [(f"r{n}", ("a", "b")[n % 2], ("wet", "dry")[t % 2], 0.5 * t**2 + n) for n in range(30) for t in range(9)]
    return table(folder / "walks.csv", ["which", "sort", "sky", "x"], *zip(*rows, strict=True))


@pytest.mark.parametrize(
    ("make", "said", "asked"),
    [
        (several, [], "which of 2 columns is to be predicted?"),
        (headless, [], "it seems to have no header"),
        (ambiguous, [], "may mean 1000 or 1.000"),
        (unnamed, [], "which of 2 columns is to be predicted?"),
    ],
)
def test_a_question_ends_with_2_writes_nothing_and_each_of_its_commands_leads_on(
    make: Any,
    said: list[str],
    asked: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path).name
    assert main(["init", path, *said]) == 2
    out, err = capsys.readouterr()
    assert asked in err
    assert err.count("\n") == 1
    assert not (tmp_path / "lstmreg.yaml").exists()
    commands = [line.strip() for line in out.splitlines() if "lstmreg init" in line]
    assert len(commands) >= 2
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command.replace("lstmreg init", f"{shlex.quote(sys.executable)} -m lstmreg init")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 2:  # the next question, which repeats what has been said
            assert "Say it: " in done.stderr
            assert asked not in done.stderr
            assert command in done.stderr
        else:
            assert done.returncode == 0, (command, done.stderr)
            (tmp_path / "lstmreg.yaml").unlink()


def test_a_number_that_changes_within_sequences_may_be_labelled_or_forecast(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="at every step") as asked:
        propose(look(str(steps_or_series(tmp_path)), Wish(target="x")), Wish(target="x"))
    assert [command.split("--task ")[1] for command in asked.value.commands] == ["label", "forecast"]


def test_text_without_sequences_is_asked_for_them(tmp_path: Path) -> None:
    path = table(tmp_path / "sky.csv", ["date", "x", "sky"], days(100), waves(100), ["wet", "dry"] * 50)
    with pytest.raises(ConfigError, match="Which column tells these apart"):
        propose(look(str(path), Wish(target="sky")), Wish(target="sky"))


def test_an_unknown_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown column 'alway' in .*Did you mean 'always'\?"):
        look(str(gappy(tmp_path)), Wish(target="alway"))


def test_rows_out_of_order_that_cannot_be_sorted_are_refused(tmp_path: Path) -> None:
    times = [f"01/{k:02d}/2024" for k in range(30, 0, -1)]
    seen = look(str(table(tmp_path / "back.csv", ["when", "x"], times, waves(30))), Wish())
    with pytest.raises(ConfigError, match=r"out of order.*ISO 8601"):
        propose(seen, Wish())


def test_a_folder_and_its_labels_are_read_whatever_stands_between_their_cells(tmp_path: Path) -> None:
    (tmp_path / "walks").mkdir()
    for k in range(12):
        values = "".join(f"{k + step / 8};{step * k % 5}\n" for step in range(9))
        (tmp_path / "walks" / f"w{k}.csv").write_text(f"x;z\n{values}")
    labels = "".join(f"w{k}\t{'ab'[k % 2]}\n" for k in range(12))
    (tmp_path / "labels.tsv").write_text(f"file\tgait\n{labels}")
    wish = Wish()
    config = propose(look(str(tmp_path / "walks"), wish), wish).config()
    assert (config.task, config.data.target, config.data.delimiter) == ("classify", "gait", ";")
    sequences = read_sequences(config.data, "classify")
    assert sequences.features == ("x", "z")
    assert sequences.targets.tolist() == ["a", "b"] * 6


def test_what_is_left_out_of_a_folder_and_its_table_of_labels_is_said(tmp_path: Path) -> None:
    (tmp_path / "walks").mkdir()
    for k in range(12):
        values = "".join(f"{k + step / 8},{'3*' if step == 4 else step}\n" for step in range(9))
        (tmp_path / "walks" / f"w{k:02}.csv").write_text(f"x,bad\n{values}")
    labels = "".join(f"w{k:02},{'ab'[k % 2]},{20 + k},s{k % 3}\n" for k in range(12))
    (tmp_path / "labels.csv").write_text(f"file,gait,age,city\n{labels}")
    wish = Wish(target="gait")
    proposal = propose(look(str(tmp_path / "walks"), wish), wish)
    left_out = " ".join(proposal.left_out)
    assert "column 'bad', for 1 cell is no number, on line 6 of w00.csv: '3*'" in left_out
    assert f"columns age, city of {tmp_path / 'labels.csv'}, for inputs are columns of the files" in left_out
    sequences = read_sequences(proposal.config().data, "classify")
    assert f"Not read: age, city of {tmp_path / 'labels.csv'}. Inputs are columns of the files." in sequences.notes


# ---------------------------------------------------------------------- what is loaded


def test_looking_loads_neither_torch_nor_a_library_for_frames(tmp_path: Path) -> None:
    path = table(tmp_path / "daily.csv", ["date", "x"], days(100), waves(100))
    heavy = ["torch", "lightning", "optuna", "matplotlib", "scipy", "pandas", "polars", "pyarrow", "narwhals"]
    program = (
        "import sys; from lstmreg.cli import main; "
        f"code = main(['init', {str(path)!r}, '-o', {str(tmp_path / 'o.yaml')!r}]); "
        f"print(code, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout


def test_a_table_is_opened_strictly_still(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="1 cells, but the header has 2"):
        look(str(tmp_path / "ragged.csv"), Wish())
    assert open_csv(str(gappy(tmp_path))).header[0] == "day"
