"""What of remote archives is refused, and how that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT
from helpers.servers import Served, refusal

from elodin_spark.errors import InputError
from elodin_spark.images.planes import open_plane
from elodin_spark.images.remote import list_uri, open_remote


def test_a_missing_file_or_bucket_is_named(served: Served) -> None:
    error = refusal(lambda: open_remote(f"{served.uri}/none.fits", served.options))
    assert error.kind == "missing"
    assert "none.fits" in str(error)
    assert (
        refusal(lambda: open_plane(f"{served.uri}/none.fits", 0, served.options).__enter__()).kind
        == "missing"
    )
    refusal(lambda: list_uri(f"{served.uri}/none/", served.options), InputError)


def test_a_missing_bucket_is_named(s3: Served) -> None:
    assert refusal(lambda: open_remote("s3://nowhere/a.fits", s3.options)).kind == "missing"
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
    assert refusal(lambda: open_remote(uri)).kind == "no_permission"
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
    absent = refusal(lambda: open_remote("s3://survey/dr1/plain.fits", {"endpoint_url": endpoint}))
    assert absent.kind == "no_permission"
    assert "anon" in str(absent)
    public = {"endpoint_url": endpoint, "anon": True}
    with open_plane("s3://survey/dr1/picture.png", 0, public) as plane:
        assert plane.shape == (40, 50, 3)
    assert refusal(lambda: open_remote("s3://survey/dr1/plain.fits", public)).kind == "no_permission"

    def check_after(requests: bytes) -> None:
        switch, plain = f"{endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(switch, requests, plain, method="POST")).close()

    check_after(b"0")
    try:
        wrong = {**s3.options, "key": "wrong"}
        assert refusal(lambda: open_remote("s3://survey/dr1/plain.fits", wrong)).kind == "no_permission"
        refusal(lambda: list_uri("s3://survey/dr1/", wrong), InputError)
    finally:
        check_after(b"inf")


def test_s3_credentials_are_taken_from_the_environment(s3: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.options["endpoint_url"])
    with open_remote("s3://survey/dr1/plain.fits").file as file:
        assert file.read(6) == b"SIMPLE"


def test_an_absent_or_failing_server_is_unreachable(web: Callable[[bool], Served], s3: Served) -> None:
    assert refusal(lambda: open_remote("http://127.0.0.1:9/a.fits")).kind == "unreachable"
    assert "503" in str(refusal(lambda: open_remote(f"{web(True).uri}/broken.fits")))


def test_an_unknown_scheme_is_refused() -> None:
    for call in (open_remote, list_uri):
        refusal(lambda call=call: call("gopher7://a/b.fits"), InputError)
    refusal(lambda: open_remote("s3://a/b.fits", {"nonsense": 1}), InputError)


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("s3://a/b.fits", "s3fs", "'elodin_spark[s3]'"),
        ("http://a/b.fits", "aiohttp", "'elodin_spark[http]'"),
        ("gs://a/b.fits", "gcsfs", "gcsfs"),
    ],
)
def test_a_missing_package_is_named_with_its_pip_command(uri: str, module: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None  # importing it raises ImportError
from elodin_spark.errors import MissingDependencyError
from elodin_spark.images.remote import list_uri, open_remote
for call in (open_remote, list_uri):
    try:
        call({uri!r})
    except MissingDependencyError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, cwd=ROOT
    )
    assert done.stdout.count(f"pip install {package}") == 2, done.stderr


def test_hdfs_without_hadoop_on_the_machine_is_named() -> None:
    code = """
from elodin_spark.errors import ElodinError
from elodin_spark.images.remote import open_remote
try:
    open_remote("hdfs://127.0.0.1:9/a.fits")
except ElodinError as error:
    print(type(error).__name__, error)
"""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("HADOOP", "CLASSPATH"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=ROOT,
        env=environment,
    )
    assert done.stdout.startswith("MissingDependencyError"), done.stdout + done.stderr
    assert "webhdfs" in done.stdout
