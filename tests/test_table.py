"""What a table of a person is read as: the right column, or a sentence that names the line or the option."""

from __future__ import annotations

import bz2
import gzip
import lzma
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.errors import UsageError
from tsfm.table import column, rows
from tsfm.table.column import Column, Options

START = datetime(2026, 3, 1)
HOURS = [(START + timedelta(hours=i)).strftime("%Y-%m-%d %H:%M:%S") for i in range(24)]
DAYS = [START + timedelta(days=i) for i in range(24)]
COUNT = [float(i) for i in range(24)]
TENTHS = [round(20 + i / 10, 1) for i in range(24)]


def csv(header: str, *columns: list, sep: str = ",", end: str = "\n") -> str:
    lines = ([header] if header else []) + [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "".join(line + end for line in lines)


def comma(values: list[float]) -> list[str]:
    return [str(value).replace(".", ",") for value in values]


@pytest.fixture
def read(tmp_path: Path):
    def read(content: str | bytes, name: str = "x.csv", **options) -> Column:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return column.read(str(file), Options(**options))

    return read


PLAIN = csv("ts,val", HOURS, range(24))
NUMBERED = {
    "plain": (PLAIN, COUNT),
    "no header, two columns": (csv("", HOURS, range(24)), COUNT),
    "no header, one column": (csv("", TENTHS), TENTHS),
    "semicolon": (csv("ts;val", HOURS, range(24), sep=";"), COUNT),
    "semicolon and decimal comma": (csv("ts;val", HOURS, comma(TENTHS), sep=";"), TENTHS),
    "a comma in the header too": (csv("ts;val, kWh", HOURS, comma(TENTHS), sep=";"), TENTHS),
    "tab and decimal comma": (csv("ts\tval", HOURS, comma(TENTHS), sep="\t"), TENTHS),
    "quoted decimal comma": (csv("ts,val", HOURS, [f'"{v}"' for v in comma(TENTHS)]), TENTHS),
    "bar": (csv("ts|val", HOURS, range(24), sep="|"), COUNT),
    "Excel's sep=": ("sep=;\r\n" + csv("ts;val", HOURS, range(24), sep=";", end="\r\n"), COUNT),
    "CR only": (PLAIN.replace("\n", "\r"), COUNT),
    "CRLF": (PLAIN.replace("\n", "\r\n"), COUNT),
    "no newline at the end": (PLAIN.rstrip(), COUNT),
    "comments before": ('# made by "x\n# unit: kW, hourly\n' + PLAIN, COUNT),
    "a separator after each line": (csv("ts,val,", HOURS, range(24), [""] * 24), COUNT),
    "empty rows at the end, as Excel leaves them": (PLAIN + ",\n,\n", COUNT),
    "time last": (csv("val,ts", range(24), [1772323200000 + i for i in range(24)]), COUNT),
    "epoch last, without a name for time": (csv("val,x", range(24), [1772323200000 + 7 * i for i in range(24)]), COUNT),
    "a time in text last": (csv("val,when", range(24), HOURS), COUNT),
    "row numbers as pandas writes": (csv(",val", range(24), TENTHS), TENTHS),
    "status last": (csv("ts,val,quality", HOURS, range(24), [192] * 24), COUNT),
    "state in words last": (csv("ts,val,state", HOURS, range(24), ["ok", "bad"] * 12), COUNT),
    "an index that rises, beside times": (
        csv("date,a,index", HOURS, TENTHS, range(100, 124)),
        [100.0 + i for i in range(24)],
    ),
    "a meter of ten digits, beside times": (
        csv("date,a,total", HOURS, TENTHS, [1772323200 + i * i for i in range(24)]),
        [1772323200.0 + i * i for i in range(24)],
    ),
    "date and time of day apart": (
        csv("Datum;Uhrzeit;Wert", ["01.03.2026"] * 24, [f"{i:02}:00" for i in range(24)], comma(TENTHS), sep=";"),
        TENTHS,
    ),
    "quotes around all": (csv('"ts","val"', [f'"{t}"' for t in HOURS], [f'"{v}"' for v in range(24)]), COUNT),
    "spaces around": (csv("ts , val ", HOURS, [f"  {v} " for v in range(24)]), COUNT),
    "exponents": (csv("ts,val", HOURS, [f"{i}.5e3" for i in range(24)]), [1000 * i + 500.0 for i in range(24)]),
    "Unicode minus": (csv("val", [f"\u2212{i}.5" for i in range(24)]), [-i - 0.5 for i in range(24)]),
    "full-width digits": (csv("值", [f"１２．{i % 10}" for i in range(24)]), [12 + (i % 10) / 10 for i in range(24)]),
    "underscores": (csv("val", [f"1_0{i:02}" for i in range(24)]), [1000.0 + i for i in range(24)]),
    "thousands and decimals": (csv("val", [f'"1,2{i:02}.5"' for i in range(24)]), [1200.5 + i for i in range(24)]),
    "German thousands and decimals": (
        csv("t;val", HOURS, [f"1.2{i:02},5" for i in range(24)], sep=";"),
        [1200.5 + i for i in range(24)],
    ),
    "no-break space between thousands": (
        csv("t;val", HOURS, [f"1\u00a02{i:02},5" for i in range(24)], sep=";"),
        [1200.5 + i for i in range(24)],
    ),
    "three decimals": (csv("val", [f"1.1{i:02}" for i in range(24)]), [1.1 + i / 1000 for i in range(24)]),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_a_table_gives_its_numbers(read, name):
    content, wanted = NUMBERED[name]
    assert read(content).values == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("content", "options", "wanted"),
    [
        ("kwh\n1\n" + csv("", comma([1.1, 1.2])), {"decimal": ","}, [1, 1.1, 1.2]),
        ("load\n900\n1,190\n", {"decimal": "."}, [900, 1190]),
        ("load\n900\n1.190\n", {"decimal": ","}, [900, 1190]),
        ("t;v\n2026-01-01;1.190\n2026-01-02;1.191\n", {"decimal": "."}, [1.19, 1.191]),
        ("0,5\n1,6\n", {"separator": ","}, [5, 6]),
        ("0,5\n1,5\n", {"decimal": ","}, [0.5, 1.5]),
        ("a;b\n1;2\n", {"column": "a"}, [1]),
        ("Temp,b\n1,2\n", {"column": "temp"}, [1]),
        ("a,b\n1,2\n3,4\n", {"column": "1"}, [1, 3]),
        ("v,v\n1,2\n3,4\n", {"column": "2"}, [2, 4]),
        ("2020\n1\n2\n", {"header": True}, [1, 2]),
        ("a\n1\n", {"separator": "tab"}, [1]),
    ],
)
def test_an_option_says_which_of_two_readings_is_meant(read, content, options, wanted):
    if "separator" in options:
        options = options | {"separator": rows.separator(options["separator"])}
    assert read(content, **options).values == wanted


REFUSED = {
    "a longer row": ("val\n0,5\n1,5\n", "line 2 has 2 cells, the first row (line 1) has 1 cell"),
    "a decimal comma below the first": ("kwh\n1\n1,0\n1,1\n", "line 3 has 2 cells"),
    "thousands without quotes": ("load\n900\n1,000\n", "line 3 has 2 cells"),
    "a decimal comma between commas": (csv("ts,val", HOURS, comma(TENTHS)), "line 2 has 3 cells"),
    "a shorter row": (PLAIN.replace(",5\n", "\n"), "line 7 has 1 cell"),
    "a comma at the end of rows alone": (csv("ts,val", HOURS, [f"{i}," for i in range(24)]), "line 2 has 3 cells"),
    "a title": ("Report\n" + PLAIN, "line 2 has 2 cells, the first row (line 1) has 1"),
    "decimal commas or two columns": (csv("", [f"{i},5" for i in range(9)]), "--decimal , or --separator ,"),
    "three digits after a comma": (csv("v", ['"1,190"', '"1,191"']), "line 2, column v: 1,190 may be 1190 or 1.190"),
    "three digits after a point, hundreds before": ("load\n900\n1.000\n", "line 3, column load: 1.000 may be 1000"),
    "three digits after a point, between semicolons": ("t;v\na;1.190\nb;1.191\n", "--decimal . or --decimal ,"),
    "two decimal signs": ("t;v\na;1,5\nb;1.55\n", "line 3, column v: expected the decimal sign of '1,5' above"),
    "a word after blank lines": ("val\n\n\n0\n1\n\n2\noops\n", "line 8, column val: expected a number, got 'oops'"),
    "a word after quoted newlines": ('n,val\n"a\nb",1\n"a\nb",oops\n', "line 4, column val: expected a number"),
    "a word after sep= and a comment": (
        "sep=;\n# c\na;b\n1;2\n1;x1\n",
        "line 5, column b: expected a number, got 'x1'",
    ),
    "infinity": ("val\n1\ninf\n", "line 3, column val: expected a finite number, got infinity"),
    "beyond a double": ("val\n1\n1e999\n", "line 3, column val: expected a number up to 1.8e308, got infinity"),
    "a unit": (csv("ts,n,t", HOURS, range(24), [f"{i} °C" for i in range(24)]), "got '0 °C'; take '°C' out"),
    "per cent": ("val\n12 %\n", "got '12 %'; take '%' out"),
    "true and false": ("val\ntrue\nfalse\n", "line 2, column val: expected a number, got 'true'"),
    "totals below": (PLAIN + "Total,9600\n", "line 26, column ts: expected a time, got 'Total'"),
    "totals without a word": (PLAIN + ",9600\n", "line 26, column ts: expected a time, got an empty cell"),
    "shuffled": (csv("ts,val", HOURS[12:] + HOURS[:12], range(24)), "line 14, column ts: the time falls from"),
    "two meters, one after the other": (
        csv("meter,ts,val", ["A"] * 12 + ["B"] * 12, HOURS[:12] * 2, range(24)),
        "column meter names 2 series (A, B)",
    ),
    "two meters, row by row": (
        csv("ts,val,meter", sorted(HOURS[:12] * 2), range(24), [1, 2] * 12),
        "column meter names 2 series (1, 2)",
    ),
    "only gaps": (
        "a,val\n1,NULL\n2,\n",
        "column val: expected at least one number, got 2 gaps; --column names another: a",
    ),
    "only times": (csv("ts", HOURS), "expected a column of numbers, found only times"),
    "a header with a comma above decimal commas": ("Load, MW\n1,5\n1,6\n1,7\n", "may hold decimal commas or columns"),
    "two columns apart by spaces": ("i val\n1 200\n2 300\n", "line 2, column i val: expected a number, got '1 200'"),
    "a line of names again": (PLAIN + PLAIN, "line 26, column ts: expected a time, got 'ts'"),
    "a version": ("v\n1.2.3\n", "line 2, column v: expected a number, got '1.2.3'"),
    "times and numbers apart by spaces": ("ts val\n2026-03-01 1.5\n", "another separator? --separator"),
    "a quote without its end": ('ts,v\n2026-01-01,"1\n2026-01-02,2\n', "line 2: a quoted cell has no right end"),
    "a header alone": ("ts,val\n", "expected a header line and rows, found none"),
    "nothing": ("", "expected a header line and rows, found none"),
    "JSON": ('[{"a": 1}]', "is JSON"),
    "HTML": ("<!DOCTYPE html><html></html>", "is a page of HTML"),
    "LFS": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    "a workbook": (b"PK\x03\x04" + bytes(40), "a workbook or a zip archive; save it as CSV"),
    "Parquet": (b"PAR1" + bytes(40), "a Parquet file"),
    "bytes": (bytes(range(256)), "binary data"),
    "a packed file cut off": (gzip.compress(PLAIN.encode())[:-20], "cannot be unpacked, it is cut off or damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_in_one_way_is_refused_with_its_place(read, name):
    content, said = REFUSED[name]
    with pytest.raises(UsageError) as refused:
        read(content)
    assert said in str(refused.value)
    assert "x.csv" in str(refused.value)


@pytest.mark.parametrize("word", ["", "NULL", "null", "NA", "N/A", "#N/A", "None", "nan", "NaN", "-", "\\N", "#DIV/0!"])
def test_a_word_for_a_gap_is_one(read, word):
    assert read(f"ts,val\n2026-01-01,1\n2026-01-02,{word}\n2026-01-03,3\n").values == [1, None, 3]
    assert read(f'val\n1\n"{word}"\n3\n').values == [1, None, 3]


TOLD = {
    "newest first": (csv("time,val", HOURS[::-1], COUNT[::-1]), COUNT, "column time: the newest row comes first"),
    "a repeated time": (
        csv("ts,val", HOURS[:3] + HOURS[2:], range(25)),
        None,
        "1 row has the time of the row before, the first is line 5",
    ),
    "missing rows": (
        csv("ts,val", HOURS[:5] + HOURS[9:], range(20)),
        None,
        "4 rows are missing, the first before line 7",
    ),
    "a clock set back": (
        csv("ts,v", [f"2026-10-25 {h:02}:{m}" for h in (1, 2, 2, 3, 4) for m in ("00", "30")], range(10)),
        None,
        "line 6, column ts: the time falls from 2026-10-25 02:30 to 2026-10-25 02:00",
    ),
    "zones here and there": (
        csv("ts,v", [t + ("Z" if i % 2 else "") for i, t in enumerate(HOURS)], range(24)),
        COUNT,
        "written in more than one form",
    ),
    "no common step": (
        csv("ts,v", [START + timedelta(hours=i * i) for i in range(24)], range(24)),
        COUNT,
        "not evenly spaced",
    ),
    "no header": (csv("", HOURS, range(24)), COUNT, "line 1 is taken as a row, no header"),
    "another column": (csv("a,b", range(24), TENTHS), TENTHS, "column b is taken; --column names another: a"),
    "an unchanging column": (csv("a,b", range(24), [192] * 24), COUNT, "column a is taken (b: the same in all rows)"),
    "a comment between": (PLAIN.replace("2026-03-01 05", "# x\n2026-03-01 05"), COUNT, "the first is line 7"),
    "an empty line between": ("v\n1\n2\n3\n4\n\n5\n", [1, 2, 3, 4, 5], "empty lines are left out, the first is line 6"),
    "two meters without times": (
        csv("meter,v", ["A"] * 3 + ["B"] * 3, range(6)),
        COUNT[:6],
        "column meter has 2 different cells (A, B)",
    ),
    "meters in turn, with times of their own": (
        csv("ts,v,meter", HOURS, range(24), ["A", "B"] * 12),
        COUNT,
        "column meter has 2 different cells (A, B)",
    ),
    "meters by number": (
        csv("ts,v,groupid", HOURS, range(24), [1, 2] * 12),
        COUNT,
        "column groupid has 2 different cells (1, 2)",
    ),
    "a quality that changes": (
        csv("ts,v,quality", HOURS, range(24), [192] * 20 + [0] * 4),
        COUNT,
        "column v is taken; --column names another: quality",
    ),
    "a decimal comma": (csv("t;v", HOURS, comma(TENTHS), sep=";"), TENTHS, "read with decimal commas"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_a_person_should_know_is_told(read, name):
    content, values, said = TOLD[name]
    found = read(content)
    assert any(said in note for note in found.notes), found.notes
    if values:
        assert found.values == values


ORDERED = {
    "European": [day.strftime("%d.%m.%Y") for day in DAYS],
    "European with a slash": [day.strftime("%d/%m/%Y") for day in DAYS],
    "American": [day.strftime("%m/%d/%Y") for day in DAYS],
    "Chinese": [day.strftime("%Y年%m月%d日 %H时%M分") for day in DAYS],
    "Chinese with a slash": [f"{day.year}/{day.month}/{day.day}" for day in DAYS],
    "compact": [day.strftime("%Y%m%d") for day in DAYS],
    "ISO with a zone": [day.isoformat() + "+08:00" for day in DAYS],
    "ISO with nanoseconds": [day.isoformat() + ".123456789" for day in DAYS],
    "month in words": [day.strftime("%d-%b-%Y") for day in DAYS],
    "epoch s": [int(day.timestamp()) for day in DAYS],
    "epoch ms": [int(day.timestamp()) * 10**3 for day in DAYS],
    "epoch us": [int(day.timestamp()) * 10**6 for day in DAYS],
    "epoch s with a fraction": [f"{int(day.timestamp())}.5" for day in DAYS],
    "epoch ms as pandas floats": [f"{int(day.timestamp()) * 1000}.0" for day in DAYS],
    "two digits of the year": [day.strftime("%d.%m.%y %H:%M") for day in DAYS],
    "epoch ns": [int(day.timestamp()) * 10**9 for day in DAYS],
    "months": [f"{1950 + i // 12}-{i % 12 + 1:02}" for i in range(24)],
    "days that are months too": [f"{i + 1:02}/03/2026" for i in range(12)] + [f"{i + 1:02}/04/2026" for i in range(12)],
}


@pytest.mark.parametrize("name", sorted(set(ORDERED) - {"days that are months too"}))
def test_times_in_every_form_are_seen_to_rise_to_fall_and_to_jump(read, name):
    times = ORDERED[name]
    assert read(csv("ts,val", times, range(24))).notes == []
    assert read(csv("val,ts", range(24), times)).values == COUNT
    turned = read(csv("ts,val", times[::-1], range(24)))
    assert turned.values == COUNT[::-1]
    assert [turned.times[0], turned.times[-1]] == [str(times[0]), str(times[-1])]
    with pytest.raises(UsageError, match="line 14, column ts: the time falls"):
        read(csv("ts,val", times[12:] + times[:12], range(24)))
    assert any("4 rows are missing" in note for note in read(csv("ts,val", times[:9] + times[13:], range(20))).notes)


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("utf-8", "时间,温度"),
        ("utf-8-sig", "时间,温度"),
        ("utf-16", "时间,温度"),
        ("utf-16-le", "ts,val"),
        ("gbk", "时间,温度 ℃"),
        ("gb18030", "时间,A相电压"),
        ("latin-1", "Zeit,Zählerstände"),
        ("cp1252", "Zeit,Größe"),
        ("latin-1", "Zeit,Temp °C"),
    ],
)
def test_an_encoding_is_recognised_and_named(read, encoding, names):
    found = read(csv(names, HOURS, range(24)).encode(encoding), name="数据.csv")
    assert found.values == COUNT
    assert found.name == names.partition(",")[2]
    assert encoding.startswith("utf-8") == (not any("read as" in note for note in found.notes))


def test_an_encoding_can_be_said(read):
    content = csv("ts,Größe", HOURS, range(24)).encode("cp1252")
    assert read(content, encoding="cp1252").notes == []
    with pytest.raises(UsageError, match=r"line 1 is not in utf-8; --encoding names another"):
        read(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"--encoding: expected a name such as"):
        read(content, encoding="nope")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_read(read, pack):
    assert read(pack(PLAIN.encode())).values == COUNT


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(UsageError, match="expected a CSV file, got a folder"):
        column.read(str(tmp_path), Options())
    with pytest.raises(UsageError, match=r"nope\.csv: No such file or directory"):
        column.read(str(tmp_path / "nope.csv"), Options())


def test_the_summary_names_the_column_its_rows_gaps_and_times(read):
    content = PLAIN.replace(",5\n", ",NULL\n")
    assert read(content).summary() == f"column val, 24 rows (1 without a value), from {HOURS[0]} to {HOURS[-1]}"


def test_a_name_that_is_there_twice_is_asked_for_by_number(read):
    with pytest.raises(UsageError, match=r"--column: .* has 'v' more than once; give its number: 1 \(v\), 2 \(v\)"):
        read("v,v\n1,2\n3,4\n", column="v")
    assert read("v,v\n1,2\n3,4\n").name == "2 (v)"


TEXTS = """||NULL|1|-2.5|1,5|1,190|1.190|1e999|inf|#|#N/A|-|ts|val|id|Total|12 %|May 2026|1 2026|1772323200000
    |1772323200.5|2026-03-01|20260301|10:00|2026-13-01T25:61Z|9999-99-99|0000-00-00|31/31/2026
    |01.03.2026 10:00|2026年3月1日|−1|１|٣|1'0|\x1b[31m|\x1f|\ufeff|\u00a0|"|"a\nb\""""
CELLS = st.sampled_from(TEXTS.split("|"))
LINES = st.lists(st.lists(CELLS, max_size=4), max_size=12)


@given(LINES, st.sampled_from(",;\t| "), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
def test_whatever_stands_in_a_table_it_is_read_or_refused_in_words(tmp_path_factory, lines, sep, end):
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(end.join(sep.join(line) for line in lines).encode())
    for options in (Options(), Options(decimal=",", header=True), Options(column="1", separator=sep, header=False)):
        try:
            found = column.read(str(file), options)
        except UsageError as refused:
            assert str(refused).count("\n") == 0
        else:
            assert len(found.values) == len(found.lines) >= 1
            assert len(found.times) in (0, len(found.values))


@given(st.binary(max_size=200), st.sampled_from([b"", b"ts,val\n", b"\xff\xfe", b"\x1f\x8b", b"\xd6\xb5\n1\n"]))
def test_whatever_bytes_a_file_has_it_is_read_or_refused_in_words(tmp_path_factory, data, start):
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(start + data)
    try:
        assert column.read(str(file), Options()).values
    except UsageError as refused:
        assert "any.csv" in str(refused)
