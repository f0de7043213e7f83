"""Who may ask: names of this machine, pages of its own, those who know the token."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from elodin_spark.web.binary import json_bytes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Nothing from elsewhere, nothing written into the page, no page around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANY = ("0.0.0.0", "::", "")


class Guard:
    """Refuses requests before anything is done for them, and gives every answer its headers.

    A page of another site cannot ask: what a browser sends of its own accord names that site. A name that
    was made to point here (DNS rebinding) is none of this machine's.

    Parameters
    ----------
    app : callable
        Of ASGI.
    host : str
        What the server is bound to.
    token : str, optional
        What everybody must know: in a cookie, which ``/?token=TOKEN`` sets.
    """

    def __init__(self, app: App, host: str = "127.0.0.1", token: str | None = None) -> None:
        self._app, self._token = app, token
        self._open = host in _ANY
        self._hosts = {*_LOOPBACK, host.lower()}
        if self._open:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", [])}
                # Files of the page need not be sent again while they are the same.
                kept = "no-cache" if scope["path"].startswith("/static/") else "no-store"
                more = {"cache-control": kept, **HEADERS}
                message["headers"] = [
                    *message.get("headers", []),
                    *((n.encode(), v.encode()) for n, v in more.items() if n.encode() not in given),
                ]
            await send(message)

        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            # Twice the same header is two opinions of who asks.
            key = name.decode("latin-1").lower()
            headers[key] = (
                f"{headers[key]},{value.decode('latin-1')}" if key in headers else value.decode("latin-1")
            )
        if refused := self._refused(scope, headers):
            status, message = refused
            await _answer(
                guarded, status, json_bytes({"error": {"kind": "RefusedError", "message": message}})
            )
            return
        if self._token is not None:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            if scope["path"] == "/" and given:
                if not _same(given[0], self._token):
                    await self._no_token(guarded)
                    return
                cookie = f"{self._cookie(scope)}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                await _answer(guarded, 303, b"", {"location": "/", "set-cookie": cookie})
                return
            if not _same(_cookie_of(headers.get("cookie", ""), self._cookie(scope)), self._token):
                await self._no_token(guarded)
                return
        await self._app(scope, receive, guarded)

    @staticmethod
    def _cookie(scope: Scope) -> str:
        """One for each port: cookies do not tell these apart."""
        return f"elodin_spark_{(scope.get('server') or ('', 0))[1]}"

    async def _no_token(self, send: Send) -> None:
        message = "the token is missing or wrong: open the address that 'elodin-spark explore' printed"
        await _answer(send, 401, json_bytes({"error": {"kind": "RefusedError", "message": message}}))

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return 421, f"this server is not called {host[:100]!r}: open it by the address that it printed"
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and urlsplit(origin).netloc != host:
            return 403, "pages of other sites may not ask this server"
        site = headers.get("sec-fetch-site", "none")
        followed = (
            scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        )
        if site not in ("same-origin", "none") and not followed:
            return 403, "pages of other sites may not ask this server"
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or any(each in host for each in "/@?#, \\"):
            return False
        if name.rstrip(".") in self._hosts:
            return True
        if not self._open:
            return False
        try:
            ipaddress.ip_address(name)  # a name may be made to point anywhere, an address not
        except ValueError:
            return False
        return True


def _cookie_of(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    more = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in more.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
