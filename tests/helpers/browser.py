"""A Chromium without a screen, which draws with the processor, and pages in it that are watched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from helpers.limits import HANG_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: As conf/check-browser.sh has them.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")
_INSTALL = "apt-get install -y -qq --no-install-recommends chromium"


def find_chromium() -> str | None:
    """The program; installed first where there is none and this may install."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in ("apt-get update -qq", _INSTALL):
            subprocess.run(command.split(), env=environment, timeout=HANG_S, check=False, **quiet)
        found = next(filter(None, map(shutil.which, NAMES)), None)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none, or no playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: extra browser")
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on PATH, see conf/check-browser.sh")
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class Watched:
    """What a page said and asked for.

    Attributes
    ----------
    errors : list of str
        Of the console, and what no script caught; not those that name an answer of the server.
    hosts : set of str
        That were asked; blob: and data: are of the page itself.
    failed : list of str
        Paths that were answered with an error.
    """

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.failed: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._heard)
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _heard(self, message: object) -> None:
        # Chromium tells of every answer that is an error; 'failed' says which.
        told = getattr(message, "text", "")
        if getattr(message, "type", "") in ("error", "warning") and not told.startswith("Failed to load"):
            self.errors.append(told)

    def _asked(self, request: object) -> None:
        parts = urlsplit(getattr(request, "url", ""))
        if parts.scheme not in ("blob", "data"):
            self.hosts.add(f"{parts.scheme}://{parts.netloc}")

    def _answered(self, response: object) -> None:
        if getattr(response, "status", 0) >= 400:
            self.failed.append(urlsplit(getattr(response, "url", "")).path)
