"""The server of the explorer: a socket, a catalog behind it, and an end by Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.errors import InputError, import_extra
from elodin_spark.progress import step
from elodin_spark.web.app import Explorer, make_app

PORT = 8765
_BACKLOG = 1024


def serve(
    catalog: str | Path, *, host: str = "127.0.0.1", port: int = PORT, open_browser: bool = False
) -> None:
    """Serve the explorer of a catalog until Ctrl-C.

    The address is printed once requests are answered.

    Parameters
    ----------
    catalog : str or Path
    host : str
        What to listen on. Other than on loopback only those are answered who know the token in the address.
    port : int
        0: any that is free.
    open_browser : bool

    Raises
    ------
    MissingDependencyError
        The extra ``explore`` is not installed.
    CatalogError
        There is no such catalog.
    InputError
        The host is none of this machine, or the port is taken.
    KeyboardInterrupt
        Ctrl-C was typed.
    """
    uvicorn = import_extra("uvicorn", "the explorer")
    import_extra("starlette", "the explorer")
    opened = Catalog.open(catalog)
    with listening(host, port) as listener:
        bound = listener.getsockname()[1]
        with step("reading the catalog"):
            explorer = Explorer(opened)
        token = None if is_loopback(host) else secrets.token_urlsafe()
        app = make_app(explorer, host=host, token=token)
        address = address_of(host, bound, token)
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # which would hold the token
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            ws="none",
        )
        server = uvicorn.Server(settings)
        print(address, flush=True)
        print(f"explorer of {explorer.path}; Ctrl-C ends it", file=sys.stderr, flush=True)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with ended_by_signals(server) as caught:
            server.run(sockets=[listener])
        if signal.SIGINT in caught:
            raise KeyboardInterrupt


def address_of(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises
    ------
    InputError
        The port is taken or out of range, or the host is none of this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"a port is from 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"there is no host {host!r}: {error}; give an address of this machine by --host"
        ) from None
    with socket.socket(family, kind, protocol) as listener:  # by which asyncio knows TCP, and sends at once
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(
                    f"port {port} of {host} is taken by another program: give another by --port, or 0 for "
                    "any that is free"
                ) from None
            said = f"port {port} of {host} cannot be listened on: {error.strerror or error}"
            raise InputError(f"{said}; give others by --host and --port") from None
        yield listener


@contextmanager
def ended_by_signals(server: Any) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end a server in order, so that temporary files are gone; twice, at once.

    Yields
    ------
    list of int
        The signals that came.
    """
    caught: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        server.force_exit = len(caught) > 1
        server.should_exit = True

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    # Of a program that ends at once at Ctrl-C, see exits.stop_on_interrupt.
    woken = signal.set_wakeup_fd(-1)
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    server.capture_signals = _nothing_captured
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)


@contextmanager
def _nothing_captured() -> Iterator[None]:
    yield
