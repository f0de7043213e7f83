"""Archives on other machines, by fsspec: S3, HTTP, HDFS and whatever else it knows.

Credentials come from the usual places: for S3 the environment, ``~/.aws`` or the machine's role
(``anon: true`` for public buckets), for HTTP ``~/.netrc``, for HDFS Hadoop's own files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit

from elodin_spark.errors import (
    EXTRAS,
    ElodinError,
    ImageError,
    InputError,
    MissingDependencyError,
    missing_extra,
)
from elodin_spark.images.streams import LocalStream, Stream, temporary
from elodin_spark.images.uris import has_password, public
from elodin_spark.redaction import remember_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")

#: Read ahead, bytes, of headers. Measured on a file of 60 images with 30 ms an answer: 16 to 64 KiB
#: need one request a header and equal time, 4 KiB three requests; a block is fetched for each.
HEADER_BLOCK = 2**15
#: Read ahead, bytes, of what is read from front to back.
SEQUENTIAL_BLOCK = 2**22

#: Requests under way at once; more make servers refuse.
MAX_REQUESTS = 16

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hdfs": "pyarrow",
    "webhdfs": "requests",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "sftp": "paramiko",
}
_WEB = ("http", "https")
_BUSY = (429, 500, 502, 503, 504)
_PASSING = ("ClientOSError", "ClientPayloadError", "ServerDisconnectedError", "ConnectionResetError")
#: Seconds without a byte after which a server is given up.
_SILENCE_S = 60.0
#: Bytes a second below which it is given up too, after so long; and most bytes of one file.
SLOWEST_BYTES_S = 2**10
MAX_DOWNLOAD_BYTES = 2**36
#: Most bytes of an answer that is held in memory and was not asked for by range, such as a page of links.
MAX_PAGE_BYTES = 2**28


class RemoteStream:
    """A file on another machine that is read by ranges.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
    path : str
        As `fs` names it.
    file : binary file
        Of the same path.
    size : int
        Bytes.
    """

    # Measured with 30 ms an answer: a window of 224 px took 0.13 s as one range of 224 rows of 40 kB
    # (0.2 s of 160 kB), 1.1 s as a range of 1 kB of each row; of wider rows too much would be fetched.
    gap_bytes = 2**18
    piece_bytes = 2**23
    group_bytes = 2**26

    def __init__(self, fs: AbstractFileSystem, path: str, file: BinaryIO, size: int, uri: str) -> None:
        self.file, self.size = file, size
        self._fs, self._path, self._uri = fs, path, uri

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each half-open range ``(start, stop)``, asked for together where the store can."""
        with plain_words(self._uri):
            if not self._fs.async_impl:
                return [self._read(start, stop) for start, stop in ranges]
            starts, stops = [start for start, _ in ranges], [min(stop, self.size) for _, stop in ranges]
            paths = [self._path] * len(ranges)
            return _patiently(
                lambda: self._fs.cat_ranges(paths, starts, stops, on_error="raise", batch_size=MAX_REQUESTS)
            )

    def expect_sequential(self) -> None:
        """Read further ahead."""
        cache = getattr(self.file, "cache", None)
        if hasattr(cache, "blocksize"):
            cache.blocksize = SEQUENTIAL_BLOCK  # type: ignore[union-attr]

    def _read(self, start: int, stop: int) -> bytes:
        self.file.seek(start)
        return self.file.read(stop - start)


class RemoteFile(NamedTuple):
    """A file found by :func:`list_uri`.

    Attributes
    ----------
    uri : str
    size_bytes : int or None
        None where a web server does not say.
    """

    uri: str
    size_bytes: int | None


def open_remote(uri: str, storage_options: Mapping[str, Any] | None = None) -> Stream:
    """Open a remote file as a stream, of which the caller closes ``file``.

    Parameters
    ----------
    uri : str
        ``s3://``, ``s3a://``, ``http://``, ``https://``, ``hdfs://``, ``webhdfs://``, or any other scheme
        that fsspec knows.
    storage_options : mapping, optional
        Arguments of the fsspec file system, such as ``{"anon": True}`` for public S3 buckets.

    Returns
    -------
    Stream
        Of a store that answers ranges only what is read is fetched, 32 KiB ahead; from any other the
        whole file is fetched, to a temporary one.

    Raises
    ------
    ImageError
        Kinds ``missing``, ``no_permission``, ``unreachable``, ``no_space``, ``unreadable``.
    InputError
        The scheme is unknown.
    MissingDependencyError
        The package for the scheme is not installed.
    """
    fs, path = filesystem(uri, storage_options)
    options: dict[str, Any] = {}
    with plain_words(uri):
        if _scheme(uri) in _WEB:
            with temporary() as (target, content):
                answer = _patiently(lambda: _ask(fs, path, target))
                if not answer.kept and answer.size_bytes is None:
                    fs.get_file(path, target)
            if answer.kept or answer.size_bytes is None:
                return LocalStream(content)
            content.close()
            options["size"] = answer.size_bytes  # or it would be asked for once more
            if answer.size_bytes == 0:  # fsspec takes 0 for unknown
                raise ImageError("the file is empty; fetch it again", kind="empty_file")
        file = fs.open(path, "rb", block_size=HEADER_BLOCK, cache_type="readahead", **options)
        size = options.get("size", getattr(file, "size", None))
        return RemoteStream(fs, path, file, int(fs.size(path) if size is None else size), uri)


def download(uri: str, path: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Copy a remote file to a local path, in bounded memory; errors as of :func:`open_remote`."""
    fs, remote_path = filesystem(uri, storage_options)
    with plain_words(uri):
        if _scheme(uri) in _WEB:
            with Path(path).open("wb") as target:
                answer = _patiently(lambda: _ask(fs, remote_path, target, whole=True))
            if answer.kept:
                return
        fs.get_file(remote_path, path)


def list_uri(uri: str, storage_options: Mapping[str, Any] | None = None) -> list[RemoteFile]:
    """List the files of a remote folder, of a glob, or one file.

    Parameters
    ----------
    uri : str
        With ``*``, ``?`` or ``[`` a glob (``**`` crosses folders; in HTTP ``?`` is no wildcard). Otherwise
        a file, or a folder with all below it. A folder of a web server must end in ``/``, or be
        answered as a page of links.
    storage_options : mapping, optional
        As of :func:`open_remote`.

    Returns
    -------
    list of RemoteFile
        Sorted by URI; every kind of file.

    Raises
    ------
    InputError
        There is no such file, folder or bucket, or nothing in it; no permission; no answer.
    MissingDependencyError
        The package for the scheme is not installed.
    """
    fs, path = filesystem(uri, storage_options)
    try:
        with plain_words(uri):
            fs.invalidate_cache()
            found = _list_web(fs, path) if _scheme(uri) in _WEB else _list_store(fs, path)
    except ImageError as error:
        raise InputError(f"{error}; correct images.paths") from None
    # What stands before the path: the scheme, and of HDFS the host.
    prefix = uri.rstrip("/").removesuffix(path.rstrip("/"))
    files = [RemoteFile(prefix + name, size) for name, size in found]
    if not files:
        raise InputError(f"there are no files at {public(uri)}; correct images.paths")
    return sorted(files)


def filesystem(uri: str, storage_options: Mapping[str, Any] | None = None) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URI, and the path on it; errors as of :func:`open_remote`."""
    from fsspec.core import url_to_fs

    scheme, options = _scheme(uri), dict(storage_options or {})
    remember_secrets(options)
    if has_password(uri):
        raise InputError(
            f"{public(uri)} holds a password, which tables would keep; put it in ~/.netrc or the environment"
        )
    if scheme in _WEB:
        options = _web_options(options)
    try:
        fs, path = url_to_fs(uri, **options)
    except ImportError as error:
        raise _missing(scheme, error) from None
    except ValueError as error:
        if "rotocol" in str(error):
            raise InputError(
                f"{public(uri)}: {scheme}:// is no known kind of archive; correct the URI"
            ) from None
        raise InputError(f"{public(uri)} cannot be opened with the given storage options: {error}") from None
    except TypeError as error:
        raise InputError(f"the storage options do not suit {scheme}://: {error}") from None
    except OSError as error:
        if scheme == "hdfs":
            raise _missing(scheme, error) from None
        raise InputError(f"{public(uri)} cannot be reached: {error}") from None
    return fs, str(path)


@contextmanager
def plain_words(uri: str) -> Iterator[None]:
    """Turn what the libraries raise into :class:`ImageError`."""
    try:
        yield
    except ElodinError:
        raise
    except ImportError as error:
        raise _missing(_scheme(uri), error) from None
    except Exception as error:
        if isinstance(error, TypeError) and "argument" in str(error):
            raise InputError(f"the storage options do not suit {_scheme(uri)}://: {error}") from None
        kind, words = _reason(error)
        raise ImageError(f"{public(uri)}: {words.replace(uri, public(uri))}", kind=kind) from None


def _patiently(call: Callable[[], _T]) -> _T:
    """Try again, twice, what fails as servers do now and then; s3fs does so by itself."""
    for pause_s in (0.5, 2.0):
        try:
            return call()
        except Exception as error:
            if type(error).__name__ not in _PASSING and getattr(error, "status", None) not in _BUSY:
                raise
            time.sleep(pause_s)
    return call()


def _reason(error: BaseException) -> tuple[str, str]:
    # By name, since the classes are those of packages that may not be installed.
    status = getattr(error, "status", None)
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and getattr(cause, "status", None):
        return _reason(cause)  # type: ignore[arg-type]
    name = type(error).__name__
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        if "bucket does not exist" in str(error):
            return "missing", "there is no such bucket"
        return "missing", "there is no such file"
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return (
            "no_permission",
            "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, "
            "or anon: true in the storage options of a public bucket",
        )
    if isinstance(error, PermissionError) or status in (401, 403):
        return "no_permission", f"reading is not allowed ({error}); check the credentials"
    if isinstance(status, int) and 400 <= status < 600:
        return "unreachable", f"the server answered {status}; try again later"
    if isinstance(error, IsADirectoryError):
        return "unreadable", "this is a folder"
    if isinstance(error, OSError | TimeoutError) or "Connect" in name or "Timeout" in name:
        return "unreachable", f"the server cannot be reached: {error or name}"
    return "unreadable", f"the file cannot be read: {name}: {error}"


def _missing(scheme: str, error: BaseException) -> MissingDependencyError:
    package = _PACKAGES.get(scheme, scheme)
    if scheme == "hdfs" and not isinstance(error, ImportError):
        return MissingDependencyError(
            f"hdfs:// needs Hadoop's client on this machine ({error}); set JAVA_HOME, HADOOP_HOME and "
            "CLASSPATH=$(hadoop classpath --glob), or use webhdfs://"
        )
    if package in EXTRAS:
        return missing_extra(package, f"{scheme}://")
    return MissingDependencyError(f"{scheme}:// needs {package}; run: pip install {package}")


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def _list_store(fs: AbstractFileSystem, path: str) -> list[tuple[str, int | None]]:
    import glob

    # A literal name first: "[" may be part of it.
    if glob.has_magic(path) and not fs.exists(path):
        found = fs.glob(path, detail=True)
    else:
        info = fs.info(path)
        found = {path: info} if info["type"] == "file" else fs.find(path, detail=True)
    return [(name, info.get("size")) for name, info in found.items() if info["type"] == "file"]


# ---- HTTP ----------------------------------------------------------------------------------


class _Answer(NamedTuple):
    size_bytes: int | None
    kept: bool
    page: bool


def _web_options(options: dict[str, Any]) -> dict[str, Any]:
    import importlib.util

    if importlib.util.find_spec("aiohttp") is None:
        raise _missing("http", ImportError("aiohttp"))
    from aiohttp import ClientTimeout

    client = {
        "trust_env": True,  # ~/.netrc and proxies
        "auto_decompress": False,  # some servers call a .fits.gz an encoding of the FITS file
        # aiohttp's own limit is five minutes for a whole download.
        "timeout": ClientTimeout(total=None, sock_connect=_SILENCE_S, sock_read=_SILENCE_S),
        "response_class": _bounded_response(),
        "trace_configs": [_kept_to_the_host()],
    } | dict(options.pop("client_kwargs", {}))
    headers = {"Accept-Encoding": "identity"} | dict(options.pop("headers", {}))
    return {**options, "client_kwargs": client, "headers": headers}


def _kept_to_the_host() -> Any:
    """What follows redirects within one host only: another would see headers that are not meant for it."""
    from aiohttp import TraceConfig
    from yarl import URL

    async def redirected(_session: Any, _context: Any, params: Any) -> None:
        to = params.url.join(URL(params.response.headers.get("Location", "")))
        upgraded = to.scheme == params.url.scheme or (params.url.scheme, to.scheme) == ("http", "https")
        ports = to.port == params.url.port or (to.is_default_port() and params.url.is_default_port())
        if to.host != params.url.host or not (upgraded and ports):
            raise ImageError(
                f"{public(str(params.url))}: the server sends on to {to.scheme}://{to.host}:{to.port}; give "
                "that place in images.paths",
                kind="unreachable",
            )

    trace = TraceConfig()
    trace.on_request_redirect.append(redirected)
    return trace


async def _chunks(answer: Any, limit: int) -> Any:
    """Pieces of an answer, which may be neither longer than `limit` bytes nor endlessly slow."""
    start, total = time.monotonic(), 0
    async for chunk in answer.content.iter_any():
        total += len(chunk)
        seconds = time.monotonic() - start
        if total > limit:
            raise ImageError(f"the server sent more than the {limit} bytes that were asked for", "too_large")
        if seconds > _SILENCE_S and total < SLOWEST_BYTES_S * seconds:
            raise ImageError(
                f"the server sent {total} bytes in {seconds:.0f} s; try again later", "unreachable"
            )
        yield chunk


async def _copy(answer: Any, target: BinaryIO) -> None:
    async for chunk in _chunks(answer, MAX_DOWNLOAD_BYTES):
        target.write(chunk)


def _bounded_response() -> Any:
    from aiohttp import ClientResponse

    class Bounded(ClientResponse):
        """One whose body is read no farther than the range that was asked for."""

        async def read(self) -> bytes:
            if self._body is None and self.content is not None:
                first, _, last = (
                    self.request_info.headers.get("Range", "").removeprefix("bytes=").partition("-")
                )
                partial = self.status == 206 and first.isdigit() and last.isdigit()
                limit = int(last) - int(first) + 1 if partial else MAX_PAGE_BYTES
                parts = [chunk async for chunk in _chunks(self, limit)]
                self._body = b"".join(parts)
            return await super().read()

    return Bounded


def _ask(fs: Any, url: str, target: BinaryIO | None = None, whole: bool = False) -> _Answer:
    """Ask for the first byte of a file.

    A server without ranges answers with all of it, which is kept in `target`, where given, else is
    not read. Where `whole` is set all of it is asked for.
    """
    from fsspec.asyn import sync

    async def ask() -> _Answer:
        session = await fs.set_session()
        options = dict(fs.kwargs)
        if not whole:
            options["headers"] = {**options.get("headers", {}), "Range": "bytes=0-0"}
        async with session.get(fs.encode_url(url), **options) as answer:
            page = answer.headers.get("Content-Type", "").startswith("text/html")
            if answer.status == 416:  # of an empty file there is no first byte
                return _Answer(0, False, page)
            answer.raise_for_status()
            if answer.status == 206:
                size = answer.headers.get("Content-Range", "").rpartition("/")[2]
                return _Answer(int(size) if size.isdigit() else None, False, page)
            if target is not None:
                target.seek(0)
                target.truncate()
                await _copy(answer, target)
            size = answer.headers.get("Content-Length", "")
            return _Answer(int(size) if size.isdigit() else None, target is not None, page)

    return sync(fs.loop, ask)


def _list_web(fs: Any, url: str) -> list[tuple[str, int | None]]:
    import glob

    if glob.has_magic(urlsplit(url).path):
        names = fs.glob(url)
    else:
        answer = _ask(fs, url)
        if not (url.endswith("/") or answer.page):
            return [(url, answer.size_bytes)]
        names = fs.find(url.rstrip("/") + "/")
    # Pages of links also link to themselves in another order.
    names = [name for name in names if not ({"?", "#"} & set(name)) and not name.endswith("/")]
    return list(zip(names, fs.sizes(names), strict=True)) if names else []
