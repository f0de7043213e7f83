"""Expressions of a condition: what kind of value each gives, and how it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark.catalog import sparkvalues as values
from elodin_spark.errors import InputError

_EXACT_DIGITS = 15  # of a decimal that is a double

#: Types of values, by Spark's names, and what holds them. A decimal is a literal such as 0.5.
KINDS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "decimal": pa.float64(),
    "string": pa.string(),
    "void": pa.null(),
}
WHOLE, REAL = ("int", "bigint"), ("float", "double")
NUMBERS = (*WHOLE, *REAL, "decimal", "void")

#: From a batch of the columns to the values of its rows.
Run = Callable[[pa.RecordBatch], pa.Array]


@dataclass(frozen=True, eq=False)
class Term:
    """An expression that was checked.

    Attributes
    ----------
    kind : str
        A name of :data:`KINDS`.
    run : callable
        From a batch to an array of that kind.
    constant : object
        The value of a literal; otherwise None.
    """

    kind: str
    run: Run
    constant: Any = None


def constant(kind: str, value: Any) -> Term:
    """A literal; None is null."""
    return Term(kind, lambda batch: pa.repeat(pa.scalar(value, KINDS[kind]), batch.num_rows), value)


def number(text: str) -> Term:
    """A number as it is written, with or without a minus: int, bigint, decimal, or double with an exponent.

    Raises
    ------
    InputError
        Spark has it neither in 64 bits nor exactly in a double.
    """
    if text.removeprefix("-").isdigit():
        value = int(text)
        kind = next((kind for kind in WHOLE if -1 << (KINDS[kind].bit_width - 1) <= value), None)
        if kind is None or value >= 1 << 63:
            raise InputError(f"the number {short(text)} does not fit 64 bits")
        return constant("bigint" if value >= 1 << 31 else kind, value)
    if "e" in text.lower():
        return constant("double", finite(text))
    if len(text.removeprefix("-").replace(".", "").strip("0")) > _EXACT_DIGITS:
        raise InputError(f"the decimal {short(text)} has more than {_EXACT_DIGITS} digits: write {text}D")
    return constant("decimal", float(text))


def finite(text: str) -> float:
    """A number as a double; InputError beyond them."""
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"the number {text} is beyond doubles")
    return value


def common(terms: Sequence[Term], where: str) -> str:
    """The type to which values of several types are brought, by the rules of Spark's ANSI mode."""
    kinds = {term.kind for term in terms} - {"void"}
    if len(kinds) < 2:
        return next(iter(kinds), "void")
    if not kinds <= set(NUMBERS):
        raise InputError(f"{short(where)} mixes {' and '.join(sorted(kinds))}: cast one of them")
    if kinds == set(WHOLE):
        return "bigint"
    if kinds == {"int", "decimal"}:
        return "decimal"  # a double holds both exactly
    if not kinds & set(REAL):
        raise InputError(f"{short(where)} mixes bigint and decimal: write 0.5D for a double")
    return "double"


def cast(term: Term, kind: str) -> Term:
    """A term as another kind, as :func:`elodin_spark.catalog.sparkvalues.cast`."""
    if term.kind == kind or KINDS[term.kind] == KINDS[kind]:
        return Term(kind, term.run, term.constant)
    if term.kind == "void":
        return constant(kind, None)
    return apply(kind, values.cast(KINDS[kind]), term)


def apply(kind: str, kernel: values.Kernel, *terms: Term) -> Term:
    """What a kernel makes of terms."""
    return Term(kind, lambda batch: kernel(*(term.run(batch) for term in terms)))


def compared(sign: str, a: Term, b: Term) -> Term:
    """A comparison; InputError where the kinds of its sides cannot be compared."""
    kind = common([a, b], f"a comparison by {sign}")
    if kind == "boolean" and sign in ("<", ">", "<=", ">="):
        raise InputError(f"booleans are not compared by {sign}")
    kind = "boolean" if kind == "void" else kind
    return apply("boolean", values.COMPARISONS[sign], cast(a, kind), cast(b, kind))


def logic(combine: values.Kernel, terms: Sequence[Term]) -> Term:
    """Booleans one after the other, combined."""

    def run(batch: pa.RecordBatch) -> pa.Array:
        return reduce(combine, (term.run(batch) for term in terms))

    terms = [cast(term, "boolean") for term in terms]
    return Term("boolean", run)


def is_null(term: Term, null: bool = True) -> Term:
    """Whether a term is null, or is not."""
    return apply("boolean", pc.is_null if null else pc.is_valid, term)


def short(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= 200 else f"{text[:200]} ..."
