"""The API as an ASGI application: what is asked, checked and answered.

The server runs it behind a socket, a notebook in its own process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.errors import (
    CatalogError,
    ElodinError,
    ImageError,
    InputError,
    MissingDependencyError,
    UnknownCutoutError,
    import_extra,
)
from elodin_spark.images.uris import is_fits
from elodin_spark.redaction import without_secrets
from elodin_spark.web import openapi, pictures, uploads
from elodin_spark.web.binary import MEDIA_TYPE, json_bytes, pack
from elodin_spark.web.guard import App, Guard
from elodin_spark.web.lists import FORMATS, answer_file, checked_format, cutouts_file
from elodin_spark.web.recent import Recent
from elodin_spark.web.selections import Selections, UnknownSelectionError
from elodin_spark.web.view import (
    UnknownImageError,
    View,
    checked_id,
    checked_ids,
    checked_options,
    options_schema,
    state_of,
)
from elodin_spark.web.work import BusyError, Workers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

#: Where the page lies, as the package has it.
STATIC = Path(__file__).parent / "static"
#: Of JSON that comes.
MOST_BYTES = 16 << 20
REQUEST_S = 30.0
_UPLOAD_S = 120.0  # until the last byte of it has come
_AT_ONCE, _IN_A_LIST, _MOST_THUMBNAILS = 1000, 1_000_000, 512
_DRAINED = 4  # times a bound, that are read and thrown away so that the refusal is heard
_PREVIEW_BYTES = 32 << 20  # that are kept
_LOOK_S = 1.0  # between looks for what another process changed
_KEPT = {"cache-control": "private, max-age=3600"}

_T = TypeVar("_T")
Handler = Callable[["Request"], Awaitable["Response"]]


class TooLargeError(InputError):
    """More bytes came than are taken."""


#: Of the errors that are told, the first that fits.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (BusyError, 503),
    (TooLargeError, 413),
    (UnknownCutoutError, 404),
    (UnknownImageError, 404),
    (UnknownSelectionError, 404),
    (InputError, 400),
    (ImageError, 400),
    (CatalogError, 409),
    (MissingDependencyError, 501),
    (ElodinError, 500),
)


class Explorer:
    """A catalog, and everything that is asked of it; safe for threads.

    Parameters
    ----------
    catalog : Catalog
    """

    def __init__(self, catalog: Catalog) -> None:
        self.path = catalog.path
        self.selections = Selections(catalog.path)
        self.previews = Recent(_PREVIEW_BYTES)
        self._state = state_of(self.path)
        self._view, self._looked = View(catalog), time.monotonic()
        self._opening = threading.Lock()
        # Searches take all cores; what is quick waits for nothing of these.
        self.searching = Workers(2, 600, REQUEST_S)
        self.reading = Workers(4, 1200, REQUEST_S)
        self.drawing = Workers(2, 300, REQUEST_S)
        self.uploading = Workers(1, 8, REQUEST_S)
        self.receiving = asyncio.Semaphore(4)

    @property
    def view(self) -> View:
        """The catalog as it is now: opened anew where another process has changed it.

        Raises
        ------
        CatalogError
            It is gone, or damaged.
        """
        if time.monotonic() - self._looked < _LOOK_S:
            return self._view
        with self._opening:
            if time.monotonic() - self._looked < _LOOK_S:
                return self._view
            try:
                state = state_of(self.path)
            except OSError:
                raise CatalogError(f"{self.path} is gone, or no catalog any more") from None
            if state != self._state:
                self._view = View(Catalog.open(self.path))
                self._state = state
            self._looked = time.monotonic()
            return self._view

    def asked(self, work: Callable[[View], _T]) -> _T:
        """What `work` makes of the catalog; once more where another process has just compacted it."""
        try:
            return work(self.view)
        except FileNotFoundError:
            self._looked = -_LOOK_S
            return work(self.view)


def make_app(explorer: Explorer, *, host: str = "127.0.0.1", token: str | None = None) -> App:
    """The application.

    Parameters
    ----------
    explorer : Explorer
    host : str
        What the server is bound to; requests by other names than this and those of the loopback are refused.
    token : str, optional
        What everybody must know who asks.

    Returns
    -------
    callable
        Of ASGI.

    Raises
    ------
    MissingDependencyError
        The extra ``explore`` is not installed.
    """
    import_extra("starlette", "the explorer")
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    answers = _Answers(explorer)
    routes: list[Any] = [
        Route(each.path, _told(getattr(answers, each.handler)), methods=[each.method.upper()])
        for each in openapi.ENDPOINTS
    ]
    routes.append(Route("/", _told(answers.page), methods=["GET"]))
    routes.append(Mount("/static", StaticFiles(directory=STATIC, check_dir=False)))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: f"there is no {request.url.path[:200]}", 405: f"{request.method} is not answered here"}
        message = said.get(error.status_code, error.detail)
        body = {"error": {"kind": "InputError", "message": f"{message}; GET /api lists what is"}}
        return JSONResponse(body, error.status_code, headers=error.headers)

    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: refused}), host, token)


def _told(handler: Handler) -> Handler:
    """Errors as an answer: a status, and the message as JSON."""

    async def answer(request: Request) -> Response:
        from starlette.responses import Response

        try:
            return await handler(request)
        except ElodinError as error:
            status = next(code for kind, code in _STATUS if isinstance(error, kind))
            kind, message = type(error).__name__, str(error)
        except (OSError, pa.ArrowInvalid) as error:
            status, kind = 409, "CatalogError"
            message = f"a file of the catalog cannot be read: {without_secrets(str(error))[:300]}"
        except Exception as error:
            if type(error).__name__ == "ClientDisconnect":
                return Response(status_code=400)
            status, kind = 500, type(error).__name__
            message = f"unexpected error: {kind}: {without_secrets(str(error))[:300]}"
            log.error("%s", message, exc_info=bool(os.environ.get("ELODIN_DEBUG")))
        return _json({"error": {"kind": kind, "message": message}}, status)

    return answer


class _Answers:
    """What is answered, by the names of :data:`openapi.ENDPOINTS`."""

    def __init__(self, explorer: Explorer) -> None:
        self._all = explorer

    async def _ask(self, workers: Workers, work: Callable[[View], _T]) -> _T:
        return await workers.run(self._all.asked, work)

    # ---- the page, and what describes the API -----------------------------------------------------

    async def page(self, request: Request) -> Response:
        from starlette.responses import FileResponse, HTMLResponse

        if (STATIC / "index.html").is_file():
            return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})
        return HTMLResponse(openapi.page("The page is not part of this installation. "))

    async def openapi(self, request: Request) -> Response:
        return _json(openapi.document(options_schema()))

    async def listing(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(openapi.page())

    # ---- the catalog, its maps and columns ----------------------------------------------------------

    async def catalog(self, request: Request) -> Response:
        def facts(view: View) -> bytes:
            more = {"stretches": pictures.STRETCHES, "colormaps": pictures.COLORMAPS}
            return json_bytes({**view.facts(), "options": options_schema(), **more})

        return _bytes(await self._ask(self._all.reading, facts), "application/json")

    async def points(self, request: Request) -> Response:
        name = request.query_params.get("map")
        return _bytes(await self._ask(self._all.reading, lambda view: view.points(name)))

    async def column(self, request: Request) -> Response:
        name, column = request.query_params.get("map"), _needed(request, "name")
        return _bytes(await self._ask(self._all.reading, lambda view: view.column(name, column)))

    async def mask(self, request: Request) -> Response:
        name, condition = request.query_params.get("map"), _needed(request, "where")
        return _bytes(await self._ask(self._all.searching, lambda view: view.mask(name, condition)))

    # ---- cutouts ------------------------------------------------------------------------------------

    async def cutouts(self, request: Request) -> Response:
        ids = checked_ids(_needed(request, "ids").split(","), _AT_ONCE)
        found = await self._ask(self._all.reading, lambda view: view.describe(ids))
        return _json({"cutouts": found})

    async def thumbnail(self, request: Request) -> Response:
        number = checked_id(request.path_params["id"])
        (found,) = await self._ask(self._all.reading, lambda view: view.thumbnails([number]))
        if not found:
            raise UnknownCutoutError(f"cutout {number} has no thumbnail")
        return _bytes(found, "image/jpeg", _KEPT)

    async def thumbnails(self, request: Request) -> Response:
        ids = checked_ids((await _body(request)).get("ids"), _MOST_THUMBNAILS)
        return _bytes(await self._ask(self._all.reading, lambda view: view.packed_thumbnails(ids)))

    async def picture(self, request: Request) -> Response:
        number, asked = checked_id(request.path_params["id"]), request.query_params
        stretch, colormap = asked.get("stretch", "asinh"), asked.get("colormap", "gray")
        cut, size = _number(asked.get("cut", "99.5"), "cut"), int(_number(asked.get("size", "512"), "size"))

        def draw(view: View) -> bytes:
            cutout = view.catalog.cutout(number)
            return pictures.cutout_png(cutout, stretch, cut, colormap, size)

        return _bytes(await self._ask(self._all.drawing, draw), "image/png", _KEPT)

    async def fits(self, request: Request) -> Response:
        number = checked_id(request.path_params["id"])

        def write(view: View) -> bytes:
            with uploads.temporary_file(".fits") as file:
                return view.catalog.cutout(number).write(file).read_bytes()

        found = await self._ask(self._all.drawing, write)
        return _bytes(found, "application/fits", _attached(f"cutout_{number}.fits"))

    # ---- asking -------------------------------------------------------------------------------------

    async def neighbors(self, request: Request) -> Response:
        body = await _body(request)
        asked, options = body.get("query"), checked_options(body.get("options"))
        if not isinstance(asked, dict):
            raise InputError('the body reads {"query": {"ids": ["12"]}, "options": {"k": 9}}')

        def find(view: View) -> bytes:
            started = time.perf_counter()
            found = view.neighbors(view.query(asked), options)
            return json_bytes({**found, "seconds": round(time.perf_counter() - started, 4)})

        return _bytes(await self._ask(self._all.searching, find), "application/json")

    async def upload(self, request: Request) -> Response:
        extension = uploads.extension_of(request.headers.get("x-file-name"))
        try:
            options = checked_options(json.loads(request.query_params.get("options", "{}")))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"options is JSON: {error}") from None
        async with self._all.receiving:
            with uploads.temporary_file(extension) as file:
                await _received(request, file, uploads.MOST_BYTES)

                def find(view: View) -> bytes:
                    started = time.perf_counter()
                    asked = uploads.ask_with(view.catalog, file)
                    found = view.neighbors(asked, options)
                    found["query"] |= uploads.query_facts(asked)
                    return json_bytes({**found, "seconds": round(time.perf_counter() - started, 4)})

                return _bytes(await self._ask(self._all.uploading, find), "application/json")

    async def download(self, request: Request) -> Response:
        name = checked_format(request.query_params.get("format"))
        body = await _body(request)
        if ("ids" in body) == ("query" in body):
            raise InputError('the body reads {"ids": ["12"]}, or {"query": {"ids": ["12"]}, "options": {}}')
        options = checked_options(body.get("options"))

        def write(view: View) -> bytes:
            if "ids" in body:
                return cutouts_file(view.cutouts_table(checked_ids(body["ids"], _IN_A_LIST)), name)
            if not isinstance(body["query"], dict):
                raise InputError('a query is an object, such as {"ids": ["12"]}')
            return answer_file(view.neighbors_table(view.query(body["query"]), options), name)

        extension, kind = FORMATS[name]
        called = f"{'cutouts' if 'ids' in body else 'neighbors'}{extension}"
        return _bytes(await self._ask(self._all.searching, write), kind, _attached(called))

    # ---- images -------------------------------------------------------------------------------------

    async def images(self, request: Request) -> Response:
        text = request.query_params.get("text", "")[:500]
        found = await self._ask(self._all.reading, lambda view: view.images_named(text))
        return _json({"images": found})

    async def image(self, request: Request) -> Response:
        number = checked_id(request.path_params["id"])

        def facts(view: View) -> dict[str, Any]:
            row = view.image(number)
            names = ("path", "hdu", "ra", "dec", "pixel_scale", "bands", "n_cutouts")
            width, height = pictures.grid_of(row, view.catalog.settings)
            told = {"width": width, "height": height, "upwards": is_fits(row["uri"])}
            return {"image_id": str(number), **{name: row[name] for name in names}, **told}

        return _json(await self._ask(self._all.reading, facts))

    async def preview(self, request: Request) -> Response:
        number = checked_id(request.path_params["id"])
        size = int(_number(request.query_params.get("size", str(_PREVIEW)), "size"))

        def draw(view: View) -> bytes:
            row, settings = view.image(number), view.catalog.settings
            make = lambda: pictures.preview_jpeg(row, settings, size)  # noqa: E731
            return self._all.previews.or_make((number, size), make)

        return _bytes(await self._ask(self._all.drawing, draw), "image/jpeg", _KEPT)

    # ---- selections -----------------------------------------------------------------------------------

    async def selections(self, request: Request) -> Response:
        return _json({"selections": await self._all.reading.run(self._all.selections.listed)})

    async def selection(self, request: Request) -> Response:
        name = request.path_params["name"]
        ids = await self._all.reading.run(lambda: self._all.selections.read(name))
        return _bytes(pack({"id": ids}))

    async def keep_selection(self, request: Request) -> Response:
        name, body = request.path_params["name"], await _body(request, 4 * MOST_BYTES)

        def keep(view: View) -> dict[str, Any]:
            ids = np.array(checked_ids(body.get("ids"), 2_000_000), np.int64)
            self._all.selections.check(name)
            view.known(ids)
            return self._all.selections.keep(name, ids)

        return _json(await self._ask(self._all.reading, keep))

    async def delete_selection(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._all.reading.run(lambda: self._all.selections.delete(name))
        return _json({"deleted": name})


_PREVIEW = 1200  # px


def _json(value: Any, status: int = 200) -> Response:
    return _bytes(json_bytes(value), "application/json", status=status)


def _bytes(
    content: bytes, kind: str = MEDIA_TYPE, headers: dict[str, str] | None = None, status: int = 200
) -> Response:
    from starlette.responses import Response

    return Response(content, status, headers, kind)


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


def _needed(request: Request, name: str) -> str:
    if not (value := request.query_params.get(name, "")):
        raise InputError(f"the parameter {name} is missing")
    return str(value)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(f"{name} is a number; got {text[:50]!r}")
    return number


async def _body(request: Request, most: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object of a request.

    Raises
    ------
    InputError
        It is none, or too large.
    """
    content = bytearray()

    async def read() -> None:
        too_many = False
        async for chunk in _chunks(request, most):
            too_many = too_many or len(content) + len(chunk) > most
            if not too_many:
                content.extend(chunk)
        if too_many:
            raise TooLargeError(f"more than {most >> 20} MB of JSON: ask for less")

    await _in_time(read(), REQUEST_S)
    try:
        value = json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise InputError("the body is a JSON object")
    return value


async def _received(request: Request, file: Path, most: int) -> None:
    """Write the body of a request to a new file, as it comes.

    Raises
    ------
    TooLargeError
        It is too large.
    """

    async def read() -> None:
        came = 0
        with file.open("xb") as out:
            async for chunk in _chunks(request, most):
                came += len(chunk)
                if came <= most:
                    out.write(chunk)
            if came > most:
                raise TooLargeError(
                    f"the file has more than {most >> 20} MB, which is the most that is taken"
                )

    await _in_time(read(), _UPLOAD_S)


async def _chunks(request: Request, most: int) -> Any:
    """What comes, of something too large only so much that who sends it hears the refusal."""
    came = 0
    async for chunk in request.stream():
        came += len(chunk)
        if came > _DRAINED * most:
            return
        yield chunk


async def _in_time(reading: Awaitable[None], seconds: float) -> None:
    try:
        await asyncio.wait_for(reading, seconds)
    except TimeoutError:
        raise BusyError(f"the request took more than {seconds:g} s to come") from None
