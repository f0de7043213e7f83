"""Archives of some images that unit tests share."""

from __future__ import annotations

import gzip
import http.server
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from helpers.fitsforms import FORMS, write
from helpers.servers import NAMES, QuietHandler, RangeHandler, Served, Traffic, wide_image
from PIL import Image


@pytest.fixture(scope="session")
def image_forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """Every form on disk, and what astropy reads from it."""
    folder = tmp_path_factory.mktemp("forms")
    files = {}
    for name, form in FORMS.items():
        path = folder / f"{name}.fits"
        write(path, form)
        with warnings.catch_warnings(), fits.open(path, uint=False) as hdulist:
            warnings.simplefilter("ignore")
            files[name] = (path, hdulist[1].data.astype(np.float32))
    return files


@pytest.fixture(scope="session")
def remote_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of small images with names as archives have them, and their pixels."""
    folder = tmp_path_factory.mktemp("archive")
    oracle = {}
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).normal(number, 1, (60, 70)).astype(np.float32)
        (folder / name).parent.mkdir(exist_ok=True)
        fits.writeto(folder / name, pixels)
        oracle[name] = pixels
    pixels = oracle["plain.fits"]
    tiled = fits.CompImageHDU(pixels, compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), tiled]).writeto(folder / "tiled.fits.fz")
    (folder / "packed.fits.gz").write_bytes(gzip.compress((folder / "plain.fits").read_bytes()))
    (folder / "empty.fits").write_bytes(b"")
    (folder / "secret.fits").write_bytes((folder / "plain.fits").read_bytes())
    picture = np.random.default_rng(9).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    oracle["picture.png"] = picture
    wide_image(folder / "wide.fits", 600)
    return folder, oracle


@pytest.fixture(scope="session")
def web(remote_archive: tuple[Path, dict[str, np.ndarray]]) -> Iterator[Callable[[bool], Served]]:
    """A web server with (True) or without ranges."""
    folder, oracle = remote_archive
    servers = []

    def start(ranges: bool) -> Served:
        traffic = Traffic()
        base: type[QuietHandler] = RangeHandler if ranges else QuietHandler

        class Handler(base):  # type: ignore[misc,valid-type]
            pass

        Handler.traffic = traffic
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder))
        )
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Served(f"http://127.0.0.1:{server.server_port}", traffic, {}, oracle)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def s3(remote_archive: tuple[Path, dict[str, np.ndarray]]) -> Iterator[Served]:
    """moto's S3 server, with the archive in a bucket."""
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    folder, oracle = remote_archive
    traffic = Traffic()
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    app = server._server.app

    def counted(environ: Any, start_response: Any) -> Iterator[bytes]:
        traffic.requests += 1
        for chunk in app(environ, start_response):
            if environ["REQUEST_METHOD"] == "GET":
                traffic.bytes += len(chunk)
            yield chunk

    server._server.app = counted
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "endpoint_url": f"http://{host}:{port}"}
    fs = s3fs.S3FileSystem(**options)
    fs.mkdir("survey")
    for path in sorted(folder.rglob("*.*")):
        fs.put_file(str(path), f"survey/dr1/{path.relative_to(folder)}")
    fs.chmod("survey/dr1/picture.png", acl="public-read")
    yield Served("s3://survey/dr1", traffic, options, oracle)
    server.stop()


@pytest.fixture(params=["s3", "web with ranges", "web without ranges"])
def served(request: pytest.FixtureRequest) -> Served:
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return request.getfixturevalue("web")(request.param == "web with ranges")
