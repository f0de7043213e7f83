"""What Spark SQL's operators and functions give, over Arrow arrays.

NaN equals itself and is larger than any other number, zeros of either sign are equal, a comparison with
null is null, and strings are ordered by their UTF-8 bytes. Where Spark would end a query because of
one row (a division by zero, an overflow, a cast that does not fit), that row's value is null,
as that of Spark's ``try_`` functions is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.errors import InputError

#: An operator or a function of any arguments: arrays of one length to an array.
Kernel = Callable[..., pa.Array]

_LONGEST_NUMBER = 4000  # characters, of which Python makes an int
_DOUBLE_DIGITS = 1100  # of any finite double, written out
#: Escapes of a regular expression that mean the same to Java and to RE2.
_ESCAPES = frozenset("dDwWtnrf.^$|?*+()[]{}\\/-_ '\"%#@!:;,<>=~&")
_SPACES = r" \t-\r"
_NO_LINE_END = r"[^\n\r\x{85}\x{2028}\x{2029}]"
_AT_END = r"(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])?\z"


def equal(a: pa.Array, b: pa.Array) -> pa.Array:
    """``a = b``."""
    same = pc.equal(a, b)
    return pc.or_(same, pc.and_(pc.is_nan(a), pc.is_nan(b))) if _floating(a) else same


def less(a: pa.Array, b: pa.Array) -> pa.Array:
    """``a < b``."""
    below = pc.less(a, b)
    return pc.or_(below, pc.and_(pc.invert(pc.is_nan(a)), pc.is_nan(b))) if _floating(a) else below


def null_safe_equal(a: pa.Array, b: pa.Array) -> pa.Array:
    """``a <=> b``: true or false, of nulls too."""
    neither = pc.and_(pc.is_null(a), pc.is_null(b))
    return pc.or_(pc.fill_null(equal(a, b), False), neither)


#: The comparisons of two arrays of one type, by the operator.
COMPARISONS: dict[str, Kernel] = {
    "=": equal,
    "<>": lambda a, b: pc.invert(equal(a, b)),
    "<": less,
    ">": lambda a, b: less(b, a),
    "<=": lambda a, b: pc.invert(less(b, a)),
    ">=": lambda a, b: pc.invert(less(a, b)),
    "<=>": null_safe_equal,
}


def _floating(array: pa.Array) -> bool:
    return pa.types.is_floating(array.type)


def _checked(compute: Kernel, one_by_one: Callable[..., int]) -> Kernel:
    """Arithmetic whose overflows are null."""

    def run(*arrays: pa.Array) -> pa.Array:
        if _floating(arrays[0]):
            return compute(*arrays)
        try:
            return compute(*arrays)
        except pa.ArrowInvalid:
            bits = arrays[0].type.bit_width - 1
            rows = zip(*(array.to_pylist() for array in arrays), strict=True)
            values = (None if None in row else one_by_one(*row) for row in rows)
            fitting = [v if v is not None and -(1 << bits) <= v < 1 << bits else None for v in values]
            return pa.array(fitting, arrays[0].type)

    return run


def _over(divide: Callable[[Any, Any], Any]) -> Kernel:
    """A division; null where the divisor is zero."""

    def run(a: pa.Array, b: pa.Array) -> pa.Array:
        (left, right), known = _numpy(a, b)
        known &= right != 0
        with np.errstate(all="ignore"):
            return pa.array(divide(left, np.where(known, right, 1)), a.type, mask=~known)

    return run


#: Arithmetic on arrays of one type, by the operator; ``/`` on doubles.
ARITHMETIC: dict[str, Kernel] = {
    "+": _checked(pc.add_checked, operator.add),
    "-": _checked(pc.subtract_checked, operator.sub),
    "*": _checked(pc.multiply_checked, operator.mul),
    "/": _over(np.divide),
    "%": _over(np.fmod),  # of the sign of the dividend, as in Java
}

negate = _checked(pc.negate_checked, operator.neg)
absolute = _checked(pc.abs_checked, abs)


def _numpy(*arrays: pa.Array) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
    """Values, and where none of them is null."""
    known = np.ones(len(arrays[0]), bool)
    values = []
    for array in arrays:
        known &= array.is_valid().to_numpy(zero_copy_only=False)
        filled = array.fill_null(0) if array.null_count else array
        values.append(filled.to_numpy(zero_copy_only=False))
    return values, known


def square_root(a: pa.Array) -> pa.Array:
    """``sqrt`` of doubles; NaN below zero."""
    return pc.sqrt(a)


def log10(a: pa.Array) -> pa.Array:
    """``log10`` of doubles; null up to zero."""
    (values,), known = _numpy(a)
    known &= ~(values <= 0)
    return pa.array(np.log10(np.where(known, values, 1.0)), pa.float64(), mask=~known)


def to_bigint(rounding: Callable[[Any], Any]) -> Kernel:
    """``floor`` or ``ceil`` of doubles: bigint, the nearest there is; 0 of NaN."""

    def run(a: pa.Array) -> pa.Array:
        (values,), known = _numpy(a)
        whole = rounding(values)
        inside = np.abs(whole) < 2.0**63
        found = np.where(inside, whole, 0).astype(np.int64)
        limits = np.iinfo(np.int64)
        found[whole >= 2.0**63], found[whole <= -(2.0**63)] = limits.max, limits.min
        return pa.array(found, mask=~known)

    return run


def rounded(a: pa.Array, places: int) -> pa.Array:
    """``round``: halves away from zero, by the digits that a double is written with."""
    if not _floating(a):
        return a
    distinct, at = np.unique(_numpy(a)[0][0].astype(np.float64), return_inverse=True)
    found = pa.array([_rounded(float(value), places) for value in distinct], a.type).take(pa.array(at))
    return pc.if_else(a.is_valid(), found, pa.scalar(None, a.type))


def _rounded(value: float, places: int) -> float:
    if not np.isfinite(value):
        return value
    with localcontext(prec=_DOUBLE_DIGITS):
        return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def in_case(change: Callable[[str], str]) -> Kernel:
    """``lower`` or ``upper``."""

    def run(a: pa.Array) -> pa.Array:
        coded = a.dictionary_encode()
        changed = pa.array([change(text) for text in coded.dictionary.to_pylist()], pa.string())
        return changed.take(coded.indices)

    return run


def cast(kind: pa.DataType) -> Kernel:
    """``try_cast`` between numbers, from booleans and whole numbers, and from text to whole numbers."""

    def run(a: pa.Array) -> pa.Array:
        if a.type == kind:
            return a
        if pa.types.is_string(a.type):
            return pa.array([_whole(text, kind.bit_width) for text in a.to_pylist()], kind)
        if not pa.types.is_integer(kind) or pa.types.is_boolean(a.type) or a.type == pa.int32():
            return a.cast(kind, safe=False)
        (values,), known = _numpy(a)
        limit = 1 << (kind.bit_width - 1)
        if values.dtype.kind == "f":
            values = np.trunc(values)
            known &= (values >= -float(limit)) & (values < float(limit))
        else:
            known &= (values >= -limit) & (values <= limit - 1)
        return pa.array(np.where(known, values, 0).astype(kind.to_pandas_dtype()), kind, mask=~known)

    return run


def _whole(text: str | None, bits: int) -> int | None:
    found = None if text is None else re.fullmatch(r"[\x00-\x20]*([+-]?[0-9]+)[\x00-\x20]*", text)
    if found is None or len(found[1]) > _LONGEST_NUMBER:
        return None
    value = int(found[1])
    return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None


def is_in(values: list[Any]) -> Kernel:
    """``IN`` a list of whole numbers or strings; None among them is null."""
    known = [value for value in values if value is not None]

    def run(a: pa.Array) -> pa.Array:
        found = pc.is_in(a, value_set=pa.array(known, a.type))
        unknown = pc.is_null(a)
        if len(known) < len(values):
            unknown = pc.or_(unknown, pc.invert(found))
        return pc.if_else(unknown, pa.scalar(None, pa.bool_()), found)

    return run


def like(pattern: str) -> Kernel:
    """``LIKE`` a pattern: ``%`` is any text, ``_`` any one character, both themselves after a backslash.

    Raises
    ------
    InputError
        A backslash before another character, or at the end.
    """
    parts, at = [], 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
            letter = pattern[at] if at < len(pattern) else ""
            if letter not in ("%", "_", "\\"):
                raise InputError(f"LIKE {pattern!r}: \\ stands before %, _ or \\ only")
            parts.append(re.escape(letter))
        else:
            parts.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
        at += 1
    return matching(rf"(?s)\A{''.join(parts)}\z", pattern)


def rlike(pattern: str) -> Kernel:
    """``RLIKE``: whether a regular expression is found in the text.

    Of Java's expressions those that mean the same to RE2, which takes linear time: no look-around,
    references, flags, or classes within classes.

    Raises
    ------
    InputError
        Another, or one that is malformed.
    """
    return matching(_as_re2(pattern), pattern)


def matching(re2: str, pattern: str) -> Kernel:
    """Whether RE2 finds an expression; `pattern` is what it was made of, for messages."""
    try:
        pc.match_substring_regex(pa.array([""]), re2)
    except pa.ArrowInvalid as error:
        raise InputError(f"the pattern {pattern!r} is malformed: {str(error)[:200]}") from None
    return lambda a: pc.match_substring_regex(a, re2)


def _as_re2(pattern: str) -> str:
    """A regular expression of Java as RE2 has it."""
    parts, at, inside = [], 0, False

    def refuse(what: str) -> InputError:
        return InputError(f"RLIKE {pattern!r}: {what} is not among the regular expressions of a filter")

    while at < len(pattern):
        letter, two = pattern[at], pattern[at : at + 2]
        if letter == "\\":
            if two in (r"\s", r"\S"):  # of which Java has one more than RE2
                if inside and two == r"\S":
                    raise refuse(two)
                spaces = _SPACES if two == r"\s" else "^" + _SPACES
                parts.append(spaces if inside else f"[{spaces}]")
            elif len(two) < 2 or two[1] not in _ESCAPES:
                raise refuse(two)
            else:
                parts.append(two)
            at += 2
            continue
        if inside:
            if letter == "[" or two == "&&":
                raise refuse("a class within a class")
            if letter == "]" and pattern[:at].endswith(("[", "[^")):
                raise refuse("a class that is empty or holds ]")
            inside = letter != "]"
            parts.append(letter)
        elif letter == "[":
            inside = True
            parts.append(letter)
        elif two == "(?" and pattern[at : at + 3] != "(?:":
            raise refuse(pattern[at : at + 4])
        elif letter in "*+?}" and pattern[at + 1 : at + 2] == "+":
            raise refuse("a possessive quantifier")
        elif letter == "$":
            if pattern[at + 1 : at + 2] not in ("", ")", "|"):
                raise refuse("$ before the end")
            parts.append(_AT_END)
        else:
            parts.append(_NO_LINE_END if letter == "." else letter)
        at += 1
    return "".join(parts)
