"""Conditions in Spark SQL, parsed, checked and run over Arrow columns without a JVM.

What is not on the list of this module is refused by name before anything is read. Numbers and text are not
compared with each other, and arithmetic on whole numbers and decimals (``0.5 * x0``), which Spark
does in decimals, is refused: ``0.5D`` is a double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from elodin_spark.catalog import sparkvalues as values
from elodin_spark.catalog.terms import (
    NUMBERS,
    REAL,
    WHOLE,
    Run,
    Term,
    apply,
    cast,
    common,
    compared,
    constant,
    finite,
    is_null,
    logic,
    number,
    short,
)
from elodin_spark.errors import InputError

_LONGEST = 1_000_000  # characters: some ten thousand IDs

_SPARK_NAMES = {"INT": "int", "BIGINT": "bigint", "FLOAT": "float", "DOUBLE": "double"}
_SPARK_NAMES |= {"TEXT": "string", "VARCHAR": "string", "BOOLEAN": "boolean"}

Node = Any  # of sqlglot, whose base class has moved between versions


class Names(Protocol):
    """What an expression may speak of."""

    def column(self, parts: Sequence[str]) -> Term:
        """The column of a name: ``ra``, ``images.ra``, ``source.flux``; InputError without one."""

    def entry(self, parts: Sequence[str], key: str) -> Term:
        """The value of a map under a key."""

    def score(self, label: str) -> Term:
        """The score of a label."""


def parse_condition(text: str, names: Names) -> Run:
    """Parse and check a condition.

    Parameters
    ----------
    text : str
        An expression of Spark SQL.
    names : Names

    Returns
    -------
    callable
        From a batch to booleans, null where the condition is neither true nor false.

    Raises
    ------
    InputError
        It cannot be parsed, is not boolean, or holds what is not allowed.
    """
    if len(text) > _LONGEST:
        raise InputError(f"a filter of {len(text):,} characters: at most {_LONGEST:,} are read")
    try:
        nodes = sqlglot.parse(text, read="spark")
        if len(nodes) != 1 or nodes[0] is None:
            raise InputError(f"one expression is wanted, got {_several(nodes)}")
        term = _Checker(names).term(nodes[0])
    except SqlglotError as error:
        said = str(error).split("\n")[0].replace("\x1b[4m", "").replace("\x1b[0m", "")
        raise InputError(f"filter {short(text)!r} cannot be parsed: {said}") from None
    except RecursionError:
        raise InputError(f"filter {short(text)!r} is nested too deep") from None
    except InputError as error:
        raise InputError(f"filter {short(text)!r}: {error}") from None
    if term.kind not in ("boolean", "void"):
        raise InputError(f"filter {short(text)!r} gives {term.kind}: a condition such as dec > 30 is wanted")
    return cast(term, "boolean").run


def _several(nodes: Sequence[object]) -> str:
    return "nothing" if not any(nodes) else f"{len(nodes)} statements"


class _Checker:
    """Nodes of a syntax tree to terms."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def term(self, node: Node) -> Term:
        build = _BUILDERS.get(type(node))
        if build is None:
            raise InputError(f"{_name(node)} is not allowed in a filter")
        return build(self, node)

    def terms(self, nodes: Iterable[Node]) -> list[Term]:
        return [self.term(node) for node in nodes]

    def _need(self, node: Node, kinds: Sequence[str]) -> Term:
        found = self.term(node)
        if found.kind not in (*kinds, "void"):
            raise InputError(f"{node.sql('spark')} is {found.kind} where {' or '.join(kinds)} is needed")
        return found

    # ---- values -------------------------------------------------------------------------------

    def literal(self, node: Node) -> Term:
        if node.is_string:
            return constant("string", node.name)
        return number(node.name)

    def raw_string(self, node: Node) -> Term:
        return constant("string", node.name)

    def boolean(self, node: Node) -> Term:
        return constant("boolean", bool(node.this))

    def null(self, node: Node) -> Term:
        return constant("void", None)

    def paren(self, node: Node) -> Term:
        return self.term(node.this)

    def column(self, node: Node) -> Term:
        if any(not isinstance(part, exp.Identifier) for part in node.parts):
            raise InputError(f"{node.sql('spark')} is not allowed in a filter")
        return self._names.column([part.name for part in node.parts])

    def bracket(self, node: Node) -> Term:
        keys = node.expressions
        if not isinstance(node.this, exp.Column) or len(keys) != 1:
            raise InputError(f"{node.sql('spark')} is not allowed in a filter")
        key = self.term(keys[0]).constant
        if not isinstance(key, str):
            raise InputError(f"{node.sql('spark')}: the key of a map is a string")
        return self._names.entry([part.name for part in node.this.parts], key)

    def anonymous(self, node: Node) -> Term:
        name, arguments = str(node.this).lower(), node.expressions
        if name == "score":
            label = self.term(arguments[0]).constant if len(arguments) == 1 else None
            if not isinstance(label, str):
                raise InputError("score takes one label, as score('tabby')")
            return self._names.score(label)
        if name in ("isnull", "isnotnull") and len(arguments) == 1:
            return is_null(self.term(arguments[0]), name == "isnull")
        raise InputError(f"the function {node.this} is not allowed in a filter")

    # ---- logic --------------------------------------------------------------------------------

    def both(self, node: Node) -> Term:
        return logic(pc.and_kleene, self._chain(node))

    def either(self, node: Node) -> Term:
        return logic(pc.or_kleene, self._chain(node))

    def _chain(self, node: Node) -> list[Term]:
        # In a loop: a chain of a thousand conditions is a tree a thousand deep.
        found, kind = [], type(node)
        while isinstance(node, kind):
            found.append(self._need(node.expression, ["boolean"]))
            node = node.this
        return [self._need(node, ["boolean"]), *reversed(found)]

    def invert(self, node: Node) -> Term:
        return apply("boolean", pc.invert, cast(self._need(node.this, ["boolean"]), "boolean"))

    def compare(self, node: Node) -> Term:
        return compared(_SIGNS[type(node)], self.term(node.this), self.term(node.expression))

    def between(self, node: Node) -> Term:
        _only(node, "this", "low", "high")
        value = self.term(node.this)
        low = compared(">=", value, self.term(node.args["low"]))
        return logic(pc.and_kleene, [low, compared("<=", value, self.term(node.args["high"]))])

    def among(self, node: Node) -> Term:
        _only(node, "this", "expressions")
        value, others = self.term(node.this), self.terms(node.expressions)
        if not others:
            raise InputError(f"{node.sql('spark')}: the list is empty")
        kind = common([value, *others], short(node.sql("spark")))
        plain = all(other.constant is not None or other.kind == "void" for other in others)
        if plain and kind in (*WHOLE, "string"):
            found = values.is_in([other.constant for other in others])
            return apply("boolean", found, cast(value, kind))
        return logic(pc.or_kleene, [compared("=", value, other) for other in others])

    def is_(self, node: Node) -> Term:
        _only(node, "this", "expression")
        value = self.term(node.this)
        if isinstance(node.expression, exp.Null):
            return is_null(value)
        if isinstance(node.expression, exp.Boolean) and value.kind in ("boolean", "void"):
            return compared("<=>", cast(value, "boolean"), self.term(node.expression))
        raise InputError(f"{node.sql('spark')} is not allowed in a filter")

    def like(self, node: Node) -> Term:
        return self._pattern(node, values.like)

    def rlike(self, node: Node) -> Term:
        return self._pattern(node, values.rlike)

    def _pattern(self, node: Node, make: Callable[[str], values.Kernel]) -> Term:
        _only(node, "this", "expression", "negate")
        text, pattern = self._need(node.this, ["string"]), self.term(node.expression).constant
        if not isinstance(pattern, str):
            raise InputError(f"{node.sql('spark')}: the pattern is a string")
        found = apply("boolean", make(pattern), cast(text, "string"))
        return apply("boolean", pc.invert, found) if node.args.get("negate") else found

    # ---- numbers and text ---------------------------------------------------------------------

    def arithmetic(self, node: Node) -> Term:
        sign = _SIGNS[type(node)]
        a, b = (self._need(side, NUMBERS[:-1]) for side in (node.this, node.expression))
        kind = common([a, b], node.sql("spark"))
        if "decimal" in (a.kind, b.kind) and not {a.kind, b.kind} & set(REAL):
            raise InputError(f"{node.sql('spark')} is arithmetic on decimals: write 0.5D for a double")
        kind = "double" if sign == "/" or kind == "void" else kind
        return apply(kind, values.ARITHMETIC[sign], cast(a, kind), cast(b, kind))

    def negative(self, node: Node) -> Term:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return number(f"-{node.this.name}")  # the smallest int has no positive
        return self._signed(node, values.negate)

    def absolute(self, node: Node) -> Term:
        return self._signed(node, values.absolute)

    def _signed(self, node: Node, kernel: values.Kernel) -> Term:
        value = self._need(node.this, NUMBERS[:-1])
        value = cast(value, "double") if value.kind == "void" else value
        return apply(value.kind, kernel, value)

    def on_double(self, node: Node) -> Term:
        _only(node, "this")
        kind, kernel = _ON_DOUBLES[type(node)]
        value = self._need(node.this, NUMBERS[:-1])
        if kind == "bigint" and value.kind == "bigint":
            return value
        if kind == "bigint" and value.kind == "decimal":
            raise InputError(f"{node.sql('spark')} is of a decimal: write it as a whole number")
        return apply(kind, kernel, cast(value, "double"))

    def logarithm(self, node: Node) -> Term:
        base = node.this
        if not (isinstance(base, exp.Literal) and base.name == "10" and node.expression is not None):
            raise InputError("of logarithms, log10 is allowed in a filter")
        value = self._need(node.expression, NUMBERS[:-1])
        return apply("double", values.log10, cast(value, "double"))

    def round_(self, node: Node) -> Term:
        _only(node, "this", "decimals")
        value = self._need(node.this, [*WHOLE, *REAL])
        decimals = node.args.get("decimals")
        places = 0 if decimals is None else self.term(decimals).constant
        if not isinstance(places, int) or isinstance(places, bool) or not 0 <= places <= 30:
            raise InputError(f"{node.sql('spark')}: the number of digits is a literal from 0 to 30")
        value = cast(value, "double") if value.kind == "void" else value
        return apply(value.kind, lambda a: values.rounded(a, places), value)

    def in_case(self, node: Node) -> Term:
        change = str.lower if isinstance(node, exp.Lower) else str.upper
        return apply("string", values.in_case(change), cast(self._need(node.this, ["string"]), "string"))

    def cast(self, node: Node) -> Term:
        _only(node, "this", "to", "safe")
        target = node.args["to"]
        kind = _SPARK_NAMES.get(target.this.name) if isinstance(target.this, exp.DataType.Type) else None
        if kind is None or target.expressions:
            raise InputError(f"a cast to {target.sql('spark')} is not allowed in a filter")
        literal = node.this
        if kind == "double" and isinstance(literal, exp.Literal) and not literal.is_string:  # 0.5D
            return constant("double", finite(literal.name))
        value = self.term(literal)
        fits = {
            "string": ("string", "boolean", *WHOLE),
            "boolean": ("boolean",),
            **dict.fromkeys(WHOLE, ("string", "boolean", *WHOLE, *REAL)),
            **dict.fromkeys(REAL, ("boolean", "decimal", *WHOLE, *REAL)),
        }
        if value.kind not in (*fits[kind], "void"):
            raise InputError(f"a cast from {value.kind} to {kind} is not allowed in a filter")
        return cast(value, kind)

    def coalesce(self, node: Node) -> Term:
        found = self.terms([node.this, *node.expressions])
        kind = common(found, node.sql("spark"))
        return apply(kind, pc.coalesce, *(cast(each, kind) for each in found))

    def case(self, node: Node) -> Term:
        value = None if node.this is None else self.term(node.this)
        whens, thens = [], []
        for branch in node.args["ifs"]:
            when = self.term(branch.this)
            whens.append(compared("=", value, when) if value is not None else when)
            thens.append(self.term(branch.args["true"]))
        return self._branches(node, whens, thens, node.args.get("default"))

    def if_(self, node: Node) -> Term:
        whens, thens = [self.term(node.this)], [self.term(node.args["true"])]
        return self._branches(node, whens, thens, node.args.get("false"))

    def _branches(self, node: Node, whens: list[Term], thens: list[Term], default: Node | None) -> Term:
        last = constant("void", None) if default is None else self.term(default)
        wrong = [when.kind for when in whens if when.kind not in ("boolean", "void")]
        if wrong:
            raise InputError(f"{short(node.sql('spark'))} has a condition that is {wrong[0]}")
        kind = common([*thens, last], short(node.sql("spark")))
        found = cast(last, kind)
        for when, then in reversed(list(zip(whens, thens, strict=True))):
            found = apply(kind, _choose, cast(when, "boolean"), cast(then, kind), found)
        return found


def _choose(when: pa.Array, then: pa.Array, otherwise: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(when, False), then, otherwise)


_SIGNS: dict[type, str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.GT: ">", exp.LTE: "<=", exp.GTE: ">=",
    exp.NullSafeEQ: "<=>", exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%",
}  # fmt: skip
_ON_DOUBLES: dict[type, tuple[str, values.Kernel]] = {
    exp.Sqrt: ("double", values.square_root),
    exp.Floor: ("bigint", values.to_bigint(np.floor)),
    exp.Ceil: ("bigint", values.to_bigint(np.ceil)),
    exp.IsNan: ("boolean", lambda a: pc.fill_null(pc.is_nan(a), False)),
}
#: All that is allowed.
_BUILDERS: dict[type, Callable[[_Checker, Any], Term]] = {
    exp.Literal: _Checker.literal,
    exp.RawString: _Checker.raw_string,
    exp.Boolean: _Checker.boolean,
    exp.Null: _Checker.null,
    exp.Paren: _Checker.paren,
    exp.Column: _Checker.column,
    exp.Bracket: _Checker.bracket,
    exp.Anonymous: _Checker.anonymous,
    exp.And: _Checker.both,
    exp.Or: _Checker.either,
    exp.Not: _Checker.invert,
    exp.Between: _Checker.between,
    exp.In: _Checker.among,
    exp.Is: _Checker.is_,
    exp.Like: _Checker.like,
    exp.RegexpLike: _Checker.rlike,
    exp.Neg: _Checker.negative,
    exp.Abs: _Checker.absolute,
    exp.Log: _Checker.logarithm,
    exp.Round: _Checker.round_,
    exp.Lower: _Checker.in_case,
    exp.Upper: _Checker.in_case,
    exp.Cast: _Checker.cast,
    exp.TryCast: _Checker.cast,
    exp.Coalesce: _Checker.coalesce,
    exp.Case: _Checker.case,
    exp.If: _Checker.if_,
    **dict.fromkeys(_ON_DOUBLES, _Checker.on_double),
    **{kind: _Checker.compare for kind, sign in _SIGNS.items() if sign in values.COMPARISONS},
    **{kind: _Checker.arithmetic for kind, sign in _SIGNS.items() if sign in values.ARITHMETIC},
}


def _name(node: Node) -> str:
    """What a node is called in a message."""
    if isinstance(node, exp.Query | exp.Subquery | exp.Exists):
        return "a query"
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    return f"{type(node).__name__.upper()} ({short(node.sql('spark'))})"


def _only(node: Node, *arguments: str) -> None:
    """Refuse a form of an expression that has more to it."""
    more = [name for name, value in node.args.items() if value and name not in arguments]
    if more:
        raise InputError(f"{short(node.sql('spark'))} ({more[0]}) is not allowed in a filter")
