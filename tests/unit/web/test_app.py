"""The application in this process, without a socket."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.limits import HANG_S
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.web import app as application
from elodin_spark.web.app import Explorer, make_app
from elodin_spark.web.binary import unpack
from elodin_spark.web.work import Workers


class Asked:
    """Asks an application as a server does."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self.app = explorer, make_app(explorer)

    def __call__(
        self, path: str, body: bytes | list[bytes] = b"", method: str = "GET", **headers: str
    ) -> tuple[int, Any]:
        chunks, sent = list(body) if isinstance(body, list) else [body], []
        self.unread = chunks

        async def receive() -> Any:
            if not chunks:
                await asyncio.sleep(HANG_S)
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        where, _, query = path.partition("?")
        given = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": where,
            "raw_path": where.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        asyncio.run(self.app(scope, receive, send))
        content = b"".join(message.get("body", b"") for message in sent[1:])
        kind = dict(sent[0]["headers"]).get(b"content-type")
        return sent[0]["status"], json.loads(content) if kind == b"application/json" else content


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("c") / "c", tables(4, 3))


@pytest.fixture
def ask(catalog: Catalog) -> Asked:
    return Asked(Explorer(Catalog.open(catalog.path)))


def test_a_catalog_without_a_map_is_shown_by_its_components(ask, catalog) -> None:
    _, facts = ask("/api/catalog")
    (only,) = facts["maps"]
    assert (only["name"], only["quality"]) == ("pca", None)
    assert "computed at the start" in only["title"]
    count, _, points = unpack(ask("/api/points")[1])
    assert count == facts["n_points"] == 32
    for column in facts["columns"]:
        status, found = ask(f"/api/column?name={column['name']}")
        assert status == 200, found
        assert unpack(found)[0] == 32
    rows = {row["cutout_id"]: row for row in catalog.cutouts.to_pylist()}
    found = unpack(ask("/api/column?name=source.flux")[1])[2]["values"]
    wanted = [(rows[each]["source"] or {}).get("flux", np.nan) for each in points["id"].tolist()]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))
    found = unpack(ask("/api/column?name=mjd")[1])[2]["values"]
    assert np.isnan(found).sum() == 8, "of one image the date is not known"
    _, about, found = unpack(ask("/api/column?name=bands")[1])
    assert (about["categories"], np.bincount(found["codes"]).tolist()) == (["g", "r"], [16, 16])


def test_cutouts_without_a_thumbnail_have_none(ask, catalog) -> None:
    ids = catalog.cutout_ids()[:3]
    body = json.dumps({"ids": [str(each) for each in ids]}).encode()
    _, _, columns = unpack(ask("/api/thumbnails", body, "POST")[1])
    assert columns["size"].tolist() == [0, 0, 0]
    assert columns["id"].tolist() == ids.tolist()
    status, found = ask(f"/api/cutouts/{ids[0]}/thumbnail.jpg")
    assert (status, "has no thumbnail" in found["error"]["message"]) == (404, True)


def test_an_archive_that_is_not_there_is_said(ask, catalog) -> None:
    number = catalog.cutout_ids()[0]
    for path in (f"/api/cutouts/{number}/picture.png", f"/api/cutouts/{number}.fits"):
        status, found = ask(path)
        assert (status, "cannot be read from /data/" in found["error"]["message"]) == (400, True)
    image = ask("/api/images")[1]["images"][0]
    assert ask(f"/api/images/{image['image_id']}")[1]["width"] is None
    assert ask(f"/api/images/{image['image_id']}/preview.jpg")[0] == 400


def test_what_takes_too_long_is_given_up_and_the_next_is_answered(ask, monkeypatch) -> None:
    go = threading.Event()
    ask.explorer.reading = Workers(1, 2, 0.05)
    monkeypatch.setattr(ask.explorer.view, "facts", lambda: go.wait(HANG_S))
    status, found = ask("/api/catalog")
    assert (status, found["error"]["kind"]) == (503, "BusyError")
    assert "more than 0.05 s" in found["error"]["message"]
    go.set()
    ask.explorer.reading.seconds = HANG_S
    assert ask("/api/selections")[0] == 200


def test_a_body_that_does_not_come_is_given_up(ask, monkeypatch) -> None:
    monkeypatch.setattr(application, "REQUEST_S", 0.05)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.sleep(HANG_S)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": "/api/thumbnails", "raw_path": b"/api/thumbnails"}
    scope |= {"query_string": b"", "headers": [(b"host", b"localhost")], "root_path": "", "scheme": "http"}
    asyncio.run(ask.app(scope, never, send))
    assert sent[0]["status"] == 503
    assert b"to come" in sent[1]["body"]


def test_of_too_much_no_more_is_held_than_is_taken(ask, monkeypatch) -> None:
    monkeypatch.setattr(application, "_DRAINED", 3)
    chunk = b" " * (1 << 20)
    for count, unread in ((17, 0), (47, 0), (60, 60 - 49)):
        status, found = ask("/api/thumbnails", [chunk] * count, "POST")
        assert (status, "16 MB" in found["error"]["message"]) == (413, True)
        assert len(ask.unread) == unread


def test_a_defect_is_told_without_its_traceback(ask, monkeypatch, caplog) -> None:
    monkeypatch.setattr(ask.explorer.view, "facts", lambda: 1 // 0)
    status, found = ask("/api/catalog")
    assert status == 500
    assert found["error"]["message"].startswith("unexpected error: ZeroDivisionError")
    assert "Traceback" not in caplog.text


def test_the_catalog_is_opened_anew_when_it_was_changed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(application, "_LOOK_S", 0)
    catalog = write_catalog(tmp_path / "c", tables(4, 3))
    ask = Asked(Explorer(Catalog.open(catalog.path)))
    view = ask.explorer.view
    assert ask.explorer.view is view
    gone = int(catalog.cutout_ids()[0])
    catalog.remove(cutouts=[gone])
    assert ask(f"/api/cutouts?ids={gone}")[0] == 404
    assert ask.explorer.view is not view
    catalog.compact()
    assert ask("/api/catalog")[1]["n_cutouts"] == 35
    (catalog.path / "catalog.json").rename(tmp_path / "kept.json")
    status, found = ask("/api/points")
    assert (status, found["error"]["kind"]) == (409, "CatalogError")
    (tmp_path / "kept.json").rename(catalog.path / "catalog.json")
    assert ask("/api/points")[0] == 200


def test_files_that_another_process_has_just_replaced_are_found(tmp_path: Path, monkeypatch) -> None:
    catalog = write_catalog(tmp_path / "c", tables(4, 3))
    ask = Asked(Explorer(Catalog.open(catalog.path)))
    ids = catalog.cutout_ids()
    catalog.remove(cutouts=[int(ids[0])])
    catalog.compact()
    monkeypatch.setattr(application, "_LOOK_S", 1e9)
    assert ask(f"/api/cutouts?ids={ids[5]}")[0] == 200
