"""Servers, tables and URIs that mean no good: bounded, refused, and no secret of theirs is kept."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.pixels import read_pixels
from helpers.servers import Served, refusal

from elodin_spark.config.load import dump_settings, parse_settings
from elodin_spark.cutouts import tablefiles
from elodin_spark.errors import ImageError, InputError
from elodin_spark.images import remote
from elodin_spark.images.listing import list_files


class Unruly(http.server.BaseHTTPRequestHandler):
    """One that sends without end, sends on to elsewhere, or sends more than was asked for."""

    protocol_version = "HTTP/1.0"
    content = b""
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/elsewhere"):
            port = self.server.server_address[1]
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{port}/plain.fits")
            self.end_headers()
        elif self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/plain.fits")
            self.end_headers()
        elif self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            self._send(self.content + bytes(2**22))
        elif self.path.startswith("/more") and self.headers.get("Range"):
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
            self.end_headers()
            self._send(bytes(2**22))
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self._send(self.content)

    def _send(self, content: bytes) -> None:
        try:
            self.wfile.write(content)
        except OSError:  # the client has read enough
            return


@pytest.fixture(scope="module")
def unruly() -> Iterator[str]:
    content = io.BytesIO()
    fits.PrimaryHDU(np.ones((20, 30), np.float32)).writeto(content)
    Unruly.content = content.getvalue()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unruly)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_redirects_stay_on_the_host(unruly: str) -> None:
    np.testing.assert_array_equal(read_pixels(f"{unruly}/moved.fits", 0), np.ones((20, 30)))
    Unruly.asked.clear()
    refused = refusal(lambda: read_pixels(f"{unruly}/elsewhere.fits", 0))
    assert "http://localhost:" in str(refused)
    assert Unruly.asked == ["/elsewhere.fits"]


def test_a_server_that_does_not_end_is_cut_off(unruly: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_DOWNLOAD_BYTES", 2**20)
    assert refusal(lambda: read_pixels(f"{unruly}/endless.fits", 0)).kind == "too_large"
    assert refusal(lambda: read_pixels(f"{unruly}/endless.png", 0)).kind == "too_large"


def test_a_server_that_is_endlessly_slow_is_given_up(unruly: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_SILENCE_S", 0.0)
    monkeypatch.setattr(remote, "SLOWEST_BYTES_S", 2**60)
    assert refusal(lambda: remote.download(f"{unruly}/plain.fits", "/dev/null")).kind == "unreachable"


def test_more_than_the_range_that_was_asked_for_is_refused(unruly: str) -> None:
    assert refusal(lambda: read_pixels(f"{unruly}/more.fits", 0)).kind == "too_large"


VOTABLE = """<?xml version="1.0"?>{doctype}
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double" unit="deg"/><FIELD name="dec" datatype="double" unit="deg"/>
<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"""
ROWS = "<TABLEDATA><TR><TD>150.0</TD><TD>{dec}</TD></TR></TABLEDATA>"


def votables(other: str) -> dict[str, bytes]:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "1"}">' for i in range(9))
    texts = {
        "href": VOTABLE.format(doctype="", data=f'<BINARY><STREAM href="{other}"/></BINARY>'),
        "fits": VOTABLE.format(doctype="", data=f'<FITS><STREAM href="{other}"/></FITS>'),
        "entity": VOTABLE.format(
            doctype=f'<!DOCTYPE V [<!ENTITY e SYSTEM "{other}">]>', data=ROWS.format(dec="&e;")
        ),
        "laughs": VOTABLE.format(doctype=f"<!DOCTYPE V [{laughs}]>", data=ROWS.format(dec="&l8;")),
    }
    made = {name: text.encode() for name, text in texts.items()}
    made["utf-16"] = texts["href"].replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16")
    return made


@pytest.mark.parametrize("name", ["href", "fits", "entity", "laughs", "utf-16"])
def test_a_votable_reads_and_fetches_nothing_else(tmp_path: Path, unruly: str, name: str) -> None:
    (tmp_path / "good.xml").write_text(VOTABLE.format(doctype="", data=ROWS.format(dec="2.0")))
    (table,) = tablefiles.read_tables(str(tmp_path / "good.xml"))
    assert table["dec"].values.to_pylist() == [2.0]
    Unruly.asked.clear()
    for other in (f"{unruly}/rows", (tmp_path / "good.xml").as_uri()):
        (tmp_path / "bad.xml").write_bytes(votables(other)[name])
        with pytest.raises(InputError):
            tablefiles._from_votable(votables(other)[name])
        with pytest.raises(InputError):
            tablefiles.read_tables(str(tmp_path / "bad.xml"))
    assert not Unruly.asked


def test_a_table_is_bounded_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tablefiles, "MAX_TABLE_BYTES", 2**16)
    for name, content in {
        "a.csv.gz": gzip.compress(b"ra,dec\n" + b"1,2\n" * 2**16),
        "b.csv": b"1" * 2**17,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="more than 65536 bytes"):
            tablefiles.read_tables(str(tmp_path / name))


def test_a_uri_with_a_password_is_refused_before_a_table_keeps_it(unruly: str) -> None:
    host = unruly.removeprefix("http://")
    for call in (list_files, lambda paths: read_pixels(paths[0], 0)):
        refused = refusal(lambda: call([f"http://me:s3cr3t@{host}/a.fits"]), InputError)  # noqa: B023
        assert "s3cr3t" not in str(refused)
        assert "netrc" in str(refused)


def test_errors_of_a_server_do_not_show_what_follows_the_question_mark(s3: Served) -> None:
    gone = refusal(lambda: read_pixels("http://127.0.0.1:9/a.fits?x=s3cr3t.fits", 0), ImageError)
    assert "s3cr3t" not in str(gone)
    options = s3.options | {"secret": "wr0ng-s3cr3t", "key": "AKIAS3CR3T"}
    missing = refusal(lambda: read_pixels(f"{s3.uri}/none.fits", 0, options), ImageError)
    assert "s3cr3t" not in str(missing).lower()


def test_config_files_keep_no_secret_of_a_store() -> None:
    storage = {
        "anon": False, "key": "K3Y", "secret": "s3cr3t", "token": "t0k3n", "endpoint_url": "http://there",
        "client_kwargs": {"aws_secret_access_key": "s3cr3t", "region_name": "eu"},
        "headers": {"X-Auth": "s3cr3t"},
    }  # fmt: skip
    settings = parse_settings({"catalog": "c", "images": {"paths": "s3://b/x", "storage": storage}})
    text = dump_settings(settings)
    assert not any(secret in text for secret in ("K3Y", "s3cr3t", "t0k3n"))
    assert all(kept in text for kept in ("http://there", "region_name: eu", "anon: false"))
