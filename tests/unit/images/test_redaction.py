"""What a library repeats of the secrets it was given reaches no table, no log and no terminal."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from elodin_spark import schema
from elodin_spark.cutouts.tablefiles import read_tables
from elodin_spark.errors import ElodinError, ImageError
from elodin_spark.exits import guarded
from elodin_spark.fingerprints.weights.download import fetch
from elodin_spark.images.listing import ImageFile, files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.redaction import HIDDEN, remember_secrets, without_secrets
from elodin_spark.stage import run_plain

SECRET = "Zq7+hush/4u="
OPTIONS = {"secret": SECRET, "client_kwargs": {"headers": {"X-Auth": SECRET}}, "region": "eu"}
ERRORS = (PermissionError, RuntimeError, ValueError, TypeError, OSError, TimeoutError, KeyError)


class Chatty(AbstractFileSystem):
    """A store whose errors say all that it knows, as signed requests do."""

    protocol = "chatty"
    cachable = False
    error: type[Exception] = RuntimeError

    def _fail(self, *_: Any, **__: Any) -> Any:
        options = self.storage_options
        raise self.error(f"bad argument: {options} signature?key={quote(options['secret'], safe='')}&x")

    info = ls = glob = find = exists = isdir = isfile = open = _open = cat_file = get_file = _fail


@pytest.fixture(params=ERRORS, ids=lambda error: error.__name__)
def chatty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    fsspec.register_implementation("chatty", Chatty, clobber=True)
    monkeypatch.setattr(Chatty, "error", request.param)
    return "chatty://bucket/a.fits"


def shows_no_secret(text: str) -> bool:
    return SECRET not in text and quote(SECRET, safe="") not in text and "hush" not in text


def test_the_table_of_failures_has_no_secret(chatty: str) -> None:
    spec = DescribeSpec(storage=tuple(OPTIONS.items()))
    (row,) = run_plain(spec, files_to_batches([ImageFile(chatty, "a.fits", 1)])).to_pylist()
    assert row["status"] == "failed"
    assert shows_no_secret(str(row))
    assert set(row) == set(schema.IMAGES.names)


def test_errors_and_the_terminal_have_no_secret(
    chatty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = {
        "list": lambda: list_files([chatty], storage_options=OPTIONS),
        "weights": lambda: fetch("chatty://bucket/w.safetensors", tmp_path, storage=OPTIONS),
        "table": lambda: read_tables("chatty://bucket/p.csv", storage_options=OPTIONS),
    }
    for debug in ("", "1"):
        monkeypatch.setenv("ELODIN_DEBUG", debug)
        for name, call in calls.items():
            assert guarded(call) > 0, name
            said = capsys.readouterr().err
            assert "error" in said
            assert shows_no_secret(said), name


def test_the_log_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_secrets(OPTIONS)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    assert guarded(lambda: logging.getLogger("botocore").warning("sent %s", [OPTIONS])) == 0
    assert HIDDEN in stream.getvalue()
    assert shows_no_secret(stream.getvalue())


def test_what_is_no_secret_stays() -> None:
    remember_secrets(OPTIONS | {"token": "abc", "key": None, "anon": True, "passwords": ["longer-one"]})
    assert without_secrets("abc True None eu longer") == "abc True None eu longer"
    assert without_secrets("x longer-one y") == f"x {HIDDEN} y"
    error = pickle.loads(pickle.dumps(ImageError(f"with {SECRET}", "unreachable")))
    assert (str(error), error.kind) == (f"with {HIDDEN}", "unreachable")
    assert ElodinError(SECRET, 3).args == (HIDDEN, 3)
