"""The folder where weights are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.weights.cache import default_cache, new_file


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("ELODIN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/somebody/.cache/elodin_spark/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "elodin_spark" / "weights"
    monkeypatch.setenv("ELODIN_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own" / "weights"


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(WeightsError, match="ELODIN_CACHE"), new_file(blocked / "weights"):
        pass
