"""Pages of archives."""

from __future__ import annotations

from urllib.parse import urlsplit

from elodin_spark.web.links import archive_links


def test_links_hold_the_position_and_a_cutout_without_one_has_none() -> None:
    found = archive_links(150.1, -2.25, 0.01)
    assert found[0]["title"] == "Aladin Lite"
    for each in found:
        assert urlsplit(each["url"]).scheme == "https"
        assert "150.1" in each["url"]
        assert "-2.25" in each["url"]
        assert "{" not in each["url"]
    assert "fov=0.03" in found[0]["url"]
    assert "%20%2B2.25" in archive_links(0.5, 2.25)[0]["url"]
    assert archive_links(None, 1.0) == archive_links(1.0, None) == []
