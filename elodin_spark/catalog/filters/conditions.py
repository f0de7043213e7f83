"""Conditions: parsed by sqlglot, checked against a list of what is allowed, run by DuckDB.

Nothing of a condition reaches DuckDB as it was typed. Each expression of the list is written anew: names
are those of known columns, numbers were read, and text is quoted. All else is refused by name before
anything is read.

Whole numbers are of 64 bits and others doubles, whatever the column holds. NaN is not known, as null is:
only ``isnan`` tells them apart. What cannot be computed of one row (a division by zero, an overflow, a cast
that does not fit) is null.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser

from elodin_spark.config.base import near_miss
from elodin_spark.errors import InputError

_LONGEST = 1_000_000  # characters: some ten thousand IDs
_LONGEST_SQL, _LONGEST_TWICE = 2 * _LONGEST, 10_000  # of what is written for DuckDB
_DEEPEST = 100  # expressions within expressions
_MOST_TYPES = 4  # followed by a bracket
_MOST_EXPRESSIONS, _MOST_PATTERNS = 10_000, 100  # literals aside; each pattern has a machine of its own
_MEMORY, _THREADS = "2GB", 4

#: The types of values, by what they are called in messages, as DuckDB has them.
_TYPES = {"boolean": "BOOLEAN", "int": "BIGINT", "double": "DOUBLE", "string": "VARCHAR", "null": "DOUBLE"}
_NUMBERS = ("int", "double")
_KINDS = {pa.bool_(): "boolean", pa.string(): "string"} | dict.fromkeys((pa.int32(), pa.int64()), "int")
_KINDS |= dict.fromkeys((pa.float32(), pa.float64()), "double")
#: What may be cast to: the type of the value, and that which it has to fit.
_CASTS = {"INT": ("int", "INTEGER"), "BIGINT": ("int", "BIGINT"), "BOOLEAN": ("boolean", "BOOLEAN")}
_CASTS |= {"FLOAT": ("double", "FLOAT"), "DOUBLE": ("double", "DOUBLE")}
_CASTS |= dict.fromkeys(("TEXT", "VARCHAR"), ("string", "VARCHAR"))
_LOCKED = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET ieee_floating_point_ops = true",
    f"SET memory_limit = '{_MEMORY}'",
    f"SET threads = {_THREADS}",
    "SET preserve_insertion_order = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)

_SPARK = Dialect.get_or_raise("spark")
Node = Any  # of sqlglot, whose base class has moved between versions


@dataclass(frozen=True)
class Condition:
    """A condition that was checked.

    Attributes
    ----------
    sql : str
        In DuckDB's SQL, of tables that are named as they are here; scores are columns
        ``"scores"."score.LABEL"``.
    columns : dict of str to set of str
        The columns it names, of each table.
    labels : set of int
        The labels whose scores it names.
    """

    sql: str
    columns: dict[str, set[str]]
    labels: set[int]


def parse_condition(
    text: str, tables: Mapping[str, pa.Schema], label: Callable[[str], int] | None = None
) -> Condition:
    """Parse and check a condition.

    Parameters
    ----------
    text : str
        An expression of Spark SQL.
    tables : mapping of str to pyarrow.Schema
        The columns it may name; a name that several tables have is that of the first.
    label : callable, optional
        The number of a label; without it there are no scores.

    Raises
    ------
    InputError
        It cannot be parsed, is not boolean, or holds what is not allowed.
    """
    if len(text) > _LONGEST:
        raise InputError(f"a filter of {len(text):,} characters: at most {_LONGEST:,} are read")
    try:
        text.encode()
        tokens = _SPARK.tokenize(text)
        _require_shallow(tokens)
        nodes = _SPARK.parser().parse(tokens, text)
        if len(nodes) != 1 or nodes[0] is None:
            said = f"{len(nodes)} statements" if any(nodes) else "nothing"
            raise InputError(f"one expression is wanted, got {said}")
        checker = _Checker(tables, label)
        term = checker.term(nodes[0])
        if term.kind not in ("boolean", "null"):
            raise InputError(f"gives {term.kind}: a condition such as dec > 30 is wanted")
    except UnicodeEncodeError:
        raise InputError(f"filter {_short(ascii(text))} holds what is no character") from None
    except SqlglotError as error:
        said = str(error).split("\n")[0].replace("\x1b[4m", "").replace("\x1b[0m", "")
        raise InputError(f"filter {_short(text)!r} cannot be parsed: {_short(said)}") from None
    except RecursionError:
        raise InputError(f"filter {_short(text)!r} is nested too deep") from None
    except InputError as error:
        raise InputError(f"filter {_short(text)!r}: {error}") from None
    return Condition(_as("boolean", term), checker.columns, checker.labels)


def run_query(
    query: str, tables: Mapping[str, pa.Table | pa.RecordBatchReader], seconds: float
) -> pa.ChunkedArray:
    """The first column of what DuckDB answers, in a database of its own that reaches nothing else.

    Parameters
    ----------
    query : str
        Made of what :func:`parse_condition` gives; readers among its tables are named once.
    tables : mapping of str to pyarrow.Table or pyarrow.RecordBatchReader
    seconds : float
        It is stopped after as many.

    Raises
    ------
    InputError
        It takes more time or memory than there is, or DuckDB refuses a value in it.
    """
    with TemporaryDirectory(prefix="elodin-filter-") as folder:
        spilled = str(Path(folder) / "spilled")
        connection = duckdb.connect(":memory:", config={"temp_directory": spilled})
        timer = threading.Timer(seconds, connection.interrupt)
        timer.daemon = True
        try:
            for name, table in tables.items():
                connection.register(name, table)
            for statement in _LOCKED:
                connection.execute(statement)
            timer.start()
            return connection.sql(query).to_arrow_table().column(0)
        except duckdb.InterruptException:
            raise InputError(f"the filter was stopped after {seconds:,.0f} s: ask for less") from None
        except duckdb.OutOfMemoryException:
            raise InputError(f"the filter takes more than {_MEMORY} of memory: ask for less") from None
        except duckdb.Error as error:
            said = _short(str(error).split("\n")[0])
            raise InputError(f"the filter cannot be run: {said}") from None
        finally:
            timer.cancel()
            if timer.is_alive():
                timer.join()
            connection.close()


@dataclass(frozen=True)
class _Term:
    """An expression that was checked: its type, and how DuckDB is to compute it."""

    kind: str
    sql: str
    constant: Any = None  # of a literal
    nan: bool = False  # whether it may be NaN

    @property
    def known(self) -> str:
        """With null for NaN."""
        return _unless(self.sql, "'nan'::DOUBLE") if self.nan else self.sql


class _Checker:
    """Nodes of a syntax tree to SQL of DuckDB."""

    def __init__(self, tables: Mapping[str, pa.Schema], label: Callable[[str], int] | None) -> None:
        self._tables, self._label = tables, label
        self._depth = self._expressions = self._patterns = 0
        self.columns: dict[str, set[str]] = {name: set() for name in tables}
        self.labels: set[int] = set()

    def term(self, node: Node) -> _Term:
        build = _BUILDERS.get(type(node))
        if build is None:
            raise InputError(f"{_name(node)} is not allowed in a filter")
        self._expressions += not isinstance(node, exp.Literal | exp.Neg)
        if self._expressions > _MOST_EXPRESSIONS:
            raise InputError(f"it has more than {_MOST_EXPRESSIONS:,} expressions")
        if self._depth >= _DEEPEST:
            raise InputError(f"it is nested too deep: at most {_DEEPEST} expressions within one another")
        self._depth += 1
        found = build(self, node)
        self._depth -= 1
        if len(found.sql) > _LONGEST_SQL:
            raise InputError(f"it is too large: more than {_LONGEST_SQL:,} characters, written for DuckDB")
        return found

    def _terms(self, nodes: Iterable[Node]) -> list[_Term]:
        return [self.term(node) for node in nodes]

    def _need(self, node: Node, *kinds: str) -> _Term:
        found = self.term(node)
        if found.kind not in (*kinds, "null"):
            said = f"{found.kind} where {' or '.join(kinds)} is needed"
            raise InputError(f"{_sql(node)} is {said}")
        return found

    def column(self, node: Node) -> _Term:
        table, field, rest = self._found(node)
        if not rest:
            return self._value(node, table, field, field.type)
        fields, member = {each.name: each.type for each in field.type}, rest[0].lower()
        if member not in fields:
            raise InputError(f"{field.name} has no field {rest[0]!r}; {near_miss(member, fields)}")
        return self._value(node, table, field, fields[member], member)

    def bracket(self, node: Node) -> _Term:
        if not isinstance(node.this, exp.Column) or len(node.expressions) != 1:
            raise InputError(f"{_sql(node)} is not allowed in a filter")
        key = self.term(node.expressions[0]).constant
        if not isinstance(key, str):
            raise InputError(f"{_sql(node)}: the key of a map is a string")
        table, field, rest = self._found(node.this)
        if rest or not pa.types.is_map(field.type):
            raise InputError(f"{_sql(node.this)} is not a map, so it has no entry {key!r}")
        return self._value(node, table, field, field.type.item_type, key)

    def _found(self, node: Node) -> tuple[str, pa.Field, list[str]]:
        """Table and field of a name, and what follows it."""
        if any(not isinstance(part, exp.Identifier) for part in node.parts):
            raise InputError(f"{_sql(node)} is not allowed in a filter")
        parts = [part.name for part in node.parts]
        first, rest, tables = parts[0].lower(), parts[1:], list(self._tables)
        if first in tables and rest:
            tables, first, rest = [first], rest[0].lower(), rest[1:]
        for table in tables:
            if first in self._tables[table].names:
                field = self._tables[table].field(first)
                if len(rest) > pa.types.is_struct(field.type):
                    raise InputError(f"{'.'.join(parts)}: {first} has no fields to name")
                return table, field, rest
        known = [name for table in tables for name in self._tables[table].names]
        raise InputError(f"there is no column {_short('.'.join(parts))!r}; {near_miss(first, known)}")

    def _value(
        self, node: Node, table: str, field: pa.Field, kind: pa.DataType, member: str | None = None
    ) -> _Term:
        found = _KINDS.get(kind)
        if found is None:
            hint = f"; name a field, as {field.name}.{kind.field(0).name}" if pa.types.is_struct(kind) else ""
            raise InputError(f"{_sql(node)} holds neither numbers nor text{hint}")
        self.columns[table].add(field.name)
        sql = f'"{table}"."{field.name}"'
        if member is not None:
            inside = "map_extract_value" if pa.types.is_map(field.type) else "struct_extract"
            sql = f"{inside}({sql}, {_text(member).sql})"
        return _Term(found, f"({sql})::{_TYPES[found]}", nan=found == "double")

    def anonymous(self, node: Node) -> _Term:
        name, arguments = str(node.this).lower(), node.expressions
        if name == "score" and self._label is not None:
            label = self.term(arguments[0]).constant if len(arguments) == 1 else None
            if not isinstance(label, str):
                raise InputError("score takes one label, as score('tabby')")
            number = self._label(label)
            self.labels.add(number)
            return _Term("double", f'"scores"."score.{number}"', nan=True)
        if name in ("isnull", "isnotnull") and len(arguments) == 1:
            return _is_null(self.term(arguments[0]), "NOT " * (name == "isnotnull"))
        raise InputError(f"the function {_short(str(node.this))} is not allowed in a filter")

    def logic(self, node: Node) -> _Term:
        # In a loop, and halved: a chain of a thousand conditions is a tree a thousand deep.
        kind, parts = type(node), []
        while isinstance(node, kind):
            parts.append(_as("boolean", self._need(node.expression, "boolean")))
            node = node.this
        parts = [_as("boolean", self._need(node, "boolean")), *reversed(parts)]
        word = "AND" if kind is exp.And else "OR"
        while len(parts) > 1:
            pairs = [parts[at : at + 2] for at in range(0, len(parts), 2)]
            parts = [f"({f' {word} '.join(pair)})" for pair in pairs]
        return _Term("boolean", parts[0])

    def compare(self, node: Node) -> _Term:
        _only(node, "this", "expression", "low", "high")
        terms = self._terms(
            node.args[name] for name in ("this", "expression", "low", "high") if name in node.args
        )
        kind = _common(terms, node)
        if kind == "boolean" and not isinstance(node, exp.EQ | exp.NEQ | exp.NullSafeEQ):
            raise InputError(f"{_sql(node)}: booleans are equal or not, and have no order")
        return _Term("boolean", _COMPARISONS[type(node)].format(*(_as(kind, term) for term in terms)))

    def among(self, node: Node) -> _Term:
        _only(node, "this", "expressions")
        value, others = self.term(node.this), self._terms(node.expressions)
        if not others:
            raise InputError(f"{_sql(node)}: the list is empty")
        kind = _common([value, *others], node)
        whole = kind == "int" and all(other.constant is not None for other in others)
        values = ", ".join(str(other.constant) if whole else _as(kind, other) for other in others)
        return _Term("boolean", f"({_as(kind, value)} IN ({values}))")

    def is_(self, node: Node) -> _Term:
        _only(node, "this", "expression")
        value, other = self.term(node.this), node.expression
        if isinstance(other, exp.Null):
            return _is_null(value)
        if not isinstance(other, exp.Boolean) or value.kind not in ("boolean", "null"):
            raise InputError(f"{_sql(node)} is not allowed in a filter")
        return _Term("boolean", f"({_as('boolean', value)} IS NOT DISTINCT FROM {self.term(other).sql})")

    def pattern(self, node: Node) -> _Term:
        _only(node, "this", "expression", "negate")
        text, pattern = self._need(node.this, "string"), self.term(node.expression).constant
        if not isinstance(pattern, str):
            raise InputError(f"{_sql(node)}: the pattern is a string")
        self._patterns += 1
        if self._patterns > _MOST_PATTERNS:
            raise InputError(f"it has more than {_MOST_PATTERNS} patterns")
        # DuckDB's own LIKE takes exponential time for some patterns, and RE2 does not.
        re2 = _text(_like(pattern) if isinstance(node, exp.Like) else pattern).sql
        found = f"regexp_matches({_as('string', text)}, {re2})"
        return _Term("boolean", f"(NOT {found})" if node.args.get("negate") else found)

    def arithmetic(self, node: Node) -> _Term:
        sign = _ARITHMETIC[type(node)]
        a, b = (self._need(side, *_NUMBERS) for side in (node.this, node.expression))
        kind = "double" if sign == "/" else _common([a, b], node)
        left, right = (side.sql if side.kind != "null" else _as(kind, side) for side in (a, b))
        if sign in "/%":
            right = _unless(right, "0")
        sql = f"({left} {sign} {right})"
        return _Term(kind, f"TRY({sql})", nan=False) if kind == "int" else _Term("double", sql, nan=True)

    def function(self, node: Node) -> _Term:
        _only(node, "this")
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
            return _number(f"-{node.this.name}")  # the smallest of 64 bits has no positive
        kinds, kind, sql = _FUNCTIONS[type(node)]
        value = self._need(node.this, *kinds)
        if value.kind == "int" and isinstance(node, exp.Floor | exp.Ceil):
            return value
        kind, given = kind or value.kind, _as(kinds[-1], value) if value.kind == "null" else value.sql
        return _Term(kind, sql.format(given), nan=kind == "double")

    def logarithm(self, node: Node) -> _Term:
        if not (
            isinstance(node.this, exp.Literal) and node.this.name == "10" and node.expression is not None
        ):
            raise InputError("of logarithms, log10 is allowed in a filter")
        value = self._need(node.expression, *_NUMBERS)
        return _Term("double", f"TRY(log10({_unless(f'({value.sql})::DOUBLE', '0')}))", nan=True)

    def round_(self, node: Node) -> _Term:
        _only(node, "this", "decimals")
        value, decimals = self._need(node.this, *_NUMBERS), node.args.get("decimals")
        places = 0 if decimals is None else self.term(decimals).constant
        if not isinstance(places, int) or not 0 <= places <= 30:
            raise InputError(f"{_sql(node)}: the number of digits is a literal from 0 to 30")
        return (
            value if value.kind == "int" else _Term("double", f"round({value.sql}, {places})", nan=value.nan)
        )

    def cast(self, node: Node) -> _Term:
        _only(node, "this", "to", "safe")
        target, value = node.args["to"], self.term(node.this)
        kind, fits = _CASTS.get(getattr(target.this, "name", ""), ("", ""))
        if not kind or target.expressions:
            raise InputError(f"a cast to {_sql(target)} is not allowed in a filter")
        sql = f"trunc({value.known})" if kind == "int" and value.kind == "double" else value.known
        nan = kind == "double" and value.kind in ("double", "string")
        return _Term(kind, f"(TRY_CAST({sql} AS {fits})::{_TYPES[kind]})", nan=nan)

    def coalesce(self, node: Node) -> _Term:
        found = self._terms([node.this, *node.expressions])
        kind = _common(found, node)
        return _Term(kind, f"coalesce({', '.join(_as(kind, each) for each in found)})")

    def case(self, node: Node) -> _Term:
        branches, default = node.args.get("ifs", [node]), node.args.get("default", node.args.get("false"))
        value = self.term(node.this) if node.this is not None and isinstance(node, exp.Case) else None
        need = ("boolean",) if value is None else tuple(_TYPES)
        whens = [self._need(branch.this, *need) for branch in branches]
        of = "boolean" if value is None else _common([value, *whens], node)
        values = self._terms([default or exp.Null(), *(branch.args["true"] for branch in branches)])
        kind = _common(values, node)
        last, *thens = (_as(kind, each) for each in values)
        pairs = zip((_as(of, when) for when in whens), thens, strict=True)
        sql = " ".join(f"WHEN {when} THEN {then}" for when, then in pairs)
        return _Term(kind, f"(CASE {'' if value is None else _as(of, value)} {sql} ELSE {last} END)")


def _require_shallow(tokens: Iterable[Any]) -> None:
    """Refuse what takes the parser long: it tries a type as two things, with all that is in its brackets."""
    depth = types = 0
    before = None
    for token in tokens:
        if token.token_type.name == "L_PAREN":
            depth += 1
            types += before in Parser.TYPE_TOKENS
        elif token.token_type.name == "R_PAREN":
            depth -= 1
        if depth > _DEEPEST or types > _MOST_TYPES:
            raise InputError("it is nested too deep, or calls types as functions")
        before = token.token_type


def _number(text: str) -> _Term:
    """A number as it is written, with or without a minus."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit():
        if len(digits.lstrip("0")) > 19 or not -(1 << 63) <= int(text) < 1 << 63:
            raise InputError(f"the number {_short(text)} does not fit 64 bits")
        return _Term("int", f"({int(text)})::BIGINT", int(text))
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{_short(text)!r} is no number") from None
    if not math.isfinite(value):
        raise InputError(f"the number {_short(text)} is beyond doubles")
    return _Term("double", f"({value:.17e})", value)


def _text(text: str) -> _Term:
    return _Term("string", "'{}'".format(text.replace("'", "''")), text)


def _as(kind: str, term: _Term) -> str:
    """A term where one of some kind is wanted: nulls have none of their own."""
    return f"NULL::{_TYPES[kind]}" if term.kind == "null" else term.known


def _unless(sql: str, value: str) -> str:
    """Null for one of its values; the expression is computed once, but stands there twice."""
    if len(sql) > _LONGEST_TWICE:
        raise InputError(f"{_short(sql)} is too large")
    return f"(CASE WHEN {sql} = {value} THEN NULL ELSE {sql} END)"


def _is_null(term: _Term, negated: str = "") -> _Term:
    return _Term("boolean", f"({term.known} IS {negated}NULL)")


def _common(terms: Sequence[_Term], node: Node) -> str:
    """The type of values that are compared or chosen among; InputError where there is none."""
    kinds = {term.kind for term in terms} - {"null"}
    if kinds == set(_NUMBERS):
        return "double"
    if len(kinds) > 1:
        raise InputError(f"{_sql(node)} mixes {' and '.join(sorted(kinds))}: cast one of them")
    return next(iter(kinds), "null")


def _like(pattern: str) -> str:
    """LIKE as a regular expression; a backslash makes ``%`` and ``_`` themselves."""
    parts = []
    for letters in re.findall(r"(?s)\\?.|\\", pattern):
        if letters[0] == "\\" and letters not in (r"\%", r"\_", r"\\"):
            raise InputError(f"LIKE {_short(pattern)!r}: \\ stands before %, _ or \\ only")
        parts.append({"%": ".*", "_": "."}.get(letters) or re.escape(letters[-1]))
    return rf"(?s)\A{''.join(parts)}\z"


def _short(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _sql(node: Node) -> str:
    return _short(node.sql("spark"))


def _name(node: Node) -> str:
    """What a node is called in a message."""
    if isinstance(node, exp.Query | exp.Subquery | exp.Exists):
        return "a query"
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    return f"{type(node).__name__.upper()} ({_sql(node)})"


def _only(node: Node, *arguments: str) -> None:
    """Refuse a form of an expression that has more to it."""
    more = [name for name, value in node.args.items() if value and name not in arguments]
    if more:
        raise InputError(f"{_sql(node)} ({more[0]}) is not allowed in a filter")


_COMPARISONS: dict[type, str] = {
    exp.EQ: "({} = {})", exp.NEQ: "({} <> {})", exp.LT: "({} < {})", exp.GT: "({} > {})",
    exp.LTE: "({} <= {})", exp.GTE: "({} >= {})", exp.NullSafeEQ: "({} IS NOT DISTINCT FROM {})",
    exp.Between: "({} BETWEEN {} AND {})",
}  # fmt: skip
_ARITHMETIC: dict[type, str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
#: Functions of one value: what it is of, what it gives (None: the same), and how.
_FUNCTIONS: dict[type, tuple[tuple[str, ...], str | None, str]] = {
    exp.Not: (("boolean",), "boolean", "(NOT {})"),
    exp.Neg: (_NUMBERS, None, "TRY(- ({}))"),
    exp.Abs: (_NUMBERS, None, "TRY(abs({}))"),
    exp.Sqrt: (_NUMBERS, "double", "TRY(sqrt(({})::DOUBLE))"),
    exp.Floor: (_NUMBERS, "double", "floor({})"),
    exp.Ceil: (_NUMBERS, "double", "ceil({})"),
    exp.IsNan: (_NUMBERS, "boolean", "coalesce(isnan(({})::DOUBLE), false)"),
    exp.Lower: (("string",), "string", "lower({})"),
    exp.Upper: (("string",), "string", "upper({})"),
}
#: All that is allowed.
_BUILDERS: dict[type, Callable[[_Checker, Any], _Term]] = {
    exp.Column: _Checker.column,
    exp.Bracket: _Checker.bracket,
    exp.Anonymous: _Checker.anonymous,
    exp.In: _Checker.among,
    exp.Is: _Checker.is_,
    exp.Log: _Checker.logarithm,
    exp.Round: _Checker.round_,
    exp.Coalesce: _Checker.coalesce,
    exp.Literal: lambda _, node: _text(node.name) if node.is_string else _number(node.name),
    exp.RawString: lambda _, node: _text(node.name),
    exp.Boolean: lambda _, node: _Term("boolean", "true" if node.this else "false"),
    exp.Null: lambda _, node: _Term("null", "NULL::DOUBLE"),
    exp.Paren: lambda checker, node: checker.term(node.this),
    **dict.fromkeys((exp.Case, exp.If), _Checker.case),
    **dict.fromkeys(_FUNCTIONS, _Checker.function),
    **dict.fromkeys((exp.And, exp.Or), _Checker.logic),
    **dict.fromkeys((exp.Like, exp.RegexpLike), _Checker.pattern),
    **dict.fromkeys((exp.Cast, exp.TryCast), _Checker.cast),
    **dict.fromkeys(_COMPARISONS, _Checker.compare),
    **dict.fromkeys(_ARITHMETIC, _Checker.arithmetic),
}
