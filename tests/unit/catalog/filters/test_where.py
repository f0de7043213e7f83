"""Filters of neighbors: what they keep, and what is refused before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from helpers.smallcatalog import LABELS, Rows, tables, write_catalog
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from elodin_spark import Catalog
from elodin_spark.catalog.filters.conditions import parse_condition, run_query
from elodin_spark.catalog.filters.where import Labels, Where, score_sql
from elodin_spark.catalog.storage.store import Store
from elodin_spark.cli.main import run_command
from elodin_spark.errors import InputError

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return tables(images=7, across=5)


@pytest.fixture(scope="module")
def catalog(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("where") / "catalog", rows)


@pytest.fixture(scope="module")
def store(catalog: Catalog) -> Store:
    return Store(catalog.path)


def joined(rows: Rows) -> list[Row]:
    """Cutouts with their image's columns below ``images`` and their scores."""
    images = {row["image_id"]: row for row in rows["images"]}
    scores = {
        row["cutout_id"]: {
            LABELS[i]: score for i, score in zip(row["labels"], row["label_scores"], strict=True)
        }
        for row in rows["fingerprints"]
    }
    return [
        {**row, "images": images[row["image_id"]], "scores": scores.get(row["cutout_id"])}
        for row in rows["cutouts"]
    ]


def more_than(value: float | None, limit: float) -> bool:
    """NaN is not known, as null is."""
    return value is not None and value > limit


CONDITIONS: dict[str, Callable[[Row], bool]] = {
    "edge_px > 50": lambda row: row["edge_px"] > 50,
    "sky_sigma > 2": lambda row: more_than(row["sky_sigma"], 2),
    "not sky_sigma > 2": lambda row: row["sky_sigma"] is not None and row["sky_sigma"] <= 2,
    "sky_sigma is null": lambda row: row["sky_sigma"] is None or math.isnan(row["sky_sigma"]),
    "isnan(sky_sigma)": lambda row: row["sky_sigma"] is not None and math.isnan(row["sky_sigma"]),
    "coalesce(sky_sigma, -1) < 0": lambda row: (
        row["sky_sigma"] is None or math.isnan(row["sky_sigma"]) or row["sky_sigma"] < 0
    ),
    "edge_px * 0.5 > 20": lambda row: row["edge_px"] > 40,
    "bands = 'r' and mjd >= 59002": lambda row: (
        row["images"]["bands"] == "r" and (row["images"]["mjd"] or 0) >= 59002
    ),
    "mjd is null": lambda row: row["images"]["mjd"] is None,
    "path like 'g/%' or images.hdu = 7": lambda row: row["images"]["path"].startswith("g/"),
    "path not like 'g/%'": lambda row: row["images"]["path"].startswith("r/"),
    "IMAGES.Path rlike '[13]\\\\.fits$'": lambda row: row["images"]["path"][2] in "13",
    "images.ra is null and cutouts.dec < -0.999": lambda row: row["dec"] < -0.999,
    "source.flux > 0": lambda row: more_than((row["source"] or {}).get("flux"), 0),
    "source.flags is null": lambda row: row["source"] is None,
    "mask_fractions['CR'] > 0.4": lambda row: len(row["mask_fractions"]) == 2,
    "mask_fractions['NONE'] is null": lambda row: True,
    "score('n05') > 0.5": lambda row: row["scores"] is not None and row["scores"].get("n05 spiral", 0) > 0.5,
    "score('tabby') = 0 and score('n06 lens') > 0 and bands = 'g'": lambda row: (
        row["scores"] is not None
        and "n01 tabby" not in row["scores"]
        and "n06 lens" in row["scores"]
        and row["images"]["bands"] == "g"
    ),
    "1 = 1": lambda row: True,
    "null": lambda row: False,
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("batch_rows", [4, 1 << 16])
def test_a_condition_keeps_what_the_joined_rows_say(
    store: Store, rows: Rows, condition: str, batch_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elodin_spark.catalog.filters.where._BATCH_ROWS", batch_rows)
    expected = sorted(row["cutout_id"] for row in joined(rows) if CONDITIONS[condition](row))
    assert condition == "null" or len(expected) > 0
    assert Where(store, condition).ids().tolist() == expected


@pytest.mark.parametrize("metric", ["l2", "jaccard"])
def test_neighbors_are_the_nearest_of_what_is_kept(catalog: Catalog, rows: Rows, metric: Any) -> None:
    condition = "score('spiral') > 0.5 and bands = 'r'"
    with_print = {row["cutout_id"] for row in rows["fingerprints"]}
    query = min(with_print)
    whole = catalog.neighbors(query, len(with_print), metric, allow_overlap=True)
    found = catalog.neighbors(query, 5, metric, allow_overlap=True, where=condition)
    kept = {
        row["cutout_id"]
        for row in joined(rows)
        if row["images"]["bands"] == "r" and (row["scores"] or {}).get("n05 spiral", 0) > 0.5
    }
    expected = [row for row in whole if row["neighbor_id"] in kept][:5]
    assert [row["neighbor_id"] for row in found] == [row["neighbor_id"] for row in expected]
    assert [row["distance"] for row in found] == pytest.approx([row["distance"] for row in expected])
    # Two filters together keep what both keep.
    near = {"cone": ((0.0, -1.0), 0.35 * 3600)}
    both = catalog.neighbors(query, 99, metric, allow_overlap=True, where=condition, **near)
    cone = catalog.neighbors(query, len(with_print), metric, allow_overlap=True, **near)
    assert {row["neighbor_id"] for row in both} == {row["neighbor_id"] for row in cone} & kept


def test_nothing_kept_gives_no_neighbors(catalog: Catalog, rows: Rows) -> None:
    query = rows["fingerprints"][0]["cutout_id"]
    assert catalog.neighbors(query, 3, where="edge_px > 1000").to_arrow().num_rows == 0


REFUSED = {
    "sky_sigm > 2": "no column 'sky_sigm'; did you mean 'sky_sigma'?",
    "images.bnads = 'r'": "no column 'images.bnads'; did you mean 'bands'?",
    "source.flx > 1": "source has no field 'flx'; did you mean 'flux'?",
    "a.b.c.d > 1": "no column 'a.b.c.d'",
    "sky_sigma.x > 1": "sky_sigma has no fields",
    "score('spirl') > 0.5": "no label 'spirl'; the nearest are",
    "score('crane') > 0.5": "several labels are called 'crane': n03 crane, n04 crane",
    "score(sky_sigma) > 0.5": "score takes one label",
    "score() > 0.5": "score takes one label",
    "ra < 5; drop table cutouts": "one expression is wanted, got 2 statements",
    "": "got nothing",
    "  -- all": "got nothing",
    "select cutout_id from cutouts": "a query is not allowed",
    "cutout_id in (select cutout_id from cutouts)": "is not allowed",
    "exists(select 1)": "a query is not allowed",
    "drop table cutouts": "DROP (DROP TABLE cutouts) is not allowed",
    "delete from cutouts": "DELETE",
    "rand() < 0.5": "the function rand is not allowed",
    "uuid() = path": "the function uuid is not allowed",
    "current_timestamp() > mjd": "the function current_timestamp is not allowed",
    "count(*) > 1": "the function count is not allowed",
    "avg(sky_sigma) > 1": "the function avg is not allowed",
    "row_number() over (order by ra) < 9": "WINDOW",
    "reflect('java.lang.System', 'exit', 0) is null": "the function reflect is not allowed",
    "my_function(ra) > 1": "the function my_function is not allowed",
    "pow(ra, 2) > 1": "the function power is not allowed",
    "log(2, ra) > 1": "log10 is allowed",
    "ra + 1": "gives double: a condition",
    "'true'": "gives string",
    "ra and true": "ra is double where boolean is needed",
    "path > 5": "mixes int and string",
    "path = 0.5": "mixes double and string",
    "1e400 > ra": "beyond doubles",
    "99999999999999999999 > ra": "does not fit 64 bits",
    "shifted > true": "booleans are equal or not",
    "thumbnail is null": "thumbnail holds neither",
    "source is null": "name a field, as source.flux",
    "mask_fractions is null": "mask_fractions holds neither",
    "mask_fractions[sky_sigma] > 1": "the key of a map",
    "bands['r'] > 1": "bands is not a map",
    "cast(ra as date) > 1": "cast to DATE",
    "cast(ra as decimal(9, 2)) > 1": "cast to DECIMAL",
    "path like 'a\\\\b'": "stands before %",
    "path like bands": "the pattern is a string",
    "path like any ('a', 'b')": "is not allowed",
    "path like 'a' escape '/'": "ESCAPE",
    "path rlike '(a)\\\\1'": "invalid escape sequence",
    "path rlike '('": "missing )",
    "images.* > 3": "images.* is not allowed",
    "path ilike 'a'": "ILIKE",
    "path || 'a' = 'ba'": "DPIPE",
    "ra between 1": "cannot be parsed",
    "ra <": "cannot be parsed",
    "ra in ()": "the list is empty",
    "ra | 1 > 0": "BITWISEOR",
    "round(ra, x0) > 1": "the number of digits is a literal",
    "interval 1 day > mjd": "INTERVAL",
    ":name = path": "PLACEHOLDER",
    "* = 1": "STAR",
    "ra as b": "ALIAS",
    "cutout_id in (from read_csv('/etc/passwd'))": "is not allowed",
    "read_csv('/etc/passwd') is null": "the function read_csv is not allowed",
    "read_parquet('x.parquet') is null": "the function read_parquet is not allowed",
    "read_text('/etc/passwd') = path": "the function read_text is not allowed",
    "select * from '/etc/passwd'": "a query is not allowed",
    "select * from read_csv('/etc/passwd')": "a query is not allowed",
    "getenv('HOME') = path": "the function getenv is not allowed",
    "current_setting('threads') = path": "the function current_setting is not allowed",
    "repeat('a', 1000000000) = path": "the function repeat is not allowed",
    "range(1000000000) is null": "is not allowed",
    "unnest(generate_series(1, 1000000000)) > 1": "is not allowed",
    "list_transform([1], x -> x) is null": "is not allowed",
    "array(1, 2)[0] > 1": "is not allowed",
    "regexp_replace(path, 'a', 'aaaa') = 'a'": "the function regexp_replace is not allowed",
    "pragma database_list": "is not allowed",
    "attach 'x.db'": "cannot be parsed",
    "copy cutouts to 'x.csv'": "is not allowed",
    "install httpfs": "is not allowed",
    "load httpfs": "is not allowed",
    "set threads = 1": "is not allowed",
    "call dbgen(1)": "is not allowed",
    "images.path.x.y = 'a'": "has no fields",
    "\ud800 = path": "no character",
    "(" * 5000 + "ra" + ")" * 5000 + " > 1": "nested too deep",
    "(" * 100_000 + "ra" + ")" * 100_000 + " > 1": "nested too deep",
    "not " * 100_000 + "true": "nested too deep",
    "- " * 100_000 + "ra > 1": "nested too deep",
    "abs(" * 100_000 + "ra" + ")" * 100_000 + " > 1": "nested too deep",
    "1" + " + ra" * 1000 + " > 1": "nested too deep",
    "timestamp(" * 28 + "ra > 1" + ")" * 28: "calls types as functions",
    "decimal(" * 40 + "ra" + ")" * 40 + " > 1": "calls types as functions",
    "ra > 1e": "'1e' is no number",
    "1" + " / (ra" * 40 + ")" * 40 + " > 1": "too large",
    " or ".join(["ra > 1"] * 6000): "more than 10,000 expressions",
    " or ".join(["path like 'a%'"] * 101): "more than 100 patterns",
    "path rlike '((a{100}){100}){100}'": "invalid repetition size",
    "ra > 1 or " * 200_000 + "ra > 1": "characters: at most",
}


@pytest.mark.parametrize("condition", REFUSED, ids=lambda condition: condition[:40])
def test_what_is_no_condition_is_refused_by_name(store: Store, condition: str) -> None:
    with pytest.raises(InputError) as refused:
        Where(store, condition)
    assert REFUSED[condition] in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_thousand_conditions_are_not_too_deep(store: Store, rows: Rows) -> None:
    ids = [row["cutout_id"] for row in rows["cutouts"]]
    either = " or ".join(f"cutout_id = {i}" for i in [*range(1000), *ids[:5]])
    assert Where(store, either).ids().tolist() == sorted(ids[:5])
    among = f"cutout_id in ({', '.join(map(str, [*range(20_000), *ids[:5]]))})"
    assert Where(store, among).ids().tolist() == sorted(ids[:5])


def test_the_command_line_refuses_in_one_line(catalog: Catalog, rows: Rows, capsys) -> None:
    query = str(rows["fingerprints"][0]["cutout_id"])
    assert run_command(["neighbors", str(catalog.path), query, "--where", "sky_sigm > 2"]) == 2
    printed = capsys.readouterr()
    assert "did you mean 'sky_sigma'?" in printed.err
    assert printed.out == ""
    assert run_command(["neighbors", str(catalog.path), query, "--where", "bands = 'g'", "-k", "2"]) == 0
    assert capsys.readouterr().out.count("g/") == 2


def test_labels_go_by_name_by_id_or_by_both(store: Store) -> None:
    for spelling in ("n02", "tiger_cat", "Tiger cat", "n02 tiger_cat"):
        assert Labels(store).number(spelling) == 1


@cases(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), max_size=12), st.integers(0, 5))
def test_scores_are_those_of_the_label_or_zero(sets: list[list[int]], label: int) -> None:
    scores = [[(i + 1) / 8 for i in one] for one in sets]
    columns = {
        "labels": pa.array(sets, pa.list_(pa.int32())),
        "label_scores": pa.array(scores, pa.list_(pa.float32())),
    }
    found = run_query(f"SELECT {score_sql(label)} FROM t", {"t": pa.table(columns)}, 60)
    assert found.to_pylist() == [(label + 1) / 8 if label in one else 0 for one in sets]


WORDS = [
    "a",
    "s",
    "1",
    "0.5",
    "'r%'",
    "null",
    "not",
    "and",
    "or",
    "(",
    ")",
    "<",
    "=",
    "<=>",
    "in",
    "like",
    "rlike",
]
WORDS += [
    "is",
    "between",
    ",",
    "case",
    "when",
    "then",
    "end",
    "cast",
    "as",
    "int",
    "-",
    "/",
    "%",
    "abs",
    "select",
]
WORDS += [
    ";",
    "*",
    "from",
    "over",
    "'",
    "`",
    "--",
    "/*",
    "[",
    "]",
    "{",
    "::",
    "exists",
    "lateral",
    "\x00",
    "é",
]


TEXTS = pa.table({"a": pa.array([1.0, None]), "s": pa.array(["r1", None])})


@cases(max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text, {"t": TEXTS.schema})
        found = run_query(f'SELECT {condition.sql} FROM "t"', {"t": TEXTS}, 60)
    except InputError:
        return
    assert found.type == pa.bool_()


@cases(max_examples=40)
@given(st.text("ab%_\\\n", max_size=6), st.lists(st.text("ab%_\\\n", max_size=6), max_size=8))
def test_like_is_what_its_definition_says(pattern: str, texts: list[str]) -> None:
    def parts() -> list[str] | None:
        found, letters = [], iter(pattern)
        for letter in letters:
            if letter == "\\":
                after = next(letters, "")
                if after not in ("%", "_", "\\"):
                    return None
                found.append(f"={after}")
            else:
                found.append(letter if letter in "%_" else f"={letter}")
        return found

    def fits(rest: list[str], text: str) -> bool:
        if not rest:
            return not text
        if rest[0] == "%":
            return any(fits(rest[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and rest[0] in ("_", f"={text[0]}") and fits(rest[1:], text[1:])

    wanted, table = parts(), pa.table({"s": pa.array(texts, pa.string())})
    typed = "s like '{}'".format(pattern.replace("\\", "\\\\"))
    if wanted is None:
        with pytest.raises(InputError):
            parse_condition(typed, {"t": table.schema})
        return
    found = run_query(f'SELECT {parse_condition(typed, {"t": table.schema}).sql} FROM "t"', {"t": table}, 60)
    assert found.to_pylist() == [fits(wanted, text) for text in texts]
