"""What a filter keeps is what Spark keeps."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conditions import TableNames

from elodin_spark.catalog.expressions import parse_condition

pytestmark = pytest.mark.spark

NAN, INF = float("nan"), float("inf")
DOUBLES = [
    None,
    NAN,
    -0.0,
    0.0,
    1.0,
    -1.5,
    2.5,
    0.1,
    2.675,
    1e300,
    -INF,
    INF,
    16777217.0,
    5e-324,
    -0.5,
    9.3e18,
]
FLOATS = [None, NAN, -0.0, 0.0, 0.1, 1.5, -2.5, 16777216.0, INF, 3e38]
INTS = [None, 0, 1, -7, 3, 16777217, 2**31 - 1, -(2**31)]
BIGINTS = [None, 0, 5, -5, 2**62 + 1, 2**63 - 1, -(2**63), 2**53 + 1]
TEXTS = [
    None,
    "",
    "a",
    "A",
    "r",
    "r_1.fits",
    "x/rr%/y.fits",
    "Äß",
    "äß",
    "é",
    "12",
    " -7 ",
    "1.5",
    "a\\b",
    "line\n",
    "it's",
]
BOOLEANS = [None, True, False]

#: Conditions, each of which Spark reads as it stands.
SAME = """
d > 0 | d < 0 | d >= -0.0 | d = 0 | d <=> null | d <> d | d = d | d > 1e300 | d <= f | f < d | f = 0.1
f = 0.1F | d <=> e | d = e | d < e | d >= e | d <> e | f = g | f > g | not f <= g | i = f | i > f | b = f
b < d | i = d | i < b | d is null | d is not null | isnull(s) | isnotnull(s) | isnan(d) | not isnan(f)
isnan(i) | p and q | p or q | not p | !p = q | p = q | p <> q | p is true | p is not true | p is false
p <=> q | p and null | p or null | d between 0 and 2.5 | d not between f and 1 | s between 'a' and 'r'
i between b and 3 | i in (1, 3) | i in (1, null) | i not in (1, null) | i not in (1, 3) | d in (0, 2.5)
d in (f, 1) | s in ('a', 'r') | s not in ('a', null) | b in (5, 4611686018427387905) | b in (i, 0)
null in (1) | i in (1.5, 3) | cast(null as int) in (1) | s like 'r%' | s like '%.fits' | s like 'r\\\\_1%'
s like '_' | s not like '%r%' | s like '%\\\\%%' | s like 'a\\\\\\\\b' | s like 'line_' | s rlike 'r+'
s rlike '^r.1' | s rlike '\\\\d+$' | s rlike r'^\\s' | s rlike r'[\\s_]' | s rlike 'e$' | s rlike '^line.$'
s rlike '[^a-z]' | s rlike '(?:a|r)$' | s = 'it\\'s' | s = "it's" | s < 'b' | s >= 'é' | lower(s) = 'äß'
upper(s) = 'ÄSS' | lower(s) = 'a' | upper(s) = 'A' | d + 1 > 2 | d - e >= 0 | d * 2 < 1 | f + g > 1
f * f > 1 | f + g = d | i % 2 = 1 | i % 4 = -3 | d % 2 > 0 | b % 3 = -2 | mod(i, 3) = 1 | i / 2 = 0.5
i / 2 > f | f / 3 > 0.5 | d / 4 = 0.25 | (f + 1) / 3 > 0.3 | -d > 0 | -f <= 0 | - -d = d | 7 % 3 = i
abs(d) = 1.5 | abs(f) > 2 | abs(e) >= d | sqrt(abs(d)) > 1 | sqrt(d) > 1 | isnan(sqrt(d)) | log10(d) > 0
log10(d) is null | log10(f) < 0 | floor(d) = -2 | ceil(d) = 3 | ceiling(f) = 2
floor(d) > 9223372036854775806 | ceil(-d) = 0 | floor(i) = -7 | floor(b) = b | floor(d) = 0 | round(d) = 3
round(d) = -3 | round(d, 2) = 2.68 | round(d, 1) = 0.1 | round(f) = -3 | round(f, 1) = d | round(i) = i
round(f, 2) = 0.1 | coalesce(d, e, 0.5) = 0.5 | coalesce(f, d) > 1 | coalesce(s, 'none') = 'none'
coalesce(i, b) = 5 | coalesce(null, i) = 1 | nvl(p, true)
case when d > 0 then true when d < 0 then false end | case when p then d else f end > 1
case i when 1 then 'a' when 3 then 'r' else s end = s | case when q then 1 else null end is null
if(p, i, b) > 0 | case when d > 0 then 1 else 0.5 end = 0.5 | cast(i as double) = d
cast(i as string) = '3' | cast(f as double) = 0.1F | cast(i as bigint) = b | cast(p as int) = 1
cast(d as float) = f | try_cast(d as int) = 2 | try_cast(d as bigint) is null | try_cast(s as int) = -7
try_cast(s as bigint) is null | try_cast(b as int) = 5 | try_cast(f as int) = -2
try_cast(16777216.0D as int) = 16777216 | i::bigint = b | cast(p as string) = 'true' | null | d = null
not null | true | false | 1 = 1 | 2147483647 = i | -2147483648 = i | -9223372036854775808 = b
9223372036854775807 = b | p and q or not p and d > 0 or i is null | not (p or q) and not d > 0 | not p and q
not d > 0 is true | D > 0 and `I` = 1 | 1e0 = d | .5 < d | i != 1 | i <> 1 | i == 1 | d > 1L | d = 2.5D
b > 4.5D | i <=> b | p is not null and s is not null | (((d))) > 0
"""
#: And with backslashes, as they are typed.
MORE = r"""
'\_' = r'\_' | '\%' = r'\%' | '\101' = 'A' | '\u0041' = 'A' | '\x41' = 'x41' | '\d' = 'd' | "\"" = '"'
s = 'line\n' | s like 'r\_1%' | s rlike '\d' | s like '%\%%' | s rlike r'\\' | s rlike r'[\\%]'
s rlike r'(?:rr|A)%?' | s rlike 'x{1,2}/' | s rlike r'\W' | s rlike r'^\S+$' | s rlike r'a|\d\d$'
s rlike '^$' | s rlike '' | s rlike '[A-Zé]' | s rlike 'i+?t' | s rlike r'\.f[i]ts$' | s like ''
s like '%%' | s like '_%_' | 7 - i % 9 - 1 > 2 | 7 - (i % 9 - 1) > 2 | 2 * (i % 9) % 4 = 2 | -d % 3 = -1
i / 2 / 2 = 0.25 | 1 + 2 * 3 = 7 and p | - d - - 1 < 0 | abs(-d) % 2 = 1 | d between -1 and 1 and p
not d between -1 and 1 and p | i in (1, 3) and p or q | not i in (1, 3) or q | 'a' < s and s < 'b'
not not p | p or q and not p | p and q = p | p <=> q and p | i % 9 + 1 between 2 and 4 | not s like 'r%' and p
coalesce(i, 0.5) = 0.5 | coalesce(0.5, i) <= f | case when p then i else b end % 3 = 1
case when p then f else i end > 1 | if(d > 0, 's', s) = 's' | coalesce(f, i) = 1 | i in (f, d)
f in (0.1, 1.5)
"""
#: What Spark stops at in its ANSI mode is null: as in its try_ functions.
TRIED = {
    "d / e > 1": "try_divide(d, e) > 1",
    "i / b is null": "try_divide(i, b) is null",
    "i % b is null": "try_mod(i, b) is null",
    "d % e > 0": "try_mod(d, e) > 0",
    "i + 1 > 0": "try_add(i, 1) > 0",
    "b - 1 is null": "try_subtract(b, 1) is null",
    "b * b is null": "try_multiply(b, b) is null",
    "i * i > 5": "try_multiply(i, i) > 5",
    "-i is null": "try_subtract(0, i) is null",
    "abs(b) is null": "b is null or b = -9223372036854775808",
    "cast(d as int) is null": "try_cast(d as int) is null",
    "cast(s as bigint) = 12": "try_cast(s as bigint) = 12",
}


def rows() -> pa.Table:
    """Every pair of values of a type, at least."""
    pairs = {"de": DOUBLES, "fg": FLOATS, "pq": BOOLEANS}
    n = len(DOUBLES) ** 2
    rng = np.random.default_rng(0)
    kinds = {"d": pa.float64(), "e": pa.float64(), "f": pa.float32(), "g": pa.float32()}
    kinds |= {"p": pa.bool_(), "q": pa.bool_(), "i": pa.int32(), "b": pa.int64(), "s": pa.string()}
    columns = {}
    for names, values in pairs.items():
        both = list(itertools.islice(itertools.cycle(itertools.product(values, values)), n))
        columns |= {name: [pair[at] for pair in both] for at, name in enumerate(names)}
    for name, values in (("i", INTS), ("b", BIGINTS), ("s", TEXTS)):
        columns[name] = [values[at % len(values)] for at in rng.permutation(n)]
    table = pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()})
    return table.append_column("row", pa.array(np.arange(n)))


def test_every_condition_keeps_what_spark_keeps(spark, tmp_path: Path) -> None:
    from pyspark.sql import functions as F

    table = rows()
    pq.write_table(table, tmp_path / "rows.parquet")
    lines = (SAME + MORE).strip().split("\n")
    ours = [text.strip() for line in lines if line for text in line.split(" | ")]
    theirs = dict.fromkeys(ours) | TRIED
    frame = spark.read.parquet(str(tmp_path / "rows.parquet"))
    asked = [
        F.expr(f"({their or our}) is true").alias(f"c{at}") for at, (our, their) in enumerate(theirs.items())
    ]
    spark.conf.set("spark.sql.ansi.enabled", True)
    try:
        found = frame.select("row", *asked).toArrow().sort_by("row")
    finally:
        spark.conf.unset("spark.sql.ansi.enabled")
    (batch,) = table.to_batches()
    names = TableNames(table.schema)
    wrong = {}
    kept = 0
    for at, our in enumerate(theirs):
        mine = parse_condition(our, names)(batch).fill_null(False).to_pylist()
        spark_keeps = found.column(f"c{at}").to_pylist()
        kept += sum(mine)
        bad = [row for row, (a, b) in enumerate(zip(mine, spark_keeps, strict=True)) if a != b]
        if bad:
            wrong[our] = (len(bad), table.slice(bad[0], 1).to_pylist()[0], spark_keeps[bad[0]])
    assert not wrong
    assert kept > 10 * len(theirs)
