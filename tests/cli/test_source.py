"""Where series come from: every kind of file and a query give the same series, with ids, covariates and times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openpyxl
import pyarrow as arrow
import pyarrow.parquet
import pytest
from tdgpt.host import Host
from tdgpt.taosadapter import http, running, success

from tsfm.cli.prediction import Failure
from tsfm.cli.source import load, series
from tsfm.cli.source.series import Choice, Series
from tsfm.errors import ConfigError, UsageError
from tsfm.table.column import Options
from tsfm.tdgpt.rest import DatabaseError, Unreachable

START = datetime(2026, 3, 1)
HOURS = [START + timedelta(hours=hour) for hour in range(30)]
METERS = ("A", "B-2")
NAMES = ("meter", "ts", "kwh", "temp", "weather")
ROWS = [
    (meter, moment, (hour * 1.125 if meter == "A" else 900 + hour), 20 + hour % 7, ("sunny", "rain")[hour % 2])
    for hour, moment in enumerate(HOURS)
    for meter in METERS
]
BY_ID = Choice("meter", [("past", "temp"), ("past", "weather")], 3)


def csv(rows: Sequence[Sequence[object]] = ROWS, names: Sequence[str] = NAMES) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in (names, *rows))


def workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Readme"
    sheet = book.create_sheet("Data")
    for row in (NAMES, *ROWS):
        sheet.append(row)
    book.create_sheet("More").append(["x"])
    book.save(path)


def parquet(path: Path) -> None:
    columns = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    table = arrow.table(columns | {"weather": arrow.array(columns["weather"]).dictionary_encode()})
    pyarrow.parquet.write_table(table, path)


MAKERS: dict[str, Callable[[Path], object]] = {
    "x.csv": lambda path: path.write_text(csv()),
    "x.xlsx": workbook,
    "x.parquet": parquet,
    "a parquet file by another name": parquet,
}


def read(path: Path, choice: Choice, sheet: str | None = None, **options: object) -> list[Series | Failure]:
    return series.read(load.file(str(path), Options(**options), sheet), choice)  # type: ignore[arg-type]


def check(found: list[Series | Failure]) -> None:
    a, b = found
    assert isinstance(a, Series)
    assert isinstance(b, Series)
    assert (a.item_id, b.item_id) == METERS
    assert a.column.values == [hour * 1.125 for hour in range(30)]
    assert b.column.values == [900.0 + hour for hour in range(30)]
    assert a.past == b.past == {"temp": [20.0 + h % 7 for h in range(30)], "weather": ["sunny", "rain"] * 15}
    assert [moment[:16].replace("T", " ") for moment in a.ahead] == [f"2026-03-02 0{hour}:00" for hour in (6, 7, 8)]


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_file_gives_the_same_series(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path / name)
    check(read(tmp_path / name, BY_ID))


def test_a_query_gives_the_same_series(host: Host) -> None:
    rows = [(m, ts.replace(tzinfo=UTC).isoformat().replace("+00:00", ".000Z"), v, t, w) for m, ts, v, t, w in ROWS]
    types = {"meter": "VARCHAR", "ts": "TIMESTAMP", "kwh": "DOUBLE", "temp": "INT", "weather": "VARCHAR"}
    with running(host.settings, success(rows, **types)) as adapter:
        found = series.read(load.query("SELECT * FROM db.meters;", Options()), BY_ID)
        assert adapter.statements() == [b"SELECT * FROM db.meters"]
    check(found)


@pytest.mark.parametrize("sql", ["drop database db", "select 1; drop database db", "", "insert into t values (1, 2)"])
def test_only_a_select_is_run(host: Host, sql: str) -> None:
    host.settings.write_text("")
    with pytest.raises(UsageError, match="--sql: expected one SELECT statement"):
        load.query(sql, Options())


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (success([], ts="TIMESTAMP", v="INT"), UsageError, "the statement gives no rows: select 1"),
        (
            http(200, {"code": 0x2603, "desc": "Table does not exist"}),
            DatabaseError,
            "not exist (code 0x2603)",
        ),
        (
            http(401, {"code": 3, "desc": "no"}),
            DatabaseError,
            "user root: set user and password_file in [tdengine]",
        ),
        (http(200, b"<html>"), Unreachable, "but not in the form of taosAdapter"),
        (http(200, {"code": 0, "column_meta": [3], "data": [[1]]}), Unreachable, "but not in the form of taosAdapter"),
        (b"", Unreachable, "cannot be reached"),
    ],
)
def test_what_the_database_says_against_a_query_is_one_sentence(
    host: Host, answer: bytes, error: type[Exception], sentence: str
) -> None:
    with running(host.settings, answer), pytest.raises(error) as refusal:
        load.query("select 1", Options())
    assert sentence in str(refusal.value)
    assert "taosdata" not in str(refusal.value)


def test_a_sheet_is_named_and_what_is_no_workbook_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.xlsx"
    workbook(file)
    (one,) = read(file, BY_ID, "Data")[:1]
    assert isinstance(one, Series)
    assert not any("sheet" in note for note in one.column.notes)
    noted = read(file, BY_ID)[0]
    assert isinstance(noted, Series)
    assert noted.column.notes[0] == "sheet Data is read; --sheet names another: More"
    with pytest.raises(UsageError, match=r"--sheet: .*x.xlsx has Readme, Data, More; got 'data'"):
        read(file, BY_ID, "data")
    file.write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(UsageError, match=r"x.xlsx: is a zip archive, no workbook; unpack it first"):
        read(file, BY_ID)
    openpyxl.Workbook().save(file)
    with pytest.raises(UsageError, match=r"x.xlsx: expected a sheet with a header line and rows, found none"):
        read(file, BY_ID)


def test_a_cell_of_a_sheet_is_named_by_the_line_in_which_it_stands(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (("ts", "v"), (START, 1.5), (START + timedelta(days=1), "bad"), (START + timedelta(days=2), 3)):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match=r"x.xlsx: line 3, column v: expected a number, got 'bad'"):
        read(tmp_path / "x.xlsx", Choice(None, [], 2), column="v")


@pytest.mark.parametrize("content", [b"PAR1" + bytes(80), b"PAR1"])
def test_a_damaged_parquet_file_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.parquet: is a damaged Parquet file: "):
        read(tmp_path / "x.parquet", BY_ID)


def test_a_parquet_column_of_lists_is_refused_and_other_types_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(arrow.table({"v": [1, 2], "l": [[1], [2]]}), file)
    with pytest.raises(UsageError, match=r"column l: expected numbers, times or texts, got list<"):
        read(file, Choice(None, [], 2))
    times = arrow.array([1_772_323_200_000_000_000 + i for i in (0, 10**9)], arrow.timestamp("ns", "Asia/Shanghai"))
    values = arrow.array([None, 2**53 - 1], arrow.int64())
    pyarrow.parquet.write_table(arrow.table({"t": times, "v": values}), file)
    (one,) = read(file, Choice(None, [], 1))
    assert isinstance(one, Series)
    assert one.column.values == [None, 2**53 - 1]


def test_one_bad_series_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    rows = [row if number != 4 else (*row[:2], "oops", *row[3:]) for number, row in enumerate(ROWS)]
    (tmp_path / "x.csv").write_text(csv(rows))
    bad, good = read(tmp_path / "x.csv", Choice("meter", [], 3), column="kwh")
    assert isinstance(good, Series)
    assert isinstance(bad, Failure)
    assert bad.item_id == "A"
    assert bad.reason.endswith("x.csv: line 6, column kwh: expected a number, got 'oops'")


def test_without_id_a_table_of_several_series_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(csv())
    with pytest.raises(UsageError, match=r"column meter names 2 series .*; --id meter takes each of them"):
        read(tmp_path / "x.csv", Choice(None, [], 3))


def test_columns_are_taken_by_name_number_and_use(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,2,t1,t2\n" + "".join(f"{i},{i * i},2026-01-{i + 1:02},{i}\n" for i in range(20)))
    (found,) = read(tmp_path / "x.csv", Choice(None, [("past", "a")], 2, "t1"))
    assert isinstance(found, Series)
    assert found.column.name == "t2"
    (found,) = read(tmp_path / "x.csv", Choice(None, [("past", "t2")], 2), column="2")
    assert isinstance(found, Series)
    assert found.column.name == "2"
    assert found.ahead == ["2026-01-21", "2026-01-22"]
    for choice, options, sentence in (
        (Choice("no", [], 2), {}, "--id: .* has a, 2, t1, t2; got 'no'"),
        (Choice(None, [("past", "no")], 2), {}, "--covariate: .*; got 'no'"),
        (Choice(None, [], 2, "no"), {}, "--time: .*; got 'no'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read(tmp_path / "x.csv", choice, **options)


def test_rows_after_the_last_value_hold_the_future_of_covariates(tmp_path: Path) -> None:
    lines = "".join(f"2026-01-{i + 1:02},{i if i < 16 else ''},{100 + i},{i % 3}\n" for i in range(20))
    (tmp_path / "x.csv").write_text("ts,v,known,seen\n" + lines)
    choice = Choice(None, [("future", "known"), ("past", "seen")], 3)
    (found,) = read(tmp_path / "x.csv", choice, column="v")
    assert isinstance(found, Series)
    assert found.column.values == [float(i) for i in range(16)]
    assert found.past == {"known": [100.0 + i for i in range(16)], "seen": [float(i % 3) for i in range(16)]}
    assert found.future == {"known": [116.0, 117.0, 118.0]}
    assert found.ahead == ["2026-01-17", "2026-01-18", "2026-01-19"]
    with pytest.raises(UsageError, match=r"future:known needs 5 rows after the last value, .*, got 4"):
        read(tmp_path / "x.csv", Choice(None, choice.covariates, 5), column="v")


def test_newest_first_turns_covariates_too(tmp_path: Path) -> None:
    lines = "".join(f"2026-01-{i + 1:02},{i},{100 + i}\n" for i in reversed(range(20)))
    (tmp_path / "x.csv").write_text("ts,v,c\n" + lines)
    (found,) = read(tmp_path / "x.csv", Choice(None, [("past", "c")], 1), column="v")
    assert isinstance(found, Series)
    assert found.past == {"c": [100.0 + i for i in range(20)]}


def months(count: int, day: int = 1) -> list[str]:
    return [f"{2020 + i // 12}-{i % 12 + 1:02}-{day:02}" for i in range(count)]


FOLLOWING = {
    "hours": ([f"{t:%Y-%m-%d %H:%M:%S}" for t in HOURS], ["2026-03-02 06:00:00", "2026-03-02 07:00:00"]),
    "hours with a zone": (
        [f"{t:%Y-%m-%dT%H:%M:%S}+08:00" for t in HOURS],
        ["2026-03-02T06:00:00+08:00", "2026-03-02T07:00:00+08:00"],
    ),
    "hours in UTC": ([f"{t:%Y-%m-%dT%H:%M}Z" for t in HOURS], ["2026-03-02T06:00:00Z", "2026-03-02T07:00:00Z"]),
    "days": ([f"{START + timedelta(days=i):%d.%m.%Y}" for i in range(30)], ["2026-03-31", "2026-04-01"]),
    "working days": (
        [f"{d:%Y-%m-%d}" for d in (START + timedelta(days=i) for i in range(30)) if d.weekday() < 5],
        ["2026-03-31", "2026-04-01"],
    ),
    "working days before a week-end": (
        [f"{d:%Y-%m-%d}" for d in (START + timedelta(days=i) for i in range(27)) if d.weekday() < 5],
        ["2026-03-30", "2026-03-31"],
    ),
    "days with some missing": (
        [f"{START + timedelta(days=i):%Y-%m-%d}" for i in range(30) if i not in (7, 8, 20)],
        ["2026-03-31", "2026-04-01"],
    ),
    "weeks": ([f"{START + timedelta(weeks=i):%Y-%m-%d}" for i in range(20)], ["2026-07-19", "2026-07-26"]),
    "months": (months(23), ["2021-12-01", "2022-01-01"]),
    "months with one missing": ([m for i, m in enumerate(months(23)) if i != 9], ["2021-12-01", "2022-01-01"]),
    "ends of months": (
        [f"{(datetime(2020 + (i + 1) // 12, (i + 1) % 12 + 1, 1) - timedelta(days=1)):%Y-%m-%d}" for i in range(25)],
        ["2022-02-28", "2022-03-31"],
    ),
    "quarters": ([m for i, m in enumerate(months(36)) if i % 3 == 0], ["2023-01-01", "2023-04-01"]),
    "years": ([f"{year}-07-01" for year in range(2000, 2020)], ["2020-07-01", "2021-07-01"]),
    "months alone": ([m[:7] for m in months(24)], ["2022-01", "2022-02"]),
    "compact": ([f"{START + timedelta(days=i):%Y%m%d}" for i in range(20)], ["2026-03-21", "2026-03-22"]),
    "epochs in ms": ([str(1772323200000 + 60_000 * i) for i in range(20)], ["1772324400000", "1772324460000"]),
    "epochs in s": ([str(1772323200 + 60 * i) for i in range(20)], ["1772324400", "1772324460"]),
    "Chinese": ([f"{t:%Y年%m月%d日 %H时%M分}" for t in HOURS], ["2026-03-02 06:00:00", "2026-03-02 07:00:00"]),
    "uneven": ([f"{START + timedelta(hours=i * i):%Y-%m-%d %H:%M}" for i in range(20)], []),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_times_go_on_as_they_came(tmp_path: Path, name: str) -> None:
    times, expected = FOLLOWING[name]
    (tmp_path / "x.csv").write_text(csv([(t, 5 + i % 7) for i, t in enumerate(times)], ("ts", "v")))
    (found,) = read(tmp_path / "x.csv", Choice(None, [], 2))
    assert isinstance(found, Series)
    assert found.ahead == expected


def test_without_the_packages_the_one_to_install_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parquet(tmp_path / "x.parquet")
    workbook(tmp_path / "x.xlsx")
    for module in ("pyarrow", "python_calamine"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"x\.parquet: pyarrow, .* is missing: install taos-tsfm-arrow"):
        read(tmp_path / "x.parquet", BY_ID)
    with pytest.raises(ConfigError, match=r"x\.xlsx: python-calamine, .* is missing: install taos-tsfm-runtime"):
        read(tmp_path / "x.xlsx", BY_ID)
