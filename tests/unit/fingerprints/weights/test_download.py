"""Weights from a real web server: fetched once, checked, bounded."""

from __future__ import annotations

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from elodin_spark.config.load import parse_settings
from elodin_spark.errors import ConfigError, WeightsError
from elodin_spark.fingerprints.weights.download import fetch
from elodin_spark.fingerprints.weights.resolve import resolve_settings, resolve_weights


class Server:
    """Serves `files`, by path, each with a version; counts the bodies it sent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.tags = True
        self.cut_short = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                content = outer.files.get(self.path.partition("?")[0])
                if content is None:
                    self.send_error(403 if "secret" in self.path else 404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                if outer.tags:
                    self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
                self.end_headers()
                if body:
                    outer.sent.append(self.path)
                    self.wfile.write(content[: len(content) // 2] if outer.cut_short else content)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.http.shutdown()
    thread.join()
    running.http.server_close()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".new-*")]


def test_a_file_is_fetched_once_for_each_version(server, tmp_path):
    server.files["/w.h5"] = b"first" * 1000
    uri = f"{server.url}/w.h5"
    first = fetch(uri, tmp_path)
    assert first.read_bytes() == server.files["/w.h5"]
    assert first.name == hashlib.sha256(server.files["/w.h5"]).hexdigest()
    assert fetch(uri, tmp_path) == first
    assert len(server.sent) == 1
    server.files["/w.h5"] = b"other" * 1000  # of the same length
    assert fetch(uri, tmp_path).read_bytes() == server.files["/w.h5"]
    assert len(server.sent) == 2
    assert leftovers(tmp_path) == []


def test_a_server_that_names_no_version_is_asked_each_time(server, tmp_path):
    server.tags = False
    for content in (b"first", b"other"):
        server.files["/w.h5"] = content
        assert fetch(f"{server.url}/w.h5", tmp_path).read_bytes() == content


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    server.files["/w.h5"] = b"weights" * 1000
    found = fetch(f"{server.url}/w.h5", tmp_path)
    found.write_bytes(b"damaged")
    assert fetch(f"{server.url}/w.h5", tmp_path).read_bytes() == server.files["/w.h5"]


def test_a_pinned_file_needs_no_server_once_it_is_here(server, tmp_path):
    server.files["/w.h5"] = b"weights"
    digest = hashlib.sha256(b"weights").hexdigest()
    found = fetch(f"{server.url}/w.h5", tmp_path, digest)
    server.files.clear()
    assert fetch(f"{server.url}/w.h5", tmp_path, digest) == found
    with pytest.raises(WeightsError, match="no such file"):
        fetch(f"{server.url}/w.h5", tmp_path)


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(server, tmp_path):
    server.files["/w.h5"] = b"tampered"
    with pytest.raises(WeightsError, match=r"have SHA-256 .*weights_sha256 is 0000"):
        fetch(f"{server.url}/w.h5", tmp_path, "0" * 64)
    fetch(f"{server.url}/w.h5", tmp_path)  # now at hand, and still refused
    with pytest.raises(WeightsError, match="SHA-256"):
        fetch(f"{server.url}/w.h5", tmp_path, "0" * 64)
    assert [path.name for path in (tmp_path / "fetched").iterdir() if path.suffix == ""] == [
        hashlib.sha256(b"tampered").hexdigest()
    ]


def test_what_is_too_large_is_refused_before_it_is_here(server, tmp_path):
    server.files["/w.h5"] = bytes(3_000_000)
    with pytest.raises(WeightsError, match="more than 1000000 bytes"):
        fetch(f"{server.url}/w.h5", tmp_path, max_bytes=1_000_000)
    assert list((tmp_path / "fetched").iterdir()) == []


def test_a_download_that_breaks_off_is_an_error_and_leaves_nothing(server, tmp_path):
    server.files["/w.h5"], server.cut_short = bytes(3_000_000), True
    with pytest.raises(WeightsError, match="could not be fetched"):
        fetch(f"{server.url}/w.h5", tmp_path)
    assert list((tmp_path / "fetched").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"), [("/gone.h5", "no such file"), ("/secret.h5?signature=abc", "not allowed")]
)
def test_what_cannot_be_had_is_said_without_signatures(server, tmp_path, path, said):
    with pytest.raises(WeightsError, match=said) as refused:
        fetch(server.url + path, tmp_path)
    assert "fingerprints.weights" in str(refused.value)
    assert "abc" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named(server, tmp_path):
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9/w\.h5.*cannot be reached"):
        fetch("http://127.0.0.1:9/w.h5", tmp_path)


def test_remote_weights_are_those_of_the_file(server, tmp_path, small_settings, monkeypatch):
    local = resolve_weights("random:0")
    server.files["/models/my%20net.weights.h5"] = Path(local.path).read_bytes()
    digest = hashlib.sha256(server.files["/models/my%20net.weights.h5"]).hexdigest()
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path))
    uri = f"{server.url}/models/my%20net.weights.h5?signature=abc"
    settings = small_settings("images", fingerprints={"weights": uri, "weights_sha256": digest})
    found = resolve_settings(settings.fingerprints)
    assert (found.name, found.sha256, found.classes) == ("my net.weights.h5", local.sha256, None)
    shutil.rmtree(tmp_path / "weights" / "fetched")


def test_a_pin_also_holds_for_local_files_and_only_for_files(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"weights")
    with pytest.raises(WeightsError, match="weights_sha256 is 0000"):
        resolve_weights(str(path), cache=tmp_path, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"w\.h5"):  # the pin fits; it is no HDF5 file
        resolve_weights(str(path), cache=tmp_path, sha256=hashlib.sha256(b"weights").hexdigest())
    for weights in ("imagenet", "random:0"):
        with pytest.raises(ConfigError, match="that of a file"):
            resolve_weights(weights, cache=tmp_path, sha256="0" * 64)
    with pytest.raises(ConfigError, match="weights_sha256"):
        parse_settings({"images": {"paths": "x"}, "fingerprints": {"weights_sha256": "abc"}})
