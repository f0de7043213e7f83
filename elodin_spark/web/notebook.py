"""The explorer in a cell of a notebook: the page of the browser, without a server.

What the page asks travels as messages of the notebook, and the application that a server would run answers
them in this process. So it works wherever the notebook does, also where the kernel is on another machine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from email.message import Message as Header
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.errors import import_extra
from elodin_spark.web.app import STATIC, Explorer, make_app
from elodin_spark.web.guard import App

import_extra("anywidget", "the explorer in a notebook")
import anywidget  # noqa: E402
import traitlets  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd

_HEIGHT_PX = 720


class Reply(NamedTuple):
    """What the application answered."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(app: App, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """Ask an application in this process, as its page does.

    Parameters
    ----------
    app : callable
        Of ASGI.
    method : str
    path : str
        With the query string.
    headers : mapping of str to str
    body : bytes

    Returns
    -------
    Reply
    """
    where, _, query = path.partition("?")
    given = {name.lower(): value for name, value in headers.items()}
    given |= {"host": "127.0.0.1", "content-length": str(len(body))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(where),
        "raw_path": where.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    parts = [{"type": "http.request", "body": body, "more_body": False}]
    ended = asyncio.Event()
    status, answered, content = 500, dict[str, str](), bytearray()

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await ended.wait()
        return {"type": "http.disconnect"}  # said sooner, it would cut the answer short

    async def send(message: Any) -> None:
        nonlocal status, answered
        if message["type"] == "http.response.start":
            status = message["status"]
            answered = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            content.extend(message.get("body", b""))
            if not message.get("more_body", False):
                ended.set()

    await app(scope, receive, send)
    return Reply(status, answered, bytes(content))


class CatalogExplorer(anywidget.AnyWidget):
    """A catalog to look at, in a cell of a notebook. Made by :meth:`Catalog.explore`.

    Parameters
    ----------
    catalog : Catalog
    height : int
        Of the cell, px.

    Attributes
    ----------
    selected_ids : ndarray of int64, shape (n,)
        IDs of the cutouts that are selected; a trait, so ``observe`` tells of its changes.

    Examples
    --------
    >>> from elodin_spark import Catalog
    >>> explorer = Catalog.open("runs/mine").explore()
    >>> len(explorer.selection)  # nothing is selected yet
    0
    """

    _esm = STATIC / "widget.js"
    height = traitlets.Int(_HEIGHT_PX).tag(sync=True)
    selected_ids = traitlets.Any()

    def __init__(self, catalog: Catalog, height: int = _HEIGHT_PX) -> None:
        self._explorer = Explorer(catalog)
        self._app = make_app(self._explorer)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="explorer", daemon=True).start()
        super().__init__(height=height, selected_ids=np.empty(0, np.int64))
        self.on_msg(self._take)

    @property
    def selection(self) -> pd.DataFrame:
        """The selected cutouts, one row each, with image, window, position and what else the table has.

        Returns
        -------
        pandas.DataFrame
            Rows of the table ``cutouts`` without their thumbnails, in the order of :attr:`selected_ids`.
        """
        return self._explorer.view.cutouts_table(self.selected_ids.tolist()).to_pandas()

    def close(self) -> None:
        """End it: the cell stops answering."""
        super().close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _take(self, _: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Take a message of the page."""
        body = bytes(buffers[0]) if buffers else b""
        if content.get("kind") == "selection":
            self.selected_ids = selected(body)
        elif content.get("kind") == "request":
            asyncio.run_coroutine_threadsafe(self._answer(content, body), self._loop)

    async def _answer(self, content: Mapping[str, Any], body: bytes) -> None:
        reply = await ask(self._app, content["method"], content["path"], content.get("headers") or {}, body)
        header = Header()
        header["content-disposition"] = reply.headers.get("content-disposition", "inline")
        told = {
            "kind": "answer",
            "key": content["key"],
            "status": reply.status,
            "type": reply.headers.get("content-type", ""),
            "name": header.get_filename() or "",
        }
        self.send(told, [reply.body])


def selected(content: bytes) -> NDArray[np.int64]:
    """Cutout IDs of a message: int64, little-endian."""
    return np.frombuffer(content, "<i8").astype(np.int64)
