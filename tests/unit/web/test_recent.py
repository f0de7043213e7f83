"""What is kept of what was made."""

from __future__ import annotations

from elodin_spark.web.recent import Recent


def test_what_was_not_asked_for_longest_goes_first() -> None:
    kept = Recent(10)
    for name in "abc":
        kept.put(name, name.encode() * 3)
    assert kept.get("a") == b"aaa"
    kept.put("d", b"dddd")
    assert [kept.get(name) for name in "abcd"] == [b"aaa", None, b"ccc", b"dddd"]
    kept.put("a", b"")
    kept.put("e", b"eee")
    assert [kept.get(name) for name in "acde"] == [b"", b"ccc", b"dddd", b"eee"]


def test_what_is_larger_than_the_bound_is_made_again() -> None:
    kept, made = Recent(2), []

    def make() -> bytes:
        made.append(1)
        return b"xxx" if len(made) < 3 else b"x"

    assert [kept.or_make("a", make) for _ in range(4)] == [b"xxx", b"xxx", b"x", b"x"]
    assert len(made) == 3
