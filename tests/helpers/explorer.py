"""A server of the explorer in a process of its own, and those who ask it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from elodin_spark import Catalog
from helpers.limits import HANG_S


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Of an error."""
        (error,) = self.json().values()
        assert set(error) == {"kind", "message"}
        return str(error["message"])


class Server:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        found = re.fullmatch(r"http://(\[.+\]|[^:/]+):(\d+)/(?:\?token=(.+))?", address)
        assert found, address
        self.port, self.token = int(found[2]), found[3]

    def ask(
        self, path: str, body: Any = None, method: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """A request of its own connection; a body that is no bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)
        try:
            connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
            given = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
            if content is not None:
                given["Content-Length"] = str(len(content))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(content)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {n.lower(): v for n, v in answer.getheaders()})
        finally:
            connection.close()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; the exit code, and what it wrote to standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, said


def mapped_catalog(folder: Path, survey: Any, small_settings: Any) -> Catalog:
    """A catalog of a simulated survey, run with a map; needs Spark."""
    images = {"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"}
    projection = {"methods": ["tsne"], "perplexity": 8}
    made = Catalog.create(folder, small_settings(images["paths"], images=images, projection=projection))
    made.run()
    return made


@contextmanager
def explored(catalog: Path, *arguments: object, **environment: str) -> Iterator[Server]:
    """The explorer of a catalog, on a port that is free."""
    import os

    command = [sys.executable, "-m", "elodin_spark", "explore", str(catalog), "--port", "0"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise AssertionError(process.communicate()[1])
        yield Server(process, address)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
