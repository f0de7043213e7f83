"""The socket and the address."""

from __future__ import annotations

import socket

import pytest

from elodin_spark.cli.main import run_command
from elodin_spark.errors import InputError
from elodin_spark.web.server import address_of, is_loopback, listening


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_others_than_the_loopback_are_told(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_addresses() -> None:
    assert address_of("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert address_of("::1", 80, None) == "http://[::1]:80/"
    assert address_of("0.0.0.0", 80, "abc") == f"http://{socket.gethostname()}:80/?token=abc"


def test_a_port_that_is_taken_is_said() -> None:
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert listener.proto == socket.IPPROTO_TCP, "so that asyncio sends without delay"
        with (
            pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken"),
            listening("127.0.0.1", port),
        ):
            pass
    with listening("127.0.0.1", port):
        pass


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("no.such.host.invalid", 0, "there is no host"),
        ("a" * 300, 0, "there is no host"),
        ("192.0.2.1", 0, "cannot be listened on"),
        ("127.0.0.1", 65536, "from 0 to 65535"),
    ],
)
def test_hosts_and_ports_that_are_none(host: str, port: int, said: str) -> None:
    with pytest.raises(InputError, match=said), listening(host, port):
        pass


def test_the_command_says_what_is_missing(monkeypatch, tmp_path, capsys) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run_command(["explore", str(tmp_path)]) == 4
    assert "pip install 'elodin_spark[explore]'" in capsys.readouterr().err
    assert run_command(["explore", "--help"]) == 0
    assert "Example: elodin-spark explore" in capsys.readouterr().out
