"""Web servers with an archive, and what they have sent."""

from __future__ import annotations

import http.server
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark.errors import ImageError

#: Names as archives have them.
NAMES = [
    "plain.fits",
    "night 1/a b.fits",
    "night 1/x@y=z&1.fits",
    "nacht/größe-é.fits",
    "night 1/deep/c.fits",
]


WIDE = 10_000


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
            if not isinstance(source, Part):
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
        # Before the client knows: it may have the answer, and go on, before it is counted otherwise.
        self.traffic.bytes += stop - start
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


def refusal(call: Callable[[], Any], kind: type[Exception] = ImageError) -> Any:
    with pytest.raises(kind) as caught:
        call()
    assert len(str(caught.value)) > 20
    return caught.value
