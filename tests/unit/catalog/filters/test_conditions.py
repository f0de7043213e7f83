"""Each operator and function of a condition, against plain Python one row at a time."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elodin_spark.catalog.filters.conditions import parse_condition, run_query
from elodin_spark.errors import InputError

NAN, INF = float("nan"), float("inf")
DOUBLES = [None, NAN, -0.0, 0.0, 1.0, -1.5, 2.5, 0.1, 1e300, -INF, INF, 16777217.0, 5e-324, -0.5, 9.3e18]
FLOATS = [None, NAN, 0.0, 0.1, 1.5, -2.5, 16777216.0, INF]
INTS = [None, 0, 1, -7, 3, 16777217, 2**31 - 1, -(2**31)]
BIGINTS = [None, 0, 5, -5, 2**62 + 1, 2**63 - 1, -(2**63), 2**53 + 1]
TEXTS = [None, "", "a", "A", "r", "r_1.fits", "x/rr%/y.fits", "Ä", "ä", "12", "a\\b", "line\n", "it's"]


class Row(dict[str, Any]):
    """Values of a row by attribute; NaN is None, as in a condition."""

    def __getattr__(self, name: str) -> Any:
        value = self[name]
        return None if isinstance(value, float) and math.isnan(value) else value


def rows() -> pa.Table:
    """All pairs of doubles, and enough pairs of the others."""
    n = len(DOUBLES) ** 2
    pairs = list(itertools.product(DOUBLES, DOUBLES))
    rng = np.random.default_rng(0)
    pick = lambda values: [values[at % len(values)] for at in rng.permutation(n)]  # noqa: E731
    return pa.table(
        {
            "d": pa.array([d for d, _ in pairs], pa.float64()),
            "e": pa.array([e for _, e in pairs], pa.float64()),
            "f": pa.array(pick(FLOATS), pa.float32()),
            "i": pa.array(pick(INTS), pa.int32()),
            "b": pa.array(pick(BIGINTS), pa.int64()),
            "s": pa.array(pick(TEXTS), pa.string()),
            "p": pa.array(pick([None, True, False]), pa.bool_()),
            "q": pa.array(pick([None, True, False]), pa.bool_()),
        }
    )


def known(compute: Callable[..., Any], *values: Any) -> Any:
    """Null of null, of NaN, and of what cannot be computed."""
    if any(value is None for value in values):
        return None
    try:
        found = compute(*values)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    if isinstance(found, float) and math.isnan(found):
        return None
    return None if isinstance(found, int) and not -(2**63) <= found < 2**63 else found


def both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def no(a: bool | None) -> bool | None:
    return None if a is None else not a


def fmod(a: float, b: float) -> float:
    return math.fmod(a, b)


def remainder(a: int, b: int) -> int:
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


#: What each condition is of a row.
ORACLE: dict[str, Callable[[Row], bool | None]] = {
    "d > 0": lambda r: known(lambda d: d > 0, r.d),
    "d > 5": lambda r: known(lambda d: d > 5, r.d),
    "not d > 5": lambda r: no(known(lambda d: d > 5, r.d)),
    "d = e": lambda r: known(lambda d, e: d == e, r.d, r.e),
    "d <> e": lambda r: known(lambda d, e: d != e, r.d, r.e),
    "d != e": lambda r: known(lambda d, e: d != e, r.d, r.e),
    "d == e": lambda r: known(lambda d, e: d == e, r.d, r.e),
    "d < e": lambda r: known(lambda d, e: d < e, r.d, r.e),
    "d >= e": lambda r: known(lambda d, e: d >= e, r.d, r.e),
    "d <=> e": lambda r: r.d == r.e,
    "d <=> null": lambda r: r.d is None,
    "d is null": lambda r: r.d is None,
    "d is not null": lambda r: r.d is not None,
    "isnull(s)": lambda r: r.s is None,
    "isnotnull(s)": lambda r: r.s is not None,
    "isnan(d)": lambda r: isinstance(r["d"], float) and math.isnan(r["d"]),
    "not isnan(f)": lambda r: r["f"] is None or not math.isnan(r["f"]),
    "isnan(d - d)": lambda r: r["d"] is not None and not math.isfinite(r["d"]),
    "f = 0.1": lambda r: known(lambda f: f == 0.1, r.f),
    "f = 0.1F": lambda r: known(lambda f: f == float(np.float32(0.1)), r.f),
    "f > 1": lambda r: known(lambda f: f > 1, r.f),
    "i > 0.5": lambda r: known(lambda i: i > 0.5, r.i),
    "i = b": lambda r: known(lambda i, b: i == b, r.i, r.b),
    "b = 9223372036854775807": lambda r: known(lambda b: b == 2**63 - 1, r.b),
    "b = -9223372036854775808": lambda r: known(lambda b: b == -(2**63), r.b),
    "p and q": lambda r: both(r.p, r.q),
    "p or q": lambda r: no(both(no(r.p), no(r.q))),
    "not p": lambda r: no(r.p),
    "p = q": lambda r: known(lambda p, q: p == q, r.p, r.q),
    "p is true": lambda r: r.p is True,
    "p is not true": lambda r: r.p is not True,
    "p is false": lambda r: r.p is False,
    "p and null": lambda r: both(r.p, None),
    "p or q and d > 0": lambda r: no(both(no(r.p), no(both(r.q, known(lambda d: d > 0, r.d))))),
    "d between 0 and 2.5": lambda r: known(lambda d: 0 <= d <= 2.5, r.d),
    "d not between f and 1": lambda r: no(
        both(known(lambda d, f: d >= f, r.d, r.f), known(lambda d: d <= 1, r.d))
    ),
    "s between 'a' and 'r'": lambda r: known(lambda s: "a" <= s <= "r", r.s),
    "i in (1, 3)": lambda r: known(lambda i: i in (1, 3), r.i),
    "i not in (1, 3)": lambda r: known(lambda i: i not in (1, 3), r.i),
    "i in (1, null)": lambda r: True if r.i == 1 else None,
    "d in (0, 2.5)": lambda r: known(lambda d: d in (0, 2.5), r.d),
    "b in (i, -5)": lambda r: no(both(known(lambda b, i: b != i, r.b, r.i), known(lambda b: b != -5, r.b))),
    "s in ('a', 'it\\'s')": lambda r: known(lambda s: s in ("a", "it's"), r.s),
    "s like 'r%'": lambda r: known(lambda s: s.startswith("r"), r.s),
    "s like '%.fits'": lambda r: known(lambda s: s.endswith(".fits"), r.s),
    r"s like 'r\\_1%'": lambda r: known(lambda s: s.startswith("r_1"), r.s),
    r"s like '%\\%%'": lambda r: known(lambda s: "%" in s, r.s),
    "s like '_'": lambda r: known(lambda s: len(s) == 1, r.s),
    "s like 'line_'": lambda r: known(lambda s: s == "line\n", r.s),
    "s not like '%r%'": lambda r: known(lambda s: "r" not in s, r.s),
    "s rlike '^r.1'": lambda r: known(lambda s: bool(re.search("^r.1", s)), r.s),
    r"s rlike '\\d+'": lambda r: known(lambda s: bool(re.search("[0-9]", s)), r.s),
    "s rlike '(?i)^[ax]'": lambda r: known(lambda s: bool(re.search("^[axAX]", s)), r.s),
    "lower(s) = 'ä'": lambda r: known(lambda s: s in ("ä", "Ä"), r.s),
    "upper(s) = 'A'": lambda r: known(lambda s: s in ("a", "A"), r.s),
    "s < 'b'": lambda r: known(lambda s: s.encode() < b"b", r.s),
    'S = "r" and `I` >= 0': lambda r: both(known(lambda s: s == "r", r.s), known(lambda i: i >= 0, r.i)),
    "d + e > 1": lambda r: known(lambda x: x > 1, known(lambda d, e: d + e, r.d, r.e)),
    "d - e is null": lambda r: known(lambda d, e: d - e, r.d, r.e) is None,
    "d * e <= 1": lambda r: known(lambda x: x <= 1, known(lambda d, e: d * e, r.d, r.e)),
    "d / e > 1": lambda r: known(lambda x: x > 1, known(lambda d, e: d / e, r.d, r.e)),
    "d / e is null": lambda r: known(lambda d, e: d / e, r.d, r.e) is None,
    "d % e > 0": lambda r: known(lambda x: x > 0, known(fmod, r.d, r.e)),
    "0.5 * i > 1": lambda r: known(lambda i: 0.5 * i > 1, r.i),
    "i / 2 = 0.5": lambda r: known(lambda i: i / 2 == 0.5, r.i),
    "i + 1 > 0": lambda r: known(lambda i: i + 1 > 0, r.i),
    "b + 1 is null": lambda r: known(lambda b: b + 1, r.b) is None,
    "b * b is null": lambda r: known(lambda b: b * b, r.b) is None,
    "-b > 0": lambda r: known(lambda x: x > 0, known(lambda b: -b, r.b)),
    "abs(b) is null": lambda r: known(abs, r.b) is None,
    "i % 4 = -3": lambda r: known(lambda i: remainder(i, 4) == -3, r.i),
    "i % b is null": lambda r: known(remainder, r.i, r.b) is None,
    "b - 1 - 1 - 1 = 2": lambda r: known(lambda x: x == 2, known(lambda b: b - 3, r.b)),
    "7 - (i - 2) > 3": lambda r: known(lambda i: 7 - (i - 2) > 3, r.i),
    "abs(d) = 1.5": lambda r: known(lambda d: abs(d) == 1.5, r.d),
    "-d > 0": lambda r: known(lambda d: -d > 0, r.d),
    "sqrt(d) > 1": lambda r: known(lambda x: x > 1, known(math.sqrt, r.d)),
    "sqrt(d) is null": lambda r: known(math.sqrt, r.d) is None,
    "log10(d) > 0": lambda r: known(lambda x: x > 0, known(math.log10, r.d)),
    "log10(d) is null": lambda r: known(math.log10, r.d) is None,
    "floor(d) = -2": lambda r: known(lambda d: math.isfinite(d) and math.floor(d) == -2, r.d),
    "ceil(d) = 3": lambda r: known(lambda d: math.isfinite(d) and math.ceil(d) == 3, r.d),
    "floor(i) = i": lambda r: known(lambda i: True, r.i),
    "round(d) = 3": lambda r: known(lambda d: d == 2.5, r.d),
    "round(d) = -2": lambda r: known(lambda d: d == -1.5, r.d),
    "round(d, 1) = 0.1": lambda r: known(lambda d: d == 0.1, r.d),
    "coalesce(d, e, 0.5) = 0.5": lambda r: next((x for x in (r.d, r.e) if x is not None), 0.5) == 0.5,
    "coalesce(i, 0.5) = 0.5": lambda r: r.i is None,
    "coalesce(s, 'none') = 'none'": lambda r: r.s is None,
    "case when d > 0 then true when d < 0 then false end": lambda r: known(
        lambda d: d > 0 if d else None, r.d
    ),
    "case i when 1 then 'a' when 3 then 'r' else s end = s": lambda r: known(
        lambda s: s == {1: "a", 3: "r"}.get(r.i, s), r.s
    ),
    "if(p, i, b) > 0": lambda r: known(lambda x: x > 0, r.i if r.p else r.b),
    "cast(d as int) = 2": lambda r: known(
        lambda x: x == 2, known(lambda d: int(d) if abs(d) < 2**31 else None, r.d)
    ),
    "cast(b as int) is null": lambda r: r.b is None or abs(r.b) > 2**31,
    "cast(i as double) / 2 > 0.5": lambda r: known(lambda i: i / 2 > 0.5, r.i),
    "cast(s as int) = 12": lambda r: known(lambda s: True if s == "12" else None, r.s),
    "cast(i as string) = '3'": lambda r: known(lambda i: i == 3, r.i),
    "cast(p as int) = 1": lambda r: known(bool, r.p),
    "i::bigint = 3L or 1e0 = d": lambda r: no(
        both(no(known(lambda i: i == 3, r.i)), no(known(lambda d: d == 1, r.d)))
    ),
    "null": lambda r: None,
}


def of_rows(condition: str, table: pa.Table) -> list[bool | None]:
    sql = parse_condition(condition, {"t": table.schema}).sql
    return run_query(f'SELECT {sql} FROM "t"', {"t": table}, 60).to_pylist()


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows()


@pytest.mark.parametrize("condition", ORACLE)
def test_a_condition_is_what_plain_python_says_of_each_row(table: pa.Table, condition: str) -> None:
    expected = [ORACLE[condition](Row(row)) for row in table.to_pylist()]
    assert of_rows(condition, table) == expected
    assert True in expected or condition in ("null", "p and null", "f = 0.1")


def test_nan_is_never_above_a_limit_nor_below(table: pa.Table) -> None:
    some = table.filter(pa.compute.is_nan(table["d"]))
    for condition in ("d > 5", "not d > 5", "d <= 5", "d = d", "d <> 1", "d in (1, 2)", "d + 1 > 0"):
        assert set(of_rows(condition, some)) == {None}


def test_text_in_quotes_stays_text() -> None:
    texts = ["'; drop table t; --", "' or true or '", "\\' or 1=1", "a\x00b", "$1", "{}", "{0}"]
    table = pa.table(
        {"s": texts, "m": pa.array([[(t, 1.0)] for t in texts], pa.map_(pa.string(), pa.float32()))}
    )
    for text in texts:
        typed = "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))
        assert of_rows(f"s = {typed}", table) == [other == text for other in texts]
        assert of_rows(f"m[{typed}] = 1", table) == [True if other == text else None for other in texts]


def test_a_query_is_stopped_by_time_and_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
    with pytest.raises(InputError, match="stopped after"):
        run_query(endless, {}, 0.5)
    with pytest.raises(InputError, match="memory"):
        run_query("SELECT list(range) FROM range(1000000000)", {}, 60)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM hidden",
    ],
)
def test_the_database_reaches_nothing_else(query: str, tmp_path) -> None:
    hidden = pa.table({"a": [1]})
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(InputError, match="cannot be run"):
        run_query(query.format(file=file, folder=tmp_path), {}, 60)
    assert hidden.num_rows == 1
