"""What a table may contain, what is refused and where the message points, and that every number is the file's own."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmreg import DataConfig
from lstmreg.data.cells import converted
from lstmreg.data.sources.columns import Columns, Fault, Table
from lstmreg.data.sources.csv_file import CsvTable
from lstmreg.data.table import Series, read_series
from lstmreg.data.times import time_stamp, time_stamps
from lstmreg.errors import DataError

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

#: The cells that the documentation calls missing.
DOCUMENTED = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
PLAIN = b"x,y\n1,2\n3,5\n"

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
cells = st.none() | finite


def read(raw: bytes | str, **settings) -> Series:
    """Read ``raw`` from a file, and check that the file is left as it was."""
    raw = raw if isinstance(raw, bytes) else raw.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(raw)
        before = os.stat(path)
        try:
            return read_series(DataConfig(**{"path": str(path), "target": "y"} | settings))
        finally:
            assert path.read_bytes() == raw
            assert os.stat(path).st_mtime_ns == before.st_mtime_ns
            assert os.listdir(folder) == ["table.csv"]


def refusal(raw: bytes | str, **settings) -> str:
    """Return the one line with which ``raw`` is refused."""
    with pytest.raises(DataError) as caught:
        read(raw, **settings)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert len(message.splitlines()) == 1
    return message


def assert_same(one: Series, other: Series) -> None:
    for name in ("inputs", "target"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert (one.features, one.target_names, one.notes) == (other.features, other.target_names, other.notes)


# ---------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("cell", "rule"),
    [(cell, "is not finite in float32") for cell in ("inf", "-inf", "Infinity", "1e400", "1e39", "-3.5e38")]
    + [
        (cell, "is not a number")
        for cell in ("abc", "1_000", "1_0.5", "1 000", '"1,5"', "1.5.2", "0x10", "true", "na", "NAN", "-nan", "12%")
    ]
    + [(cell, "a missing value (1 in all)") for cell in (*DOCUMENTED, " NA ")],
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_cell_that_is_no_finite_number_is_refused_by_line_and_column(cell, rule, column):
    bad = f"{cell},4" if column == "x" else f"4,{cell}"
    message = refusal(f"x,y\n1,2\n\n{bad}\n5,6\n")
    assert f"table.csv, line 4, column {column!r}: " in message
    assert rule in message


@given(finite, st.sampled_from(["{!r}", " {!r} ", "{:+.17g}", "{:.20E}", '"{!r}"', "\t{:.0f}."]))
def test_a_number_is_what_python_reads(number, form):
    cell = form.format(number)
    series = read(f"x,y\n{cell},{cell}\n0,1\n")
    expected = float(cell.strip('"'))
    for read_back in (series.inputs[0, 0], series.target[0]):
        assert (read_back, math.copysign(1, read_back)) == (expected, math.copysign(1, expected))


def test_the_largest_float32_is_read_and_the_next_number_is_not():
    largest = float(np.finfo(np.float32).max)
    assert read(f"x,y\n{largest!r},1\n{-largest!r},2\n").inputs[0, 0] == largest
    assert "is not finite in float32" in refusal(f"x,y\n{math.nextafter(largest, math.inf)!r},1\n")


odd_cells = st.sampled_from(
    [*DOCUMENTED, " NA", "inf", "1e39", "1_0", "NAN", "-nan", "x", "1,5", "0x1", " 7 ", "\u0663", ""]
)


def by_hand(cell: str) -> float | None:
    """Return a cell's number by the rules as they are written down, or nothing."""
    cell = cell.strip()
    if cell in DOCUMENTED:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if "_" not in cell and abs(value) <= float(np.finfo(np.float32).max) else None


@given(st.lists(odd_cells | finite.map(repr), min_size=1, max_size=12))
def test_many_cells_at_once_are_what_each_is_by_itself(cells):
    expected = [by_hand(cell) for cell in cells]
    given_back = converted(cells)
    if None in expected:
        row = expected.index(None)
        assert given_back == Fault(row, cells[row].strip())
    else:
        np.testing.assert_array_equal(given_back, expected)


some_times = st.sampled_from(
    [
        *(
            "2024-03-31",
            "20240331",
            "2024-03-31T14:00",
            "2024-03-31 14:00:00.25",
            "2024-03-31T14:00+02:00",
            "2024-W13-1",
        ),
        *(
            "2024-03-31T12:00Z",
            "31.12.2024",
            "1.2.2024 9:30",
            "2024/12/31",
            "31/12/2024",
            "30.02.2024",
            "2024-03",
            "2024-Q1",
            "2024-W13",
            "2024W13",
            "2024",
            "1e3",
            "20240331e12",
            "2024-02-30",
            "1_000_000",
            "",
            "x",
        ),
        *("2024-03-31T14", "nan", "inf", "9999-12-31T23:59:59.999999", "0001-01-01", "1969-12-31T23:59:59.5"),
    ]
)


@given(st.lists(some_times, min_size=1, max_size=4))
def test_many_time_stamps_at_once_are_what_each_is_by_itself(cells):
    columns = Columns(Table.__new__(CsvTable), (), np.empty((len(cells), 0)), {"t": cells}, np.arange(len(cells)))
    columns.table.path = "a.csv"
    try:
        found = [time_stamp(cell) for cell in cells]
        is_fine = len({kind for _, kind in found}) == 1 and all(math.isfinite(stamp) for stamp, _ in found)
    except ValueError:
        is_fine = False
    if is_fine:
        np.testing.assert_array_equal(time_stamps(columns, "t"), [stamp for stamp, _ in found])
    else:
        with pytest.raises(DataError):
            time_stamps(columns, "t")


# ---------------------------------------------------------------------- files

REFUSED = {
    "an empty file": (b"", {}, "table.csv: the file is empty"),
    "a file of blank lines": (b"\n\r\n\n", {}, "table.csv: the file is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", {}, "table.csv: the file is empty"),
    "a header alone": (b"x,y\n\n", {}, "table.csv: a header, but no row below it"),
    "a column without a value": (b"x,y\n,1\nNA,2\n", {}, "column 'x' has no value at all"),
    "the same where it is filled": (b"x,y\n,1\nNA,2\n", {"missing": "ffill"}, "column 'x' has no value at all"),
    "the same where it is dropped": (b"x,y\n,1\nNA,2\n", {"missing": "drop"}, "column 'x' has no value at all"),
    "no complete row": (b"x,y\n,1\n2,\n", {"missing": "drop"}, "no row is left"),
    "nothing to fill from": (
        b"x,y\n1,?\n2,3\n",
        {"missing": "ffill"},
        "column 'y' has no value in the first row (line 2), and 'ffill' has nothing to fill from",
    ),
    "two columns of one name": (b"x,y, x \n1,2,3\n", {}, "line 1: two columns named 'x'"),
    "a column without a name": (b"x,,y\n1,2,3\n", {}, "line 1: a column without a name, number 2 of 3"),
    "a row too long": (b"x,y\n1,2\n3,4,5\n", {}, "line 3: 3 cells, but the header has 2"),
    "a row too short": (b"x,y\n1,2\n\n3\n", {}, "line 4: 1 cells, but the header has 2"),
    "an unclosed quote": (b'x,y\n1,2\n3,"4\n5,6\n', {}, "(an unclosed quote?)"),
    "text behind a quote": (b'x,y\n1,2\n3,"4"5\n', {}, "line 3: "),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), {}, "line 1: a NUL byte; UTF-16 or not text"),
    "UTF-16 without its mark": ("x,y\n1,2\n".encode("utf-16-le"), {}, "line 1: a NUL byte; UTF-16 or not text"),
    "a NUL byte": (b"x,y\n1,2\n3,\x004\n", {}, "line 3: a NUL byte"),
    "Latin-1": ("x,y\n1,2\n3,\xb5\n".encode("latin-1"), {}, "line 3: not UTF-8"),
    "another delimiter": (b"x;y\n1;2\n", {}, 'Set data.delimiter: ";"'),
    "a misspelt target": (PLAIN, {"target": "yy"}, "unknown column 'yy' in "),
    "a misspelt feature": (b"close,y\n1,2\n", {"features": ["clsoe"]}, "columns: close, y. Did you mean 'close'?"),
    "an unknown column among hostile ones": (b'"a\nb",x\n1,2\n', {"target": "z"}, "unknown column 'z'"),
    "text behind a cell of two lines": (b'x,y\n"1\n",2\n3,four\n', {}, "line 4, column 'y': 'four' is not a number"),
    "a time twice": (b"t,y\n1,2\n1,3\n", {"time": "t"}, "line 3, column 't': the same time twice"),
    "a time twice, sorted": (
        b"t,y\n1,2\n0,1\n1,3\n",
        {"time": "t", "sort": True},
        "line 4, column 't': the same time twice",
    ),
    "one time in two zones": (
        b"t,y\n2024-01-01T12:00+00:00,2\n2024-01-01T13:00+01:00,3\n",
        {"time": "t"},
        "line 3, column 't': the same time twice",
    ),
    "a step back": (
        b"t,y\n2024-01-02,2\n2024-01-01,3\n",
        {"time": "t"},
        "line 3, column 't': earlier than the row before",
    ),
    "clocks put back": (
        b"t,y\n2024-10-27T02:00,1\n2024-10-27T02:30,2\n2024-10-27T02:00,3\n",
        {"time": "t"},
        "line 4, column 't': earlier than the row before",
    ),
    "a zone for some rows": (
        b"t,y\n2024-01-01T12:00,2\n2024-01-01T13:00+00:00,3\n",
        {"time": "t"},
        "line 3, column 't': '2024-01-01T13:00+00:00' mixes",
    ),
    "years and dates": (b"t,y\n2023,2\n2023-06-01,3\n", {"time": "t"}, "line 3, column 't': '2023-06-01' mixes"),
    "the day first": (b"t,y\n31/03/2024,2\n", {"time": "t"}, "line 2, column 't': '31/03/2024' is no time stamp"),
    "a time that is missing": (b"t,y\n1,2\nnan,3\n", {"time": "t"}, "line 3, column 't': 'nan' is no time stamp"),
    "a time that is empty": (b"t,y\n1,2\n,3\n", {"time": "t"}, "line 3, column 't': '' is no time stamp"),
    "a month too many": (b"t,y\n2024-13,2\n", {"time": "t"}, "line 2, column 't': '2024-13' is no time stamp"),
    "a quarter too many": (b"t,y\n2024-Q5,2\n", {"time": "t"}, "line 2, column 't': '2024-Q5' is no time stamp"),
    "a week too many": (b"t,y\n2023-W53,2\n", {"time": "t"}, "line 2, column 't': '2023-W53' is no time stamp"),
    "months and days": (b"t,y\n2024-01,2\n2024-02-01,3\n", {"time": "t"}, "line 3, column 't': '2024-02-01' mixes"),
    "quarters and months": (b"t,y\n2024-Q1,2\n2024-04,3\n", {"time": "t"}, "'2024-04' mixes kinds (months and quar"),
    "a month twice": (b"t,y\n2024-01,2\n2024-01,3\n", {"time": "t"}, "line 3, column 't': the same time twice"),
    "a workbook": (b"PK\x03\x04rest", {}, "is a zip archive or an Excel workbook, no CSV file. Unpack it, or save"),
    "another compression": (b"\xfd7zXZ\x00\x00\x04", {}, "is compressed (xz), no CSV file. Unpack it"),
    "half a compressed file": (gzip.compress(PLAIN)[:-9], {}, "is damaged: Compressed file ended"),
    "a compressed file with a flipped bit": (gzip.compress(PLAIN)[:-1] + b"\x80", {}, "is damaged: "),
    "only the beginning of a compressed file": (b"\x1f\x8b", {}, "is damaged: "),
    "a compressed table of another encoding": (gzip.compress(b"x,y\n1,\xb5\n"), {}, "line 2: not UTF-8"),
    "a time without an end": (b"t,y\n1,2\ninf,3\n", {"time": "t"}, "line 3, column 't': 'inf' is no time stamp"),
    "a time with underscores": (b"t,y\n1_000,2\n", {"time": "t"}, "line 2, column 't': '1_000' is no time stamp"),
    "a gap in the last row to come": (
        b"t,y\n2,\n1,5\n",
        {"time": "t", "sort": True},
        "line 2, column 'y': a missing value",
    ),
}


@pytest.mark.parametrize(("raw", "settings", "part"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_cannot_be_used_is_refused(raw, settings, part):
    message = refusal(raw, **settings)
    assert "table.csv" in message
    assert part in message


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y %H:%M", "%d.%m.%YT%H:%M:%S"])
def test_dates_that_can_mean_one_day_only_are_read_as_iso_dates_are(form):
    days = [datetime(2024, 1, 27, 9) + timedelta(days=k) for k in range(10)]
    iso = "%Y-%m-%d" + form[form.index(":") - 3 :] if ":" in form else "%Y-%m-%d"
    written, expected = (
        read("t,y\n" + "".join(f"{day.strftime(how)},{k * k}\n" for k, day in enumerate(days)), time="t", calendar=cal)
        for how, cal in ((form, ["weekday", "month"]), (iso, ["weekday", "month"]))
    )
    assert written.labels == expected.labels
    np.testing.assert_array_equal(written.targets, expected.targets)
    np.testing.assert_array_equal(written.ahead, expected.ahead)


def test_rows_with_the_day_first_are_sorted_by_their_days():
    raw = "t,y\n1.2.2024,3\n31.1.2024,2\n2.2.2023,1\n"
    assert "line 3, column 't': earlier than the row before" in refusal(raw, time="t")
    series = read(raw, time="t", sort=True)
    assert series.labels == ("2023-02-02", "2024-01-31", "2024-02-01")
    assert series.target.tolist() == [1, 2, 3]


def test_the_index_of_a_frame_without_a_name_is_answered_with_the_way_to_name_it(tmp_path):
    frame = pd.DataFrame({"y": [1.0, 2.0]}, index=pd.to_datetime(["2024-01-01", "2024-01-02"]))
    said = refusal(frame.to_csv(), time="date")
    assert "line 1: the first column has no name; so pandas writes the index of a frame" in said
    assert "write 'date,y...' for ',y...'" in said
    assert "index_label='date'" in said
    series = read(frame.to_csv(index_label="date"), time="date")
    assert series.labels == ("2024-01-01", "2024-01-02")
    assert read(frame.to_csv(index=False)).target.tolist() == [1, 2]


def test_only_the_user_knows_what_a_date_with_slashes_means():
    said = refusal("t,y\n03/04/2024,2\n", time="t")
    assert "'03/04/2024' is no time stamp" in said
    assert "the day or the month stands first in such dates, only you know" in said


@pytest.mark.parametrize("settings", [{"time": "y"}, {"time": "t", "features": ["t"]}])
def test_time_orders_the_rows_and_is_nothing_else(settings):
    assert f"column {settings['time']!r} is data.time" in refusal(b"t,y\n1,2\n", **settings)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("{folder}/prises.csv", "(data.path). Did you mean 'prices.csv'?"),
        ("{folder}/nowhere/prices.csv", "no such file in"),
        ("{folder}", "cannot be read: Is a directory."),
        ("{folder}/prices.csv\0", "cannot be read"),
        ("https://example.org/prices.csv", "Download it first."),
    ],
)
def test_a_path_that_cannot_be_read_is_refused(path, part, tmp_path):
    (tmp_path / "prices.csv").write_bytes(PLAIN)
    with pytest.raises(DataError) as caught:
        read_series(DataConfig(path=path.format(folder=tmp_path), target="y"))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "settings"),
    [
        (b"\xef\xbb\xbf" + PLAIN, {}),
        (PLAIN.replace(b"\n", b"\r\n"), {}),
        (PLAIN.replace(b"\n", b"\r"), {}),
        (PLAIN.rstrip(b"\n"), {}),
        (b"\n\nx,y\n\n1,2\n\n\n3,5\n\n", {}),
        (b' x , "y"\n 1 ,"2\n"\n"\n3",5\n'.replace(b' "y"', b'"y"'), {}),
        (PLAIN.replace(b",", b";"), {"delimiter": ";"}),
        (PLAIN.replace(b",", b"\t"), {"delimiter": "\t"}),
        (b"x,z,y\n1,?,2\n3,text,5\n", {"features": ["x", "y"]}),
        (b"t,x,y\n-1,1,2\n1e-3,3,5\n", {"time": "t"}),
        (gzip.compress(PLAIN), {}),
        (b'x,y\n"1","2"\n3,"5.0"\n', {"thousands": ","}),
    ],
    ids=[
        "BOM",
        "CRLF",
        "CR",
        "no last newline",
        "blank lines",
        "quotes",
        ";",
        "tab",
        "unread column",
        "time",
        "gzip",
        "thousands",
    ],
)
def test_how_a_table_is_written_changes_nothing_in_it(raw, settings):
    assert_same(read(raw, **settings), read(PLAIN))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", '"é\n"'], ids=["plain", "a quoted cell of two lines"])
@pytest.mark.parametrize("sizes", [(7, 4), (1 << 20, 1 << 13)])
def test_a_row_is_told_by_its_line_wherever_the_file_is_cut_into_pieces(sizes, mark, end, monkeypatch):
    for name, size in zip(("_BYTES_AT_ONCE", "_CELLS_AT_ONCE"), sizes, strict=True):
        monkeypatch.setattr(f"lstmreg.data.sources.csv_file.{name}", size)
    rows = [f"{k},{mark},{k * 0.5}" for k in range(40)]
    lines = end.join(["x,s,y", "", *rows[:20], "", *rows[20:], ""])
    series = read(lines, features=["x", "y"])
    np.testing.assert_array_equal(series.inputs, [[k, k * 0.5] for k in range(40)])
    broken = lines.replace(f"39,{mark},19.5", f"39,{mark},q")
    line = 39 + 4 + (40 if mark else 0)  # header, two blank lines, and those within the cells
    assert f"line {line}, column 'y': 'q' is not a number" in refusal(broken, features=["x", "y"])
    ragged = lines.replace(f"39,{mark},19.5", f"39,{mark}")
    assert f"line {line}: 2 cells, but the header has 3" in refusal(ragged, features=["x", "y"])


def test_a_compressed_file_that_unpacks_to_too_much_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("lstmreg.data.sources.csv_file._MOST_UNPACKED", 1000)
    table = b"x,y\n" + b"1,2\n" * 249  # 1000 bytes
    assert len(read(gzip.compress(table))) == 249
    asked = []

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    monkeypatch.setattr("lstmreg.data.sources.csv_file.gzip.GzipFile", Counting)
    assert "unpacks to more than 1,000 bytes" in refusal(gzip.compress(table + b"1,2\n"))
    assert asked == [1001]


# ---------------------------------------------------------------------- what to do about it


@pytest.mark.parametrize(
    ("cells", "settings", "remedy"),
    [
        (["1,188", "12,345,678", "950"], {}, "Set data.thousands: ','."),
        (["1,188", "950"], {}, "Set data.thousands: ','."),
        (["1,188.5", "2,000.0"], {}, "Set data.thousands: ','."),
        (["1,188", "2,345"], {}, "Set data.thousands: ',' if it means 1188, or data.decimal: ',' if it means 1.188."),
        (["0,188", "1,345"], {}, "Set data.decimal: ','."),
        (["1,5", "2,25", "3"], {}, "Set data.decimal: ','."),
        (["1.188,5", "2.345,5"], {"decimal": ","}, "Set data.thousands: '.'."),
        (["1.5", "2.25"], {"decimal": ","}, "Set data.decimal: '.'."),
        (["1 188", "950"], {}, "Set data.thousands: ' '."),
        (["1'188", "950"], {}, 'Set data.thousands: "\'".'),
        (["1,18", "1,188", "950"], {"thousands": ","}, "Set data.decimal: ','."),
        (["5", "6", "x1,2", "7"], {}, "Correct it, or leave the cell empty and set data.missing."),
    ],
)
def test_a_sign_in_a_number_is_known_by_the_whole_column(cells, settings, remedy):
    rows = "".join(f'1;"{cell}"\n' for cell in cells)
    assert refusal(f"x;y\n{rows}", delimiter=";", **settings).endswith(f"is not a number. {remedy}")


def test_the_setting_that_is_advised_reads_the_numbers():
    rows = '"1,188","1.188,5"\n"-12,345,678.5","-3,5"\n'
    with_comma = read(f"y,x\n{rows}", thousands=",", features=["y"])
    np.testing.assert_array_equal(with_comma.target, [1188, -12345678.5])
    with_point = read(f"x,y\n{rows}", thousands=".", decimal=",", features=["y"])
    np.testing.assert_array_equal(with_point.target, [1188.5, -3.5])
    for cell in ("1,18", "1,1888", "12,,345", ",123", "1234,567", "0,123", "1,188,", "1.5,000"):
        assert f"{cell!r} is not a number" in refusal(f'y\n"{cell}"\n5\n7\n', thousands=",")


MIXED = "date,shop,a,yes,b c,y\n2024-01,Bern,1,2,3,4\n2024-02,Basel,?,5,6,7\n"


def test_a_column_of_text_is_answered_with_the_columns_of_numbers_as_a_line_to_paste():
    message = refusal(MIXED, time="date")
    rule = "The column is text, and inputs are numbers, or tokens (data.tokens: [shop])."
    assert f"line 2, column 'shop': 'Bern' is not a number. {rule}" in message
    assert "data.time" not in message
    (line,) = message.split("Name them under data: ")[1:]
    features = yaml.safe_load(line)["features"]
    assert features == ["a", "yes", "b c", "y"]
    assert read(MIXED, time="date", features=features, missing="drop").features == ("a", "yes", "b c", "y")


def test_a_column_of_time_stamps_is_answered_with_time_and_no_other_is():
    message = refusal(MIXED)
    assert message.endswith("column 'date': '2024-01' is not a number. Its cells are time stamps: set data.time: date.")
    shop_first = refusal("shop,date,y\nBern,2024-01,1\nBasel,2024-01,2\n")
    assert shop_first.endswith(
        "Set data.time: date, which orders the rows, and name the inputs under data: features: [y]"
    )
    text_first = "shop,y\nBern,1\nBasel,2\n"
    assert "data.time" not in refusal(text_first)


def test_a_target_of_text_is_answered_with_the_columns_that_it_might_be():
    message = refusal(MIXED, target="shop", time="date", features=["a"], missing="drop")
    assert message.endswith("'Bern' is not a number. data.target must be a column of numbers; here: a, yes, b c, y.")


def test_a_list_of_columns_that_would_be_cut_off_is_left_out():
    names = [f"a rather long name of a column, number {k}" for k in range(60)]
    header = ",".join(f'"{name}"' for name in ["shop", "y", *names])
    assert refusal(f"{header}\nBern{',1' * 61}\n").endswith("[shop]). Name them under data.features.")


def stacked(series: dict[str, list[str]], columns: str) -> str:
    """Return a table in which the rows of one series stand below those of another."""
    rows = [f"2024-01-0{day},{name},{cell}" for name, cells in series.items() for day, cell in enumerate(cells, 1)]
    return f"{columns}\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("series", "columns", "settings", "part"),
    [
        ({"Bern": "123", "Basel": "124"}, "t,shop,y", {}, "Column 'shop' tells such rows apart (Bern, Basel),"),
        ({"Bern": "123", "Basel": "124"}, "t,shop,y", {"sort": True}, "Column 'shop' tells such rows apart (Bern, B"),
        ({"7": "123", "9": "124"}, "t,dept,y", {}, "Column 'dept' tells such rows apart (7, 9),"),
        ({"a": "1234", "b": "1234", "c": "1234", "d": "1234"}, "t,shop,y", {}, "apart (a, b, c, ...),"),
        ({"Bern,1": "123", "Bern,2": "124"}, "t,town,branch,y", {}, "Column 'branch' tells such rows apart (1, 2),"),
        ({"Bern": "123", "Bern ": "124"}, "t,shop,y", {}, "Several series seem to stand in one table."),
    ],
)
def test_several_series_in_one_table_are_answered_with_the_column_that_tells_them_apart(
    series, columns, settings, part
):
    message = refusal(stacked(series, columns), time="t", features=["y"], **settings)
    assert "the same times come again. " in message
    assert part in message
    assert "data.group" in message
    assert "Keep one" not in message


def test_a_row_that_is_there_twice_makes_no_two_series():
    rows = "".join(f"2024-01-0{day},Bern,{day}\n" for day in (1, 2, 3, 3, 4, 5))
    assert "the same time twice. Keep one of the rows." in refusal(f"t,shop,y\n{rows}", time="t", features=["y"])


@given(st.lists(st.integers(0, 5), min_size=2, max_size=2), st.integers(1, 4))
def test_it_is_said_how_many_rows_lack_something_to_fill_from(leads, more):
    rows = max(leads) + more
    columns = [[""] * lead + [str(k) for k in range(rows - lead)] for lead in leads]
    raw = "x,y\n" + "".join(f"{a},{b}\n" if a or b else ",\n" for a, b in zip(*columns, strict=True))
    count = max(leads)
    if count == 0:
        assert len(read(raw, missing="ffill")) == rows
        return
    message = refusal(raw, missing="ffill")
    those = "that row" if count == 1 else f"those {count} rows"
    assert f"Leave out {those} of the table," in message
    assert f"column {'xy'[leads.index(count)]!r} has no value in the first " in message
    header, *lines = raw.splitlines()
    assert len(read("\n".join([header, *lines[count:]]) + "\n", missing="ffill")) == more  # and then there is none
    if count > 1:
        assert "Leave out" in refusal("\n".join([header, *lines[count - 1 :]]) + "\n", missing="ffill")


def test_hostile_names_survive_as_they_are():
    names = ["y", "=cmd()", "<script>alert(1)</script>", "température 🌡", "a,b", 'a "b"', "two\nlines", "n" * 10_000]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    series = read(f"{header}\n{','.join('12345678')}\n")
    assert series.features == tuple(names)
    np.testing.assert_array_equal(series.inputs, [[1, 2, 3, 4, 5, 6, 7, 8]])


def test_columns_come_in_the_order_asked_for_and_the_target_is_among_them_by_default():
    raw = b"t,a,y,b\n1,2,3,4\n2,5,6,8\n"
    assert read(raw, time="t").features == ("a", "y", "b")
    chosen = read(raw, time="t", features=["b", "a"])
    np.testing.assert_array_equal(chosen.inputs, [[4, 2], [8, 5]])
    np.testing.assert_array_equal(chosen.target, [3, 6])
    assert chosen.labels == ("1", "2")


def test_the_file_is_known_by_its_hash():
    assert read(PLAIN).sha256 == hashlib.sha256(PLAIN).hexdigest()


# ---------------------------------------------------------------------- gaps, holes and order


@given(st.lists(st.tuples(finite, cells, cells), min_size=1, max_size=8), st.sampled_from(DOCUMENTED))
def test_holes_are_filled_or_dropped_as_a_loop_would(rows, hole):
    rows = [(1.0, 2.0, 3.0), *rows]  # something to fill from
    raw = "x,y,z\n" + "\n".join(",".join(hole if c is None else repr(c) for c in row) for row in rows)
    complete = [row for row in rows if None not in row]
    filled = [rows[0]]
    for row in rows[1:]:
        filled.append(tuple(old if new is None else new for old, new in zip(filled[-1], row, strict=True)))
    holes = sum(row.count(None) for row in rows)
    for missing, expected, note in [
        ("drop", complete, f"Dropped {len(rows) - len(complete)} rows with missing cells"),
        ("ffill", filled, f"Filled {holes} missing cells"),
    ]:
        series = read(raw, missing=missing)
        np.testing.assert_array_equal(series.inputs, expected)
        assert any(n.startswith(note) for n in series.notes) == (holes > 0)
    assert read(raw, missing="drop").labels == tuple(str(k) for k, row in enumerate(rows, 1) if None not in row)


@given(st.permutations(range(6)))
def test_sorted_rows_are_the_rows_of_a_sorted_file(order):
    # In order of time, though neither as text nor by the clock on the wall.
    stamps = ["2024-03-31T23:30+02:00", "2024-03-31T22:00Z", "2024-04-01T00:30+02:00"]
    stamps += ["2024-03-31T23:00Z", "2024-04-01T01:30+02:00", "2024-04-01T00:00Z"]
    rows = [f"{stamp},{k},{k * k}" for k, stamp in enumerate(stamps)]
    tidy = read("\n".join(["t,x,y", *rows]), time="t")
    mixed = read("\n".join(["t,x,y", *(rows[k] for k in order)]), time="t", sort=True)
    assert_same(mixed, tidy)
    assert mixed.labels == tidy.labels == tuple(stamps)


@pytest.mark.parametrize(
    ("stamps", "gaps"),
    [
        (["1", "2", "3", "4"], 0),
        (["1", "2", "4", "5", "6", "9"], 2),
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-02-01"], 1),
        (["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"], 0),  # clocks put forward
        (["7"], 0),
        ([f"2024-{month:02}" for month in range(1, 13)], 0),  # 29 to 31 days
        (["2023-12", "2024-01", "2024-02", "2024-04", "2024-05", "2024-07"], 2),
        (["1949", "1950", "1951", "1952"], 0),
        (["1949", "1950", "1952", "1953"], 1),
        (["1949-Q3", "1949-Q4", "1950-Q1", "1950-Q2"], 0),
        (["1949Q3", "1949Q4", "1950Q2", "1950Q3"], 1),
        (["2020-W52", "2020-W53", "2021-W01", "2021-W02"], 0),  # a year of 53 weeks
        (["2020W51", "2020W52", "2021W01", "2021W02"], 1),
        ([f"2024-{month:02}-01" for month in range(1, 13)], 0),
        ([f"2024-{month:02}-01" for month in (1, 2, 3, 5, 6)], 1),
        ([f"{year}-01-01" for year in range(2019, 2026)], 0),
    ],
)
def test_gaps_in_time_are_noted(stamps, gaps):
    notes = read("t,y\n" + "\n".join(f"{t},{k}" for k, t in enumerate(stamps)), time="t").notes
    assert [note for note in notes if "gap(s)" in note] == (
        [f"Column 't' has {gaps} gap(s) of more than 1.5 usual steps; rows count as neighbours there."] if gaps else []
    )


@pytest.mark.parametrize(
    ("x", "y", "noted"), [("01", "34", ""), ("77", "34", "x"), ("01", "44", "y"), ("77", "44", "xy")]
)
def test_constant_columns_are_noted(x, y, noted):
    series = read("x,y\n" + "".join(f"{a}.1,{b}.3\n" for a, b in zip(x, y, strict=True)))
    assert sorted(series.notes) == [f"Column {name!r} is constant; it tells a model nothing." for name in noted]
