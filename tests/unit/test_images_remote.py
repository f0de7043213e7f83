"""Archives on an S3 server and on web servers, all real ones on this machine."""

from __future__ import annotations

import gzip
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.errors import ImageError, InputError
from elodin_spark.images import remote
from elodin_spark.images.describe import describe, read_pixels
from elodin_spark.images.listing import ImageFile
from elodin_spark.images.planes import open_plane
from elodin_spark.images.remote import list_uri, open_uri

#: Names as archives have them.
NAMES = [
    "plain.fits",
    "night 1/a b.fits",
    "night 1/x@y=z&1.fits",
    "nacht/größe-é.fits",
    "night 1/deep/c.fits",
]
WIDE = 10_000
ROOT = Path(__file__).parents[2]


class Traffic:
    """What a server has sent."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    def reset(self) -> None:
        self.requests = self.bytes = 0


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A web server without range support: whole files, and pages of links for folders."""

    traffic: Traffic

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.traffic.requests += 1
        if "secret" in self.path and self.headers.get("Authorization") is None:
            return self.send_error(403)
        if "broken" in self.path:
            return self.send_error(503)
        return super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while chunk := source.read(2**16):
            self.traffic.bytes += len(chunk)
            try:
                outputfile.write(chunk)
            except OSError:  # the client has read enough
                return


class RangeHandler(QuietHandler):
    """One with range support."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
        if wanted is None or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or size - 1), size - 1) + 1
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        if path.suffix == ".gz":  # as Apache is often set up
            self.send_header("Content-Encoding", "x-gzip")
        self.end_headers()
        return Part(path, start, stop)


class Part:
    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._file, self._left = path.open("rb"), stop - start
        self._file.seek(start)

    def read(self, size: int) -> bytes:
        content = self._file.read(min(size, self._left))
        self._left -= len(content)
        return content

    def close(self) -> None:
        self._file.close()


class Served:
    """A folder and the URI under which a server has it."""

    def __init__(
        self, uri: str, traffic: Traffic, options: dict[str, Any], oracle: dict[str, np.ndarray]
    ) -> None:
        self.uri, self.traffic, self.options, self.oracle = uri, traffic, options, oracle


def wide_image(path: Path, rows: int, width: int = WIDE) -> None:
    """An image of mostly zeros whose value at (y, x) = (row, column) is known at some places."""
    header = fits.PrimaryHDU().header
    header.update({"BITPIX": -32, "NAXIS": 2, "NAXIS1": width, "NAXIS2": rows})
    start = len(header.tostring())
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        for row in range(0, rows, 50):
            file.seek(start + (row * width + width // 2) * 4)
            file.write(np.arange(row, row + 8, dtype=">f4").tobytes())
        file.truncate(start + -(-rows * width * 4 // 2880) * 2880)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
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
    from PIL import Image

    picture = np.random.default_rng(9).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    oracle["picture.png"] = picture
    wide_image(folder / "wide.fits", 600)
    return folder, oracle


@pytest.fixture(scope="module")
def web(archive: tuple[Path, dict[str, np.ndarray]]) -> Iterator[Callable[[bool], Served]]:
    """A web server with (True) or without ranges."""
    folder, oracle = archive
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


@pytest.fixture(scope="module")
def s3(archive: tuple[Path, dict[str, np.ndarray]]) -> Iterator[Served]:
    """moto's S3 server, with the archive in a bucket."""
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    folder, oracle = archive
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


def refusal(call: Callable[[], Any], kind: type[Exception] = ImageError) -> Any:
    with pytest.raises(kind) as caught:
        call()
    assert len(str(caught.value)) > 20
    return caught.value


# ---- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_files_are_read_whatever_their_names(served: Served, name: str) -> None:
    uri = f"{served.uri}/{name}"
    with open_plane(uri, 0, served.options) as plane:
        np.testing.assert_array_equal(plane.read(5, 30, 8, 40), served.oracle[name][5:30, 8:40])
    row = describe(ImageFile(uri, name, 1), None, served.options)
    assert (row["hdu"], row["width"], row["height"], row["status"]) == (0, 70, 60, "ok")
    np.testing.assert_array_equal(read_pixels(uri, 0, served.options), served.oracle[name])


@pytest.mark.parametrize(("name", "hdu"), [("tiled.fits.fz", 1), ("packed.fits.gz", 0)])
def test_compressed_files_and_their_headers_are_read(served: Served, name: str, hdu: int) -> None:
    uri = f"{served.uri}/{name}"
    assert describe(ImageFile(uri, name, 1), None, served.options)["hdu"] == hdu
    with open_plane(uri, hdu, served.options) as plane:
        np.testing.assert_array_equal(plane.read(0, 60), served.oracle["plain.fits"])


def test_pictures_are_read(served: Served) -> None:
    with open_plane(f"{served.uri}/picture.png", 0, served.options) as plane:
        np.testing.assert_array_equal(plane.read(0, 40), served.oracle["picture.png"])


def test_an_open_file_is_seekable_and_outlives_the_call(served: Served) -> None:
    with open_uri(f"{served.uri}/plain.fits", served.options) as file:
        file.seek(80)
        assert file.read(6) == b"BITPIX"
        file.seek(0)
        assert file.read(6) == b"SIMPLE"


def test_local_files_and_file_uris_are_opened_too(tmp_path: Path) -> None:
    path = tmp_path / "a b.fits"
    path.write_bytes(b"SIMPLE")
    for uri in (str(path), f"file://{tmp_path}/a%20b.fits"):
        with open_uri(uri) as file:
            assert file.read() == b"SIMPLE"
    assert refusal(lambda: open_uri(str(tmp_path / "none.fits"))).kind == "missing"


# ---- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["s3", "web"])
def test_a_window_of_a_large_image_fetches_its_rows_and_no_more(
    request: pytest.FixtureRequest, where: str
) -> None:
    served = request.getfixturevalue("web")(True) if where == "web" else request.getfixturevalue("s3")
    served.traffic.reset()
    with open_plane(f"{served.uri}/wide.fits", 0, served.options) as plane:
        assert plane.shape == (600, WIDE)
        opened = served.traffic.bytes
        assert opened <= 40_000
        window = plane.read(200, 424, WIDE // 2 - 112, WIDE // 2 + 112)
    expected = np.zeros((224, 224), np.float32)
    for row in range(200, 424, 50):
        expected[row - 200, 112:120] = np.arange(row, row + 8)
    np.testing.assert_array_equal(window, expected)
    rows = 224 * WIDE * 4
    assert served.traffic.bytes - opened <= 1.01 * rows  # of a file of 24 MB
    assert served.traffic.requests <= 6


def test_of_very_wide_rows_only_the_columns_are_fetched(
    web: Callable[[bool], Served], archive: tuple[Path, Any]
) -> None:
    width = 120_000
    wide_image(archive[0] / "strip.fits", 300, width)
    served = web(True)
    with open_plane(f"{served.uri}/strip.fits", 0) as plane:
        served.traffic.reset()
        window = plane.read(30, 130, width // 2 - 112, width // 2 + 112)
    assert window[20, 112:120].tolist() == list(range(50, 58))
    assert served.traffic.bytes == 100 * 224 * 4  # of 48 MB of rows


def test_bands_of_a_compressed_image_fetch_the_file_once(
    web: Callable[[bool], Served], archive: tuple[Path, Any]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**15, (2000, 2000)).astype(np.int16)
    path = archive[0] / "large.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type="RICE_1")]).writeto(path)
    served = web(True)
    with open_plane(f"{served.uri}/large.fits.fz", 1) as plane:
        for y in range(0, 1800, 100):
            np.testing.assert_array_equal(plane.read(y, y + 224), pixels[y : y + 224])
    assert served.traffic.bytes < 1.1 * path.stat().st_size
    assert served.traffic.requests < 10


def test_the_head_of_a_remote_gz_file_describes_it(
    web: Callable[[bool], Served], archive: tuple[Path, Any]
) -> None:
    noise = np.random.default_rng(0).normal(size=(1500, 1500)).astype(np.float32)
    fits.writeto(archive[0] / "noise.fits", noise)
    content = gzip.compress((archive[0] / "noise.fits").read_bytes(), 1)
    (archive[0] / "noise.fits.gz").write_bytes(content)
    served = web(True)
    row = describe(ImageFile(f"{served.uri}/noise.fits.gz", "noise.fits.gz", 1))
    assert (row["width"], row["height"]) == (1500, 1500)
    assert served.traffic.bytes < len(content) / 20


def test_without_ranges_a_file_is_fetched_once_however_many_windows_are_read(
    web: Callable[[bool], Served], archive: tuple[Path, Any]
) -> None:
    served = web(False)
    with open_plane(f"{served.uri}/wide.fits", 0) as plane:
        for y in (0, 100, 300):
            plane.read(y, y + 100, 0, 100)
    size = (archive[0] / "wide.fits").stat().st_size
    assert (served.traffic.bytes, served.traffic.requests) == (size, 1)


# ---- listing -------------------------------------------------------------------------------


def test_folders_globs_and_files_are_listed_with_their_sizes(
    s3: Served, web: Callable[[bool], Served], archive: tuple[Path, Any]
) -> None:
    deep = {f"night 1/{name}" for name in ("a b.fits", "x@y=z&1.fits", "deep/c.fits")}
    for served in (s3, web(True)):
        found = {
            end: list_uri(f"{served.uri}/{end}", served.options)
            for end in ("night 1/", "night 1/*.fits", "**/*.fits", "plain.fits")
        }
        assert all(uri.startswith(served.uri) for files in found.values() for uri, _ in files)
        assert len(found["night 1/"]) == len(deep)
        assert len(found["night 1/*.fits"]) == 2
        assert len(found["**/*.fits"]) >= len(NAMES)
        assert found["plain.fits"] == [
            (f"{served.uri}/plain.fits", (archive[0] / "plain.fits").stat().st_size)
        ]
        for uri, size in found["night 1/"]:
            assert size == (archive[0] / "plain.fits").stat().st_size
            with open_plane(uri, 0, served.options) as plane:
                assert plane.shape == (60, 70)
    names = {uri.removeprefix(s3.uri + "/") for uri, _ in list_uri(f"{s3.uri}/night 1", s3.options)}
    assert names == deep


def test_a_bucket_is_listed_from_its_root(s3: Served) -> None:
    assert any(uri == "s3://survey/dr1/plain.fits" for uri, _ in list_uri("s3://survey", s3.options))
    assert list_uri("s3a://survey/dr1/plain.fits", s3.options)[0].uri == "s3a://survey/dr1/plain.fits"


def test_a_folder_that_has_changed_is_listed_anew(s3: Served) -> None:
    fs, _ = remote.filesystem(s3.uri, s3.options)
    fs.pipe_file("survey/new/a.fits", b"x")
    assert len(list_uri("s3://survey/new/", s3.options)) == 1
    other = type(fs)(**s3.options, skip_instance_cache=True)
    other.pipe_file("survey/new/b.fits", b"xy")
    assert [size for _, size in list_uri("s3://survey/new/", s3.options)] == [1, 2]


# ---- refusals ------------------------------------------------------------------------------


def test_a_missing_file_or_bucket_is_named(served: Served) -> None:
    error = refusal(lambda: open_uri(f"{served.uri}/none.fits", served.options))
    assert error.kind == "missing"
    assert "none.fits" in str(error)
    assert (
        refusal(lambda: open_plane(f"{served.uri}/none.fits", 0, served.options).__enter__()).kind
        == "missing"
    )
    refusal(lambda: list_uri(f"{served.uri}/none/", served.options), InputError)


def test_a_missing_bucket_is_named(s3: Served) -> None:
    assert refusal(lambda: open_uri("s3://nowhere/a.fits", s3.options)).kind == "missing"
    assert "no such" in str(refusal(lambda: list_uri("s3://nowhere/", s3.options), InputError))


def test_an_empty_remote_file_is_refused(served: Served) -> None:
    uri = f"{served.uri}/empty.fits"
    assert refusal(lambda: open_plane(uri, 0, served.options).__enter__()).kind == "empty_file"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_forbidden_web_file_is_refused_and_opened_with_credentials(
    web: Callable[[bool], Served], ranges: bool
) -> None:
    served = web(ranges)
    uri = f"{served.uri}/secret.fits"
    assert refusal(lambda: open_uri(uri)).kind == "no_permission"
    with open_plane(uri, 0, {"headers": {"Authorization": "Bearer x"}}) as plane:
        assert plane.shape == (60, 70)


def test_wrong_and_absent_s3_credentials_are_named(
    s3: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import urllib.request

    endpoint = s3.options["endpoint_url"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    absent = refusal(lambda: open_uri("s3://survey/dr1/plain.fits", {"endpoint_url": endpoint}))
    assert absent.kind == "no_permission"
    assert "anon" in str(absent)
    public = {"endpoint_url": endpoint, "anon": True}
    with open_plane("s3://survey/dr1/picture.png", 0, public) as plane:
        assert plane.shape == (40, 50, 3)
    assert refusal(lambda: open_uri("s3://survey/dr1/plain.fits", public)).kind == "no_permission"

    def check_after(requests: bytes) -> None:
        switch, plain = f"{endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(switch, requests, plain, method="POST")).close()

    check_after(b"0")
    try:
        wrong = {**s3.options, "key": "wrong"}
        assert refusal(lambda: open_uri("s3://survey/dr1/plain.fits", wrong)).kind == "no_permission"
        refusal(lambda: list_uri("s3://survey/dr1/", wrong), InputError)
    finally:
        check_after(b"inf")


def test_s3_credentials_are_taken_from_the_environment(s3: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.options["endpoint_url"])
    with open_uri("s3://survey/dr1/plain.fits") as file:
        assert file.read(6) == b"SIMPLE"


def test_an_absent_or_failing_server_is_unreachable(web: Callable[[bool], Served], s3: Served) -> None:
    assert refusal(lambda: open_uri("http://127.0.0.1:9/a.fits")).kind == "unreachable"
    assert "503" in str(refusal(lambda: open_uri(f"{web(True).uri}/broken.fits")))


def test_an_unknown_scheme_is_refused() -> None:
    for call in (open_uri, list_uri):
        refusal(lambda call=call: call("gopher7://a/b.fits"), InputError)
    refusal(lambda: open_uri("s3://a/b.fits", {"nonsense": 1}), InputError)


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("s3://a/b.fits", "s3fs", "s3fs"),
        ("http://a/b.fits", "aiohttp", "aiohttp"),
        ("gs://a/b.fits", "gcsfs", "gcsfs"),
    ],
)
def test_a_missing_package_is_named_with_its_pip_command(uri: str, module: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None  # importing it raises ImportError
from elodin_spark.errors import MissingDependencyError
from elodin_spark.images.remote import list_uri, open_uri
for call in (open_uri, list_uri):
    try:
        call({uri!r})
    except MissingDependencyError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.count(f"pip install {package}") == 2, done.stderr


def test_hdfs_without_hadoop_on_the_machine_is_named() -> None:
    code = """
from elodin_spark.errors import ElodinError
from elodin_spark.images.remote import open_uri
try:
    open_uri("hdfs://127.0.0.1:9/a.fits")
except ElodinError as error:
    print(type(error).__name__, error)
"""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("HADOOP", "CLASSPATH"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment
    )
    assert done.stdout.startswith("MissingDependencyError"), done.stdout + done.stderr
    assert "webhdfs" in done.stdout


def test_a_remote_folder_is_listed_described_and_cut_like_a_local_one(s3: Served) -> None:
    from elodin_spark.cutouts.tile import TileSpec
    from elodin_spark.images.listing import archive_root, files_to_batches, list_files
    from elodin_spark.images.stage import DescribeSpec
    from elodin_spark.settings import SlidingWindow
    from elodin_spark.stage import fuse, run_plain

    paths = [f"{s3.uri}/plain.fits"]
    assert archive_root(paths, None, s3.options) == s3.uri
    files = list_files(paths, None, s3.options)
    assert [(file.uri, file.path) for file in files] == [(f"{s3.uri}/plain.fits", "plain.fits")]
    assert files[0].size_bytes > 0
    storage = tuple(s3.options.items())
    generator = SlidingWindow(size=(30,), step=30, edge="drop")
    spec = fuse(DescribeSpec(storage=storage), TileSpec(generator, storage=storage))
    rows = run_plain(spec, files_to_batches(files)).to_pylist()
    assert not [row["failure"] for row in rows if row["failure"]]
    assert sum(row["cutout_id"] is not None for row in rows) == 2 * 2


def test_local_and_remote_places_are_not_mixed(s3: Served, tmp_path: Path) -> None:
    from elodin_spark.images.listing import list_files

    fits.writeto(tmp_path / "here.fits", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="local and remote"):
        list_files([str(tmp_path), f"{s3.uri}/plain.fits"], None, s3.options)
