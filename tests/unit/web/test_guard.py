"""Who is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from elodin_spark.web.guard import POLICY, Guard


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"private")]})
    await send({"type": "http.response.body", "body": b"hello"})


def ask(
    guard: Guard, path: str = "/", method: str = "GET", query: str = "", **headers: str
) -> tuple[int, Any]:
    """Status and headers; underscores stand for hyphens."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": given}
    scope["server"] = ("127.0.0.1", 80)
    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_every_answer_has_the_headers_that_it_does_not_have_already() -> None:
    status, headers = ask(Guard(_app), host="localhost:1")
    assert (status, headers["cache-control"], headers["content-security-policy"]) == (200, "private", POLICY)
    assert headers["x-frame-options"] == "DENY"
    assert ask(Guard(_app), "/static/x.js", host="evil")[1]["cache-control"] == "no-cache"
    status, headers = ask(Guard(_app), host="evil")
    assert (status, headers["cache-control"], headers["content-security-policy"]) == (421, "no-store", POLICY)


@pytest.mark.parametrize(
    ("bound", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost.", True),
        ("127.0.0.1", "[::1]", True),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "192.168.0.1", False),
        ("127.0.0.1", "user@localhost", False),
        ("127.0.0.1", "localhost,evil", False),
        ("127.0.0.1", "", False),
        ("192.168.0.1", "192.168.0.1:80", True),
        ("192.168.0.1", "192.168.0.2", False),
        ("Node7", "node7:80", True),
        ("0.0.0.0", "192.168.0.2", True),
        ("0.0.0.0", "[fe80::1]:80", True),
        ("0.0.0.0", "evil.example", False),
        ("::", "127.0.0.1", True),
    ],
)
def test_names_that_are_answered(bound: str, host: str, known: bool) -> None:
    assert ask(Guard(_app, bound), host=host)[0] == (200 if known else 421)


def test_a_header_given_twice_is_none() -> None:
    guard = Guard(_app)
    scope_headers = {"host": "localhost"}
    assert ask(guard, **scope_headers)[0] == 200

    async def twice() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
        scope["headers"] = [(b"host", b"localhost"), (b"host", b"evil")]
        await guard(scope, None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    assert asyncio.run(twice()) == 421


def test_what_changes_something_is_asked_by_the_page_alone() -> None:
    guard = Guard(_app)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(guard, "/api/x", method, host="localhost:5")[0] == 200, "a script has no origin"
        assert ask(guard, "/api/x", method, host="localhost:5", origin="http://localhost:5")[0] == 200
        for origin in (
            "http://evil",
            "null",
            "",
            "http://localhost",
            "http://127.0.0.1:5",
            "http://localhost:5.evil",
        ):
            assert ask(guard, "/api/x", method, host="localhost:5", origin=origin)[0] == 403, origin
    for site, status in (
        ("same-origin", 200),
        ("none", 200),
        ("same-site", 403),
        ("cross-site", 403),
        ("x", 403),
    ):
        assert ask(guard, "/api/x", host="localhost", sec_fetch_site=site)[0] == status
        followed = {"host": "localhost", "sec_fetch_site": site, "sec_fetch_mode": "navigate"}
        assert ask(guard, "/", **followed)[0] == 200
        assert ask(guard, "/api/x", **followed)[0] == status


def test_the_token_opens_the_door_and_the_cookie_keeps_it_open() -> None:
    guard = Guard(_app, "0.0.0.0", "secret")
    for path, query, cookie in (
        ("/", "", ""),
        ("/", "token=wrong", ""),
        ("/", "token=", ""),
        ("/", "token=%ff", ""),
        ("/api/x", "token=secret", ""),
        ("/", "", "elodin_spark_80=wrong"),
        ("/", "", "elodin_spark_81=secret"),
        ("/", "", "elodin_spark_80="),
        ("/", "", "\xff=;;=,"),
    ):
        assert ask(guard, path, query=query, host="10.0.0.1", cookie=cookie)[0] == 401, (path, query, cookie)
    status, headers = ask(guard, query="token=secret", host="10.0.0.1")
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == "elodin_spark_80=secret; HttpOnly; SameSite=Strict; Path=/"
    assert headers["cache-control"] == "no-store"
    assert ask(guard, "/api/x", host="10.0.0.1", cookie="a=b; elodin_spark_80=secret")[0] == 200
    assert ask(guard, query="token=secret", host="evil.example")[0] == 421


def test_sockets_of_the_web_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(_app)({"type": "websocket", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
